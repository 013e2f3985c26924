"""Statements on a series, as captions make them and as the prompt's line of facts lists them.

A series in microvolt whose sampling rate is known is a signal: its statements are of amplitude and rhythm. Others, and
signals too short or too coarse for that, have a level, a trend, a cycle, spikes. A statement on what is too near its
threshold is left out.
"""

import numpy as np

from tslm.evidence import series as words
from tslm.evidence.events import MIN_EPOCH_S, MIN_FS_HZ
from tslm.evidence.measure import measure_evidence
from tslm.evidence.series import SeriesFacts, UnmeasurableError, measure_series
from tslm.evidence.words import SECOND_BAND_SHARE, count_word, rank_bands

ONLY_IN_FACTS = ("smoothness",)  # statements of the line of facts that captions leave out


def state_series(values_L: np.ndarray, fs_hz: float = 0.0) -> dict[str, tuple[str, ...]]:
    """Statements that hold, by name, in the order of captions; each in its wordings, the first that of the facts.

    Args:
        values_L: (num_samples,) in any unit.
        fs_hz: sampling rate of a signal in microvolt; 0 for any other series.

    Raises:
        UnmeasurableError: the series is flat, too short or not finite.
    """
    facts = measure_series(values_L)
    if facts.minimum == facts.maximum:
        raise UnmeasurableError("the series is flat")
    has_rhythm = fs_hz >= MIN_FS_HZ and len(values_L) >= MIN_EPOCH_S * fs_hz
    wordings = _state_rhythm(values_L, fs_hz) if has_rhythm else _state_course(facts, values_L)
    return {name: texts for name, texts in wordings.items() if texts}


def render_series_facts(values_L: np.ndarray, fs_hz: float = 0.0) -> str:
    """The statements (`state_series`) in one line; errors alike."""
    return ", ".join(texts[0] for texts in state_series(values_L, fs_hz).values())


def render_number(value: float) -> str:
    """Two significant digits below 100, whole numbers above."""
    if abs(value) >= 99.5:
        return f"{value:.0f}"
    return f"{float(f'{value:.2g}') + 0.0:g}"  # + 0.0 turns -0 into 0


def _state_course(facts: SeriesFacts, values_L: np.ndarray) -> dict[str, tuple[str, ...]]:
    spread, smoothness = words.spread_word(facts), words.smoothness_word(facts)
    return {
        "level": _state_level(facts),
        "shift": _state_shift(facts),
        "cycle": _state_cycle(facts),
        "spikes": _state_spikes(facts, len(values_L)),
        "spread": (f"changes are larger in the {spread}",) if spread in ("first half", "second half") else (),
        "highest": _state_extreme("highest", words.highest_quarter(values_L)),
        "lowest": _state_extreme("lowest", words.lowest_quarter(values_L)),
        "smoothness": (smoothness,) if smoothness else (),
    }


def _state_rhythm(values_L: np.ndarray, fs_hz: float) -> dict[str, tuple[str, ...]]:
    evidence = {name: float(values[0]) for name, values in measure_evidence(values_L[None], fs_hz).items()}
    (band, share), (next_band, next_share), *_ = rank_bands(evidence)
    percent = f"{round(100 * share)}%"
    strongest = words.strongest_quarter(values_L)
    leading = (f"{band} holds most power, {percent}", f"mostly {band}, {percent}")
    return {
        "amplitude": (f"RMS {round(evidence['rms_uv'])} uV",),
        "leading": leading if share >= 0.5 else (f"{band} leads with {percent}",),
        "second": (f"{next_band} follows",) if next_share >= SECOND_BAND_SHARE else (),
        "strongest": (f"oscillations are largest in the {strongest}",) if strongest else (),
        "steady": ("oscillations keep their size",) if words.is_steady(values_L) else (),
    }


def _state_level(facts: SeriesFacts) -> tuple[str, ...]:
    trend = words.trend_word(facts)
    start, end = render_number(facts.start_level), render_number(facts.end_level)
    if trend in ("rising", "falling") and (facts.end_level > facts.start_level) == (trend == "rising"):
        verb = "rises" if trend == "rising" else "falls"
        return f"the series {verb} from {start} to {end}", f"it {verb} overall, from {start} to {end}"
    between = f"between {render_number(facts.minimum)} and {render_number(facts.maximum)}"
    return (f"no clear trend, {between}",) if trend == "no clear trend" else (f"the values lie {between}",)


def _state_shift(facts: SeriesFacts) -> tuple[str, ...]:
    shift = words.shift_word(facts)
    if shift not in ("jumps up", "jumps down"):
        return ()
    return (f"the level {shift} by about {render_number(abs(facts.shift_change))}",)


def _state_cycle(facts: SeriesFacts) -> tuple[str, ...]:
    cycle, period = words.cycle_word(facts), words.period_word(facts)
    if period is not None:
        return f"a cycle repeats every {facts.period_samples} samples", f"one cycle lasts {period}"
    return ("no regular cycle",) if cycle == "no" else ()


def _state_spikes(facts: SeriesFacts, num_samples: int) -> tuple[str, ...]:
    place = words.spike_place_word(facts, num_samples)
    if place is None:
        return () if facts.num_spikes else ("no spikes",)
    if facts.num_spikes == 1:
        return (f"one spike in the {place}",)
    return (f"{count_word(facts.num_spikes)} spikes, the largest in the {place}",)


def _state_extreme(which: str, quarter: str | None) -> tuple[str, ...]:
    return () if quarter is None else (f"the mean is {which} in the {quarter}", f"{which} mean in the {quarter}")
