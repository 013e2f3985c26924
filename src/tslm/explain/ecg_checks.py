"""Check of claims about an ECG against the measured record, and the share of true claims in many rationales.

Words have the thresholds by which our own rationales are written (tslm.evidence.ecg). A claim is not checkable where a
measured value is too near its threshold, or was not measured.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tslm.evidence import ecg
from tslm.explain.claims.checks import Verdict
from tslm.explain.ecg_claims import EcgClaim, EcgKind, read_ecg_claims
from tslm.predictions.scorings import Scoring
from tslm.scoring.intervals import Resamples, Resampling, find_units

RATE_AND_REGULARITY = (EcgKind.RATE, EcgKind.COURSE, EcgKind.REGULARITY)
Evidence = Mapping[str, float]  # of tslm.evidence.ecg.list_ecg_facts

# How far a measured value may lie from a written figure: (plain, after "about").
_SLACK = {"bpm": (2.0, 5.0), "s": (0.015, 0.1), "mV": (0.1, 0.3), "beats": (0.0, 1.0), "percent": (1.0, 3.0)}


def check_ecg_claim(claim: EcgClaim, evidence: Evidence) -> Verdict:
    """Compare a claim with the figures of its record."""
    holds = _CHECKS[claim.measure](claim, evidence)
    if holds is None:
        return Verdict.NOT_CHECKABLE
    return Verdict.SUPPORTED if holds != claim.negated else Verdict.CONTRADICTED


def score_ecg_claims(scoring: Scoring, num_resamples: int = 0, seed: int = 0) -> dict[str, Any] | None:
    """Score the claims in one system's texts, of rows with the evidence of an ECG; None if there is no such row.

    A claim that a rationale repeats counts once.

    Args:
        scoring: rows and answers of the system.
        num_resamples: bootstrap resamples of the intervals; 0: none.
        seed: of the bootstrap.

    Returns:
        `num_rationales`; `num_checkable` claims and `precision`, the true ones among them (None without any); the same
        two under `rate_and_regularity` and under each kind in `by_kind`; `intervals` of both precisions.
    """
    rows = [row for row in scoring.rows if "generated" in row and "rate_bpm" in row.get("evidence", {})]
    if not rows:
        return None
    groups = {"precision": tuple(EcgKind), "rate_and_regularity": RATE_AND_REGULARITY}
    checked = [_check_text(row["generated"], row["evidence"]) for row in rows]
    counts = sum(checked, Counter[tuple[EcgKind, Verdict]]())
    scores: dict[str, Any] = {
        "num_rationales": len(rows),
        **_describe(counts, groups["precision"]),
        "rate_and_regularity": _describe(counts, RATE_AND_REGULARITY),
        "by_kind": {str(kind): _describe(counts, (kind,)) for kind in EcgKind if _count(counts, (kind,))[1]},
    }
    if num_resamples:
        units, unit = find_units(rows)
        resamples = Resamples(len(rows), units, Resampling(num_resamples, seed, unit=unit))
        intervals = {}
        for name, kinds in groups.items():
            true_R, checkable_R = resamples.sum(np.array([_count(row, kinds) for row in checked], dtype=np.float64)).T
            share_R = np.divide(true_R, checkable_R, out=np.full(len(true_R), np.nan), where=checkable_R > 0)
            intervals[name] = resamples.find_interval(share_R)
        scores["intervals"] = intervals | resamples.describe()
    return scores


def _check_text(text: str, evidence: Evidence) -> Counter[tuple[EcgKind, Verdict]]:
    distinct = {replace(claim, start=0, stop=0) for claim in read_ecg_claims(text)}
    return Counter((claim.kind, check_ecg_claim(claim, evidence)) for claim in distinct)


def _count(counts: Mapping[tuple[EcgKind, Verdict], int], kinds: Collection[EcgKind]) -> tuple[int, int]:
    """(true claims, checkable claims) of some kinds."""
    supported = sum(counts.get((kind, Verdict.SUPPORTED), 0) for kind in kinds)
    return supported, supported + sum(counts.get((kind, Verdict.CONTRADICTED), 0) for kind in kinds)


def _describe(counts: Mapping[tuple[EcgKind, Verdict], int], kinds: Collection[EcgKind]) -> dict[str, Any]:
    supported, num_checkable = _count(counts, kinds)
    return {"num_checkable": num_checkable, "precision": supported / num_checkable if num_checkable else None}


def _is_near(claim: EcgClaim, written: float | None, measured: float, unit: str) -> bool:
    return written is not None and abs(written - measured) <= _SLACK[unit][claim.is_rough] + 1e-9


def _is_beyond(claim: EcgClaim, measured: float, margin: float) -> bool | None:
    """Whether a measured value lies over (or under) the written one, as the claim's word says; None: too near it."""
    value = claim.value or 0.0
    return None if abs(measured - value) < margin else (measured > value) == (claim.word in _OVER)


