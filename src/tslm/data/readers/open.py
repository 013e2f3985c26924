"""Signal files: which reader opens which file.

A new format is one row of READERS: its file extension and a function from a path and the cohort's settings to a
`SignalFile`. MNE reads the formats that have no row.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tslm.data.readers.csv import open_csv
from tslm.data.readers.edf.read import open_edf
from tslm.data.readers.mat import open_mat
from tslm.data.readers.mne import open_mne
from tslm.data.readers.raw import SignalFile, SignalsConfig

READERS: Mapping[str, Callable[[Path, SignalsConfig], SignalFile]] = {
    ".edf": open_edf,
    ".bdf": open_edf,
    ".rec": open_edf,
    ".csv": open_csv,
    ".tsv": open_csv,
    ".mat": open_mat,
}
_WITHOUT_UNITS = (".csv", ".tsv", ".mat")


def open_signals(path: Path, config: SignalsConfig) -> SignalFile:
    """Open a signal file with the reader of its extension.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The file does not have the format that its extension says, or states units where one is given.
        ImportError: The reader needs an extra that is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if config.unit != SignalsConfig.unit and path.suffix.lower() not in _WITHOUT_UNITS:
        raise ValueError(
            f"{path}: unit={config.unit} is for CSV and .mat files; this one states its units. Where they are wrong, a "
            "cohort's channels.NAME.unit says so"
        )
    reader = READERS.get(path.suffix.lower())
    return reader(path, config) if reader else open_mne(path)
