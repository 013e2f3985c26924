"""Scores of predictions.

`metrics.py` computes accuracy, macro-F1 and kappa, `probabilities.py` calibration, `structure.py` compares hypnograms,
`intervals.py` draws bootstrap intervals, `comparison.py` compares two systems, and `display.py` builds the tables.
"""
