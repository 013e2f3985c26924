"""Checked claims as numbers per epoch, which sum over any set of epochs, and the shares that such sums give.

M: columns of counts; N: epochs; R: sums (one a resample, or a single one)
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tslm.evidence import words
from tslm.evidence.criteria import Facts, Feature, list_deciding_features, weigh_feature
from tslm.explain.claims.checks import COLUMNS, CheckedClaim, Verdict, check_claim
from tslm.explain.claims.read import FIGURES, Claim, Relation
from tslm.labels import SleepStage

# The prompt gives the series' standard deviation, so that a text which says this much need not have read the signal.
STATED_BY_PROMPT = (Feature.AMPLITUDE, Feature.RMS)
STATED_COLUMN = "rms_uv"  # the standard deviation, but for the mean
SHARES = {  # name of a share -> (column above the line, column below it)
    "precision": (0, 1),  # supported claims, checkable ones
    "precision_beyond_prompt": (2, 3),  # the same without the features of STATED_BY_PROMPT
    "coverage": (
        4,
        5,
    ),  # share of the deciding features with a supported claim; 1 where the sleep stage has such features
    "share_faithful": (6, 7),  # 1 where something is supported and nothing contradicted; 1
}
NUM_COLUMNS = 8


class ClaimTable:
    """Claims of many rationales beside many epochs; a pair of claim and epoch is checked once, however often asked for.

    Args:
        claims: of each rationale; those that say the same as another one of it, however surely, count once.
        facts: of each epoch.
    """

    def __init__(self, claims: Sequence[Sequence[Claim]], facts: Sequence[Facts]) -> None:
        self.facts = facts
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
        """The distinct claims of one rationale beside one epoch, without their places in the text."""
        checked = []
        for place in self._said[rationale]:
            key = (place, epoch)
            if key not in self._checked:
                self._checked[key] = check_claim(self._claims[place], self.facts[epoch])
            checked.append(self._checked[key])
        return checked


def count_claims(checked: Sequence[CheckedClaim], facts: Facts, sleep_stage: SleepStage | None) -> list[float]:
    """The columns of one rationale beside one epoch.

    Args:
        checked: its claims.
        facts: what was measured in the epoch.
        sleep_stage: whose deciding evidence should be named; None where there is none.
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
    ]


def measure_shares(counts_RM: np.ndarray) -> dict[str, np.ndarray]:
    """(R, NUM_COLUMNS) sums of counts -> the `SHARES`, (R,) each; NaN where there was nothing to divide by."""
    return {
        name: np.divide(
            counts_RM[:, above], counts_RM[:, below], out=np.full(len(counts_RM), np.nan), where=counts_RM[:, below] > 0
        )
        for name, (above, below) in SHARES.items()
    }


def weigh_claims(claims: Iterable[Claim], answer: SleepStage | None) -> float:
    """Above 0 where the claims, true or not, speak for the answer, below where against, 0 where neither."""
    return sum(weigh_feature(claim.feature, answer) * _polarity(claim) for claim in claims) if answer else 0.0


def _polarity(claim: Claim) -> float:
    """1 where a claim says that its feature is there in earnest, -1 where it is not, between where it does not say."""
    if claim.relation in FIGURES and claim.value is not None:
        return _polarity_of_figure(claim, claim.value)
    if claim.relation == Relation.LEVEL:
        sign = {0.0: -1.0, 2.0: 1.0, 3.0: 1.0}.get(claim.value or 0.0, 0.0)
    elif claim.relation == Relation.FEW:
        sign = -1.0
    elif claim.feature == Feature.SLOW_WAVES and claim.relation != Relation.MANY:
        sign = 1.0 if claim.negated else 0.5  # how many is not said
    else:
        sign = 1.0
    return -sign if claim.negated else sign


def _polarity_of_figure(claim: Claim, value: float) -> float:
    if claim.unit == "power":
        return 0.0
    bar = {Feature.SLOW_WAVES: words.SLOW_WAVES_MANY, Feature.ALPHA: words.ALPHA_MOST}.get(claim.feature, 1e-9)
    is_above = value >= bar and claim.relation != Relation.AT_MOST
    return 1.0 if is_above != claim.negated else -1.0
