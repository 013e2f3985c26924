"""Answers of systems to epochs.

`stager.py` lets a checkpoint answer, `rows.py` writes and reads the answers, and `scorings.py` groups a file by system.
`calibration.py` and `smoothing.py` change probabilities.
"""
