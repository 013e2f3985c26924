"""Interventions: does the text follow the signal, and does the answer follow the text?

`signal_edits.py` edits one epoch of EEG. Tables: `edits.py` has the edits of signal and facts, `effects.py` what must
follow from them, `rationale_edits.py` the edits of a written rationale. `run.py` answers edited epochs, and
`outcomes.py` counts what followed.
"""
