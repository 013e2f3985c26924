"""Rationales checked against the signal: each claim compared with what was measured in its epoch.

A claim is supported or contradicted by the words and thresholds of `tslm.signals.evidence_words`,
which our own rationales are written by. What no column measures is not checkable and counts
neither way. Hedged claims ("suggests spindles") are checked as if they were plain.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from tslm.answers import parse_answer, remove_special_tokens
from tslm.labels import ANSWER_NAMES, SleepStage, parse_sleep_stage
from tslm.scoring.claims import BANDS, Claim, Feature, Relation, read_claims
from tslm.scoring.predictions import PredictionRow
from tslm.signals import evidence_words as words

Facts = Mapping[str, float]


class Verdict(StrEnum):
    """How a claim stands to the measurement."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_CHECKABLE = "not checkable"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim, its verdict, and the measured value (as rounded for words) of the evidence column it rests on."""

    claim: Claim
    verdict: Verdict
    column: str = ""
    measured: float | None = None


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


def check_claim(claim: Claim, facts: Facts) -> CheckedClaim:
    """Compare one claim with the facts (`evidence_words.round_facts`) of its epoch."""
    column = _column(claim)
    if column not in facts:
        return CheckedClaim(claim, Verdict.NOT_CHECKABLE)
    holds = _CHECKS[claim.feature](claim, facts, column)
    if holds is None:
        verdict = Verdict.NOT_CHECKABLE
    else:
        verdict = Verdict.SUPPORTED if holds != claim.negated else Verdict.CONTRADICTED
    return CheckedClaim(claim, verdict, column, facts[column])


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
    sides = [_side(row.claims, answer) for row, answer in zip(checked, answers, strict=True)]
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


# What decides a stage (AASM manual 2007); a feature whose column was not measured is left out.
DECIDING: dict[SleepStage, tuple[Feature, ...]] = {
    SleepStage.WAKE: (Feature.ALPHA, Feature.BETA, Feature.EYE_MOVEMENTS),
    SleepStage.N1: (Feature.THETA, Feature.ALPHA, Feature.SPINDLES),
    SleepStage.N2: (Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SLOW_WAVES),
    SleepStage.N3: (Feature.SLOW_WAVES, Feature.DELTA),
    SleepStage.REM: (Feature.THETA, Feature.EYE_MOVEMENTS, Feature.SPINDLES),
    SleepStage.NREM: (Feature.SLOW_WAVES, Feature.DELTA),
    SleepStage.MOVEMENT: (Feature.ARTEFACT, Feature.MUSCLE),
}
# 1: its presence speaks for the stage and its absence against; -1 the other way round.
SPEAKS_FOR: dict[SleepStage, dict[Feature, int]] = {
    SleepStage.WAKE: {
        Feature.ALPHA: 1,
        Feature.BETA: 1,
        Feature.EYE_MOVEMENTS: 1,
        Feature.MUSCLE: 1,
        Feature.MUSCLE_TONE: 1,
        Feature.SPINDLES: -1,
        Feature.K_COMPLEXES: -1,
        Feature.SLOW_WAVES: -1,
    },
    SleepStage.N1: {Feature.THETA: 1, Feature.SPINDLES: -1, Feature.K_COMPLEXES: -1, Feature.SLOW_WAVES: -1},
    SleepStage.N2: {Feature.SPINDLES: 1, Feature.K_COMPLEXES: 1, Feature.SLOW_WAVES: -1},
    SleepStage.N3: {Feature.SLOW_WAVES: 1, Feature.DELTA: 1, Feature.BETA: -1},
    SleepStage.REM: {
        Feature.THETA: 1,
        Feature.EYE_MOVEMENTS: 1,
        Feature.SAWTOOTH: 1,
        Feature.MUSCLE_TONE: -1,
        Feature.SPINDLES: -1,
        Feature.K_COMPLEXES: -1,
        Feature.SLOW_WAVES: -1,
    },
    SleepStage.NREM: {Feature.SLOW_WAVES: 1, Feature.DELTA: 1, Feature.SPINDLES: 1, Feature.MUSCLE_TONE: -1},
    SleepStage.MOVEMENT: {Feature.ARTEFACT: 1, Feature.MUSCLE: 1},
}


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
        deciding = [feature for feature in DECIDING.get(stage, ()) if _COLUMNS[feature] in measured] if stage else []
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


