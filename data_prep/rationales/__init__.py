"""Rationales from evidence: `compose.py` builds them from `statements.py`, `wordings.py` has the phrases."""
