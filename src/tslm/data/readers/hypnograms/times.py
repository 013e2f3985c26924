"""Cells of a table as numbers, times of day and dates."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

DAY_S = 86400.0
UNIT_S = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"([-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?)\s*(s|sec|secs|seconds?|ms|msec)?\.?")
_CLOCK = re.compile(
    r"(?:(?P<date>\S.*?)[ T,;]\s*)?"
    r"(?P<hour>\d{1,3}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?P<part>[.,:]\d{1,9})?)?"
    r"\s*(?P<half>[AaPp])?\.?(?:[Mm]\.?)?(?:Z|[+-]\d{2}:?\d{2})?"
)
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y", "%d-%b-%Y", "%d %b %Y", "%b %d %Y", "%d-%b-%y")
_EITHER_WAY = re.compile(r"\d{1,2}[/-]\d{1,2}[/-](?:\d{4}|\d{2})")  # day or month first: only the time of day is sure


@dataclass(frozen=True)
class Moment:
    """A time of day, perhaps with its date."""

    second: float  # since midnight; hours may count beyond 24
    day: date | None = None


def parse_number(text: str) -> float | None:
    """A number with a point or a decimal comma, in seconds where a unit follows it; None where it is none."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    value = float(found[1].replace(",", "."))
    return value / 1000 if (found[2] or "").startswith("m") else value


def parse_date(text: str) -> date | None:
    """A date whose day and month cannot be exchanged."""
    for form in _DATES:
        try:
            return datetime.strptime(text.strip(), form).date()
        except ValueError:
            continue
    return None


def looks_like_date(text: str) -> bool:
    """Whether a cell is a date, also one whose day and month may be exchanged."""
    return bool(_EITHER_WAY.fullmatch(text.strip())) or parse_date(text) is not None


def parse_moment(text: str) -> Moment | None:
    """A time of day ("22:05", "10:05:00 PM"), also with a date before it; None where it is none."""
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        return None
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + (12 if found["half"] in "Pp" else 0)
    part = float("0." + found["part"][1:]) if found["part"] else 0.0
    second = hour * 3600.0 + int(found["minute"]) * 60 + int(found["second"] or 0) + part
    if not found["date"]:
        return Moment(second)
    return Moment(second, parse_date(found["date"])) if looks_like_date(found["date"]) else None


def unroll_moments(moments: Sequence[Moment]) -> tuple[list[float], datetime, bool]:
    """Seconds of each moment since the first one, the first one, and whether its date is known.

    Without dates, a time of day that is more than an hour earlier than the one before it is the next day's.
    """
    first = moments[0]
    if all(moment.day for moment in moments):
        days = [moment.day.toordinal() for moment in moments if moment.day]
        seconds = [day * DAY_S + moment.second for day, moment in zip(days, moments, strict=True)]
    else:
        seconds, passed_s = [], 0.0
        for moment in moments:
            if seconds and passed_s + moment.second < seconds[-1] - 3600:
                passed_s += DAY_S
            seconds.append(passed_s + moment.second)
    start = datetime.combine(first.day or date(2, 1, 1), datetime.min.time()) + timedelta(seconds=first.second)
    return [second - seconds[0] for second in seconds], start, first.day is not None


def is_whole_multiple(value: float, step: float, slack: float = 0.02) -> bool:
    """Whether a value is a whole number of steps, within a share of one."""
    return step > 0 and math.isfinite(value) and abs(value / step - round(value / step)) <= slack
