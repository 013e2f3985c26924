"""In which order epochs are reviewed, and how uncertain the systems are of each."""

import math
from collections.abc import Sequence

import numpy as np

from tslm.predictions.rows import PredictionRow, parse_predictions, pick_classifier_answers
from tslm.scoring.uncertainty import measure_entropy

ORDERS = ("uncertainty", "time", "random")


def measure_uncertainty(rows: Sequence[PredictionRow]) -> list[float | None]:
    """How unsure the systems are of each epoch: 0 certain, 1 a guess; None where nothing tells.

    The entropy of the probabilities over its largest value, the mean over those systems that give some. Where the
    language model and the classifier answer differently, the half of the way from there to 1. An answer that could not
    be read is a 1.
    """
    answers = parse_predictions(rows)
    classifier_answers = pick_classifier_answers(rows) or [None] * len(rows)
    measured: list[float | None] = []
    for row, answer, other in zip(rows, answers, classifier_answers, strict=True):
        entropies = [
            float(measure_entropy(np.asarray([values], dtype=np.float64))[0])
            for values in (row.get("label_probabilities"), row.get("classifier_probabilities"))
            if values is not None
        ]
        if answer is None:
            measured.append(1.0)
        elif not entropies:
            measured.append(None)
        else:
            mean = float(np.mean(entropies))
            measured.append((1 + mean) / 2 if other is not None and other != answer else mean)
    return measured


def order_epochs(rows: Sequence[PredictionRow], order: str, seed: int = 0, limit: int | None = None) -> list[int]:
    """Positions of the rows to review, the first one first; the same for everybody who asks the same.

    Args:
        rows: predictions of one run.
        order: one of ORDERS. Epochs of equal or unknown uncertainty follow one another in time.
        seed: of the random order.
        limit: how many at most; None: all.

    Raises:
        ValueError: an unknown order, a limit below 1, or least certain first where nothing tells how certain.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; one of: {', '.join(ORDERS)}")
    if limit is not None and limit < 1:
        raise ValueError(f"the limit is {limit}; review one epoch at least")
    in_time = sorted(
        range(len(rows)), key=lambda idx: (rows[idx].get("recording", ""), rows[idx].get("epoch_idx", idx))
    )
    if order == "random":
        in_time = [in_time[position] for position in np.random.default_rng(seed).permutation(len(in_time))]
    elif order == "uncertainty":
        measured = measure_uncertainty(rows)
        if all(value is None for value in measured):
            raise ValueError(
                "these predictions do not say how certain they are; give the classifier's by --classifier, "
                "or another order by --order time"
            )
        uncertainty = [-math.inf if value is None else value for value in measured]
        in_time.sort(key=uncertainty.__getitem__, reverse=True)
    return in_time[:limit]
