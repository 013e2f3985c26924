"""In which order epochs are reviewed, and how uncertain the systems are of each."""

import math

import numpy as np

from tslm.review.run_epochs import ReviewRun
from tslm.scoring.probabilities import measure_entropy

ORDERS = ("uncertainty", "time", "random")


def measure_uncertainty(run: ReviewRun) -> list[float | None]:
    """How unsure the systems are of each epoch under review: 0 certain, 1 a guess; None where nothing tells.

    The entropy of the probabilities over its largest value, the mean over those systems that give some. Where another
    system answers differently than the reviewed one, half of the way from there to 1. An answer that could not be read
    is a 1.
    """
    entropies: dict[str, list[float]] = {}
    others: dict[str, set[str]] = {}
    for scoring in run.scorings.values():
        for row, answer in zip(scoring.rows, scoring.answers, strict=True):
            if row.get("probabilities") is not None:
                entropy = measure_entropy(np.asarray([row["probabilities"]], dtype=np.float64))[0]
                entropies.setdefault(row["sample_id"], []).append(float(entropy))
            if answer is not None:
                others.setdefault(row["sample_id"], set()).add(answer)
    measured: list[float | None] = []
    for sample_id, answer in run.answers.items():
        if answer is None:
            measured.append(1.0)
        elif sample_id not in entropies:
            measured.append(None)
        else:
            mean = float(np.mean(entropies[sample_id]))
            measured.append((1 + mean) / 2 if others[sample_id] - {answer} else mean)
    return measured


def order_epochs(run: ReviewRun, order: str, seed: int = 0, limit: int | None = None) -> list[int]:
    """Positions of the rows to review, the first one first; the same for everybody who asks the same.

    Args:
        run: what is reviewed.
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
    rows = run.rows
    in_time = sorted(
        range(len(rows)), key=lambda idx: (rows[idx].get("recording", ""), rows[idx].get("epoch_idx", idx))
    )
    if order == "random":
        in_time = [in_time[position] for position in np.random.default_rng(seed).permutation(len(in_time))]
    elif order == "uncertainty":
        measured = measure_uncertainty(run)
        if all(value is None for value in measured):
            raise ValueError(
                "these predictions do not say how certain they are; give the classifier's by --classifier, "
                "or another order by --order time"
            )
        uncertainty = [-math.inf if value is None else value for value in measured]
        in_time.sort(key=uncertainty.__getitem__, reverse=True)
    return in_time[:limit]
