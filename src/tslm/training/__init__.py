"""Training of a model.

`loop.py` is the training loop, `optim.py` the optimiser, and `validation.py` the validation loss. `checkpoints` saves
and resumes, `runs` keeps the folder of a run, and `tracking.py` copies it to MLflow.
"""
