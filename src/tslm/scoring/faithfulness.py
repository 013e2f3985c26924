"""Rationales checked against the signal: each claim compared with what was measured in its epoch.

1. read every rationale into claims                       (claims)
2. compare each claim with the facts of its epoch         (claim_checks)
3. ask whether the claims speak for the answer given      (stage_criteria)
4. count; and count again with rationales of other epochs, the control
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tslm.answers import parse_answer, remove_special_tokens
from tslm.labels import ANSWER_NAMES, SleepStage, parse_sleep_stage
from tslm.scoring.claim_checks import COLUMNS, CheckedClaim, Facts, Verdict, check_claim
from tslm.scoring.claim_kinds import Claim, Feature
from tslm.scoring.claims import read_claims
from tslm.scoring.predictions import PredictionRow
from tslm.scoring.stage_criteria import DECIDING, weigh_claims
from tslm.signals import evidence_words as words


@dataclass(frozen=True)
class CheckedRationale:
    """All claims of one rationale, checked."""

    claims: tuple[CheckedClaim, ...]

    def count(self, verdict: Verdict) -> int:
        """Number of claims with that verdict."""
        return sum(checked.verdict == verdict for checked in self.claims)

    @property
    def is_faithful(self) -> bool:
        """Whether something could be checked and nothing is contradicted."""
        return self.count(Verdict.SUPPORTED) > 0 and self.count(Verdict.CONTRADICTED) == 0


def check_rationale(text: str, evidence_row: Mapping[str, float | None]) -> CheckedRationale:
    """Read a rationale and check every claim.

    Args:
        text: rationale, with or without its answer.
        evidence_row: measured values of the epoch by column of `tslm.signals.evidence`; a column
            that is missing or None makes claims on it not checkable.
    """
    return _check_all(read_claims(text), _round_row(evidence_row))


def score_faithfulness(
    rationales: Sequence[str],
    evidence_rows: Sequence[Mapping[str, float | None]],
    truth: Sequence[SleepStage | None],
    answers: Sequence[SleepStage | None],
    seed: int = 0,
) -> dict[str, Any]:
    """How far rationales tell what was measured, over many epochs, and the same for shuffled ones.

    Args:
        rationales: one text an epoch.
        evidence_rows: the measured values of the same epochs.
        truth: the stage whose deciding evidence should be named; None where there is none.
        answers: the stage that the rationale's author answered; None where it did not parse.
        seed: of the shuffle, a derangement, so that no rationale keeps its epoch.

    Returns:
        `num_rationales`, `num_claims`, counts per verdict, `num_hedged`, `claims_per_rationale`;
        `precision`: supported over checkable claims; `share_faithful`: rationales with a supported
        claim and no contradicted one; `coverage`: mean share of the features that decide the true
        stage (`DECIDING`) of which the rationale makes a supported claim; `consistency`: rationales whose claims
        speak for their answer, over those whose claims speak for or against it (`SPEAKS_FOR`);
        `precision_by_feature`; and `shuffled` with the precision and coverage of the control (None for one epoch).

    Raises:
        ValueError: lengths differ, or there is no rationale.
    """
    num = len(rationales)
    if not num or not num == len(evidence_rows) == len(truth) == len(answers):
        raise ValueError(
            f"{num} rationales, {len(evidence_rows)} rows of evidence, {len(truth)} true stages and {len(answers)}"
            " answers; pass one of each an epoch, at least one"
        )
    claims = [read_claims(text) for text in rationales]
    facts = [_round_row(row) for row in evidence_rows]
    checked = [_check_all(*pair) for pair in zip(claims, facts, strict=True)]
    counts = Counter(item.verdict for row in checked for item in row.claims)
    sides = [weigh_claims(*pair) for pair in zip(claims, answers, strict=True)]
    num_for, num_against = sum(side > 0 for side in sides), sum(side < 0 for side in sides)
    scores: dict[str, Any] = {
        "num_rationales": num,
        "num_claims": counts.total(),
        "num_supported": counts[Verdict.SUPPORTED],
        "num_contradicted": counts[Verdict.CONTRADICTED],
        "num_not_checkable": counts[Verdict.NOT_CHECKABLE],
        "num_hedged": sum(claim.hedged for row in claims for claim in row),
        "claims_per_rationale": counts.total() / num,
        **_score_checked(checked, truth, facts),
        "share_faithful": sum(row.is_faithful for row in checked) / num,
        "consistency": num_for / (num_for + num_against) if num_for + num_against else None,
        "precision_by_feature": _score_features(checked),
        "shuffled": None,
    }
    if num > 1:
        partner = _derange(num, seed)
        shuffled = [_check_all(claims[other], facts[idx]) for idx, other in enumerate(partner)]
        scores["shuffled"] = _score_checked(shuffled, truth, facts)
    return scores


def score_answered(rows: Sequence[PredictionRow], seed: int = 0) -> dict[str, Any] | None:
    """`score_faithfulness` of predictions: of those rows that carry evidence and have a sleep stage as truth.

    None where there is no such row, as for questions about other series.
    """
    staged = [
        (row, truth)
        for row in rows
        if row.get("evidence") and (truth := parse_sleep_stage(row["truth"])) in ANSWER_NAMES and row["options"]
    ]
    if not staged:
        return None
    answers = (parse_answer(row["generated"], row["options"]) for row, _ in staged)
    return score_faithfulness(
        [remove_special_tokens(row["generated"]) for row, _ in staged],
        [row["evidence"] for row, _ in staged],
        [truth for _, truth in staged],
        [parse_sleep_stage(answer) if answer else None for answer in answers],
        seed,
    )


def _round_row(evidence_row: Mapping[str, float | None]) -> dict[str, float]:
    return words.round_facts(
        {name: value for name, value in evidence_row.items() if isinstance(value, int | float) and math.isfinite(value)}
    )


def _check_all(claims: Sequence[Claim], facts: Facts) -> CheckedRationale:
    return CheckedRationale(tuple(check_claim(claim, facts) for claim in claims))


def _score_checked(
    checked: Sequence[CheckedRationale], truth: Sequence[SleepStage | None], facts: Sequence[Facts]
) -> dict[str, float | None]:
    supported = sum(row.count(Verdict.SUPPORTED) for row in checked)
    checkable = supported + sum(row.count(Verdict.CONTRADICTED) for row in checked)
    covered = []
    for row, stage, measured in zip(checked, truth, facts, strict=True):
        deciding = [feature for feature in DECIDING.get(stage, ()) if COLUMNS[feature] in measured] if stage else []
        named = {item.claim.feature for item in row.claims if item.verdict == Verdict.SUPPORTED}
        if deciding:
            covered.append(sum(feature in named for feature in deciding) / len(deciding))
    return {
        "precision": supported / checkable if checkable else None,
        "coverage": sum(covered) / len(covered) if covered else None,
    }


def _score_features(checked: Sequence[CheckedRationale]) -> dict[str, dict[str, float]]:
    """Checkable claims and the supported share of them, per feature."""
    counts = Counter((item.claim.feature, item.verdict) for row in checked for item in row.claims)
    scores = {}
    for feature in Feature:
        supported, contradicted = counts[feature, Verdict.SUPPORTED], counts[feature, Verdict.CONTRADICTED]
        if checkable := supported + contradicted:
            scores[str(feature)] = {"num_checkable": checkable, "precision": supported / checkable}
    return scores


def _derange(num: int, seed: int) -> np.ndarray:
    """A random order of 0 to num - 1 in which nothing keeps its place: one cycle through all."""
    order = np.random.default_rng(seed).permutation(num)
    partner = np.empty(num, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner
