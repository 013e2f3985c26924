"""The HTML report of a run.

`page.py` builds the page, `sections.py` its sections, `scores.py` the tables of scores, `charts.py` the drawings,
`rationales.py` and `examples.py` the explanations, and `night` the panel of one night.
"""
