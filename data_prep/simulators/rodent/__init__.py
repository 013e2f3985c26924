"""A simulated day of a mouse or rat: `day.py` puts it together from `bouts.py`, `brain.py` and `body.py`."""
