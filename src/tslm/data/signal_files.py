"""Files of signals: which reader opens which file."""

from pathlib import Path

from tslm.data.cohort import SignalsConfig
from tslm.data.edf import open_edf
from tslm.data.raw import SignalFile

EDF_ENDINGS = (".edf", ".bdf", ".rec")


def open_signals(path: Path, config: SignalsConfig) -> SignalFile:
    """A file of signals, by its ending.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not what its ending says.
        ImportError: Its reader needs an extra that is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() in EDF_ENDINGS:
        return open_edf(path, config.allow_truncated)
    raise ValueError(f"{path}: no reader for files that end in {path.suffix!r}")
