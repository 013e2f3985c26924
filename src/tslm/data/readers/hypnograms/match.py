"""Whether a hypnogram belongs to a recording: its time zero on the recording's clock, and its length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from tslm.data.readers.hypnograms.config import MIN_COVERAGE, HypnogramConfig, HypnogramFile
from tslm.data.readers.hypnograms.times import DAY_S, parse_moment, parse_number
from tslm.data.readers.raw import Annotation
from tslm.hypnogram import SCORED, SLEEP
from tslm.labels import SleepStage

_SAME_START_S = 1.0  # headers state whole seconds
_NEAR_DAYS = 31  # two dates so close are of two nights rather than scrubbed
_SCRUBBED = (date(1985, 1, 1), date(2000, 1, 1), date(1900, 1, 1), date(1970, 1, 1), date(1899, 12, 30))
_LISTED_COVERAGE = 0.9  # of a recording, that labels without times must reach
_MAX_SLEEP_BEYOND = 0.05  # of the night's length, by which a bout of sleep may last longer (two epochs at least)
_USUAL_EPOCHS_S = (1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0, 12.0, 15.0, 16.0, 20.0, 30.0, 60.0)


def find_offset(
    file: HypnogramFile, start: datetime | None, duration_s: float, config: HypnogramConfig, epoch_s: float
) -> tuple[float, list[str]]:
    """Seconds from the recording's first sample to the time zero of the labels, and what was concluded.

    Args:
        file: Labels on their own clock.
        start: When the recording began; None where it is not known.
        duration_s: Length of the recording.
        config: Its `start` overrides the files.
        epoch_s: Length of an epoch.

    Raises:
        ValueError: The two clocks show different nights, or leave open when the labels begin.
    """
    if config.start:
        return _offset_as_told(config.start, start), []
    if is_unknown(start):
        start = None
    if file.start is None:
        _check_second_clock(file, start)
        return 0.0, []
    if not file.has_date:
        return _offset_of_clock(file, start, duration_s, epoch_s)
    if start is None or is_unknown(file.start):
        return 0.0, []
    apart_s = (file.start - start).total_seconds()
    if abs(apart_s) <= _SAME_START_S:
        return 0.0, []
    first_s, last_s = _span(file, epoch_s)
    if start.date() not in _SCRUBBED and file.start.date() not in _SCRUBBED:
        if first_s + apart_s < duration_s and last_s + apart_s > 0:
            return apart_s, [_describe_offset(apart_s)]
        if abs((file.start.date() - start.date()).days) <= _NEAR_DAYS:
            raise ValueError(
                f"it starts at {file.start.isoformat()}, the night at {start.isoformat()}; hypnogram.start=recording "
                "takes both starts for one"
            )
    offset_s = _nearest_day(file, start, duration_s, epoch_s)
    dates = f"the hypnogram's date is {file.start:%Y-%m-%d}, the recording's {start:%Y-%m-%d}: the time of day decides"
    return offset_s, [dates, *([_describe_offset(offset_s)] if offset_s else [])]


def is_unknown(start: datetime | None) -> bool:
    """Whether a start is missing, or midnight of a date that stands for none."""
    return start is None or (start.date() in _SCRUBBED and start.time() == datetime.min.time())


def shift_labels(labels: Sequence[Annotation], offset_s: float) -> list[Annotation]:
    """Labels on the recording's clock."""
    return [replace(label, onset_s=label.onset_s + offset_s) for label in labels] if offset_s else list(labels)


def _offset_as_told(told: str, start: datetime | None) -> float:
    if told == "recording":
        return 0.0
    if (number := parse_number(told)) is not None:
        return number
    moment = parse_moment(told)
    if moment is None:
        raise ValueError(f"hypnogram.start={told}: wanted `recording`, a number of seconds, or a time of day")
    if start is None:
        raise ValueError(f"hypnogram.start={told}: the recording has no start; wanted `recording` or seconds")
    return _wrap(moment.second - _second_of_day(start))


def _check_second_clock(file: HypnogramFile, start: datetime | None) -> None:
    """Refuse seconds from the start whose time of day beside them is another than the recording's."""
    if file.clock_at_zero is None or start is None:
        return
    apart_s = _wrap(_second_of_day(file.clock_at_zero) - _second_of_day(start))
    if abs(apart_s) > 1.5 * _SAME_START_S:
        raise ValueError(
            f"its second 0 is at {file.clock_at_zero:%H:%M:%S} by its column of times of day, the night starts at "
            f"{start:%H:%M:%S}; choose the column in hypnogram.onset_column, or hypnogram.start=recording"
        )


