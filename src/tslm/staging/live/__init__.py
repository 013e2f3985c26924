"""Live recordings: `scorer.py` stages epochs as they end, `buffer.py` holds what has come of a channel.

`source.py` has the table of sources: `edf_file.py` reads a growing EDF file, `lsl.py` a stream of the Lab Streaming
Layer. `follow.py` stages either.
"""
