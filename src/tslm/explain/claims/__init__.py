"""Claims of a rationale: `read.py` finds them in a text, `checks.py` compares one with the measured values."""