def _offset_of_clock(
    file: HypnogramFile, start: datetime | None, duration_s: float, epoch_s: float
) -> tuple[float, list[str]]:
    """Offset of times of day, which may also count from the start of the recording."""
    assert file.start is not None
    since_midnight_s = _second_of_day(file.start)
    elapsed = since_midnight_s, ["times are taken to count from the start of the recording"]
    if start is None:
        if since_midnight_s < duration_s:
            return elapsed
        raise ValueError(
            "its times are times of day, but the recording has no start; give hypnogram.start=recording where the "
            "first label begins with it, or the second at which it does"
        )
    offset_s = _nearest_day(file, start, duration_s, epoch_s)
    first_s, last_s = _span(file, epoch_s)
    shares = [
        (min(last_s + at_s, duration_s) - max(first_s + at_s, 0.0)) / (last_s - first_s)
        for at_s in (offset_s, since_midnight_s)
    ]
    if shares[0] >= 0.98 and shares[1] >= 0.98 and abs(offset_s - since_midnight_s) > _SAME_START_S:
        raise ValueError(
            f"its first time {file.start:%H:%M:%S} may be a time of day or count from the recording's start; give the "
            f"second after that start: hypnogram.start={offset_s:g} or hypnogram.start={since_midnight_s:g}"
        )
    if shares[1] > shares[0]:
        return elapsed
    if abs(offset_s) <= _SAME_START_S:
        return 0.0, []
    return offset_s, []


def _nearest_day(file: HypnogramFile, start: datetime, duration_s: float, epoch_s: float) -> float:
    """Offset by the time of day, of the day on which most labels lie in the recording."""
    assert file.start is not None
    first_s, last_s = _span(file, epoch_s)
    apart_s = _wrap(_second_of_day(file.start) - _second_of_day(start))
    days = range(-1, math.ceil(duration_s / DAY_S) + 1)
    best_s = max(
        (apart_s + day * DAY_S for day in days),
        key=lambda at_s: (min(last_s + at_s, duration_s) - max(first_s + at_s, 0.0), -abs(at_s)),
    )
    return 0.0 if abs(best_s) <= _SAME_START_S else best_s


def _span(file: HypnogramFile, epoch_s: float) -> tuple[float, float]:
    """First onset and last end of the labels."""
    if not file.labels:
        return 0.0, epoch_s
    ends_s = [label.onset_s + (label.duration_s or epoch_s) for label in file.labels]
    return min(label.onset_s for label in file.labels), max(ends_s)


def _describe_offset(offset_s: float) -> str:
    how = f"{abs(offset_s):g} s {'after' if offset_s > 0 else 'before'}"
    return f"hypnogram starts {how} the recording, by the clocks of both"


def _second_of_day(moment: datetime) -> float:
    return (moment - datetime.combine(moment.date(), datetime.min.time())) / timedelta(seconds=1)


def _wrap(apart_s: float) -> float:
    return (apart_s + DAY_S / 2) % DAY_S - DAY_S / 2


