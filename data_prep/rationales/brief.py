"""Rationales of style `brief`: three sentences in a fixed order, which a small model learns from few samples.

The order is amplitude, bands, waveforms, then one closing reason. Everything before the closing
reason depends on the evidence alone. The closing reason depends on the expert's label too: it
cites what in this epoch supports the label or, where they disagree, what speaks against it. No
text names a stage; `tslm.answers.grammar.render_response` adds it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tslm.evidence import words
from tslm.labels import SleepStage

Facts = Mapping[str, float]


@dataclass(frozen=True)
class Closing:
    """A reason that may be given when its condition holds; wordings may name {spindles} and {k_complexes}."""

    holds: Callable[[Facts], bool]
    wordings: tuple[str, ...]


def write_brief(facts: Facts, sleep_stage: SleepStage, rng: np.random.Generator, is_human: bool) -> str:
    """The rationale of one epoch (`evidence_words.epoch_facts`)."""
    closings = _CLOSINGS if is_human else _CLOSINGS | _RODENT_CLOSINGS
    closing = next(row for row in closings[sleep_stage] if row.holds(facts))
    sentences = (
        f"{_amplitude(facts, rng)}; {_bands(facts, rng)}",
        ", ".join(_waveforms(facts) if is_human else _slow_waves(facts) + _disturbances(facts)),
        closing.wordings[rng.integers(len(closing.wordings))].format(
            spindles="a spindle" if facts["spindle_count"] == 1 else "spindles",
            k_complexes="a K-complex" if facts["k_complex_count"] == 1 else "K-complexes",
        ),
    )
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _amplitude(facts: Facts, rng: np.random.Generator) -> str:
    rms, word = f"RMS {round(facts['rms_uv'])} uV", words.amplitude_word(facts["rms_uv"])
    return (f"{word} amplitude, {rms}", f"{word} amplitude at {rms}", f"{rms}, {word} amplitude")[rng.integers(3)]


def _bands(facts: Facts, rng: np.random.Generator) -> str:
    (first, share), (second, second_share) = words.rank_bands(facts)[:2]
    percent = f"{round(100 * share)}%"
    lead = (
        f"{first} leads with {percent}",
        f"mostly {first}, {percent}" if share >= 0.5 else f"{first} first at {percent}",
    )[rng.integers(2)]
    return f"{lead}, then {second}" if second_share >= words.SECOND_BAND_SHARE else lead


def _waveforms(facts: Facts) -> list[str]:
    spindles, k_complexes = int(facts["spindle_count"]), int(facts["k_complex_count"])
    figures = [
        *([_counted(spindles, "spindle")] if spindles else []),
        *([_counted(k_complexes, "K-complex", "K-complexes")] if k_complexes else []),
    ]
    alpha = facts["alpha_fraction"]
    rhythm = (
        []
        if alpha < words.ALPHA_SOME
        else ["alpha at times" if alpha <= words.ALPHA_MOST else "alpha over half the time"]
    )
    num_eyes = int(facts["eye_movement_count"])  # none counted is not said: the eyes move more often than the EEG shows
    eyes = [_counted(num_eyes, "eye movement")] if num_eyes else []
    return [*(figures or ["no spindles or K-complexes"]), *_slow_waves(facts), *rhythm, *eyes, *_disturbances(facts)]


def _slow_waves(facts: Facts) -> list[str]:
    share = facts["slow_wave_fraction"]
    return [f"slow waves in {round(100 * share)}%" if share >= words.SLOW_WAVES_SOME else "few slow waves"]


def _disturbances(facts: Facts) -> list[str]:
    muscle = ["muscle activity"] if facts["high_frequency_ratio"] >= words.MUSCLE_RATIO else []
    artefacts = ["flat or clipped parts"] if facts["artefact_fraction"] >= words.ARTEFACT_SOME else []
    return muscle + artefacts


def _counted(count: int, singular: str, plural: str = "") -> str:
    return f"{words.count_word(count)} {singular if count == 1 else plural or singular + 's'}"


def _many_slow_waves(facts: Facts) -> bool:
    return facts["slow_wave_fraction"] >= words.SLOW_WAVES_MANY


def _mostly_alpha(facts: Facts) -> bool:
    return facts["alpha_fraction"] > words.ALPHA_MOST


def _has_spindles(facts: Facts) -> bool:
    return facts["spindle_count"] > 0


def _has_k_complexes(facts: Facts) -> bool:
    return facts["k_complex_count"] > 0


def _has_fast_activity(facts: Facts) -> bool:
    return facts["beta_share"] >= words.FAST_SHARE or facts["high_frequency_ratio"] >= words.MUSCLE_RATIO


def _has_theta(facts: Facts) -> bool:
    return facts["theta_share"] >= words.THETA_SHARE


def _repeated_eye_movements(facts: Facts) -> bool:
    return facts["eye_movement_count"] >= words.EYE_MOVEMENTS_REPEATED


def _leads(band: str) -> Callable[[Facts], bool]:
    return lambda facts: words.rank_bands(facts)[0][0] == band


def _always(_facts: Facts) -> bool:
    return True


def _against(holds: Callable[[Facts], bool], what: str) -> Closing:
    return Closing(holds, (f"doubt remains, as {what}", f"yet {what}, which leaves doubt"))


_AGAINST_SLOW = _against(_many_slow_waves, "slow waves pass a fifth")
_AGAINST_SPINDLES = _against(_has_spindles, "{spindles} occurred")
_AGAINST_K_COMPLEXES = _against(_has_k_complexes, "{k_complexes} occurred")
_AGAINST_ALPHA = _against(_mostly_alpha, "alpha passes half the time")
_AGAINST_SLEEP_FIGURES = (_AGAINST_SLOW, _AGAINST_SPINDLES, _AGAINST_K_COMPLEXES)

# Per stage: the first reason whose condition holds is given. The last of each row always holds.
_CLOSINGS: dict[SleepStage, tuple[Closing, ...]] = {
    SleepStage.WAKE: (
        Closing(_mostly_alpha, ("alpha past half the time fits closed eyes", "so much alpha fits closed eyes")),
        Closing(
            lambda facts: _has_fast_activity(facts) and _repeated_eye_movements(facts),
            ("fast activity and moving eyes fit open eyes", "moving eyes and fast activity fit open eyes"),
        ),
        _AGAINST_SLOW,
        _AGAINST_SPINDLES,
        Closing(_has_fast_activity, ("fast activity fits open eyes", "the fast activity fits open eyes")),
        Closing(_repeated_eye_movements, ("repeated eye movements fit open eyes", "the moving eyes fit open eyes")),
        _AGAINST_K_COMPLEXES,
        Closing(_always, ("neither alpha nor fast activity stands out, which leaves doubt",)),
    ),
    SleepStage.N1: (
        *_AGAINST_SLEEP_FIGURES,
        _AGAINST_ALPHA,
        Closing(
            lambda facts: _has_theta(facts) and facts["alpha_fraction"] < words.ALPHA_SOME,
            ("theta with little alpha and no spindles fits drifting off",),
        ),
        Closing(
            _has_theta,
            ("theta with alpha under half fits drifting off", "alpha under half with theta fits drifting off"),
        ),
        Closing(_always, ("the absence of spindles fits drifting off",)),
    ),
    SleepStage.N2: (
        _AGAINST_SLOW,
        Closing(
            lambda facts: _has_spindles(facts) and _has_k_complexes(facts),
            (
                "{spindles} and {k_complexes} with slow waves under a fifth decide",
                "both {spindles} and {k_complexes} decide",
            ),
        ),
        Closing(
            _has_spindles,
            ("{spindles} and slow waves under a fifth fit", "slow waves under a fifth and {spindles} fit"),
        ),
        Closing(
            _has_k_complexes,
            ("{k_complexes} and slow waves under a fifth fit", "slow waves under a fifth and {k_complexes} fit"),
        ),
        Closing(_always, ("doubt remains without spindles or K-complexes",)),
    ),
    SleepStage.N3: (
        Closing(_many_slow_waves, ("slow waves past a fifth decide", "slow waves pass a fifth, which decides")),
        Closing(_leads("delta"), ("delta leads, yet slow waves stay under a fifth",)),
        Closing(_always, ("doubt remains, as slow waves stay under a fifth",)),
    ),
    SleepStage.REM: (
        *_AGAINST_SLEEP_FIGURES,
        _AGAINST_ALPHA,
        Closing(_leads("theta"), ("leading theta without spindles fits", "theta in the lead without spindles fits")),
        Closing(
            lambda facts: facts["eye_movement_count"] > 0,
            (
                "eye movements without spindles or K-complexes decide",
                "eyes moving without spindles or K-complexes decide",
            ),
        ),
        Closing(_always, ("the absence of spindles and K-complexes fits, though no eye movement is seen",)),
    ),
    SleepStage.NREM: (
        Closing(_many_slow_waves, ("slow waves past a fifth decide", "slow waves pass a fifth, which decides")),
        Closing(_leads("delta"), ("leading delta decides", "delta in the lead decides")),
        Closing(_has_spindles, ("{spindles} and slow waves under a fifth fit",)),
        Closing(_always, ("doubt remains without leading delta or spindles",)),
    ),
    SleepStage.MOVEMENT: (
        Closing(
            lambda facts: facts["artefact_fraction"] >= words.ARTEFACT_SOME,
            ("flat or clipped parts hide the rhythm", "the rhythm is lost in flat or clipped parts"),
        ),
        Closing(_has_fast_activity, ("fast activity covers the rhythm", "the rhythm is covered by fast activity")),
        Closing(_always, ("doubt remains, as no part is flat or clipped for long",)),
    ),
}

# Without muscle or eye channels: theta leads in REM sleep, delta in NREM, neither rule alone in wake.
_RODENT_CLOSINGS: dict[SleepStage, tuple[Closing, ...]] = {
    SleepStage.WAKE: (
        _AGAINST_SLOW,
        Closing(
            _has_fast_activity,
            ("fast activity with slow waves under a fifth fits", "slow waves under a fifth and fast activity fit"),
        ),
        _against(_leads("delta"), "delta leads"),
        Closing(_always, ("delta does not lead, which fits",)),
    ),
    SleepStage.NREM: (
        Closing(_many_slow_waves, ("slow waves past a fifth decide", "slow waves pass a fifth, which decides")),
        Closing(_leads("delta"), ("leading delta decides", "delta in the lead decides")),
        Closing(_always, ("doubt remains, as delta does not lead",)),
    ),
    SleepStage.REM: (
        _AGAINST_SLOW,
        Closing(_leads("theta"), ("leading theta decides", "theta in the lead decides")),
        Closing(_has_theta, ("theta with slow waves under a fifth fits",)),
        Closing(_always, ("doubt remains without much theta",)),
    ),
}
