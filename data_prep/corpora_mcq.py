"""Curriculum stage 1: multiple choice about any series, answered by measurement.

A family of questions has its fixed answers; `measure` returns the one that holds, or None where
the series is too near a border to ask. Letters are shuffled per sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_prep.corpora_series import NamedSeries, draw_oscillation, draw_real, draw_simulated
from tslm.data.corpora import CorpusSample
from tslm.signals.evidence import BANDS_HZ, measure_evidence
from tslm.signals.series_facts import SeriesFacts, measure_parts, measure_series

_QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
_TRIES = 12
_PERIOD_FACTORS = (0.3, 0.55, 1.6, 2.6)  # none is a multiple or a whole fraction of the true period


@dataclass
class Measured:
    """A series and, once asked for, its facts."""

    series: NamedSeries

    @cached_property
    def facts(self) -> SeriesFacts:
        """All of `measure_series`."""
        return measure_series(self.series.values_L)


@dataclass(frozen=True)
class QuestionFamily:
    """Questions of one kind with their possible answers."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]  # empty: made from the measured value
    measure: Callable[[Measured], str | None]


def build_samples(num_samples: int, seed: int, real_share: float = 0.2) -> Iterator[CorpusSample]:
    """Questions on 1,000-sample series, families in turn; a fifth of the series real by default.

    Args:
        num_samples: how many.
        seed: the same seed gives the same samples.
        real_share: share of real series; above 0 it needs statsmodels (extra `ecg`).

    Raises:
        ImportError: statsmodels is missing.
    """
    for idx in range(num_samples):
        rng = np.random.default_rng((seed, idx))
        yield _build_sample(f"mcq-{seed}-{idx}", rng, real_share)


def _build_sample(sample_id: str, rng: np.random.Generator, real_share: float) -> CorpusSample:
    """Draw a family and one of its answers, then series until one measures so; any measured answer will do at last."""
    while True:
        family = FAMILIES[rng.integers(len(FAMILIES))]
        target = family.answers[rng.integers(len(family.answers))] if family.answers else None
        found: tuple[NamedSeries, str] | None = None
        for _ in range(_TRIES):
            series = _draw(family, rng, real_share)
            answer = family.measure(Measured(series))
            if answer is None:
                continue
            found = (series, answer)
            if target is None or answer == target:
                break
        if found is not None:
            return _render(sample_id, family, *found, rng)


def _draw(family: QuestionFamily, rng: np.random.Generator, real_share: float) -> NamedSeries:
    if family.name in ("rhythm", "burst"):
        return draw_oscillation(rng)
    return draw_real(rng) if rng.random() < real_share else draw_simulated(rng)


def _render(
    sample_id: str, family: QuestionFamily, series: NamedSeries, answer: str, rng: np.random.Generator
) -> CorpusSample:
    answers = list(family.answers) or _period_answers(answer, rng)
    shuffled = [answers[idx] for idx in rng.permutation(len(answers))]
    options = tuple(f"({chr(ord('a') + idx)}) {text}" for idx, text in enumerate(shuffled))
    return CorpusSample(
        sample_id=f"{sample_id}-{family.name}",
        question=family.questions[rng.integers(len(family.questions))],
        options=options,
        series=(series.values_L,),
        series_names=(series.name,),
        unit=series.unit,
        rationale="",
        answer=options[shuffled.index(answer)],
    )


def _trend(measured: Measured) -> str | None:
    facts = measured.facts
    if facts.trend_share >= 0.4:
        return "rising" if facts.trend_change > 0 else "falling"
    return "no clear trend" if facts.trend_share < 0.05 else None


def _cycle(measured: Measured) -> str | None:
    facts = measured.facts
    if facts.period_strength >= 0.6 and 0 < facts.period_samples <= 300:
        return "yes"
    return "no" if facts.period_strength < 0.2 else None


def _period(measured: Measured) -> str | None:
    facts = measured.facts
    if facts.period_strength < 0.6 or not 20 <= facts.period_samples <= 300:
        return None
    return f"about {facts.period_samples} samples"


def _period_answers(answer: str, rng: np.random.Generator) -> list[str]:
    period = int(answer.split()[1])
    wrong = rng.choice(_PERIOD_FACTORS, size=3, replace=False)
    return [answer, *(f"about {round(period * factor)} samples" for factor in wrong)]


