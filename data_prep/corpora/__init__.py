"""Corpora from measured facts: questions (`mcq.py`), captions (`captions.py`) and ECG reasoning (`ecg.py`)."""
