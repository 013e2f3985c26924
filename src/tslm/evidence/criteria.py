"""AASM criteria as one table: what is found in an epoch, and whether it speaks for or against a sleep stage.

The writer of rationales cites the rows that hold, the checker weighs claims by them. Rules are those of the AASM
manual for the scoring of sleep (Iber et al. 2007, visual rules for adults) in our words, numbered as there: section 3
is wake, 4 N1, 5 N2, 6 N3, 7 R, 8 movement. No manual covers rodents; their rules follow common practice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from tslm.evidence import words
from tslm.labels import SleepStage

Facts = Mapping[str, float]


class Feature(StrEnum):
    """What can be said of an epoch."""

    AMPLITUDE = "amplitude"
    RMS = "rms"
    PEAK_TO_PEAK = "peak_to_peak"
    DELTA = "delta"
    THETA = "theta"
    ALPHA = "alpha"
    SIGMA = "sigma"
    BETA = "beta"  # and any fast activity
    GAMMA = "gamma"
    MIXED = "mixed"  # mixed frequencies
    PEAK_FREQUENCY = "peak_frequency"
    SPINDLES = "spindles"
    RECENT_WAVES = "recent_waves"  # spindles and K-complexes of the epochs before
    SPINDLE_DENSITY = "spindle_density"
    SPINDLE_DURATION = "spindle_duration"
    K_COMPLEXES = "k_complexes"
    SLOW_WAVES = "slow_waves"
    SAWTOOTH = "sawtooth"
    VERTEX = "vertex"
    EYE_MOVEMENTS = "eye_movements"
    MUSCLE = "muscle"  # muscle activity in the EEG
    MUSCLE_TONE = "muscle_tone"  # of the EMG channel
    ARTEFACT = "artefact"


_WITHOUT_EEG = (Feature.ARTEFACT, Feature.MUSCLE_TONE, Feature.RECENT_WAVES)
BANDS = (Feature.DELTA, Feature.THETA, Feature.ALPHA, Feature.SIGMA, Feature.BETA)


@dataclass(frozen=True)
class Finding:
    """Something that an epoch shows or lacks.

    Args:
        name: row of the wordings of rationales.
        features: what it is about.
        is_present: whether the features are there; False for their absence.
        holds: whether the facts of an epoch (`tslm.evidence.words.epoch_facts`) show it.
    """

    name: str
    features: tuple[Feature, ...]
    is_present: bool
    holds: Callable[[Facts], bool]


@dataclass(frozen=True)
class Rule:
    """A rule of the AASM manual, or a convention for rodents.

    Args:
        name: section and paragraph of the manual of 2007 ("6.B"), or "rodent 1"; rationales cite it in brackets. It
            names no sleep stage, so that a rationale does not give its answer away.
        text: the rule in our words.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Criterion:
    """A finding that speaks for or against a sleep stage.

    Args:
        finding: what speaks.
        is_for: whether it speaks for the sleep stage, or against it.
        rule: by which it does.
        is_deciding: whether a rationale for this sleep stage should name its features.
        is_weighed: whether any claim on the features counts for or against the sleep stage. False where only
            the finding's own threshold does: scarce alpha says nothing for N2.
    """

    finding: Finding
    is_for: bool
    rule: Rule
    is_deciding: bool = False
    is_weighed: bool = True


def leads(band: str) -> Callable[[Facts], bool]:
    """Whether a band holds the largest share of power."""
    return lambda facts: words.rank_bands(facts)[0][0] == band


def _lags(band: str) -> Callable[[Facts], bool]:
    """Whether another band holds a larger share; a tie after rounding is no lag."""
    return lambda facts: words.rank_bands(facts)[0][1] > facts[f"{band}_share"]


