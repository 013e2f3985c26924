"""Baselines that a trained model is compared with. `table.py` lists them; the other files hold one kind each."""
