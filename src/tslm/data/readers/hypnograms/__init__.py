"""Hypnogram files: text, tables and NSRR XML, read as annotations and laid on the grid of epochs.

1. `read.py` opens a file of any format; `table.py` finds the columns of a table (`columns.py` has their names),
   `times.py` reads numbers, times of day and dates, `seconds.py` finds their units
2. `match.py` finds the file's time zero on the recording's clock and checks that the two belong together
3. `grid.py` cuts epochs where they were scored
"""