_OVER = (
    "over",
    "above",
    "more than",
    "greater than",
    "higher than",
    "faster than",
    "longer than",
    "exceeds",
    "exceeding",
)
_RATE_WORDS = {"bradycardi": "slow", "tachycardi": "fast", "rapid": "fast"}
_COURSE_WORDS = {
    **dict.fromkeys(("rises", "rising", "increases", "increasing"), "faster"),
    **dict.fromkeys(("falls", "falling", "decreases", "decreasing", "drops", "slows"), "slower"),
    **dict.fromkeys(("holds", "steady", "constant", "stable"), "steady"),
}
_REGULARITY_WORDS = {"even": "regular", "uneven": "irregular"}


def _check_rate(claim: EcgClaim, evidence: Evidence) -> bool | None:
    measured = evidence["rate_bpm"]
    if claim.word:
        return _is_beyond(claim, measured, 1.0)
    if claim.upper is None:
        return _is_near(claim, claim.value, measured, "bpm")
    slack = _SLACK["bpm"][claim.is_rough]
    return (claim.value or 0.0) - slack <= measured <= claim.upper + slack


def _check_rate_class(claim: EcgClaim, evidence: Evidence) -> bool | None:
    word = ecg.rate_word(evidence["rate_bpm"])
    return None if word is None else word == _RATE_WORDS.get(claim.word, claim.word)


def _check_course(claim: EcgClaim, evidence: Evidence) -> bool | None:
    written, measured = _COURSE_WORDS.get(claim.word), ecg.course_word(evidence["rate_change"])
    holds = None if written is None or measured is None else written == measured
    if claim.value is None or holds is False:
        return holds
    ends = ((claim.value, evidence["rate_first_bpm"]), (claim.upper, evidence["rate_last_bpm"]))
    return all(_is_near(claim, figure, at_end, "bpm") for figure, at_end in ends)


def _check_regularity(claim: EcgClaim, evidence: Evidence) -> bool | None:
    word = ecg.regularity_word(evidence["rr_variation"])
    return None if word is None else word == _REGULARITY_WORDS.get(claim.word, claim.word)


def _check_rr(claim: EcgClaim, evidence: Evidence) -> bool:
    is_mean = claim.word in ("mean", "average")
    measured_s = 60.0 / evidence["rate_bpm"] if is_mean else evidence[f"rr_{claim.word or 'median'}_s"]
    return _is_near(claim, claim.value, measured_s, "s")


def _check_rr_range(claim: EcgClaim, evidence: Evidence) -> bool:
    ends = ((claim.value, evidence["rr_shortest_s"]), (claim.upper, evidence["rr_longest_s"]))
    return all(_is_near(claim, figure, measured_s, "s") for figure, measured_s in ends)


def _check_pauses(claim: EcgClaim, evidence: Evidence) -> bool | None:
    if ecg.pause_word(evidence["rr_longest_s"]) is None:
        return None
    return _is_count(claim, evidence["pause_count"])


def _check_early(claim: EcgClaim, evidence: Evidence) -> bool | None:
    if ecg.early_word(evidence["rr_shortest_s"] / evidence["rr_median_s"]) is None:
        return None
    return _is_count(claim, evidence["early_beat_count"])


def _is_count(claim: EcgClaim, measured: float) -> bool:
    return measured > 0 if claim.value is None else measured == claim.value


def _check_r_height(claim: EcgClaim, evidence: Evidence) -> bool | None:
    height_mv = _list_heights(evidence).get(claim.word)
    return None if height_mv is None else _is_near(claim, claim.value, height_mv, "mV")


def _check_tallest(claim: EcgClaim, evidence: Evidence) -> bool | None:
    heights = _list_heights(evidence)
    return heights[claim.word] >= max(heights.values()) if claim.word in heights else None


def _list_heights(evidence: Evidence) -> dict[str, float]:
    prefix = ecg.R_HEIGHT_PREFIX
    return {name.removeprefix(prefix).lower(): value for name, value in evidence.items() if name.startswith(prefix)}


_CHECKS: dict[str, Callable[[EcgClaim, Evidence], bool | None]] = {
    "rate": _check_rate,
    "rate_class": _check_rate_class,
    "course": _check_course,
    "regularity": _check_regularity,
    "variation": lambda claim, evidence: _is_near(claim, claim.value, 100 * evidence["rr_variation"], "percent"),
    "rr": _check_rr,
    "rr_range": _check_rr_range,
    "longest": lambda claim, evidence: _is_beyond(claim, evidence["rr_longest_s"], 0.06),
    "pause_of": lambda claim, evidence: _is_near(claim, claim.value, evidence["rr_longest_s"], "s"),
    "pause_count": _check_pauses,
    "early_count": _check_early,
    "beat_count": lambda claim, evidence: _is_near(claim, claim.value, evidence["beat_count"], "beats"),
    "r_height": _check_r_height,
    "tallest": _check_tallest,
}
