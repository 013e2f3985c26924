"""Settings of runs and checkpoints.

`schema.py` defines every setting and its default, `compose.py` puts the settings of a run together from YAML and
`key=value`, `files.py` merges, reads and writes settings, and `checkpoint.py` stores them in a checkpoint.
"""