def _has_tone(tone: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("emg_tone", 0) > 0 and words.tone_word(facts["emg_tone"]) == tone


def _has_theta_behind(facts: Facts) -> bool:
    return facts["theta_share"] >= words.THETA_SHARE and not leads("theta")(facts)


def _at_least(column: str, least: float) -> Callable[[Facts], bool]:
    return lambda facts: facts.get(column, 0.0) >= least


def _below(column: str, bound: float) -> Callable[[Facts], bool]:
    return lambda facts: facts[column] < bound


_F = Feature
_BOTH = (_F.SPINDLES, _F.K_COMPLEXES)
SLOW_OVER = Finding("slow_over", (_F.SLOW_WAVES,), True, words.has_many_slow_waves)
SLOW_UNDER = Finding("slow_under", (_F.SLOW_WAVES,), False, _below("slow_wave_fraction", words.SLOW_WAVES_MANY))
SPINDLES = Finding("spindles", (_F.SPINDLES,), True, words.has_spindles)
RECENT_WAVES = Finding("recent_waves", (_F.RECENT_WAVES,), True, words.has_recent_waves)
K_COMPLEXES = Finding("k_complexes", (_F.K_COMPLEXES,), True, words.has_k_complexes)
NEITHER = Finding("no_spindles_or_k", _BOTH, False, words.lacks_waves)
# An eye tells that there is an alpha rhythm, but not well for how much of the time (docs/experiments).
ALPHA = Finding("alpha", (_F.ALPHA,), True, _at_least("alpha_fraction", words.ALPHA_SOME))
ALPHA_MOST = Finding("alpha", (_F.ALPHA,), True, lambda facts: facts["alpha_fraction"] > words.ALPHA_MOST)
NO_ALPHA = Finding("no_alpha", (_F.ALPHA,), False, _below("alpha_fraction", words.ALPHA_SCARCE))
FAST = Finding("fast", (_F.BETA,), True, lambda facts: words.has_band(facts, "beta"))
NO_FAST = Finding("no_fast", (_F.BETA,), False, lambda facts: not words.has_band(facts, "beta"))
MUSCLE = Finding("muscle", (_F.MUSCLE,), True, _at_least("high_frequency_ratio", words.MUSCLE_RATIO))
THETA_LEADS = Finding("theta_leads", (_F.THETA,), True, leads("theta"))
THETA = Finding("theta", (_F.THETA,), True, _has_theta_behind)
NO_THETA = Finding("no_theta", (_F.THETA,), False, _below("theta_share", words.THETA_SHARE))
DELTA_LEADS = Finding("delta_leads", (_F.DELTA,), True, leads("delta"))
DELTA_BEHIND = Finding("delta_behind", (_F.DELTA,), False, _lags("delta"))
EYES = Finding("eyes", (_F.EYE_MOVEMENTS,), True, words.has_eye_movements)
SAWTOOTH = Finding("sawtooth", (_F.SAWTOOTH,), True, _at_least("sawtooth_count", 1))
TONE_HIGH = Finding("tone", (_F.MUSCLE_TONE,), True, _has_tone("high"))
TONE_LOW = Finding("tone", (_F.MUSCLE_TONE,), False, _has_tone("low"))
ARTEFACT = Finding("artefact", (_F.ARTEFACT,), True, _at_least("artefact_fraction", words.ARTEFACT_SOME))
NO_ARTEFACT = Finding("no_artefact", (_F.ARTEFACT,), False, _below("artefact_fraction", words.ARTEFACT_SOME))

_W_ALPHA = Rule("3.B", "wake: alpha rhythm in more than half of the epoch")
_W_OPEN = Rule(
    "3.C", "wake without alpha rhythm: blinks, reading or rapid eye movements, with normal or high chin tone"
)
_W_FAST = Rule("3.A", "wake with open eyes: low-amplitude beta and alpha without a rhythm")
_N1_MIXED = Rule(
    "4.B", "N1: low-amplitude mixed frequencies, chiefly 4-7 Hz, replace alpha in more than half of the epoch"
)
_N2_STARTS = Rule("5.B", "N2 starts with a K-complex or a train of spindles")
_N2_GOES_ON = Rule("5.C", "N2 goes on in epochs without spindles or K-complexes that follow such epochs")
_N3_SHARE = Rule("6.B", "N3: slow waves (0.5-2 Hz, over 75 uV) in a fifth of the epoch or more")
_N3_DELTA = Rule("6.A", "N3: slow waves lie in the delta band")
_R = Rule("7.B", "R: low-amplitude mixed frequencies, low chin tone and rapid eye movements")
_R_SAWTOOTH = Rule("7.A", "R: sawtooth waves support it")
_R_ENDS = Rule("7.D", "R ends with K-complexes or spindles without eye movements")
_MOVE = Rule("8.A", "movement: artefacts of movement or muscle hide the EEG for more than half of the epoch")
_NREM = Rule("joined", "NREM joins N1, N2 and N3: slow waves, delta and spindles, tone below that of wake")
_RODENT_W = Rule("rodent 1", "rodents, wake: fast, low-amplitude EEG and muscle tone")
_RODENT_NREM = Rule("rodent 2", "rodents, NREM: high-amplitude delta and low tone")
_RODENT_R = Rule("rodent 3", "rodents, REM: regular theta, hardly any delta and the lowest tone")

# In order of weight. Of each sleep stage some row always holds.
CRITERIA: dict[SleepStage, tuple[Criterion, ...]] = {
    SleepStage.WAKE: (
        Criterion(ALPHA, True, _W_ALPHA, is_deciding=True),
        Criterion(EYES, True, _W_OPEN, is_deciding=True),
        Criterion(FAST, True, _W_FAST, is_deciding=True),
        Criterion(MUSCLE, True, _W_OPEN),
        Criterion(TONE_HIGH, True, _W_OPEN),
        Criterion(SLOW_OVER, False, _N3_SHARE),
        Criterion(SPINDLES, False, _N2_STARTS),
        Criterion(K_COMPLEXES, False, _N2_STARTS),
        Criterion(TONE_LOW, False, _W_OPEN),
        Criterion(NO_ALPHA, False, _W_ALPHA),
        Criterion(NO_FAST, False, _W_FAST, is_weighed=False),
    ),
    SleepStage.N1: (
        Criterion(THETA_LEADS, True, _N1_MIXED, is_deciding=True),
        Criterion(THETA, True, _N1_MIXED),
        Criterion(NEITHER, True, _N2_STARTS),
        Criterion(SLOW_OVER, False, _N3_SHARE),
        Criterion(ALPHA_MOST, False, _W_ALPHA, is_weighed=False),
        Criterion(SPINDLES, False, _N2_STARTS, is_deciding=True),
        Criterion(K_COMPLEXES, False, _N2_STARTS),
        Criterion(NO_THETA, False, _N1_MIXED),
    ),
    SleepStage.N2: (
        Criterion(SPINDLES, True, _N2_STARTS, is_deciding=True),
        Criterion(K_COMPLEXES, True, _N2_STARTS, is_deciding=True),
        Criterion(RECENT_WAVES, True, _N2_GOES_ON),
        Criterion(SLOW_OVER, False, _N3_SHARE, is_deciding=True),
        Criterion(SLOW_UNDER, True, _N3_SHARE, is_weighed=False),
        Criterion(NEITHER, False, _N2_STARTS, is_deciding=True),
        Criterion(ALPHA_MOST, False, _W_ALPHA, is_weighed=False),
    ),
    SleepStage.N3: (
        Criterion(SLOW_OVER, True, _N3_SHARE, is_deciding=True),
        Criterion(DELTA_LEADS, True, _N3_DELTA, is_deciding=True),
        Criterion(SLOW_UNDER, False, _N3_SHARE, is_deciding=True),
        Criterion(FAST, False, _W_FAST),
    ),
    SleepStage.REM: (
        Criterion(SAWTOOTH, True, _R_SAWTOOTH),
        Criterion(EYES, True, _R, is_deciding=True),
        Criterion(THETA_LEADS, True, _R, is_deciding=True),
        Criterion(TONE_LOW, True, _R),
        Criterion(THETA, True, _R),
        Criterion(NEITHER, True, _R_ENDS),
        Criterion(SLOW_OVER, False, _N3_SHARE),
        Criterion(SPINDLES, False, _R_ENDS, is_deciding=True),
        Criterion(K_COMPLEXES, False, _R_ENDS),
        Criterion(ALPHA_MOST, False, _W_ALPHA, is_weighed=False),
        Criterion(TONE_HIGH, False, _R),
        Criterion(NO_THETA, False, _R),
    ),
    SleepStage.NREM: (
        Criterion(SLOW_OVER, True, _NREM, is_deciding=True),
        Criterion(DELTA_LEADS, True, _NREM, is_deciding=True),
        Criterion(SPINDLES, True, _NREM),
        Criterion(TONE_LOW, True, _NREM),
        Criterion(DELTA_BEHIND, False, _NREM),
        Criterion(SLOW_UNDER, False, _NREM),
    ),
    SleepStage.MOVEMENT: (
        Criterion(ARTEFACT, True, _MOVE, is_deciding=True),
        Criterion(MUSCLE, True, _MOVE, is_deciding=True),
        Criterion(FAST, True, _MOVE, is_weighed=False),
        Criterion(NO_ARTEFACT, False, _MOVE),
    ),
}
# Cited for rodents instead of those above: spindles, alpha and eye movements are defined on the human scalp.
RODENT_CRITERIA: dict[SleepStage, tuple[Criterion, ...]] = {
    SleepStage.WAKE: (
        Criterion(TONE_HIGH, True, _RODENT_W),
        Criterion(FAST, True, _RODENT_W),
        Criterion(MUSCLE, True, _RODENT_W),
        Criterion(DELTA_BEHIND, True, _RODENT_NREM),
        Criterion(TONE_LOW, False, _RODENT_W),
        Criterion(DELTA_LEADS, False, _RODENT_NREM),
        Criterion(NO_FAST, False, _RODENT_W),
    ),
    SleepStage.NREM: (
        Criterion(DELTA_LEADS, True, _RODENT_NREM),
        Criterion(TONE_LOW, True, _RODENT_NREM),
        Criterion(NO_FAST, True, _RODENT_W),
        Criterion(TONE_HIGH, False, _RODENT_NREM),
        Criterion(DELTA_BEHIND, False, _RODENT_NREM),
        Criterion(FAST, False, _RODENT_W),
    ),
    SleepStage.REM: (
        Criterion(THETA_LEADS, True, _RODENT_R),
        Criterion(TONE_LOW, True, _RODENT_R),
        Criterion(THETA, True, _RODENT_R),
        Criterion(TONE_HIGH, False, _RODENT_R),
        Criterion(DELTA_LEADS, False, _RODENT_R),
        Criterion(NO_THETA, False, _RODENT_R),
    ),
}

RULES: dict[str, Rule] = {
    row.rule.name: row.rule for table in (CRITERIA, RODENT_CRITERIA) for rows in table.values() for row in rows
}


def find_criteria(
    sleep_stage: SleepStage, facts: Facts, is_human: bool = True
) -> tuple[list[Criterion], list[Criterion]]:
    """The criteria that hold in an epoch, for a sleep stage and against it, in order of weight.

    Of an epoch that cannot be measured (`tslm.evidence.words.is_unmeasurable`) only those that need no EEG.
    """
    rows = (CRITERIA if is_human else CRITERIA | RODENT_CRITERIA)[sleep_stage]
    if words.is_unmeasurable(facts):
        rows = tuple(row for row in rows if not set(row.finding.features) - set(_WITHOUT_EEG))
    held = [row for row in rows if row.finding.holds(facts)]
    return [row for row in held if row.is_for], [row for row in held if not row.is_for]


@cache
def list_deciding_features(sleep_stage: SleepStage) -> tuple[Feature, ...]:
    """The features that a rationale for this sleep stage should name."""
    rows = (row for row in CRITERIA.get(sleep_stage, ()) if row.is_deciding)
    return tuple(dict.fromkeys(feature for row in rows for feature in row.finding.features))


@cache
def weigh_feature(feature: Feature, sleep_stage: SleepStage) -> int:
    """1 where its presence speaks for a sleep stage and its absence against, -1 the other way round, 0 for neither."""
    for row in CRITERIA.get(sleep_stage, ()):
        if row.is_weighed and feature in row.finding.features:
            return 1 if row.is_for == row.finding.is_present else -1
    return 0


@cache
def weigh_finding(feature: Feature, is_present: bool, sleep_stage: SleepStage, rule: str = "") -> int | None:
    """1 where a finding speaks for a sleep stage, -1 where it speaks against it; None where no criterion says.

    Args:
        feature: what was found.
        is_present: or found to be absent.
        sleep_stage: to weigh it for.
        rule: name of a cited rule; empty: any rule of the sleep stage.
    """
    rows = [
        row
        for row in (*CRITERIA.get(sleep_stage, ()), *RODENT_CRITERIA.get(sleep_stage, ()))
        if feature in row.finding.features and rule in ("", row.rule.name)
    ]
    found = next((row for row in rows if row.finding.is_present == is_present), None)
    if found is not None:
        return 1 if found.is_for else -1
    return (-1 if rows[0].is_for else 1) if rows and rows[0].is_weighed else None
