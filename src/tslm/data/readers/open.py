"""Files of signals: which reader opens which file."""

from pathlib import Path

from tslm.data.cohorts.cohort import SignalsConfig
from tslm.data.readers.csv import open_csv
from tslm.data.readers.edf.read import open_edf
from tslm.data.readers.mat import open_mat
from tslm.data.readers.mne import open_mne
from tslm.data.readers.raw import SignalFile

EDF_ENDINGS = (".edf", ".bdf", ".rec")
CSV_ENDINGS = (".csv", ".tsv")


def open_signals(path: Path, config: SignalsConfig) -> SignalFile:
    """A file of signals, by its ending: EDF and BDF, CSV, MATLAB; any other goes to MNE.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not what its ending says.
        ImportError: Its reader needs an extra that is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() in EDF_ENDINGS:
        return open_edf(path, config.allow_truncated)
    if path.suffix.lower() in CSV_ENDINGS:
        return open_csv(path, config)
    return open_mat(path, config) if path.suffix.lower() == ".mat" else open_mne(path)
