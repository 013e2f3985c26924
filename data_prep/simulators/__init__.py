"""Simulators: nights of people (`human`), days of rodents (`rodent`), ECGs (`ecg.py`), synthesis (`synthesis.py`)."""
