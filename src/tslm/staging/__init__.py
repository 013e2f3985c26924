"""Staging of nights that nobody has scored: from a file, an MNE Raw object or arrays to stages with explanations.

`sources.py` finds and opens recordings, `models.py` the checkpoints, `night.py` stages a recording.
"""
