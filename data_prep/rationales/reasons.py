"""What speaks for and against the expert's label in an epoch, and the closing of a rationale that says so."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from data_prep.rationales.wordings.closing import AGAINST, FOR, JOINS, ONLY_AGAINST, REASONS
from data_prep.rationales.wordings.grammar import write_out
from tslm.evidence import words
from tslm.labels import SleepStage

Facts = Mapping[str, float]
Reason = tuple[str, Callable[[Facts], bool]]  # a row of REASONS, and when it may be cited


def write_closing(
    facts: Facts, sleep_stage: SleepStage, slots: Mapping[str, str], rng: random.Random, is_human: bool
) -> tuple[str, list[str]]:
    """What speaks for the label, then what speaks against it, and the names of the reasons cited."""
    table = _REASONS_OF if is_human else _REASONS_OF | _RODENT_REASONS_OF
    reasons_for, reasons_against = table[sleep_stage]
    held_for = [*_hold(reasons_for, facts)][:2]
    held_against = [*_hold(reasons_against, facts)][: 1 if held_for else 2]
    parts = [_cite(FOR, held_for, slots, rng)] if held_for else []
    if held_against:
        parts.append(_cite(AGAINST if held_for else ONLY_AGAINST, held_against, slots, rng))
    return rng.choice(JOINS).join(parts), [*held_for, *held_against]


def _cite(frames: Sequence[str], names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(REASONS[name].phrases), slots, rng) for name in names]
    rng.shuffle(phrases)
    phrases.sort(key=lambda phrase: phrase.startswith(_DENYING))
    return write_out(rng.choice(frames), {"reasons": " and ".join(phrases)}, rng)


_DENYING = (
    "the absence", "the lack", "absent", "missing", "scarce", "sparse", "limited", "scant",
    "delta that", "delta, which",
)  # fmt: skip


def _hold(reasons: Sequence[Reason], facts: Facts) -> Iterator[str]:
    return (name for name, holds in reasons if holds(facts))


def _leads(band: str) -> Callable[[Facts], bool]:
    return lambda facts: words.rank_bands(facts)[0][0] == band


def _lags(band: str) -> Callable[[Facts], bool]:
    """Whether another band holds more, so that rounding makes no tie."""
    return lambda facts: words.rank_bands(facts)[0][1] > facts[f"{band}_share"]


def _has_tone(tone: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("emg_tone", 0) > 0 and words.tone_word(facts["emg_tone"]) == tone


def _has_neither(facts: Facts) -> bool:
    return not facts["spindle_count"] and not facts["k_complex_count"]


_SLOW_OVER: Reason = ("slow_over", lambda facts: facts["slow_wave_fraction"] >= words.SLOW_WAVES_MANY)
_SLOW_UNDER: Reason = ("slow_under", lambda facts: facts["slow_wave_fraction"] < words.SLOW_WAVES_MANY)
_SPINDLES: Reason = ("spindles", lambda facts: facts["spindle_count"] > 0)
_K_COMPLEXES: Reason = ("k_complexes", lambda facts: facts["k_complex_count"] > 0)
_NEITHER: Reason = ("no_spindles_or_k", _has_neither)
_NO_SPINDLES: Reason = ("no_spindles", lambda facts: not facts["spindle_count"])
_ALPHA_MOST: Reason = ("alpha_most", lambda facts: facts["alpha_fraction"] > words.ALPHA_MOST)
_ALPHA_UNDER: Reason = (
    "alpha_under",
    lambda facts: words.ALPHA_SOME <= facts["alpha_fraction"] <= words.ALPHA_MOST,
)
_NO_ALPHA: Reason = ("no_alpha", lambda facts: facts["alpha_fraction"] < words.ALPHA_SOME)
_FAST: Reason = ("fast", lambda facts: words.has_band(facts, "beta"))
_NO_FAST: Reason = ("no_fast", lambda facts: not words.has_band(facts, "beta"))
_MUSCLE: Reason = ("muscle", lambda facts: facts["high_frequency_ratio"] >= words.MUSCLE_RATIO)
_THETA_LEADS: Reason = ("theta_leads", _leads("theta"))
_THETA: Reason = ("theta", lambda facts: facts["theta_share"] >= words.THETA_SHARE and not _leads("theta")(facts))
_NO_THETA: Reason = ("no_theta", lambda facts: facts["theta_share"] < words.THETA_SHARE)
_DELTA_LEADS: Reason = ("delta_leads", _leads("delta"))
_DELTA_BEHIND: Reason = ("delta_behind", _lags("delta"))
_EYES: Reason = ("eyes", lambda facts: facts["eye_movement_count"] > 0)
_EYES_REPEATED: Reason = ("eyes", lambda facts: facts["eye_movement_count"] >= words.EYE_MOVEMENTS_REPEATED)
_STILL_EYES: Reason = ("still_eyes", lambda facts: not facts["eye_movement_count"])
_SAWTOOTH: Reason = ("sawtooth", lambda facts: facts.get("sawtooth_count", 0) > 0)
_TONE_HIGH: Reason = ("tone", _has_tone("high"))
_TONE_LOW: Reason = ("tone", _has_tone("low"))
_ARTEFACT: Reason = ("artefact", lambda facts: facts["artefact_fraction"] >= words.ARTEFACT_SOME)
_NO_ARTEFACT: Reason = ("no_artefact", lambda facts: facts["artefact_fraction"] < words.ARTEFACT_SOME)

# Per stage: what speaks for it and what against it, in order of weight (AASM manual 2007).
# One row of each pair always holds, so no closing is empty.
_REASONS_OF: dict[SleepStage, tuple[tuple[Reason, ...], tuple[Reason, ...]]] = {
    SleepStage.WAKE: (
        (_ALPHA_MOST, _EYES_REPEATED, _FAST, _MUSCLE, _TONE_HIGH),
        (_SLOW_OVER, _SPINDLES, _K_COMPLEXES, _TONE_LOW, _NO_ALPHA, _ALPHA_UNDER),
    ),
    SleepStage.N1: (
        (_THETA_LEADS, _THETA, _ALPHA_UNDER, _NEITHER),
        (_SLOW_OVER, _ALPHA_MOST, _SPINDLES, _K_COMPLEXES, _NO_THETA),
    ),
    SleepStage.N2: ((_SPINDLES, _K_COMPLEXES), (_SLOW_OVER, _NEITHER, _ALPHA_MOST)),
    SleepStage.N3: ((_SLOW_OVER, _DELTA_LEADS), (_SLOW_UNDER,)),
    SleepStage.REM: (
        (_SAWTOOTH, _EYES, _THETA_LEADS, _TONE_LOW, _THETA, _NEITHER),
        (_SLOW_OVER, _SPINDLES, _K_COMPLEXES, _ALPHA_MOST, _TONE_HIGH, _STILL_EYES),
    ),
    SleepStage.NREM: ((_SLOW_OVER, _DELTA_LEADS, _SPINDLES), (_DELTA_BEHIND, _SLOW_UNDER)),
    SleepStage.MOVEMENT: ((_ARTEFACT, _MUSCLE, _FAST), (_NO_ARTEFACT,)),
}
# Rodents: theta without tone in REM sleep, delta in NREM sleep, tone and fast activity awake.
_RODENT_REASONS_OF: dict[SleepStage, tuple[tuple[Reason, ...], tuple[Reason, ...]]] = {
    SleepStage.WAKE: ((_TONE_HIGH, _FAST, _MUSCLE, _DELTA_BEHIND), (_TONE_LOW, _DELTA_LEADS, _NO_FAST)),
    SleepStage.NREM: ((_DELTA_LEADS, _TONE_LOW, _NO_FAST), (_TONE_HIGH, _DELTA_BEHIND, _FAST)),
    SleepStage.REM: ((_THETA_LEADS, _TONE_LOW, _THETA), (_TONE_HIGH, _DELTA_LEADS, _NO_THETA)),
}
