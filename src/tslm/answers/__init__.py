"""Answers as text: `grammar.py` writes and reads `Answer: <label>`; `lines.py` reads the label that a line names."""
