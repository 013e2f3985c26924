"""Samples and batches for models.

`dataset.py` lists the tasks, `recordings_dataset.py` builds samples of nights, `corpus_dataset.py` those of corpora,
`night_windows.py` cuts windows of a night, `sampling.py` and `sample_weights.py` draw the samples of a training pass,
and `collate.py` builds the batch.
"""
