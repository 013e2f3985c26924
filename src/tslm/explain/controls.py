"""Counts of checked claims, and controls: rationales compared with epochs that they were not written for.

A text that ignores the signal fits any epoch equally well. Two controls: another epoch of any kind, and another epoch
with the same answer and about the amplitude that the prompt stated. The second exposes a model that writes what is
typical of the sleep stage it answers, or of that sleep stage at that amplitude, which would pass the first. With the
measured facts in the prompt, every claim could be taken from there: then the controls compare all claims. Both are a
mean over several derangements, in which no rationale keeps its epoch.

Shape letters: N epochs, M columns of counts, R sums (one a resample, or a single one), K shuffles.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tslm.evidence.criteria import Facts, Feature, list_deciding_features
from tslm.evidence.events import Event
from tslm.explain.claims.checks import COLUMNS, CheckedClaim, Verdict, check_claim
from tslm.explain.claims.read import Claim
from tslm.labels import SleepStage
from tslm.scoring.intervals import FEW_UNITS, Resamples, Resampling

# The prompt gives the series' standard deviation, so a text can state these features without reading the signal.
STATED_BY_PROMPT = (Feature.AMPLITUDE, Feature.RMS)
STATED_COLUMN = "rms_uv"  # the standard deviation plus the mean's part
SHARES = {  # name of a share -> (column of the numerator, of the denominator)
    "precision": (0, 1),  # supported claims, checkable ones
    "precision_beyond_prompt": (2, 3),  # the same without the features of STATED_BY_PROMPT
    "coverage": (4, 5),  # share of the deciding features with a supported claim; 1 where the stage has such features
    "share_faithful": (6, 7),  # 1 where something is supported and nothing contradicted; 1
    "consistency": (8, 9),  # 1 where the arguments speak for the answer; 1 where they speak for or against it
}
NUM_COLUMNS = 10
NUM_SHUFFLES = 5  # over all epochs
_GROUP_SIZE = 8  # epochs of similar amplitude in a group; at most 15
NUM_SHUFFLES_ALIKE = 14  # each epoch meets all others of its group, so chance hardly matters

CLEAR_DIFFERENCE = 0.02  # two claims in a hundred; a smaller difference may be certain but has no meaning


class ClaimTable:
    """Claims of many rationales and the facts of many epochs; each pair of claim and epoch is checked once.

    Args:
        claims: of each rationale; equal claims of one rationale, hedged or not, count once.
        facts: of each epoch.
        events: of each epoch; None where they are not known.
    """

    def __init__(
        self, claims: Sequence[Sequence[Claim]], facts: Sequence[Facts], events: Sequence[Sequence[Event] | None]
    ) -> None:
        self.facts, self.events = facts, events
        places: dict[Claim, int] = {}
        self._said = [
            list(
                dict.fromkeys(
                    places.setdefault(replace(claim, start=0, stop=0, hedged=False), len(places)) for claim in row
                )
            )
            for row in claims
        ]
        self._claims = list(places)
        self._checked: dict[tuple[int, int], CheckedClaim] = {}

    def check(self, rationale: int, epoch: int) -> list[CheckedClaim]:
        """Check the distinct claims of one rationale against one epoch, without their places in the text."""
        checked = []
        for place in self._said[rationale]:
            key = (place, epoch)
            if key not in self._checked:
                self._checked[key] = check_claim(self._claims[place], self.facts[epoch], self.events[epoch])
            checked.append(self._checked[key])
        return checked


def count_claims(
    checked: Sequence[CheckedClaim], facts: Facts, sleep_stage: SleepStage | None, weight: float
) -> list[float]:
    """Count the columns of one rationale checked against one epoch.

    Args:
        checked: its claims.
        facts: measurements of the epoch.
        sleep_stage: whose deciding evidence should be named; None where there is none.
        weight: of the rationale for its own answer (`tslm.explain.claims.arguments.weigh_rationale`).
    """
    supported = [item.claim.feature for item in checked if item.verdict == Verdict.SUPPORTED]
    contradicted = [item.claim.feature for item in checked if item.verdict == Verdict.CONTRADICTED]
    wanted = list_deciding_features(sleep_stage) if sleep_stage else ()
    deciding = [feature for feature in wanted if COLUMNS[feature] in facts]
    num_stated = [sum(feature in STATED_BY_PROMPT for feature in features) for features in (supported, contradicted)]
    num_checkable = len(supported) + len(contradicted)
    return [
        len(supported),
        num_checkable,
        len(supported) - num_stated[0],
        num_checkable - sum(num_stated),
        sum(feature in supported for feature in deciding) / len(deciding) if deciding else 0.0,
        float(bool(deciding)),
        float(bool(supported) and not contradicted),
        1.0,
        float(weight > 0),
        float(weight != 0),
    ]


def measure_shares(counts_RM: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the `SHARES`, (R,) each, of sums of counts (R, NUM_COLUMNS); NaN where the denominator is 0."""
    return {
        name: np.divide(
            counts_RM[:, above], counts_RM[:, below], out=np.full(len(counts_RM), np.nan), where=counts_RM[:, below] > 0
        )
        for name, (above, below) in SHARES.items()
    }


