"""Measured values in words, as prompts and rationales write them.

`facts_line.py` words the facts of an epoch, `closing.py` the reason for a sleep stage, `captions.py` those of a series.
"""
