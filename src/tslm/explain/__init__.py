"""Rationales checked against the signal.

`claims` reads a text into claims and checks each, `faithfulness.py` scores a rationale by them,
`controls.py` scores rationales against epochs that they were not written for, and `interventions` edits what a model
reads and writes, to see what follows.
"""
