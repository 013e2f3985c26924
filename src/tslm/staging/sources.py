"""Recordings to be staged: files and folders of them, MNE Raw objects, and arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tslm.data.cohorts.units import parse_voltage_unit
from tslm.data.readers.mne import hold_mne_raw
from tslm.data.readers.open import READERS, open_signals
from tslm.data.readers.raw import ChannelInfo, SignalFile, SignalsConfig

if TYPE_CHECKING:
    pass

NIGHT_FILES = (*READERS, ".vhdr", ".fif", ".fif.gz", ".set", ".gdf", ".cnt", ".mff")  # taken from a folder


def open_source(source: Any, fs_hz: float = 0.0, unit: str = "uV", read: SignalsConfig | None = None) -> SignalFile:
    """Open what a night may come as.

    Args:
        source: path of a file; an MNE Raw object; a mapping from channel to a signal (num_samples,); or one signal, an
            EEG.
        fs_hz: sampling rate of arrays, of a CSV or of a .mat file.
        unit: of arrays.
        read: how to read a CSV or .mat file.

    Raises:
        FileNotFoundError, ImportError: as `open_signals`.
        ValueError: as `open_signals`; or arrays without a rate, of an unknown unit, or not of one dimension.
    """
    if isinstance(source, str | Path):
        read = read or SignalsConfig(fs_hz=fs_hz, unit=unit)
        return open_signals(Path(source), read)
    if isinstance(source, np.ndarray):
        source = {"EEG": source}
    if isinstance(source, Mapping):
        return _hold_arrays(source, fs_hz, unit)
    if not hasattr(source, "get_data"):
        raise ValueError(f"a night is a path, an MNE Raw object or arrays; got {type(source).__name__}")
    return hold_mne_raw(source, _name_raw(source))


def find_nights(paths: Sequence[Path]) -> list[Path]:
    """The files among paths, and those in folders that have a name of a recording, sorted.

    Raises:
        FileNotFoundError: a path that is not there, or a folder without a recording.
        ValueError: two files whose outputs would have one name.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise FileNotFoundError(f"there is no file {path}")
            found.append(path)
            continue
        inside = sorted(
            each
            for each in path.rglob("*")
            if each.is_file() and each.name.lower().endswith(NIGHT_FILES) and not each.name.startswith(".")
        )
        if not inside:
            raise FileNotFoundError(f"{path} holds no recording ({', '.join(NIGHT_FILES)})")
        found += inside
    found = list(dict.fromkeys(found))
    first_of: dict[str, Path] = {}
    for path in found:
        if (first := first_of.setdefault(path.stem, path)) != path:
            raise ValueError(f"{first} and {path} have one name, and so would their outputs; stage them apart")
    return found


def _hold_arrays(signals: Mapping[str, np.ndarray], fs_hz: float, unit: str) -> SignalFile:
    if not signals:
        raise ValueError("there is no signal; give at least one channel")
    if not fs_hz > 0:
        raise ValueError("arrays have no sampling rate; give fs_hz")
    if parse_voltage_unit(unit) is None:
        raise ValueError(f"unknown unit {unit!r}; give uV, mV or V")
    values = {name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()}
    for name, signal in values.items():
        if signal.ndim != 1 or not signal.size:
            raise ValueError(f"{name} has shape {signal.shape}; give the samples of the whole night, one dimension")
    held = list(values.values())
    return SignalFile(
        path=Path("night"),
        channels=tuple(ChannelInfo(name, unit, fs_hz) for name in values),
        duration_s=max(len(signal) for signal in held) / fs_hz,
        read_values=lambda idx: held[idx],
    )


def _name_raw(raw: Any) -> Path:
    names = [name for name in getattr(raw, "filenames", ()) if name]
    return Path(names[0]) if names else Path("night")
