"""Evidence: measurements of an epoch that a rationale may name.

`measure.py` measures all columns of an epoch, with detectors in `waveforms.py`, `eyes.py` and `muscle.py`. `words.py`
holds the threshold of each word, `criteria.py` the AASM criteria. `series.py` and `ecg.py` measure other series.
"""
