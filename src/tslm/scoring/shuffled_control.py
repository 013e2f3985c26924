"""Rationales held against epochs that they were not written for: what a text scores that ignores the signal.

A text that knows nothing of its epoch is as true of any other. Two controls: another epoch of any kind, and another
epoch that was answered alike. The second exposes an author who always writes what is typical of the stage it answers,
which would pass the first. Both are a mean over several derangements, in which no rationale keeps its epoch.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from tslm.scoring.claim_counts import NUM_COLUMNS, measure_shares
from tslm.scoring.resampling import FEW_UNITS, Resamples, Resampling

NUM_SHUFFLES = 5


def draw_partners(groups: Sequence[Hashable], rng: np.random.Generator) -> np.ndarray:
    """(num,) int64: for each place another place of the same group, each taken once; -1 where a group has only one."""
    partners = np.full(len(groups), -1, dtype=np.int64)
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    for places in members.values():
        if len(places) > 1:
            order = rng.permutation(places)  # one cycle through all of the group: nothing keeps its place
            partners[order] = np.roll(order, 1)
    return partners


def score_control(
    own_NM: np.ndarray,
    groups: Sequence[Hashable],
    count_other: Callable[[int, int], Sequence[float]],
    subjects: Sequence[str] | None,
    resampling: Resampling | None,
    seed: int,
) -> dict[str, Any] | None:
    """Rationales beside epochs of the same group instead of their own.

    Args:
        own_NM: (N, NUM_COLUMNS) counts of each rationale beside its own epoch.
        groups: of each epoch; one of None, or with no other in its group, takes no part.
        count_other: (epoch, place of another rationale) -> the counts of that rationale beside the epoch.
        subjects: whose each epoch is; as for `Resamples`.
        resampling: of the interval; None for none.
        seed: of the shuffles.

    Returns:
        None where nothing can be compared; else `num_rationales` that took part, `num_shuffles`, `precision`,
        `precision_beyond_prompt` and `coverage` of the control, `difference` by which the same rationales' own
        precision beyond the prompt is above it, `difference_interval`, and `is_above`: whether all of the interval is
        above zero (None without an interval, or over too few units for one).
    """
    rng = np.random.default_rng(seed)
    partners_KN = np.stack([draw_partners(groups, rng) for _ in range(NUM_SHUFFLES)])
    places = [place for place, group in enumerate(groups) if group is not None and partners_KN[0, place] >= 0]
    if not places:
        return None
    other_KNM = np.array([[count_other(place, row[place]) for place in places] for row in partners_KN])
    pairs_N2M = np.concatenate([own_NM[places], other_KNM.mean(0)], axis=1)
    _, control = _measure(pairs_N2M.sum(0, keepdims=True))
    (difference,) = _subtract(pairs_N2M.sum(0, keepdims=True))
    interval: list[float | None] = [None, None]
    is_above = None
    if resampling is not None:
        resamples = Resamples(len(places), [subjects[place] for place in places] if subjects else None, resampling)
        interval = resamples.find_interval(_subtract(resamples.sum(pairs_N2M)))
        if interval[0] is not None and resamples.num_units >= FEW_UNITS:
            is_above = interval[0] > 0
    return {
        "num_rationales": len(places),
        "num_shuffles": NUM_SHUFFLES,
        **{name: find_number(control[name][0]) for name in ("precision", "precision_beyond_prompt", "coverage")},
        "difference": find_number(difference),
        "difference_interval": interval,
        "is_above": is_above,
    }


def find_number(value: float) -> float | None:
    """The value, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def _measure(pairs_R2M: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return measure_shares(pairs_R2M[:, :NUM_COLUMNS]), measure_shares(pairs_R2M[:, NUM_COLUMNS:])


def _subtract(pairs_R2M: np.ndarray) -> np.ndarray:
    own, control = _measure(pairs_R2M)
    difference_R: np.ndarray = own["precision_beyond_prompt"] - control["precision_beyond_prompt"]
    return difference_R
