"""Signals as MATLAB files: each vector a channel, or one matrix whose channels the cohort names.

Versions up to 7 are read by SciPy; 7.3, which is HDF5, by h5py (extra `mat`).
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from tslm.data.readers.mat_elements import check_elements
from tslm.data.readers.raw import ChannelInfo, SignalFile, SignalsConfig

# What scipy raises on damaged files; NotImplementedError on those of a version it cannot read.
_READ_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, NotImplementedError, EOFError),
    *(MemoryError, NameError, zlib.error, struct.error),
)
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_AT = 512  # MATLAB writes 512 bytes of its own before it


def open_mat(path: Path, config: SignalsConfig) -> SignalFile:
    """A MATLAB file; fields of structures are named with dots ("EEG.data").

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no MATLAB file, has no rate, or lacks what the cohort names.
        ImportError: It is of version 7.3 and h5py is not installed.
    """
    arrays = _read_hdf5(path) if _is_hdf5(path) else _read_version_5(path)
    fs_hz = _find_rate(path, arrays, config)
    signals = _pick_matrix(path, arrays, config) if config.variable else _pick_vectors(arrays)
    if not signals:
        raise ValueError(f"{path} holds no vector of samples; it has: {', '.join(arrays) or 'nothing'}")
    values = list(signals.values())
    return SignalFile(
        path=path,
        channels=tuple(ChannelInfo(name, config.unit, fs_hz) for name in signals),
        duration_s=max(len(samples) for samples in values) / fs_hz,
        read_values=lambda idx: np.ascontiguousarray(values[idx], dtype=np.float32),
    )


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HDF5_AT + len(_HDF5_SIGNATURE))
    return head.startswith(_HDF5_SIGNATURE) or head[_HDF5_AT:] == _HDF5_SIGNATURE


def _read_version_5(path: Path) -> dict[str, np.ndarray]:
    try:
        check_elements(path)
        content = scipy.io.loadmat(path, simplify_cells=True)
    except (*_READ_ERRORS, scipy.io.matlab.MatReadError) as error:
        why = " ".join(str(error).split())[:200] or "it asks for more memory than there is"
        raise ValueError(f"{path} is no MATLAB file that can be read: {why}") from error
    return dict(_flatten({name: part for name, part in content.items() if not name.startswith("__")}))


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} is of MATLAB 7.3, which h5py reads; install tslm-sleep[mat]") from error
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and not name.startswith("#"):
            arrays[name.replace("/", ".")] = np.asarray(item)

    try:
        with h5py.File(path) as file:
            file.visititems(take)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is no MATLAB file that can be read: {' '.join(str(error).split())[:200]}") from error
    return arrays


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, part in content.items():
        if isinstance(part, Mapping):
            yield from _flatten(part, f"{prefix}{name}.")
        elif np.asarray(part).dtype.kind in "iuf":
            yield f"{prefix}{name}", np.asarray(part)


def _find_rate(path: Path, arrays: Mapping[str, np.ndarray], config: SignalsConfig) -> float:
    if config.fs_variable:
        found = arrays.get(config.fs_variable)
        if found is None or found.size != 1:
            raise ValueError(f"{path} has no number {config.fs_variable!r}; it has: {', '.join(arrays)}")
        fs_hz = float(found.reshape(-1)[0])
    else:
        fs_hz = config.fs_hz
    if not 0 < fs_hz < np.inf:
        raise ValueError(f"{path} has a rate of {fs_hz:g} Hz; give signals.fs_hz or signals.fs_variable")
    return fs_hz


def _pick_vectors(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: array.reshape(-1) for name, array in arrays.items() if array.size > 1 and max(array.shape) == array.size
    }


def _pick_matrix(path: Path, arrays: Mapping[str, np.ndarray], config: SignalsConfig) -> dict[str, np.ndarray]:
    """Channels of the matrix; its longer side is time."""
    matrix = arrays.get(config.variable)
    if matrix is None or matrix.ndim > 2 or matrix.size == 0:
        raise ValueError(f"{path} has no matrix {config.variable!r}; it has: {', '.join(arrays)}")
    rows_CN = np.atleast_2d(matrix)
    if rows_CN.shape[0] > rows_CN.shape[1]:
        rows_CN = rows_CN.T
    if len(config.channel_names) != len(rows_CN):
        raise ValueError(
            f"{path}: {config.variable} holds {len(rows_CN)} channels, signals.channel_names names "
            f"{len(config.channel_names)}"
        )
    return dict(zip(config.channel_names, rows_CN, strict=True))
