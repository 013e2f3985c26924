"""Prepared data: `recordings.py` writes and reads nights and participants.tsv, `corpora.py` questions and captions."""
