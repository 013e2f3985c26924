"""Downloads: `parallel.py` fetches many files; `sleep_edf.py` and `corpora.py` say which (one file: tslm.fetch)."""
