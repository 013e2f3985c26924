"""How long the metrics of many nights take, intervals and the reading of the answers included."""

import statistics
import time
from collections.abc import Iterator

import numpy as np
from scipy.special import softmax

from tslm.answers.grammar import render_answer
from tslm.bench_row import Row
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import LANGUAGE_MODEL, PredictionRow
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.intervals import Resampling
from tslm.scoring.systems import score_systems

_MOST_S = 5.0
_NIGHT_EPOCHS, _BOUT_EPOCHS, _LEAD = 1000, 7, 4.6  # a lead in logits that makes 85 % of the answers right


def measure_metrics(repeats: int, num_epochs: int = 100_000) -> Iterator[Row]:
    """Seconds for all metrics of one system, structure included, over subjects with one night each."""
    rows = build_rows(num_epochs)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        score_systems(parse_scorings(rows))
        seconds.append(time.perf_counter() - start)
    name = f"metrics, {num_epochs:,} epochs, {Resampling.num_resamples:,} resamples"
    yield Row(name, statistics.median(seconds), "s", most=_MOST_S)


def build_rows(num_epochs: int, seed: int = 0) -> list[PredictionRow]:
    """Answers and probabilities of a language model for nights whose stages come in bouts."""
    rng = np.random.default_rng(seed)
    options = list(LABEL_SETS["aasm"].answers)
    truth = np.repeat(rng.integers(5, size=num_epochs), rng.geometric(1 / _BOUT_EPOCHS, size=num_epochs))[:num_epochs]
    logits = rng.normal(0, 2, (num_epochs, 5))
    logits[np.arange(num_epochs), truth] += _LEAD
    probabilities = softmax(logits, axis=-1).round(6)
    return [
        {
            "system": LANGUAGE_MODEL,
            "sample_id": f"n{idx // _NIGHT_EPOCHS}:{idx % _NIGHT_EPOCHS}",
            "recording": f"n{idx // _NIGHT_EPOCHS}",
            "subject": f"s{idx // _NIGHT_EPOCHS}",
            "epoch_idx": idx % _NIGHT_EPOCHS,
            "onset_s": 30.0 * (idx % _NIGHT_EPOCHS),
            "truth": options[truth[idx]],
            "options": options,
            "generated": f"RMS 21 uV, high amplitude. {render_answer(options[int(probabilities[idx].argmax())])}",
            "probabilities": probabilities[idx].tolist(),
            "temperature": 1.5,
        }
        for idx in range(num_epochs)
    ]
