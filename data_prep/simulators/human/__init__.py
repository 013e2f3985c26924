"""A simulated night: `night.py` puts it together from `hypnogram.py`, `brain.py`, `body.py` and `calibration.py`."""
