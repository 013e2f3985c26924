"""Nights as jobs: uploads, a store that survives a restart, and worker processes that stage them.

`tasks.py` what is done with a night, `options.py` what a client may ask for, `uploads.py` files to disk, `store.py` the
jobs in SQLite, `pool.py` the worker processes, `worker.py` what one does, `results.py` the table of results.
"""