def _side(claims: Sequence[CheckedClaim], answer: SleepStage | None) -> float:
    """Above 0 where the claims, true or not, speak for the answer, below where against, 0 where neither."""
    signs = SPEAKS_FOR.get(answer, {}) if answer else {}
    return sum(signs.get(item.claim.feature, 0) * _polarity(item.claim) for item in claims)


def _polarity(claim: Claim) -> float:
    """1 where a claim says that its feature is there in earnest, -1 where it is not, between where it does not say."""
    if claim.relation in _FIGURES and claim.value is not None:
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


def _derange(num: int, seed: int) -> np.ndarray:
    """A random order of 0 to num - 1 in which nothing keeps its place: one cycle through all."""
    order = np.random.default_rng(seed).permutation(num)
    partner = np.empty(num, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner


_COLUMNS: dict[Feature, str] = {
    Feature.AMPLITUDE: "rms_uv",
    Feature.RMS: "rms_uv",
    Feature.PEAK_TO_PEAK: "peak_to_peak_uv",
    Feature.PEAK_FREQUENCY: "dominant_hz",
    **{band: f"{band}_share" for band in BANDS},
    Feature.SPINDLES: "spindle_count",
    Feature.SPINDLE_DENSITY: "spindle_density_per_min",
    Feature.SPINDLE_DURATION: "spindle_duration_s",
    Feature.K_COMPLEXES: "k_complex_count",
    Feature.SLOW_WAVES: "slow_wave_fraction",
    Feature.SAWTOOTH: "sawtooth_count",
    Feature.EYE_MOVEMENTS: "eye_movement_count",
    Feature.MUSCLE: "high_frequency_ratio",
    Feature.MUSCLE_TONE: "emg_tone",
    Feature.ARTEFACT: "artefact_fraction",
}
_COLUMN_OF_UNIT = {"per_minute": "spindle_density_per_min", "s": "spindle_duration_s"}
_RANKS = (Relation.LEADS, Relation.SECOND)
_FIGURES = (Relation.EQUALS, Relation.ABOUT, Relation.AT_LEAST, Relation.AT_MOST)


def _column(claim: Claim) -> str:
    if claim.feature == Feature.SPINDLES and claim.unit in _COLUMN_OF_UNIT:
        return _COLUMN_OF_UNIT[claim.unit]
    if claim.feature == Feature.ALPHA and claim.relation not in _RANKS and claim.unit != "power":
        return "alpha_fraction"
    if claim.feature in BANDS and claim.unit == "time":
        return ""
    return _COLUMNS.get(claim.feature, "")


def _check_amplitude(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation == Relation.LEVEL:
        names = [name for _, name in words.AMPLITUDE_WORDS]
        return _is_level(claim, names.index(words.amplitude_word(facts[column])))
    # An amplitude of no stated kind lies between RMS and peak-to-peak, whatever was meant.
    rms_uv, peak_to_peak_uv = facts["rms_uv"], facts.get("peak_to_peak_uv", float("inf"))
    value = claim.value or 0.0
    if claim.relation == Relation.AT_LEAST:
        return peak_to_peak_uv >= value
    if claim.relation == Relation.AT_MOST:
        return False if rms_uv > value else True if peak_to_peak_uv <= value else None
    return rms_uv <= (claim.upper or value) and value <= peak_to_peak_uv


def _check_tone(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation != Relation.LEVEL:
        return _check_figure(claim, facts, column)
    return _is_level(claim, ("low", "moderate", "high").index(words.tone_word(facts[column])))


def _is_level(claim: Claim, measured: int) -> bool:
    lowest, highest = claim.value or 0.0, claim.upper or 0.0
    return lowest <= measured <= (highest if highest < 2 else float("inf"))


def _check_band(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation in _FIGURES:
        return _is_figure(claim, facts[column])
    if claim.relation in _RANKS:
        return _is_ranked(claim, facts)
    if claim.relation == Relation.SOMETIMES and claim.feature == Feature.ALPHA:
        return words.ALPHA_SOME <= facts[column] <= words.ALPHA_MOST
    if claim.relation == Relation.MANY and claim.feature == Feature.ALPHA:
        return facts[column] > words.ALPHA_MOST
    if claim.relation == Relation.MANY and claim.feature == Feature.DELTA:
        return _is_ranked(claim, facts)
    return words.has_band(facts, claim.feature) != (claim.relation == Relation.FEW)


def _is_ranked(claim: Claim, facts: Facts) -> bool | None:
    """Bands of equal rounded share tie: each of them may be named first."""
    if any(f"{band}_share" not in facts for band in BANDS):
        return None
    share = facts[f"{claim.feature}_share"]
    num_above = sum(facts[f"{band}_share"] > share for band in BANDS)
    num_beside = sum(facts[f"{band}_share"] >= share for band in BANDS) - 1
    if claim.relation == Relation.SECOND:
        return num_above <= 1 <= num_above + num_beside
    together = int(claim.value or 1)
    is_rhythm = claim.feature == Feature.ALPHA and facts.get("alpha_fraction", 0.0) > words.ALPHA_MOST
    return num_above < together or is_rhythm


def _check_count(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation in _FIGURES:
        return _is_figure(claim, facts[column])
    if claim.relation == Relation.FEW:
        return facts[column] <= words.COUNT_FEW
    return facts[column] >= (words.COUNT_MANY if claim.relation == Relation.MANY else 1)


def _check_slow_waves(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation in _FIGURES:
        return _is_figure(claim, facts[column])
    if claim.relation == Relation.MANY:
        return facts[column] >= words.SLOW_WAVES_MANY
    return (facts[column] >= words.SLOW_WAVES_SOME) != (claim.relation == Relation.FEW)


def _check_artefact(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation in _FIGURES:
        return _is_figure(claim, facts[column])
    return (facts[column] >= words.ARTEFACT_SOME) != (claim.relation == Relation.FEW)


def _check_muscle(claim: Claim, facts: Facts, column: str) -> bool | None:
    return (facts[column] >= words.MUSCLE_RATIO) != (claim.relation == Relation.FEW)


def _check_figure(claim: Claim, facts: Facts, column: str) -> bool | None:
    return _is_figure(claim, facts[column]) if claim.relation in _FIGURES else None


def _is_figure(claim: Claim, measured: float) -> bool:
    value = claim.value or 0.0
    if claim.relation == Relation.AT_LEAST:
        return measured >= value
    if claim.relation == Relation.AT_MOST:
        return measured <= value
    slack = words.figure_slack(claim.unit, value, is_rough=claim.relation == Relation.ABOUT)
    return value - slack <= measured <= (claim.upper or value) + slack


_CHECKS = {
    Feature.AMPLITUDE: _check_amplitude,
    Feature.MUSCLE_TONE: _check_tone,
    Feature.SLOW_WAVES: _check_slow_waves,
    Feature.ARTEFACT: _check_artefact,
    Feature.MUSCLE: _check_muscle,
    **dict.fromkeys(BANDS, _check_band),
    **dict.fromkeys((Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SAWTOOTH, Feature.EYE_MOVEMENTS), _check_count),
    **dict.fromkeys(
        (
            Feature.RMS,
            Feature.PEAK_TO_PEAK,
            Feature.PEAK_FREQUENCY,
            Feature.SPINDLE_DENSITY,
            Feature.SPINDLE_DURATION,
        ),
        _check_figure,
    ),
}
