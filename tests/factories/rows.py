"""Rows of predictions for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tslm.labels import LABEL_SETS
from tslm.predictions.rows import CLASSIFIER, LANGUAGE_MODEL, SAMPLE_KEYS

OPTIONS = list(LABEL_SETS["aasm"].answers)


def make_row(
    idx: int = 0,
    truth: str = "Wake",
    generated: str = "It is slow. Answer: Wake",
    recording: str = "n1",
    **more: Any,
) -> Any:
    """A language model's answer to an epoch of a night, in time order by its index."""
    return {
        "system": LANGUAGE_MODEL,
        "sample_id": f"{recording}:{idx}",
        "recording": recording,
        "epoch_idx": idx,
        "onset_s": 30.0 * idx,
        "truth": truth,
        "generated": generated,
        "options": OPTIONS,
    } | more


def make_classifier_row(idx: int, probabilities: Sequence[float], truth: str = "Wake", **more: Any) -> Any:
    """A classifier's answer to an epoch, its most probable option."""
    return classify(make_row(idx, truth, **more), probabilities)


def classify(row: Any, probabilities: Sequence[float], system: str = CLASSIFIER) -> Any:
    """A classifier's answer to the epoch of another row."""
    facts = {name: value for name, value in row.items() if name in SAMPLE_KEYS}
    answer = row["options"][int(np.argmax(probabilities))]
    return facts | {"system": system, "answer": answer, "probabilities": list(probabilities)}


def make_odd_epoch_rows(num_epochs: int, odd_idx: int) -> list[Any]:
    """A classifier's answers to deep sleep, of which one epoch is taken for REM."""
    likely = [4 if idx == odd_idx else 3 for idx in range(num_epochs)]
    return [
        make_classifier_row(idx, np.where(np.arange(5) == likely[idx], 0.6, 0.1).tolist(), truth=OPTIONS[3])
        for idx in range(num_epochs)
    ]


def of_system(rows: Sequence[Any], system: str = LANGUAGE_MODEL) -> list[Any]:
    """The rows of one system."""
    return [row for row in rows if row["system"] == system]
