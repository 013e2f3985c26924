"""The path of the data, from raw files to the batches of a model.

`readers` opens signal files and hypnograms, `cohorts` describes where recordings lie, `epochs.py` cuts a recording into
scoring epochs, `events.py` finds the events in them, `prepared` writes and reads prepared data, `splits` divides
subjects and finds leaks, and `samples` makes batches.
"""
