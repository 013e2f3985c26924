"""How uncertain a scorer is of each epoch, and how good it is when the least certain epochs are left to a human."""

from typing import Any

import numpy as np
from scipy.special import entr

from tslm.files import to_plain
from tslm.scoring.metrics import measure_agreement

_SHARES_LEFT = np.arange(20) / 20  # 0, 5, ... 95 % of the epochs


def measure_entropy(probabilities_NK: np.ndarray) -> np.ndarray:
    """Entropy of each sample's probabilities over log(num_classes), (num_samples,): 0 certain, 1 knows nothing."""
    num_classes = probabilities_NK.shape[1]
    if num_classes == 1:
        return np.zeros(len(probabilities_NK))
    return entr(np.clip(probabilities_NK, 0.0, 1.0)).sum(axis=1) / np.log(num_classes)


def measure_margin(probabilities_NK: np.ndarray) -> np.ndarray:
    """How far the most probable class is ahead of the next, (num_samples,): 1 certain, 0 torn between two."""
    if probabilities_NK.shape[1] == 1:
        return np.ones(len(probabilities_NK))
    ordered_NK = np.sort(probabilities_NK, axis=1)
    return ordered_NK[:, -1] - ordered_NK[:, -2]


def score_selection(
    certainty_N: np.ndarray, truth_N: np.ndarray, answer_N: np.ndarray, num_labels: int
) -> dict[str, Any]:
    """What is reached on the epochs kept when the least certain ones go to a human.

    Epochs of equal certainty are taken in part, as if in any order, so the order of the samples does not matter.

    Args:
        certainty_N: the larger, the longer an epoch is kept, (num_samples,).
        truth_N: true class, (num_samples,) int.
        answer_N: class answered, (num_samples,) int; num_labels for an answer that did not parse.
        num_labels: number of classes.

    Returns:
        share_left: shares of the epochs left to a human (0, .05, ... .95); accuracy and cohen_kappa of those kept, one
        a share (None where kappa is undefined); risk_coverage_area: mean error over all numbers of epochs kept (AURC,
        Geifman & El-Yaniv 2017); least_area: the same if all errors were the least certain epochs.
    """
    num_samples, num_cells = len(truth_N), num_labels * (num_labels + 1)
    _, group_N = np.unique(-certainty_N, return_inverse=True)
    cell_N = truth_N * (num_labels + 1) + answer_N
    num_groups = int(group_N.max()) + 1
    count_GC = np.bincount(group_N * num_cells + cell_N, minlength=num_groups * num_cells).reshape(
        num_groups, num_cells
    )
    kept_GC = np.concatenate([np.zeros((1, num_cells)), count_GC.cumsum(axis=0)])
    num_kept_G = kept_GC.sum(axis=1)
    wanted = num_samples * (1 - _SHARES_LEFT)
    confusions = np.stack([np.interp(wanted, num_kept_G, kept_G) for kept_G in kept_GC.T], axis=1)
    agreement_S3, _ = measure_agreement(confusions.reshape(-1, num_labels, num_labels + 1))
    is_right_cell = np.arange(num_cells) % (num_labels + 1) == np.arange(num_cells) // (num_labels + 1)
    kept = np.arange(1, num_samples + 1)
    wrong = np.interp(kept, num_kept_G, kept_GC[:, ~is_right_cell].sum(axis=1))
    scores = {
        "share_left": _SHARES_LEFT,
        "accuracy": agreement_S3[:, 0],
        "cohen_kappa": agreement_S3[:, 2],
        "risk_coverage_area": np.mean(wrong / kept),
        "least_area": np.mean(np.maximum(0, kept - (num_samples - wrong[-1])) / kept),
    }
    return dict(to_plain(scores))
