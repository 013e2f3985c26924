"""Evidence: measurements of an epoch that a rationale may name.

`measure.py` measures all columns of an epoch, and `events.py` says where in it each waveform, rhythm and artefact lies;
both rest on the same detections (`waveforms.py`, `eyes.py`, `stretches.py`). `muscle.py` measures the tone of an EMG.
`words.py` holds the threshold of each word, `criteria.py` the AASM criteria. `series.py` and `ecg.py` measure other
series; `text` writes them.
"""
