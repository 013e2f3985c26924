"""Published corpora as prepared ones: a module reads one corpus, `rows.py` checks, counts and splits its rows."""
