"""Thresholds of the words of rationales: the one table for writers and checkers."""

from collections.abc import Mapping

import numpy as np

from tslm.signals.spectrum import BANDS_HZ

# (below this RMS in microvolt, word); the last one has no upper end. Frontal adult EEG:
# light sleep lies near 10 uV, N2 near 15, N3 near 30 (Sleep-EDF, variance per sleep stage).
AMPLITUDE_WORDS: tuple[tuple[float, str], ...] = (
    (12.0, "low"),
    (25.0, "moderate"),
    (50.0, "high"),
    (float("inf"), "very high"),
)
COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MANY_WORD = "over ten"

ALPHA_MOST = 0.5  # "over half the time"; AASM 2007: more than half the epoch is wake
ALPHA_SOME = 0.2  # "alpha rhythm", in varied texts "at times"
ALPHA_SCARCE = 0.1  # below it "scarce": a rhythm near 8 Hz is missed in part of its time
SLOW_WAVES_MANY = 0.2  # "past a fifth"; AASM 2007: a fifth of the epoch or more is N3
SLOW_WAVES_SOME = 0.05  # below it "few slow waves"
MUSCLE_RATIO = 0.15  # power in 30-45 Hz over 0.5-30 Hz from which "muscle activity" is said
FAST_SHARE = 0.2  # beta share from which "fast activity" is said
SECOND_BAND_SHARE = 0.1  # a second band is named from here on
THETA_SHARE = 0.15  # theta counts as present from here on
ARTEFACT_SOME = 0.1  # share of flat or clipped seconds worth a word
ARTEFACT_MOST = 0.5  # above it nothing else of an epoch is measured
UNMEASURABLE = "the rest cannot be measured"
RECENT_EPOCHS = 3  # spindles and K-complexes of so many epochs before are recent
RECENT_WAVES = "recent spindles or K-complexes"
WITHOUT_K_COMPLEX_UV = 90.0  # peak to peak of an epoch, below which it holds no K-complex
RECENT_WAVES_LEAST = 2  # so many found in the epochs before; a single one is often false
EYE_MOVEMENTS_REPEATED = 2  # single ones found are often no eye movements, see `has_eye_movements`
COUNT_FEW = 2  # "few", "rare" of single waveforms: up to
COUNT_MANY = 3  # "many", "frequent": from here on
# Bands count as present from these shares of power on; alpha by its share of the epoch's time (ALPHA_SOME).
# Delta holds more than half of nearly every epoch of frontal EEG, so "delta is present" says little.
BAND_SHARES = {"delta": 0.5, "theta": THETA_SHARE, "sigma": 0.05, "beta": FAST_SHARE}
TONE_LOW, TONE_HIGH = 0.7, 1.5  # EMG RMS over the recording's median, below and above which tone is low and high

# How far a written figure may lie from the measured one: (plain, after "about"), per unit.
_SLACK = {
    "uv": (1.0, 3.0),
    "hz": (0.3, 1.0),
    "s": (0.1, 0.3),
    "at_s": (0.5, 1.0),  # from either end of an event; times are written in whole seconds
    "per_minute": (0.5, 1.0),
    "times": (0.05, 0.2),
    "count": (0.0, 1.0),
    "time": (0.01, 0.05),
    "power": (0.01, 0.05),
}
STRETCH_COVERED = 0.5  # share of a written stretch ("from 3 to 12 s") that events must cover
_RELATIVE_SLACK = {"uv": (0.03, 0.15)}  # of the figure, where that is more


def amplitude_word(rms_uv: float) -> str:
    """Word for the amplitude of an epoch, by its RMS in whole microvolts."""
    return next(word for below_uv, word in AMPLITUDE_WORDS if round(rms_uv) < below_uv)


def count_word(count: int) -> str:
    """A count in words: no, one, ... ten, over ten."""
    return COUNT_WORDS[count] if count < len(COUNT_WORDS) else MANY_WORD


def count_phrase(count: float, singular: str, plural: str = "") -> str:
    """The count of a detector that finds too few, with its noun in words, such as "at least one spindle"."""
    word = count_word(int(count))
    number = word if word == MANY_WORD else f"at least {word}"
    return f"{number} {singular if count == 1 else plural or f'{singular}s'}"


def has_many_slow_waves(facts: Mapping[str, float]) -> bool:
    """Whether slow waves fill a fifth of an epoch or more."""
    return facts.get("slow_wave_fraction", 0.0) >= SLOW_WAVES_MANY


def has_spindles(facts: Mapping[str, float]) -> bool:
    """Whether spindles are found in an epoch."""
    return facts.get("spindle_count", 0) > 0


