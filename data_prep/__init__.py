"""Commands that make data: `prepare.py`, `download.py`, `split.py`, `verify.py` and `teacher.py`.

`cohorts` prepares recordings, `simulators` makes them, `corpora` and `published` make questions and captions,
`rationales` writes the texts of sleep stages, `fetch` downloads, and `realism` measures the simulators.
"""