def _shift(measured: Measured) -> str | None:
    facts = measured.facts
    if facts.shift_share >= 0.5 and abs(facts.shift_step) >= 2.5:
        if facts.shift_share < facts.trend_share + 0.1 or facts.shift_step * facts.shift_change < 0:
            return None
        return "jumps up" if facts.shift_change > 0 else "jumps down"
    return "no jump" if facts.shift_share < 0.15 else None


def _spike_count(measured: Measured) -> str | None:
    return ("none", "one", "two", "three", "four or more")[min(measured.facts.num_spikes, 4)]


def _spike_place(measured: Measured) -> str | None:
    series, facts = measured.series, measured.facts
    if not 1 <= facts.num_spikes <= 4:
        return None
    return _QUARTERS[4 * facts.largest_spike_idx // len(series.values_L)]


def _spread(measured: Measured) -> str | None:
    ratio = measured.facts.spread_ratio
    if 0.9 <= ratio <= 1.1:
        return "about the same"
    return "second half" if ratio >= 1.6 else "first half" if ratio <= 1 / 1.6 else None


def _highest(measured: Measured) -> str | None:
    """Quarter with the highest mean, asked only when it leads by a fifth of the series' deviation."""
    series, facts = measured.series, measured.facts
    means, _ = measure_parts(series.values_L, 4)
    ordered = np.sort(means)
    return _QUARTERS[int(means.argmax())] if ordered[-1] - ordered[-2] >= 0.2 * facts.std else None


def _lowest(measured: Measured) -> str | None:
    series, facts = measured.series, measured.facts
    means, _ = measure_parts(series.values_L, 4)
    ordered = np.sort(means)
    return _QUARTERS[int(means.argmin())] if ordered[1] - ordered[0] >= 0.2 * facts.std else None


def _smooth(measured: Measured) -> str | None:
    smoothness = measured.facts.smoothness
    return "smooth" if smoothness >= 0.97 else "noisy" if smoothness <= 0.6 else None


def _rhythm(measured: Measured) -> str | None:
    series = measured.series
    evidence = measure_evidence(series.values_L[None], series.fs_hz)
    shares = sorted(((float(evidence[f"{band}_share"][0]), band) for band in BANDS_HZ), reverse=True)
    return shares[0][1] if shares[0][0] >= 1.5 * shares[1][0] else None


def _burst(measured: Measured) -> str | None:
    _, stds = measure_parts(measured.series.values_L, 4)
    ordered = np.sort(stds)
    return _QUARTERS[int(stds.argmax())] if ordered[-1] >= 1.25 * ordered[-2] else None


FAMILIES: tuple[QuestionFamily, ...] = (
    QuestionFamily(
        "trend",
        ("What is the overall trend?", "Which way does the series go over its whole length?"),
        ("rising", "falling", "no clear trend"),
        _trend,
    ),
    QuestionFamily(
        "cycle",
        ("Does a pattern repeat at a fixed interval?", "Is there a regular cycle?"),
        ("yes", "no"),
        _cycle,
    ),
    QuestionFamily(
        "period",
        ("How long is one cycle of the repeating pattern?", "After how many samples does the pattern repeat?"),
        (),
        _period,
    ),
    QuestionFamily(
        "shift",
        ("Does the mean level jump at some point?", "Is there a sudden change of level?"),
        ("jumps up", "jumps down", "no jump"),
        _shift,
    ),
    QuestionFamily(
        "spike_count",
        ("How many isolated spikes are there?", "Count the single-sample outliers."),
        ("none", "one", "two", "three", "four or more"),
        _spike_count,
    ),
    QuestionFamily("spike_place", ("Where is the largest isolated spike?",), _QUARTERS, _spike_place),
    QuestionFamily(
        "spread",
        ("In which half does the series change more from sample to sample?", "Which half is more volatile?"),
        ("first half", "second half", "about the same"),
        _spread,
    ),
    QuestionFamily("highest", ("Which quarter has the highest mean?",), _QUARTERS, _highest),
    QuestionFamily("lowest", ("Which quarter has the lowest mean?",), _QUARTERS, _lowest),
    QuestionFamily("smooth", ("Is the series smooth or noisy?",), ("smooth", "noisy"), _smooth),
    QuestionFamily(
        "rhythm",
        ("Which EEG band holds the most power?", "Which rhythm dominates this signal?"),
        tuple(BANDS_HZ),
        _rhythm,
    ),
    QuestionFamily("burst", ("Which quarter has the largest oscillations?",), _QUARTERS, _burst),
)
