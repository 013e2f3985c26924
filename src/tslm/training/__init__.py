"""Training of a model.

`loop.py` is the training loop with the validation loss, `optim.py` the optimiser, and `process.py` handles stop signals
and memory. `checkpoints` saves and resumes, `runs` keeps the folder of a run, and `tracking.py` copies it to MLflow.
"""
