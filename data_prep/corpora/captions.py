"""Curriculum stage 2: captions of a series, written from its measured facts.

A caption makes at most five statements in a fixed order: level and trend, jump, cycle or rhythm, spikes, spread,
highest and lowest quarter. Facts too close to a border are left out.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.corpora.build import NamedSeries, draw_oscillation, draw_real, draw_simulated
from tslm.data.prepared.corpora import CorpusSample
from tslm.evidence import series as words
from tslm.evidence.measure import BANDS_HZ, measure_evidence
from tslm.evidence.series import SeriesFacts, measure_series
from tslm.evidence.words import count_word
from tslm.seeds import hash_seed

_MOST_STATEMENTS = 5


def build_samples(
    num_samples: int, seed: int, real_share: float = 0.2, oscillation_share: float = 0.3
) -> Iterator[CorpusSample]:
    """Captions of series of 1,000 samples: simulated, EEG-like and real.

    Args:
        num_samples: Number of captions.
        seed: The same seed gives the same samples.
        real_share: Share of real series; above 0 needs statsmodels (extra `ecg`).
        oscillation_share: Share of EEG-like series.

    Raises:
        ImportError: statsmodels is missing.
    """
    for idx in range(num_samples):
        rng = np.random.default_rng(hash_seed(seed, idx))
        drawn = rng.random()
        not_real = draw_oscillation if drawn < real_share + oscillation_share else draw_simulated
        series = (draw_real if drawn < real_share else not_real)(rng)
        yield build_caption_sample(f"caption-{seed}-{idx}", series, write_caption(series, rng))


def build_caption_sample(sample_id: str, series: NamedSeries, caption: str) -> CorpusSample:
    """A sample without a question, whose caption stands in the place of the rationale."""
    return CorpusSample(sample_id, "", (), (series.values_L,), (series.name,), series.unit, caption, "")


def write_caption(series: NamedSeries, rng: np.random.Generator) -> str:
    """Caption of a series of at least `tslm.evidence.series.MIN_SAMPLES` samples."""
    facts = measure_series(series.values_L)
    statements = _rhythm(series, rng) if series.fs_hz else _course(facts, series, rng)
    kept = [statement for statement in statements if statement][:_MOST_STATEMENTS]
    return " ".join(f"{statement[0].upper()}{statement[1:]}." for statement in kept)


def _course(facts: SeriesFacts, series: NamedSeries, rng: np.random.Generator) -> list[str]:
    values_L = series.values_L
    return [
        _level(facts, rng),
        _shift(facts),
        _cycle(facts, rng),
        "" if series.is_interpolated else _spikes(facts, len(values_L)),
        _spread(facts),
        _extreme("highest", words.highest_quarter(values_L), rng),
        _extreme("lowest", words.lowest_quarter(values_L), rng),
    ]


def _rhythm(series: NamedSeries, rng: np.random.Generator) -> list[str]:
    evidence = measure_evidence(series.values_L[None], series.fs_hz)
    shares = sorted(((float(evidence[f"{band}_share"][0]), band) for band in BANDS_HZ), reverse=True)
    (first, band), (second, next_band) = shares[:2]
    percent = f"{round(100 * first)}%"
    strongest = words.strongest_quarter(series.values_L)
    return [
        (f"RMS {round(float(evidence['rms_uv'][0]))} uV"),
        (f"{band} holds most power, {percent}", f"mostly {band}, {percent}")[rng.integers(2)]
        if first >= 0.5
        else f"{band} leads with {percent}",
        f"{next_band} follows" if second >= 0.1 else "",
        f"oscillations are largest in the {strongest}" if strongest else "",
        "oscillations keep their size" if words.is_steady(series.values_L) else "",
    ]


def _level(facts: SeriesFacts, rng: np.random.Generator) -> str:
    trend = words.trend_word(facts)
    start, end = render_number(facts.start_level), render_number(facts.end_level)
    if trend in ("rising", "falling") and (facts.end_level > facts.start_level) == (trend == "rising"):
        verb = "rises" if trend == "rising" else "falls"
        return (f"the series {verb}", f"it {verb} overall,")[rng.integers(2)] + f" from {start} to {end}"
    low, high = render_number(facts.minimum), render_number(facts.maximum)
    between = f"between {low} and {high}"
    return f"no clear trend, {between}" if trend == "no clear trend" else f"the values lie {between}"


def _shift(facts: SeriesFacts) -> str:
    shift = words.shift_word(facts)
    if shift not in ("jumps up", "jumps down"):
        return ""
    return f"the level {shift} by about {render_number(abs(facts.shift_change))}"


def _cycle(facts: SeriesFacts, rng: np.random.Generator) -> str:
    cycle, period = words.cycle_word(facts), words.period_word(facts)
    if period is not None:
        return (f"a cycle repeats every {facts.period_samples} samples", f"one cycle lasts {period}")[rng.integers(2)]
    return "no regular cycle" if cycle == "no" else ""


def _spikes(facts: SeriesFacts, num_samples: int) -> str:
    place = words.spike_place_word(facts, num_samples)
    if place is None:
        return "" if facts.num_spikes else "no spikes"
    if facts.num_spikes == 1:
        return f"one spike in the {place}"
    return f"{count_word(facts.num_spikes)} spikes, the largest in the {place}"


def _spread(facts: SeriesFacts) -> str:
    spread = words.spread_word(facts)
    return f"changes are larger in the {spread}" if spread in ("first half", "second half") else ""


def _extreme(which: str, quarter: str | None, rng: np.random.Generator) -> str:
    if quarter is None:
        return ""
    return (f"the mean is {which} in the {quarter}", f"{which} mean in the {quarter}")[rng.integers(2)]


def render_number(value: float) -> str:
    """Two significant digits below 100, whole numbers above."""
    if abs(value) >= 99.5:
        return f"{value:.0f}"
    return f"{float(f'{value:.2g}') + 0.0:g}"  # + 0.0 turns -0 into 0
