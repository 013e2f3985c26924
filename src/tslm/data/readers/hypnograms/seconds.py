"""Columns of times and durations as seconds; units are told, in the name, or shown by the steps from row to row."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from tslm.data.readers.hypnograms.columns import NOT_GIVEN, Column, Roles
from tslm.data.readers.hypnograms.config import HypnogramConfig, NightSpan
from tslm.data.readers.hypnograms.times import (
    DAY_S,
    UNIT_S,
    Moment,
    is_whole_multiple,
    parse_date,
    parse_moment,
    parse_number,
    unroll_moments,
)

_MOSTLY = 0.8
_SAME_S = 1.5  # two columns of one time may round differently


def find_unit(
    roles: Roles,
    onsets: Sequence[float],
    durations: Sequence[float] | None,
    config: HypnogramConfig,
    epoch_s: float,
    night: NightSpan,
) -> str:
    """Unit of numeric times: as told, by the name, by the durations, or by the steps from row to row."""
    assert roles.onset is not None
    if config.time_unit or roles.onset.unit:
        return config.time_unit or roles.onset.unit
    times = sorted(set(onsets))
    steps = [late - early for early, late in zip(times, times[1:], strict=False)]
    if not steps:
        return "s"
    fs_hz = config.samples_hz or night.fs_hz
    of_unit = {"s": 1.0, "epochs": 1 / epoch_s, "ms": 1000.0, "samples": fs_hz, "min": 1 / 60, "h": 1 / 3600}
    known = [
        (step, duration)
        for step, duration in zip(
            [late - early for early, late in zip(onsets, onsets[1:], strict=False)], durations or (), strict=False
        )
        if duration > 0 and step > 0
    ]
    if known and roles.duration and UNIT_S.get(roles.duration.unit, 1.0) == 1.0:
        ratio = median(step / duration for step, duration in known)
        for unit, per_s in of_unit.items():
            if unit != "s" and per_s and abs(ratio / per_s - 1) < 0.02:
                return unit
    step = min(steps)
    fitting = []
    for unit, per_s in of_unit.items():
        is_fitting = per_s and abs(step / (epoch_s * per_s) - 1) < 0.02
        if is_fitting and all(is_whole_multiple(each, epoch_s * per_s) for each in steps):
            fitting.append(unit)
    if not fitting or "s" in fitting:
        return _unit_by_length(times, of_unit, night, epoch_s) if not fitting else "s"
    if "epochs" in fitting and not (times[0] in (0.0, 1.0) and all(time == round(time) for time in times)):
        fitting.remove("epochs")
    if "epochs" in fitting and night.duration_s and times[-1] > night.duration_s / epoch_s + 2:
        return "s"  # a label a second
    return fitting[0] if fitting else "s"


def _unit_by_length(times: Sequence[float], of_unit: Mapping[str, float], night: NightSpan, epoch_s: float) -> str:
    """Unit in which the last label begins inside the recording, where seconds would leave it behind by far."""
    if not night.duration_s or times[-1] <= 1.5 * night.duration_s + epoch_s:
        return "s"
    fitting = [
        unit
        for unit in ("ms", "samples")
        if of_unit[unit] > 1 and 0.25 * night.duration_s < times[-1] / of_unit[unit] < night.duration_s + epoch_s
    ]
    return fitting[0] if len({of_unit[unit] for unit in fitting}) == 1 else "s"


def scale_of(path: Path, unit: str, config: HypnogramConfig, epoch_s: float, night: NightSpan) -> float:
    """Seconds in one step of a unit; ValueError for samples of an unknown rate."""
    if unit == "epochs":
        return epoch_s
    if unit != "samples":
        return UNIT_S[unit]
    fs_hz = config.samples_hz or night.fs_hz
    if fs_hz <= 0 and night.duration_s:
        raise ValueError(f"{path} counts time in samples; give their rate in hypnogram.samples_hz")
    return 1 / fs_hz if fs_hz > 0 else 1.0


def scale_durations(
    path: Path,
    roles: Roles,
    unit: str,
    onsets: Sequence[float],
    scale: float,
    config: HypnogramConfig,
    epoch_s: float,
    night: NightSpan,
) -> list[float]:
    """Durations in seconds; without a unit in the name they share the onsets' where that makes them meet."""
    if roles.duration is None:
        return [epoch_s if unit == "epochs" else 0.0] * len(onsets)
    if roles.duration.holds_clock() or roles.duration.unit:
        return read_durations(path, roles.duration, scale_of(path, roles.duration.unit or "s", config, epoch_s, night))
    durations = read_durations(path, roles.duration, 1.0)
    steps = [late - early for early, late in zip(onsets, onsets[1:], strict=False)]
    ratios = [step / duration for step, duration in zip(steps, durations, strict=False) if step > 0 and duration > 0]
    is_shared = bool(ratios) and abs(median(ratios) - 1) < 0.02
    return [duration * (scale if is_shared else 1.0) for duration in durations]


