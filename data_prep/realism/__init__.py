"""Simulated signals beside real ones: `fit_calibration.py` fits the simulator, `bench.py` measures the data side."""
