"""Curriculum stage 1: multiple choice about any series, answered by measurement.

A family of questions has its fixed answers; `measure` returns the one that holds, or None where
the series is too near a border to ask. Letters are shuffled per sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_prep.corpora.series import NamedSeries, draw_oscillation, draw_real, draw_simulated
from tslm.data.prepared.corpora import CorpusSample
from tslm.evidence import series as words
from tslm.evidence.measure import BANDS_HZ, measure_evidence
from tslm.evidence.series import SeriesFacts, measure_series
from tslm.seeds import hash_seed

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
        real_share: share of real series (none where spikes are asked for); above 0 it needs statsmodels (extra `ecg`).

    Raises:
        ImportError: statsmodels is missing.
    """
    for idx in range(num_samples):
        rng = np.random.default_rng(hash_seed(seed, idx))
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
    if family.name in ("spike_count", "spike_place"):  # interpolated series have no lone samples
        return draw_simulated(rng)
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


def _period_answers(answer: str, rng: np.random.Generator) -> list[str]:
    period = int(answer.split()[1])
    wrong = rng.choice(_PERIOD_FACTORS, size=3, replace=False)
    return [answer, *(f"about {round(period * factor)} samples" for factor in wrong)]


def _spike_count(measured: Measured) -> str | None:
    return ("none", "one", "two", "three", "four or more")[min(measured.facts.num_spikes, 4)]


def _rhythm(measured: Measured) -> str | None:
    series = measured.series
    evidence = measure_evidence(series.values_L[None], series.fs_hz)
    shares = sorted(((float(evidence[f"{band}_share"][0]), band) for band in BANDS_HZ), reverse=True)
    return shares[0][1] if shares[0][0] >= 1.5 * shares[1][0] else None


FAMILIES: tuple[QuestionFamily, ...] = (
    QuestionFamily(
        "trend",
        ("What is the overall trend?", "Which way does the series go over its whole length?"),
        ("rising", "falling", "no clear trend"),
        lambda measured: words.trend_word(measured.facts),
    ),
    QuestionFamily(
        "cycle",
        ("Does a pattern repeat at a fixed interval?", "Is there a regular cycle?"),
        ("yes", "no"),
        lambda measured: words.cycle_word(measured.facts),
    ),
    QuestionFamily(
        "period",
        ("How long is one cycle of the repeating pattern?", "After how many samples does the pattern repeat?"),
        (),
        lambda measured: words.period_word(measured.facts),
    ),
    QuestionFamily(
        "shift",
        ("Does the mean level jump at some point?", "Is there a sudden change of level?"),
        ("jumps up", "jumps down", "no jump"),
        lambda measured: words.shift_word(measured.facts),
    ),
    QuestionFamily(
        "spike_count",
        ("How many isolated spikes are there?", "Count the single-sample outliers."),
        ("none", "one", "two", "three", "four or more"),
        _spike_count,
    ),
    QuestionFamily(
        "spike_place",
        ("Where is the largest isolated spike?",),
        words.QUARTERS,
        lambda measured: words.spike_place_word(measured.facts, len(measured.series.values_L)),
    ),
    QuestionFamily(
        "spread",
        ("In which half does the series change more from sample to sample?", "Which half is more volatile?"),
        ("first half", "second half", "about the same"),
        lambda measured: words.spread_word(measured.facts),
    ),
    QuestionFamily(
        "highest",
        ("Which quarter has the highest mean?",),
        words.QUARTERS,
        lambda measured: words.highest_quarter(measured.series.values_L),
    ),
    QuestionFamily(
        "lowest",
        ("Which quarter has the lowest mean?",),
        words.QUARTERS,
        lambda measured: words.lowest_quarter(measured.series.values_L),
    ),
    QuestionFamily(
        "smooth",
        ("Is the series smooth or noisy?",),
        ("smooth", "noisy"),
        lambda measured: words.smoothness_word(measured.facts),
    ),
    QuestionFamily(
        "rhythm",
        ("Which EEG band holds the most power?", "Which rhythm dominates this signal?"),
        tuple(BANDS_HZ),
        _rhythm,
    ),
    QuestionFamily(
        "burst",
        ("Which quarter has the largest oscillations?",),
        words.QUARTERS,
        lambda measured: words.strongest_quarter(measured.series.values_L),
    ),
)
