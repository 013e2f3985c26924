from tslm.cli.main import main

__all__ = ["main"]
