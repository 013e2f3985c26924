"""What is written of a staged night, one folder a night.

`night.py` defines a staged night, `table.py` lists the files and writes them. `rows.py` builds hypnogram.csv and
events.csv, `explanations.py` and `statistics.py` the JSON files, `annotations.py` BIDS and EDF+, `figure.py` the PNG.
"""