def draw_partners(groups: Sequence[Hashable], num_shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Draw for each place another one of its group, each once a shuffle: (num_shuffles, num) int64; -1 if alone.

    Shuffles are rotations of one random order, so a place meets every other one before any repeats.
    """
    partners_KN = np.full((num_shuffles, len(groups)), -1, dtype=np.int64)
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    for places in members.values():
        if len(places) > 1:
            order = rng.permutation(places)
            for shuffle in range(num_shuffles):
                partners_KN[shuffle, order] = np.roll(order, 1 + shuffle % (len(places) - 1))
    return partners_KN


def group_alike(
    answers: Sequence[Hashable | None], stated: Sequence[float | None], seed: int
) -> list[tuple[Hashable, int] | None]:
    """Group epochs that have the same answer and a similar value of what the prompt stated.

    Args:
        answers: of each epoch; None: in no group.
        stated: a number of each epoch, None where it was not measured; those without stand last.
        seed: of the order of equal numbers, which must not be that of time.
    """
    groups: list[tuple[Hashable, int] | None] = [None] * len(answers)
    order = np.random.default_rng(seed).permutation(len(answers))
    values = np.array([np.nan if value is None else value for value in stated], dtype=np.float64)
    for answer in dict.fromkeys(answer for answer in answers if answer is not None):
        places = [place for place in order if answers[place] == answer]
        places = [places[idx] for idx in np.argsort(values[places], kind="stable")]
        for number, part in enumerate(np.array_split(places, max(1, len(places) // _GROUP_SIZE))):
            for place in part:
                groups[place] = (answer, number)
    return groups


def score_control(
    own_NM: np.ndarray,
    groups: Sequence[Hashable],
    count_other: Callable[[int, int], Sequence[float]],
    subjects: Sequence[str] | None,
    resampling: Resampling | None,
    num_shuffles: int,
    seed: int,
    compared: str = "precision_beyond_prompt",
) -> dict[str, Any] | None:
    """Score rationales checked against other epochs of their group instead of their own.

    Args:
        own_NM: (N, NUM_COLUMNS) counts of each rationale checked against its own epoch.
        groups: of each epoch; one of None, or with no other in its group, takes no part.
        count_other: (epoch, place of another rationale) -> counts of that rationale checked against the epoch.
        subjects: whose each epoch is; as for `Resamples`.
        resampling: of the interval; None for none.
        num_shuffles: number of other epochs that each rationale is checked against.
        seed: of the shuffles.
        compared: the share that is compared, `precision_beyond_prompt` or `precision`.

    Returns:
        None where nothing can be compared; else `num_rationales` that took part, `num_shuffles`, `precision`,
        `precision_beyond_prompt` and `coverage` of the control, `difference` by which the same rationales' own
        share is above it, `difference_interval`, `gain`: the difference over the most it could
        be, 0 for texts that fit others as well and 1 for texts that are true; and `is_above`: whether the difference is
        clear (`CLEAR_DIFFERENCE`) and its whole interval above zero (None without one, or over too few units).
    """
    partners_KN = draw_partners(groups, num_shuffles, np.random.default_rng(seed))
    places = [place for place, group in enumerate(groups) if group is not None and partners_KN[0, place] >= 0]
    if not places:
        return None
    other_KNM = np.array([[count_other(place, row[place]) for place in places] for row in partners_KN])
    pairs_N2M = np.concatenate([own_NM[places], other_KNM.mean(0)], axis=1)
    _, control = _measure(pairs_N2M.sum(0, keepdims=True))
    (difference,) = _subtract(pairs_N2M.sum(0, keepdims=True), compared)
    interval: list[float | None] = [None, None]
    is_above = None
    if resampling is not None:
        resamples = Resamples(len(places), [subjects[place] for place in places] if subjects else None, resampling)
        interval = resamples.find_interval(_subtract(resamples.sum(pairs_N2M), compared))
        if interval[0] is not None and resamples.num_units >= FEW_UNITS:
            is_above = interval[0] > 0 and bool(difference >= CLEAR_DIFFERENCE)
    return {
        "num_rationales": len(places),
        "num_shuffles": num_shuffles,
        **{name: find_number(control[name][0]) for name in ("precision", "precision_beyond_prompt", "coverage")},
        "difference": find_number(difference),
        "gain": find_number(difference / room) if (room := 1 - control[compared][0]) > 0 else None,
        "difference_interval": interval,
        "is_above": is_above,
    }


def find_number(value: float) -> float | None:
    """Return the value, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def _measure(pairs_R2M: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return measure_shares(pairs_R2M[:, :NUM_COLUMNS]), measure_shares(pairs_R2M[:, NUM_COLUMNS:])


def _subtract(pairs_R2M: np.ndarray, compared: str) -> np.ndarray:
    own, control = _measure(pairs_R2M)
    difference_R: np.ndarray = own[compared] - control[compared]
    return difference_R
