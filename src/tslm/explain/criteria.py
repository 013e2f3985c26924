"""What speaks for a sleep stage: the features that decide it, and whether a claim is for or against it."""

from collections.abc import Iterable

from tslm.evidence import words
from tslm.explain.claims.kinds import FIGURES, Claim, Feature, Relation
from tslm.labels import SleepStage

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


def weigh_claims(claims: Iterable[Claim], answer: SleepStage | None) -> float:
    """Above 0 where the claims, true or not, speak for the answer, below where against, 0 where neither."""
    signs = SPEAKS_FOR.get(answer, {}) if answer else {}
    return sum(signs.get(claim.feature, 0) * _polarity(claim) for claim in claims)


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
