"""Rationales checked against the signal.

`claims` reads a text into claims and checks each, `explanations.py` gives them as JSON, `faithfulness.py` scores a
rationale by them, and `controls.py` scores rationales against epochs that they were not written for.
"""
