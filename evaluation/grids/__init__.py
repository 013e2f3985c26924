"""Grids of trainings, and folds.

`grid.py` expands, `run.py` and `launcher.py` train, `folds.py` pools folds, `table.py` renders.
"""
