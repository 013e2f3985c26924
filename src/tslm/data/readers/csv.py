"""Signals as CSV or TSV: a header row, a column a channel, optionally a column of time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from tslm.config.files import one_line
from tslm.data.readers.align import align_stamped
from tslm.data.readers.raw import ChannelInfo, SignalFile, SignalsConfig

_Place = Callable[[np.ndarray], np.ndarray]

_MISSING = ["", "NaN", "nan", "NA", "n/a", "null"]
_UNIT_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_MAX_JITTER = 0.25  # of a sample, between the time column and an even grid
_MIN_RECORDED_SHARE = 0.01  # of the grid; less, and the time column is no time of samples


def open_csv(path: Path, config: SignalsConfig) -> SignalFile:
    """A CSV or TSV file; each column is parsed when it is asked for.

    With a time column the rows are placed on an even grid from the first row on, NaN where rows are
    missing; where a clock drifts or starts anew after a gap, they are interpolated by their time
    stamps (tslm.data.readers.align). Without one the rows are samples at `config.fs_hz`.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no table, has no rate, or its time column is not that of even sampling.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else config.delimiter
    names = _read_names(path, delimiter)
    time = config.time_column
    if time and time not in names:
        raise ValueError(f"{path} has no column {time!r}; it has: {', '.join(names)}")
    if time:
        if config.time_unit not in _UNIT_S:
            raise ValueError(f"signals.time_unit={config.time_unit}: wanted one of: {', '.join(_UNIT_S)}")
        times_s = _read_column(path, time, delimiter) * _UNIT_S[config.time_unit]
        _check_unit(path, times_s)
        place, fs_hz, num_samples, notes = _place_by_time(path, times_s)
    elif config.fs_hz > 0:
        place, fs_hz, notes = np.asarray, config.fs_hz, ()
        num_samples = len(_read_column(path, names[0], delimiter, pa.string()))
    else:
        raise ValueError(f"{path} does not tell its rate; give signals.time_column or signals.fs_hz")
    channels = tuple(ChannelInfo(name, config.unit, fs_hz) for name in names if name != time)

    def read_values(idx: int) -> np.ndarray:
        return place(_read_column(path, channels[idx].name, delimiter).astype(np.float32))

    return SignalFile(
        path=path, channels=channels, duration_s=num_samples / fs_hz, read_values=read_values, notes=notes
    )


def _check_unit(path: Path, times_s: np.ndarray) -> None:
    """Refuse rows that are more than a second apart, as milliseconds are that are taken for seconds."""
    steps_s = np.diff(times_s[np.isfinite(times_s)])
    step_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    if step_s > 1:
        raise ValueError(
            f"{path}: the time column rises by {step_s:g} s a row, {1 / step_s:g} Hz; is it in milliseconds "
            "(signals.time_unit=ms) or microseconds (us)?"
        )


def _place_by_time(path: Path, times_s: np.ndarray) -> tuple[_Place, float, int, tuple[str, ...]]:
    """Function that places a column's values on an even grid, rate and length of the grid, and notes."""
    placed = _place_rows(path, times_s)
    if placed is None:
        fs_hz = float(max(1, round(1 / float(np.median(np.diff(times_s))))))
        since_start_s = times_s - times_s[0]
        num_samples = int(since_start_s[-1] * fs_hz) + 1
        place = partial(align_stamped, times_s_N=since_start_s, fs_hz=fs_hz, num_samples=num_samples)
        return place, fs_hz, num_samples, (f"samples interpolated by their time stamps to {fs_hz:g} Hz",)
    positions, fs_hz = placed
    num_samples = int(positions[-1]) + 1

    def fill_gaps(values: np.ndarray) -> np.ndarray:
        filled = np.full(num_samples, np.nan, dtype=np.float32)
        filled[positions] = values
        return filled

    if len(positions) == num_samples:
        return np.asarray, fs_hz, num_samples, ()
    missing_s = (num_samples - len(positions)) / fs_hz
    return fill_gaps, fs_hz, num_samples, (f"{missing_s:g} s of {num_samples / fs_hz:g} s have no row",)


def _read_names(path: Path, delimiter: str) -> list[str]:
    options = pacsv.ParseOptions(delimiter=delimiter)
    try:
        with pacsv.open_csv(path, parse_options=options) as reader:
            names = [str(name) for name in reader.schema.names]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table: {one_line(error)[:200]}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has several columns named {twice[0]!r}; rename them")
    return names


def _read_column(path: Path, name: str, delimiter: str, kind: pa.DataType | None = None) -> np.ndarray:
    kind = kind or pa.float64()
    options = pacsv.ConvertOptions(include_columns=[name], column_types={name: kind}, null_values=_MISSING)
    try:
        table = pacsv.read_csv(path, parse_options=pacsv.ParseOptions(delimiter=delimiter), convert_options=options)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: column {name!r} cannot be read: {one_line(error)[:200]}") from error
    if not table.num_rows:
        raise ValueError(f"{path} holds no row of samples")
    return table[name].to_numpy()


def _place_rows(path: Path, times_s: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Position of each row on an even grid from the first row on, and the grid's rate; None where there is none."""
    steps_s = np.diff(times_s)
    if len(times_s) < 2 or not (np.isfinite(times_s).all() and (steps_s > 0).all()):
        raise ValueError(f"{path}: the time column must rise from row to row and hold no blanks")
    for fs_hz in _guess_rates(times_s, steps_s):
        exact = (times_s - times_s[0]) * fs_hz
        if exact[-1] > len(times_s) / _MIN_RECORDED_SHARE:
            raise ValueError(f"{path}: {len(times_s)} rows at {fs_hz:g} Hz cover too little of the time column's span")
        positions = np.rint(exact).astype(np.int64)
        if np.abs(exact - positions).max() <= _MAX_JITTER and (np.diff(positions) > 0).all():
            return positions, fs_hz
    typical_s = np.median(steps_s)
    within_s = steps_s[steps_s < 1.5 * typical_s]
    if (
        fs_hz >= 1
        and np.quantile(np.abs(within_s / typical_s - 1), 0.95) < _MAX_JITTER
        and len(within_s) > 0.5 * len(steps_s)
    ):
        return None
    raise ValueError(
        f"{path}: the time column is not that of even sampling (about {fs_hz:g} Hz); it must be in seconds"
    )


def _guess_rates(times_s: np.ndarray, steps_s: np.ndarray) -> list[float]:
    """Rate over the longest stretch without a missing row: rounded to the millihertz, and as it is."""
    breaks = np.flatnonzero(steps_s > 1.5 * np.median(steps_s))
    edges = np.concatenate([[-1], breaks, [len(steps_s)]])
    longest = int(np.argmax(np.diff(edges)))
    first, last = edges[longest] + 1, edges[longest + 1]
    fs_hz = float((last - first) / (times_s[last] - times_s[first])) if last > first else float(1 / np.median(steps_s))
    return [round(fs_hz, 3), fs_hz] if round(fs_hz, 3) else [fs_hz]
