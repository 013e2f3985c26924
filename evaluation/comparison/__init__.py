"""Systems on the same epochs: `systems.py` lets them answer, `inputs.py` reads their nights, `table.py` renders."""
