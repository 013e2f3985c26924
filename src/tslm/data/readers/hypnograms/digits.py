"""Bare digits as labels: what they mean differs from laboratory to laboratory, so a table must name them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tslm.labels import SleepStage, species_group

W, N1, N2, N3, NREM, R = (SleepStage(code) for code in ("W", "N1", "N2", "N3", "NREM", "R"))
MOVE, UNSCORED = SleepStage.MOVEMENT, SleepStage.UNSCORED
_DIGIT = re.compile(r"[-+]?[0-9]{1,3}")
_WHOLE = re.compile(r"([-+]?[0-9]{1,3})[.,]0+")


@dataclass(frozen=True)
class DigitPreset:
    """Sleep stage of each digit, as one program or data set writes them."""

    about: str
    species: str  # group of species
    stages: Mapping[str, SleepStage]


DIGIT_PRESETS: dict[str, DigitPreset] = {
    "rk": DigitPreset(
        "Rechtschaffen & Kales, 5 is REM: Compumedics, NSRR, ISRUC",
        "human",
        {"0": W, "1": N1, "2": N2, "3": N3, "4": N3, "5": R, "6": MOVE, "7": UNSCORED, "8": UNSCORED, "9": UNSCORED},
    ),
    "yasa": DigitPreset(
        "AASM counted through, 4 is REM: YASA, Visbrain",
        "human",
        {"-2": UNSCORED, "-1": UNSCORED, "0": W, "1": N1, "2": N2, "3": N3, "4": R},
    ),
    "dreams": DigitPreset(
        "downwards, 5 is wake: DREAMS",
        "human",
        {"5": W, "4": R, "3": N1, "2": N2, "1": N3, "0": N3, "-1": MOVE, "-2": UNSCORED, "-3": UNSCORED},
    ),
    "ucddb": DigitPreset(
        "1 is REM: UCDDB of St. Vincent's",
        "human",
        {"0": W, "1": R, "2": N1, "3": N2, "4": N3, "5": N3, "6": UNSCORED, "7": UNSCORED, "8": UNSCORED},
    ),
    "sirenia": DigitPreset("1 wake, 2 NREM, 3 REM: Sirenia, IntelliSleepScorer", "rodent", {"1": W, "2": NREM, "3": R}),
    "accusleep": DigitPreset(
        "1 REM, 2 wake, 3 NREM: AccuSleep", "rodent", {"1": R, "2": W, "3": NREM, "0": UNSCORED, "4": UNSCORED}
    ),
    "from_zero": DigitPreset("0 wake, 1 NREM, 2 REM", "rodent", {"0": W, "1": NREM, "2": R}),
    "buzcode": DigitPreset("1 wake, 3 NREM, 5 REM: buzcode, CellExplorer", "rodent", {"1": W, "3": NREM, "5": R}),
}


def is_digit(text: str) -> bool:
    """Whether a label is a bare whole number."""
    return bool(_DIGIT.fullmatch(text))


def plain_label(text: str) -> str:
    """A label with a whole number written as one: "2.0" is 2."""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def ask_for_digits(counts: Mapping[str, int], species: str) -> str:
    """The question for the meaning of bare digits: how often each occurs, and the presets that fit."""
    group = species_group(species)
    found = ", ".join(f"{digit}: {counts[digit]}" for digit in sorted(counts, key=int))
    fitting = [
        f"{name} ({preset.about})"
        for name, preset in DIGIT_PRESETS.items()
        if preset.species == group and {str(int(digit)) for digit in counts} <= set(preset.stages)
    ]
    first = min(counts, key=int)
    named = f"name each, e.g. labels.{first}=W"
    presets = (
        f"give hypnogram.digits= one of: {'; '.join(fitting)}; or {named}" if fitting else f"no preset fits; {named}"
    )
    return f"digits are labels ({found}) but mean other stages elsewhere; {presets}"


def count_digits(texts: Iterable[str]) -> dict[str, int]:
    """How often each bare number occurs among labels."""
    counts: dict[str, int] = {}
    for text in texts:
        if is_digit(text):
            counts[text] = counts.get(text, 0) + 1
    return counts
