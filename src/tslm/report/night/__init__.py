"""Nights in the report: hypnograms, tracks and waveforms. `document.py` builds the data for the page's scripts."""
