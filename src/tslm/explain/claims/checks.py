"""Check of one claim against the measurements of its epoch: supported, contradicted or not checkable.

Words and thresholds are those of `tslm.evidence.words`, by which our own rationales are written. A claim on something
that no column measures is not checkable. A claim on a time ("a spindle at 12 s") is compared with the events of the
epoch, and not checkable where these are not known. Hedged claims are checked like others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tslm.evidence import words
from tslm.evidence.criteria import BANDS, Facts, Feature
from tslm.evidence.events import Event
from tslm.explain.claims.read import FIGURES, TIMED, Claim, Relation


class Verdict(StrEnum):
    """Result of a check."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_CHECKABLE = "not checkable"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim, its verdict, and what it was checked by.

    Args:
        claim: what was said.
        verdict: whether it holds.
        column: of evidence.
        measured: its value, as rounded for words.
        places: (onset_s, duration_s) of the events that the claim rests on: those at the time that it cites, else all
            of its feature; empty where the feature has no events, or they are not known.
    """

    claim: Claim
    verdict: Verdict
    column: str = ""
    measured: float | None = None
    places: tuple[tuple[float, float], ...] = ()


def check_claim(claim: Claim, facts: Facts, events: Sequence[Event] | None = None) -> CheckedClaim:
    """Compare one claim with its epoch.

    Args:
        claim: what was said.
        facts: measurements of the epoch (`tslm.evidence.words.round_facts`).
        events: of the epoch; None: not known.
    """
    column = _column(claim.feature, claim.relation, claim.unit)
    if column not in facts:
        return CheckedClaim(claim, Verdict.NOT_CHECKABLE)
    own = _select_events(claim.feature, column, events or ())
    if claim.relation in TIMED:
        cited = _find_cited(claim, own)
        holds, own = None if events is None else bool(cited), cited or own
    else:
        holds = _CHECKS.get(claim.feature, _check_figure)(claim, facts, column)
    if holds is None:
        verdict = Verdict.NOT_CHECKABLE
    else:
        verdict = Verdict.SUPPORTED if holds != claim.negated else Verdict.CONTRADICTED
    places = tuple((event.onset_s, event.duration_s) for event in own)
    return CheckedClaim(claim, verdict, column, facts[column], places)


def _select_events(feature: Feature, column: str, events: Sequence[Event]) -> list[Event]:
    """The events that a claim on a feature rests on; a share of power rests on none."""
    kind = EVENT_KIND_OF.get(feature, feature)
    return [] if column.endswith("_share") else [event for event in events if event.kind == kind]


def _find_cited(claim: Claim, events: Sequence[Event]) -> list[Event]:
    """The events at the time that a claim cites; in a stretch, a rhythm must cover enough of it."""
    start_s = claim.value or 0.0
    stop_s = start_s if claim.upper is None else claim.upper
    slack_s = words.figure_slack(claim.unit, start_s, is_rough=claim.relation == Relation.NEAR)
    ends_s = [(event.onset_s, event.onset_s + event.duration_s) for event in events]
    covered_s = sum(max(0.0, min(stop_s, end_s) - max(start_s, onset_s)) for onset_s, end_s in ends_s)
    if claim.feature in _RHYTHMS and covered_s < words.STRETCH_COVERED * (stop_s - start_s):
        return []
    return [
        event
        for event, (onset_s, end_s) in zip(events, ends_s, strict=True)
        if onset_s - slack_s <= stop_s and start_s <= end_s + slack_s
    ]


# The kind of events of features that are named otherwise.
EVENT_KIND_OF = {Feature.SPINDLE_DENSITY: Feature.SPINDLES, Feature.SPINDLE_DURATION: Feature.SPINDLES}
_RHYTHMS = (Feature.SLOW_WAVES, Feature.ALPHA, Feature.ARTEFACT)
# The evidence column by which claims on a feature are checked; `_column` has the exceptions.
COLUMNS: dict[Feature, str] = {
    Feature.AMPLITUDE: "rms_uv",
    Feature.RMS: "rms_uv",
    Feature.PEAK_TO_PEAK: "peak_to_peak_uv",
    Feature.PEAK_FREQUENCY: "dominant_hz",
    **{band: f"{band}_share" for band in BANDS},
    Feature.SPINDLES: "spindle_count",
    Feature.SPINDLE_DENSITY: "spindle_density_per_min",
    Feature.SPINDLE_DURATION: "spindle_duration_s",
    Feature.RECENT_WAVES: "recent_wave_count",
    Feature.K_COMPLEXES: "k_complex_count",
    Feature.SLOW_WAVES: "slow_wave_fraction",
    Feature.SAWTOOTH: "sawtooth_count",
    Feature.EYE_MOVEMENTS: "eye_movement_count",
    Feature.MUSCLE: "high_frequency_ratio",
    Feature.MUSCLE_TONE: "emg_tone",
    Feature.ARTEFACT: "artefact_fraction",
}
_COLUMN_OF_UNIT = {"per_minute": "spindle_density_per_min", "s": "spindle_duration_s"}
_PRESENT_FROM = {
    Feature.SLOW_WAVES: words.SLOW_WAVES_SOME,
    Feature.ARTEFACT: words.ARTEFACT_SOME,
    Feature.MUSCLE: words.MUSCLE_RATIO,
    Feature.RECENT_WAVES: words.RECENT_WAVES_LEAST,
}
_RANKS = (Relation.LEADS, Relation.SECOND)


@lru_cache(maxsize=1024)
def _column(feature: Feature, relation: Relation, unit: str) -> str:
    if feature == Feature.SPINDLES and unit in _COLUMN_OF_UNIT:
        return _COLUMN_OF_UNIT[unit]
    if feature == Feature.ALPHA and relation not in _RANKS and unit != "power":
        return "alpha_fraction"
    if feature in BANDS and unit == "time":
        return ""
    return COLUMNS.get(feature, "")


def _check_amplitude(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation == Relation.LEVEL:
        names = [name for _, name in words.AMPLITUDE_WORDS]
        return _is_level(claim, names.index(words.amplitude_word(facts[column])))
    # An amplitude may mean RMS, peak-to-peak or anything between.
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
    if claim.relation in FIGURES:
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
    """Return whether a band has the claimed rank; bands of equal rounded share tie, so each may be named first."""
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
    if claim.relation in FIGURES:
        return _is_figure(claim, facts[column])
    if claim.relation == Relation.FEW:
        return facts[column] <= words.COUNT_FEW
    return facts[column] >= (words.COUNT_MANY if claim.relation == Relation.MANY else 1)


def _check_presence(claim: Claim, facts: Facts, column: str) -> bool | None:
    if claim.relation in FIGURES and claim.feature != Feature.MUSCLE:
        return _is_figure(claim, facts[column])
    if claim.relation == Relation.MANY and claim.feature == Feature.SLOW_WAVES:
        return facts[column] >= words.SLOW_WAVES_MANY
    return (facts[column] >= _PRESENT_FROM[claim.feature]) != (claim.relation == Relation.FEW)


def _check_figure(claim: Claim, facts: Facts, column: str) -> bool | None:
    return _is_figure(claim, facts[column]) if claim.relation in FIGURES else None


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
    **dict.fromkeys(_PRESENT_FROM, _check_presence),
    **dict.fromkeys(BANDS, _check_band),
    **dict.fromkeys((Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SAWTOOTH, Feature.EYE_MOVEMENTS), _check_count),
}