def has_k_complexes(facts: Mapping[str, float]) -> bool:
    """Whether K-complexes are found in an epoch; among many slow waves none is told from them."""
    return facts.get("k_complex_count", 0) > 0 and not has_many_slow_waves(facts)


def has_recent_waves(facts: Mapping[str, float]) -> bool:
    """Whether spindles or K-complexes lie in the epochs before one that has neither, nor many slow waves."""
    return _has_waves_before(facts) and not _has_own_waves(facts)


def lacks_waves(facts: Mapping[str, float]) -> bool:
    """Whether an epoch has neither spindles nor K-complexes.

    Small ones are missed, so none found says that there are none only where the epochs before have none either, or a
    single one, and the epoch is too small for a K-complex: of such epochs of simulated nights .5 % have one, of all
    without a finding 13 % (docs/experiments).
    """
    return facts.get("peak_to_peak_uv", 0.0) < WITHOUT_K_COMPLEX_UV and not has_signs_of_sleep(facts)


def has_signs_of_sleep(facts: Mapping[str, float]) -> bool:
    """Whether spindles, K-complexes or many slow waves are found in an epoch, or some in those before."""
    return _has_waves_before(facts) or _has_own_waves(facts)


def _has_waves_before(facts: Mapping[str, float]) -> bool:
    return facts.get("recent_wave_count", 0) >= RECENT_WAVES_LEAST


def _has_own_waves(facts: Mapping[str, float]) -> bool:
    return has_spindles(facts) or has_k_complexes(facts) or has_many_slow_waves(facts)


def has_eye_movements(facts: Mapping[str, float]) -> bool:
    """Whether eye movements are found in an epoch: two or more, and no sign of N2 or N3.

    Flanks of K-complexes and slow waves look like eye movements. Of what is found so in simulated nights 96 % have eye
    movements. Absence cannot be told from an EEG: 71 % of simulated REM epochs without a finding have some.
    """
    return facts.get("eye_movement_count", 0) >= EYE_MOVEMENTS_REPEATED and not has_signs_of_sleep(facts)


def rank_bands(evidence: Mapping[str, float]) -> list[tuple[str, float]]:
    """(band, share) from the strongest to the weakest."""
    shares = [(band, float(evidence[f"{band}_share"])) for band in BANDS_HZ]
    return sorted(shares, key=lambda pair: -pair[1])


def tone_word(emg_tone: float) -> str:
    """Muscle tone, measured as EMG RMS over the recording's median: low, moderate or high."""
    return "low" if emg_tone < TONE_LOW else "high" if emg_tone > TONE_HIGH else "moderate"


def has_band(facts: Mapping[str, float], band: str) -> bool:
    """Whether a band counts as present in an epoch; fast activity of the muscles counts as beta."""
    if band == "alpha":
        return facts["alpha_fraction"] >= ALPHA_SOME
    is_muscle = band == "beta" and facts.get("high_frequency_ratio", 0.0) >= MUSCLE_RATIO
    return is_muscle or facts[f"{band}_share"] >= BAND_SHARES[band]


def figure_slack(unit: str, value: float, is_rough: bool) -> float:
    """How far the measured value may lie from a written figure, in the figure's unit (shares 0 to 1)."""
    relative = _RELATIVE_SLACK.get(unit, (0.0, 0.0))[is_rough]
    return max(_SLACK[unit][is_rough], relative * value) + 1e-9


_STILL_MEASURED = ("artefact_fraction", "emg_rms_uv", "emg_tone", "recent_wave_count")


def is_unmeasurable(facts: Mapping[str, float]) -> bool:
    """Whether an epoch is flat or clipped for the most part."""
    return facts.get("artefact_fraction", 0.0) > ARTEFACT_MOST


def epoch_facts(evidence: Mapping[str, np.ndarray], epoch_idx: int) -> dict[str, float]:
    """The evidence of one epoch as it may be written down (`round_facts`)."""
    return round_facts({name: float(values[epoch_idx]) for name, values in evidence.items()})


def round_facts(evidence_row: Mapping[str, float]) -> dict[str, float]:
    """Measured values as they may be written down: whole uV, Hz and seconds to a tenth, whole percents.

    Words follow these rounded values, so a text can be checked without knowing what was rounded away. Of an epoch that
    is flat or clipped for the most part, only that and its EMG are facts: the rest cannot be measured.
    """
    if is_unmeasurable(evidence_row):
        evidence_row = {name: evidence_row[name] for name in _STILL_MEASURED if name in evidence_row}
    facts = {}
    for name, value in evidence_row.items():
        steps = 1 if name.endswith(("_uv", "_count")) else 10 if name.endswith(("_hz", "_s", "_per_min")) else 100
        facts[name] = round(value * steps) / steps
    return facts
