"""Sleep-stage vocabulary: codes on disk, label sets per species, and names in text.

Codes follow the AASM manual (W, N1, N2, N3, R). Rechtschaffen & Kales stages 3 and 4 are both
N3. Movement time and unscored epochs are never merged into a sleep stage.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class SleepStage(StrEnum):
    """One scored epoch's code as written to disk."""

    WAKE = "W"
    N1 = "N1"
    N2 = "N2"
    N3 = "N3"
    REM = "R"
    NREM = "NREM"
    MOVEMENT = "MOVE"
    UNSCORED = "UNSCORED"


# The answer vocabulary of the language model; the human names are those of the OpenTSLM guide.
ANSWER_NAMES: dict[SleepStage, str] = {
    SleepStage.WAKE: "Wake",
    SleepStage.N1: "Non-REM stage 1",
    SleepStage.N2: "Non-REM stage 2",
    SleepStage.N3: "Non-REM stage 3",
    SleepStage.REM: "REM sleep",
    SleepStage.NREM: "NREM sleep",
    SleepStage.MOVEMENT: "Movement",
}


@dataclass(frozen=True)
class LabelSet:
    """An ordered, closed set of sleep stages that a scorer may answer with."""

    name: str
    sleep_stages: tuple[SleepStage, ...]

    @property
    def species(self) -> str:
        """Species whose recordings are scored with the set: human, or rodent for mice and rats."""
        return "human" if SleepStage.N2 in self.sleep_stages else "rodent"

    @property
    def answers(self) -> tuple[str, ...]:
        """Answer names in the order of the sleep stages."""
        return tuple(ANSWER_NAMES[sleep_stage] for sleep_stage in self.sleep_stages)

    @property
    def places(self) -> tuple[int, ...]:
        """Place of each sleep stage where they are taken to be ordered: Wake, REM, N1, N2, N3; Wake, NREM, REM.

        The order of people is that of a drawn hypnogram. ValueError where the set holds more than sleep and wake.
        """
        ordered = [sleep_stage for sleep_stage in _ORDERS[self.species] if sleep_stage in self.sleep_stages]
        if len(ordered) < len(self.sleep_stages):
            raise ValueError(
                f"label set {self.name} holds {self.answers[-1]}, which has no place in an order of stages"
            )
        return tuple(ordered.index(sleep_stage) for sleep_stage in self.sleep_stages)

    def index(self, sleep_stage: SleepStage) -> int:
        """Class index of a sleep stage, or -1 when the set does not hold it (not scorable)."""
        return self.sleep_stages.index(sleep_stage) if sleep_stage in self.sleep_stages else -1

    def from_answer(self, answer: str) -> SleepStage:
        """Sleep stage of an answer name; ValueError when the set does not hold it."""
        if answer not in self.answers:
            raise ValueError(f"{answer!r} is not an answer of {self.name}: {', '.join(self.answers)}")
        return self.sleep_stages[self.answers.index(answer)]


_ORDERS = {
    "human": (SleepStage.WAKE, SleepStage.REM, SleepStage.N1, SleepStage.N2, SleepStage.N3),
    "rodent": (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM),
}
_AASM = (SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM)
LABEL_SETS: dict[str, LabelSet] = {
    "aasm": LabelSet("aasm", _AASM),
    "aasm_movement": LabelSet("aasm_movement", (*_AASM, SleepStage.MOVEMENT)),
    "rodent": LabelSet("rodent", (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)),
}

# Species of a recording -> group of species, which decides bands, thresholds and label set.
SPECIES_GROUPS: dict[str, str] = {"human": "human", "mouse": "rodent", "rat": "rodent", "rodent": "rodent"}

# EDF+ annotation texts of the Sleep-EDF hypnograms (R&K) and their AASM codes.
RK_ANNOTATIONS: dict[str, SleepStage] = {
    "Sleep stage W": SleepStage.WAKE,
    "Sleep stage 1": SleepStage.N1,
    "Sleep stage 2": SleepStage.N2,
    "Sleep stage 3": SleepStage.N3,
    "Sleep stage 4": SleepStage.N3,
    "Sleep stage R": SleepStage.REM,
    "Movement time": SleepStage.MOVEMENT,
    "Sleep stage ?": SleepStage.UNSCORED,
}

# Standard EDF+ annotation texts (edfplus.info/specs/edftexts.html) and their AASM codes; N is any non-REM sleep.
AASM_ANNOTATIONS: dict[str, SleepStage] = {
    "Sleep stage W": SleepStage.WAKE,
    "Sleep stage N1": SleepStage.N1,
    "Sleep stage N2": SleepStage.N2,
    "Sleep stage N3": SleepStage.N3,
    "Sleep stage R": SleepStage.REM,
    "Sleep stage N": SleepStage.NREM,
    "Movement time": SleepStage.MOVEMENT,
    "Sleep stage ?": SleepStage.UNSCORED,
}

