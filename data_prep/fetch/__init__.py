"""Downloads: `files.py` fetches one file with resume and checksum, `sleep_edf.py` the recordings of Sleep-EDF."""
