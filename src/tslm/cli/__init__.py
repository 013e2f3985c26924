"""The `tslm` command. `main.py` lists the sub-commands; each has a file of its own."""

from tslm.cli.main import main

__all__ = ["main"]
