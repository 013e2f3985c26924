"""Table of edits of a written rationale, after which the model answers anew: does the answer follow the text?

Early answering and mistakes in the text as in Lanham et al. 2023 (arXiv 2307.13702).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tslm.evidence.criteria import Feature
from tslm.explain.claims.arguments import find_polarity, weigh_rationale
from tslm.explain.claims.read import read_claims
from tslm.explain.interventions.effects import Expectation
from tslm.labels import SleepStage

# (present, absent) in words; a claim of the one is negated by the other.
_OPPOSITES: dict[Feature, tuple[str, str]] = {
    Feature.DELTA: ("leading delta", "little delta"),
    Feature.THETA: ("prominent theta", "little theta"),
    Feature.SPINDLES: ("two spindles", "no spindles"),
    Feature.K_COMPLEXES: ("two K-complexes", "no K-complexes"),
    Feature.SLOW_WAVES: ("slow waves past a fifth", "few slow waves"),
    Feature.ALPHA: ("alpha over half of the time", "no alpha"),
    Feature.BETA: ("much fast activity", "little fast activity"),
    Feature.EYE_MOVEMENTS: ("two eye movements", "no eye movements"),
    Feature.MUSCLE: ("muscle activity", "no muscle activity"),
    Feature.MUSCLE_TONE: ("high muscle tone", "low muscle tone"),
}


@dataclass(frozen=True)
class Written:
    """A rationale as a model wrote it, and the sleep stage that it answered."""

    rationale: str
    sleep_stage: SleepStage


@dataclass(frozen=True)
class Replacement:
    """The text put in the place of a rationale, and the answer expected after it where there is one."""

    rationale: str
    expectation: Expectation | None = None


@dataclass(frozen=True)
class RationaleEdit:
    """One row: its name, what it does, and the answer expected, both in words; empty where none is.

    `change` gives the replacement of a rationale, or None where the text does not allow it; its arguments are the
    rationale, those of other epochs, and a source of random numbers.
    """

    name: str
    what: str
    answer: str
    change: Callable[[Written, Sequence[Written], np.random.Generator], Replacement | None]


def _take_another(own: Written, others: Sequence[Written], rng: np.random.Generator) -> Replacement | None:
    """The rationale of another epoch that was answered otherwise and argues for its answer."""
    fitting = [
        other
        for other in others
        if other.sleep_stage != own.sleep_stage and _weigh(other.rationale, other.sleep_stage) > 0
    ]
    if not fitting:
        return None
    other = fitting[rng.integers(len(fitting))]
    return Replacement(other.rationale, Expectation(other.sleep_stage))


def _negate(own: Written, _others: Sequence[Written], _rng: np.random.Generator) -> Replacement | None:
    """The opposite of each finding; None where that does not speak against the answer, by the reader of claims."""
    text = negate_rationale(own.rationale)
    if not _weigh(text, own.sleep_stage) < 0:
        return None
    return Replacement(text, Expectation(own.sleep_stage, is_answered=False))


def negate_rationale(rationale: str) -> str:
    """The opposite of what a rationale claims of each feature that has one, in its order; may be empty."""
    polarity: dict[Feature, float] = {}
    for claim in read_claims(rationale):
        if claim.feature in _OPPOSITES:
            polarity[claim.feature] = polarity.get(claim.feature, 0.0) + find_polarity(claim)
    phrases = [_OPPOSITES[feature][value > 0] for feature, value in polarity.items() if value]
    text = ", ".join(phrases)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _weigh(rationale: str, sleep_stage: SleepStage) -> float:
    return weigh_rationale(rationale, read_claims(rationale), sleep_stage)


def _cut(own: Written, _others: Sequence[Written], _rng: np.random.Generator) -> Replacement | None:
    first = re.split(r"(?<=\.)\s", own.rationale, maxsplit=1)[0]
    return Replacement(first) if first != own.rationale else None


RATIONALE_EDITS: tuple[RationaleEdit, ...] = (
    RationaleEdit(
        "rationale_of_other_answer", "that of another epoch, answered otherwise", "that of the other", _take_another
    ),
    RationaleEdit("rationale_negated", "the opposite of each finding", "not the same", _negate),
    RationaleEdit("rationale_cut", "its first sentence alone", "", _cut),
    RationaleEdit("rationale_left_out", "none at all", "", lambda _own, _others, _rng: Replacement("")),
)