def check_length(
    labels: Sequence[Annotation],
    stages: Mapping[str, SleepStage],
    file: HypnogramFile,
    config: HypnogramConfig,
    epoch_s: float,
    duration_s: float,
    may_be_longer: bool,
) -> None:
    """Refuse labels that go on after the recording, end long before it, or cover too little of it.

    Args:
        labels: With durations, from the recording's first sample; some are scored.
        stages: Label to sleep stage.
        file: The file that they are from.
        config: Its `min_coverage` is the share that they must cover.
        epoch_s: Length of an epoch.
        duration_s: Length of the recording.
        may_be_longer: The recording is known to be cut short.

    Raises:
        ValueError: The likely reason and what to do.
    """
    step_s = config.epoch_s or epoch_s
    last_s = max(label.onset_s for label in labels if stages[label.text] in SCORED)
    asleep_s = max((label.onset_s + label.duration_s for label in labels if stages[label.text] in SLEEP), default=0.0)
    end_s = max(label.onset_s + label.duration_s for label in labels)
    hint = _suggest_epoch(labels, file, step_s, duration_s)
    beyond_s = max(2 * epoch_s, _MAX_SLEEP_BEYOND * duration_s)
    is_longer = last_s >= duration_s + 0.999 * max(step_s, epoch_s) or asleep_s >= duration_s + beyond_s
    if is_longer and not may_be_longer:
        raise ValueError(
            f"its labels go on to {end_s:g} s, the night ends at {duration_s:g} s{hint}; if the recording "
            "was cut short, signals.allow_truncated=true"
        )
    least = config.min_coverage
    allowed_s = max(duration_s * (1 - _LISTED_COVERAGE), 2 * max(step_s, epoch_s))
    if file.is_listed and least >= MIN_COVERAGE and end_s < duration_s - allowed_s:
        raise ValueError(
            f"its labels end at {end_s:g} s, the night at {duration_s:g} s{hint}; if they belong together, set "
            "hypnogram.min_coverage=0"
        )
    covered_s = _covered(labels, duration_s)
    if covered_s < duration_s * least:
        if end_s < duration_s * least and not hint:
            raise ValueError(
                f"its labels end at {end_s:g} s, the night at {duration_s:g} s; if they belong together, set "
                "hypnogram.min_coverage=0"
            )
        hint = hint or "; do labels last to the next one (hypnogram.until_next=true)?"
        raise ValueError(
            f"its labels cover {covered_s:g} s, the night has {duration_s:g} s{hint}; if that is all that was scored, "
            "set hypnogram.min_coverage=0"
        )


def _suggest_epoch(labels: Sequence[Annotation], file: HypnogramFile, step_s: float, duration_s: float) -> str:
    """Another usual length of an epoch with which the labels would fill the recording."""
    is_even = file.is_listed or all(abs(label.duration_s - step_s) < 1e-6 for label in labels)
    num_epochs = round(max(label.onset_s + label.duration_s for label in labels) / step_s)
    fitting = [each_s for each_s in _USUAL_EPOCHS_S if abs(num_epochs * each_s - duration_s) <= max(each_s, 2.0)]
    if not is_even or not fitting or step_s in fitting:
        return ""
    return f"; its {num_epochs} labels of {step_s:g} s would fill it with hypnogram.epoch_s={fitting[-1]:g}"


def _covered(labels: Sequence[Annotation], duration_s: float) -> float:
    """Seconds of the recording that labels cover."""
    covered_s, reached_s = 0.0, 0.0
    for label in sorted(labels, key=lambda label: label.onset_s):
        stop_s = min(duration_s, label.onset_s + label.duration_s)
        begin_s = max(reached_s, label.onset_s)
        if stop_s > begin_s:
            covered_s += stop_s - begin_s
            reached_s = stop_s
    return covered_s


def place_listed(file: HypnogramFile, config: HypnogramConfig, epoch_s: float, duration_s: float) -> list[Annotation]:
    """Labels one after the other; blank lines and ignored rows among them take a place only if the length says so.

    Raises:
        ValueError: It does not say whether they do.
    """
    step_s = config.epoch_s or epoch_s
    labels = list(file.labels)
    if not (file.is_listed and (file.blank_at or file.num_ignored) and labels):
        return labels
    num_places = round(max(label.onset_s for label in labels) / step_s) + 1
    wanted = range(math.floor(duration_s / step_s) - 1, math.ceil(duration_s / step_s) + 1)
    inside = [at for at in file.blank_at if at < num_places]
    fits_without = num_places in wanted
    if not fits_without and file.num_ignored and num_places + file.num_ignored in wanted:
        raise ValueError(
            f"{file.num_ignored} rows are ignored and take no place, but the recording is as long as if they did; give "
            "such a label a sleep stage (labels.NAME=UNSCORED) instead of hypnogram.ignore"
        )
    fits_with = num_places + len(inside) in wanted
    if not inside or (fits_without and not fits_with):
        return labels
    if fits_with == fits_without:
        raise ValueError(
            f"it has {len(inside)} blank line(s) among {num_places} labels; the recording's {duration_s:g} s do not "
            "tell whether they are epochs; remove them, or write ? for an epoch that was not scored"
        )
    return [
        replace(label, onset_s=label.onset_s + step_s * sum(at * step_s <= label.onset_s + 1e-6 for at in inside))
        for label in labels
    ]
