"""The folder of a run: `folder.py` names its files, `manifest.py` writes run.json, `recorder.py` writes its log."""
