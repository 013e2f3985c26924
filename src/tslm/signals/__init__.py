"""Signal processing of epochs, without knowledge of files or models.

`filters.py` filters and resamples, `spectrum.py` computes spectra, `artifacts.py` flags artefacts, `features.py`
computes the features of sleep studies, `normalize.py` normalises a model's input, and `augment.py` augments windows.
"""