def durations_of_epochs(path: Path, roles: Roles, numbers: Sequence[float], epoch_s: float) -> list[float]:
    """Seconds of each label beside the number of its epoch; 0 where numbers are left out and nothing tells why."""
    are_all_there = len(set(numbers)) == max(numbers, default=0.0) - min(numbers, default=1.0) + 1
    if roles.duration is None:
        return [epoch_s if are_all_there else 0.0] * len(numbers)
    durations = read_durations(path, roles.duration, UNIT_S.get(roles.duration.unit, 1.0))
    steps = [late - early for early, late in zip(numbers, numbers[1:], strict=False)]
    for scale in (1.0, epoch_s):
        lengths_s = [duration * scale for duration in durations]
        meets = [abs(step * epoch_s - length_s) < 1e-6 for step, length_s in zip(steps, lengths_s, strict=False)]
        if sum(meets) >= _MOSTLY * len(meets):
            return lengths_s
    raise ValueError(
        f"{path}: {roles.duration.name!r} says neither in seconds nor in epochs how long the labels of "
        f"{roles.epoch.name if roles.epoch else ''!r} last; name them in hypnogram.onset_column and duration_column"
    )


def read_lengths(path: Path, roles: Roles, moments: Sequence[Moment], onsets_s: Sequence[float]) -> list[float]:
    """Durations beside times of day: from the ends, as numbers or h:m:s, or 0."""
    if roles.end is not None:
        ends = read_moments(path, roles.end, None)
        return [(end.second - begin.second) % DAY_S for begin, end in zip(moments, ends, strict=True)]
    if roles.duration is None:
        return [0.0] * len(onsets_s)
    scale = UNIT_S.get(roles.duration.unit, 1.0)
    return read_durations(path, roles.duration, scale)


def compare_times(path: Path, roles: Roles, others: Sequence[Column], onsets_s: Sequence[float]) -> datetime | None:
    """Refuse a second column of times that goes another way; a clock beside seconds tells when second 0 was."""
    assert roles.onset is not None
    zero = None
    for other in others:
        if other.holds_clock():
            seconds, first, _ = unroll_moments(read_moments(path, other, roles.date))
            zero = first - timedelta(seconds=onsets_s[0])
        elif other.holds_numbers() and len(onsets_s) > 1:
            numbers = read_numbers(path, other)
            span = numbers[-1] - numbers[0]
            scale = (onsets_s[-1] - onsets_s[0]) / span if span else 0.0
            seconds = [(number - numbers[0]) * scale for number in numbers]
        else:
            continue
        apart = [
            row
            for row, (one, two) in enumerate(zip(onsets_s, seconds, strict=True))
            if abs(one - onsets_s[0] - two) > _SAME_S
        ]
        if apart:
            raise ValueError(
                f"{path}: columns {roles.onset.name!r} and {other.name!r} give different times, first in row "
                f"{apart[0] + 1}; choose one with hypnogram.onset_column"
            )
    return zero


def read_moments(path: Path, column: Column, dates: Column | None) -> list[Moment]:
    """The cells as times of day, with the dates of another column where they have none."""
    moments = []
    for row, cell in enumerate(column.cells):
        moment = parse_moment(cell)
        if moment is None:
            raise ValueError(f"{path}: {column.name} is {cell!r} in row {row + 1}; wanted a time of day")
        if moment.day is None and dates is not None:
            moment = Moment(moment.second, parse_date(dates.cells[row]))
        moments.append(moment)
    return moments


def read_durations(path: Path, column: Column, scale: float) -> list[float]:
    """Durations in seconds, as numbers or h:m:s; 0 where none is given."""
    if column.holds_clock():
        return [0.0 if cell.casefold() in NOT_GIVEN else _as_moment(path, column, cell).second for cell in column.cells]
    return [number * scale for number in read_numbers(path, column, 0.0)]


def _as_moment(path: Path, column: Column, cell: str) -> Moment:
    moment = parse_moment(cell)
    if moment is None:
        raise ValueError(f"{path}: {column.name} is {cell!r}; wanted h:m:s")
    return moment


def read_numbers(path: Path, column: Column, not_given: float | None = None) -> list[float]:
    """The cells as finite numbers; ValueError names the row that is none."""
    numbers = []
    for row, cell in enumerate(column.cells):
        if cell.casefold() in NOT_GIVEN and not_given is not None:
            numbers.append(not_given)
            continue
        number = parse_number(cell)
        if number is None or not math.isfinite(number):
            kind = "a finite number" if cell.casefold() in ("nan", "inf", "-inf") else "a number"
            raise ValueError(f"{path}: {column.name} is {cell!r} in row {row + 1}; wanted {kind}")
        numbers.append(number)
    return numbers
