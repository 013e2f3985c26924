"""Grids of trainings: `grid.py` expands, `launcher.py` trains, `folds.py` pools folds, `table.py` renders."""
