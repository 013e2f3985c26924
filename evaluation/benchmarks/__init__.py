"""Speed and memory: `rows.py` is the table of figures, `work.py` the timed work, `original.py` runs OpenTSLM."""
