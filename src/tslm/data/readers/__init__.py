"""Readers of signal files and hypnograms.

`open.py` lists the reader of each file extension, `hypnograms/` the hypnogram formats; `raw.py` defines what a reader
returns. `align.py` brings signals of different clocks onto one grid.
"""
