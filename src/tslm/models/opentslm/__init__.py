"""Import of published OpenTSLM checkpoints: `file.py` reads a file without running code in it."""