# Text before and after the number of a sleep stage: "sleep stage 2", "NREM-2", "stage II of non-REM sleep".
_NREM = r"(?:(?:non[- ]?|n)(?:rem|rapid[- ]eye[- ]movement))"
_BEFORE_NUMBER = rf"(?:{_NREM}(?: sleep)?,?[- ]?)?(?:sleep )?(?:(?:stage|phase)[- ]?)?"
_AFTER_NUMBER = rf"(?:,? (?:of )?{_NREM})?(?: sleep)?(?: (?:stage|phase))?"
_N = r"(?:n[-_. ]?)?"  # "N2", "N 2"
_REM = r"(?:rem|rapid[- ]eye[- ]movement)"
_SPOKEN: dict[SleepStage, str] = {
    SleepStage.WAKE: r"(?:(?:sleep )?stage )?(?:w|wake)(?: (?:stage|state))?|(?:(?:sleep )?stage[- ]?|s)0|"
    r"(?:(?:fully|quietly|clearly|still) )?(?:awake|wakeful)(?: state)?|"
    r"(?:(?:quiet|relaxed|active|alert|calm|drowsy|eyes[- ](?:closed|open)) )?(?:wake|wakefulness|waking)(?: state)?",
    SleepStage.N1: rf"{_BEFORE_NUMBER}(?:{_N}(?:1|i)|one){_AFTER_NUMBER}|s1",
    SleepStage.N2: rf"{_BEFORE_NUMBER}(?:{_N}(?:2|ii)|two){_AFTER_NUMBER}|s2",
    # Rechtschaffen and Kales scored stages 3 and 4 apart; together they are N3.
    SleepStage.N3: rf"{_BEFORE_NUMBER}"
    rf"(?:{_N}[34](?:(?: ?[/&+-] ?| and | or ){_N}4)?|{_N}(?:iii|iv)|three|four){_AFTER_NUMBER}|"
    rf"s[34]|deep(?:est)?(?: {_NREM})?(?: slow[- ]wave)? sleep|deep {_NREM}|(?:slow[- ]wave|delta) sleep|sws",
    SleepStage.REM: rf"(?:(?:sleep )?stage |phasic |tonic )?(?:r|{_REM}s?)(?: sleep)?(?: (?:stage|phase))?|"
    r"(?:paradoxical|dream) sleep",
    SleepStage.NREM: rf"{_NREM}s?(?: sleep)?",
    SleepStage.MOVEMENT: r"movement(?: time)?|artifact|artefact",
}
_SPOKEN_PATTERNS = {sleep_stage: re.compile(pattern) for sleep_stage, pattern in _SPOKEN.items()}
_BARE_NUMBER = re.compile(r"(?:\d+|one|two|three|four|i{1,3}|iv)(?: sleep)?(?: (?:stage|phase))?")
_DASHES = re.compile("[\u2010-\u2015\u2212]")  # language models write "Non\u2011REM" with a non-breaking hyphen
_EDGE = " .,;:!?*_`'\"[]"


def species_group(species: str) -> str:
    """`human` or `rodent`; ValueError for any other animal, naming the known ones."""
    if species.casefold() not in SPECIES_GROUPS:
        raise ValueError(f"unknown species {species!r}; one of: {', '.join(SPECIES_GROUPS)}")
    return SPECIES_GROUPS[species.casefold()]


def fold_dashes(text: str) -> str:
    """The text with every kind of hyphen, dash and minus as a plain hyphen, character for character."""
    return _DASHES.sub("-", text)


def parse_sleep_stage(name: str) -> SleepStage | None:
    """Sleep stage that a short name means, or None when it is not clear.

    Case, surrounding punctuation and markdown are ignored; a bare digit is no name of a sleep stage.
    A name with a second one in brackets, "Non-REM stage 2 (N2)", counts when both mean the same.
    """
    words = re.sub(r"\s+", " ", fold_dashes(name)).strip(_EDGE).lower()
    if twice := re.fullmatch(r"([^()]+)\(([^()]+)\)", words):
        outer, inner = parse_sleep_stage(twice[1]), parse_sleep_stage(twice[2])
        return outer if outer == inner else None
    words = words.strip(_EDGE + "()")
    if _BARE_NUMBER.fullmatch(words):
        return None
    found = [sleep_stage for sleep_stage, pattern in _SPOKEN_PATTERNS.items() if pattern.fullmatch(words)]
    return found[0] if len(found) == 1 else None
