"""Checkpoints: `checkpoint.py` saves and loads one, `resume.py` continues a run, `ranking.py` keeps the best three."""
