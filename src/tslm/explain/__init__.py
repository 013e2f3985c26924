"""Rationales checked against the signal.

`claims` reads a text into claims and checks each, `explanations.py` gives them as JSON, `faithfulness.py` scores a
rationale by them, `controls.py` scores rationales against epochs that they were not written for, `verify.py` lets a
model write false texts again, and `interventions` edits what a model reads and writes, to see what follows.
"""
