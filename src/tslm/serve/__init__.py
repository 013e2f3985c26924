"""A local web server: `app.py` is the only module that imports FastAPI, `guard.py` checks requests."""
