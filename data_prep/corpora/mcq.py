"""Curriculum stage 1: multiple-choice questions about a series; the answers are measured in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from data_prep.corpora.build import (
    NamedSeries,
    QuestionFamily,
    draw_oscillation,
    draw_question,
    draw_real,
    draw_simulated,
)
from tslm.data.prepared.corpora import CorpusSample
from tslm.evidence import series as words
from tslm.evidence.measure import BANDS_HZ, measure_evidence
from tslm.evidence.series import SeriesFacts, measure_series
from tslm.seeds import hash_seed

_PERIOD_FACTORS = (0.3, 0.55, 1.6, 2.6)  # none is a multiple or a whole fraction of the true period


@dataclass
class Measured:
    """A series and its facts, which are measured on first use."""

    series: NamedSeries

    @cached_property
    def facts(self) -> SeriesFacts:
        """All of `measure_series`."""
        return measure_series(self.series.values_L)


def build_samples(num_samples: int, seed: int, real_share: float = 0.2) -> Iterator[CorpusSample]:
    """Questions about series of 1,000 samples, of randomly drawn families.

    Args:
        num_samples: Number of questions.
        seed: The same seed gives the same samples.
        real_share: Share of real series (not in questions about spikes); above 0 needs statsmodels (extra `ecg`).

    Raises:
        ImportError: statsmodels is missing.
    """
    for idx in range(num_samples):
        rng = np.random.default_rng(hash_seed(seed, idx))
        family, measured, answer = draw_question(FAMILIES, rng, partial(_draw, rng, real_share))
        yield _build_sample(f"mcq-{seed}-{idx}-{family.name}", family, measured.series, answer, rng)


def _draw(rng: np.random.Generator, real_share: float, family: QuestionFamily) -> Measured:
    if family.name in ("rhythm", "burst"):
        return Measured(draw_oscillation(rng))
    if family.name in ("spike_count", "spike_place"):  # interpolated series have no spikes
        return Measured(draw_simulated(rng))
    return Measured(draw_real(rng) if rng.random() < real_share else draw_simulated(rng))


def _build_sample(
    sample_id: str, family: QuestionFamily, series: NamedSeries, answer: str, rng: np.random.Generator
) -> CorpusSample:
    answers = list(family.answers) or _period_answers(answer, rng)
    shuffled = [answers[idx] for idx in rng.permutation(len(answers))]
    options = tuple(f"({chr(ord('a') + idx)}) {text}" for idx, text in enumerate(shuffled))
    question = family.questions[rng.integers(len(family.questions))]
    values, names, right = (series.values_L,), (series.name,), options[shuffled.index(answer)]
    return CorpusSample(sample_id, question, options, values, names, series.unit, "", right, series.fs_hz)


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
