"""Measured values as the report names them: words and units read off the names of evidence columns."""

from collections.abc import Sequence

_UNITS = {"uv": "µV", "hz": "Hz", "s": "s", "percent": "%"}
_PERCENT_SUFFIXES = ("share", "fraction")
_WORDS = {"rms": "RMS", "eeg": "EEG", "emg": "EMG", "eog": "EOG", "k": "K", "std": "SD"}


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
