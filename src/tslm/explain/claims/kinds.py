"""What a claim is: a feature of the epoch, what is said of it, and the characters of the text it rests on.

A rationale is read into claims by `claims` and each is compared with the signal by `claim_checks`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Feature(StrEnum):
    """What a claim is about."""

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


class Relation(StrEnum):
    """What is said of it; `Claim.negated` turns it round."""

    PRESENT = "present"
    FEW = "few"
    SOMETIMES = "sometimes"
    MANY = "many"
    LEVEL = "level"  # value and upper: positions in LEVEL_WORDS
    LEADS = "leads"  # value: how many lead together
    SECOND = "second"
    EQUALS = "equals"  # value to upper
    ABOUT = "about"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"


@dataclass(frozen=True)
class Claim:
    """One statement about the epoch and the characters text[start:stop] it rests on."""

    feature: Feature
    relation: Relation
    start: int
    stop: int
    value: float | None = None
    upper: float | None = None  # end of a range; None where it is one value
    unit: str = ""  # of value: uv, hz, s, per_minute, count, time (share of the epoch), power (share of 0.5-30 Hz)
    negated: bool = False
    hedged: bool = False


BANDS = (Feature.DELTA, Feature.THETA, Feature.ALPHA, Feature.SIGMA, Feature.BETA)
FIGURES = (Relation.EQUALS, Relation.ABOUT, Relation.AT_LEAST, Relation.AT_MOST)  # relations that need a value
