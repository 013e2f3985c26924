"""Values of the report as text: rounded, with intervals and units, and evidence columns by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from tslm.metric_names import build_cell
from tslm.table import Cell

_UNITS = {"uv": "µV", "hz": "Hz", "s": "s", "percent": "%"}
_PERCENT_SUFFIXES = ("share", "fraction")
_WORDS = {"rms": "RMS", "eeg": "EEG", "emg": "EMG", "eog": "EOG", "k": "K", "std": "SD"}


def format_interval(metrics: Mapping[str, Any], key: str) -> str:
    """The interval of a metric; empty where there is none."""
    bounds = build_cell(key, metrics).bounds
    return " to ".join(Cell(bound).html() for bound in bounds or ())


def format_percent(share: float | None) -> str:
    """A share with one decimal, as HTML with a narrow space."""
    return "–" if share is None else f"{100 * share:.1f}&#8239;%"


def format_number(count: int, noun: str) -> str:
    """A count and what is counted."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_measurement(key: str, value: object) -> tuple[str, str]:
    """Name and value with unit of a measurement, read off its suffix."""
    words = key.split("_")
    unit = ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and words[-1] in _PERCENT_SUFFIXES:
        return _sentence(words), f"{100 * float(value):.0f} %"  # type: ignore[arg-type]
    if words[-1] in _UNITS and len(words) > 1:
        unit = f" {_UNITS[words[-1]]}"
        words = words[:-1]
    if value is None:
        return _sentence(words), "not measured"
    if is_number and words[-1] == "ratio":
        return _sentence(words), f"{value:.2f}"
    text = (
        f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:.0f}" if is_number else str(value)
    )
    return _sentence(words), text + unit


def _sentence(words: Sequence[str]) -> str:
    text = " ".join(_WORDS.get(word, word) for word in words).replace("K complex", "K-complex")
    return text[:1].upper() + text[1:]
