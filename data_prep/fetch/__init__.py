"""Downloads: `files.py` fetches one file, `parallel.py` many; `sleep_edf.py` and `corpora.py` say which."""
