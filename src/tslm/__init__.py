"""Time-series language models that stage sleep and explain themselves."""

__version__ = "0.1.0"
