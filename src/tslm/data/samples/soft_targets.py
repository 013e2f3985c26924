"""Soft targets: scorer votes and boundary smoothing.

Shape letters: E epochs of a recording, K classes.
"""

from collections.abc import Sequence

import numpy as np

from tslm.batch import IGNORE_INDEX
from tslm.config.schema import LossConfig
from tslm.data.prepared.recordings import Recording
from tslm.labels import LabelSet, SleepStage

VOTES_PREFIX = "votes_"  # of a recording's columns: votes_W, votes_N1, ...: how many scorers, or which share of them


def build_targets(
    recordings: Sequence[Recording], sleep_stage_idx: Sequence[np.ndarray], label_set: LabelSet, loss: LossConfig
) -> Sequence[np.ndarray | None]:
    """For each recording what the loss aims at, (E, K) float32 with rows that sum to 1; None where classes say it all.

    Args:
        recordings: of one split.
        sleep_stage_idx: for each the classes of its epochs, IGNORE_INDEX where not scored (such rows mean nothing).
        label_set: of these classes.
        loss: `scorer_votes` and `boundary_smoothing`.

    Raises:
        ValueError: a column of votes is of no known sleep stage, or holds what cannot be counted.
    """
    voted = loss.scorer_votes and any(_vote_columns(recording) for recording in recordings)
    if not (voted or loss.boundary_smoothing):
        return [None] * len(recordings)
    targets = []
    for recording, idx_E in zip(recordings, sleep_stage_idx, strict=True):
        target_EK = np.eye(len(label_set.answers))[np.where(idx_E == IGNORE_INDEX, 0, idx_E)]
        if loss.scorer_votes:
            target_EK = _count_votes(recording, target_EK, label_set)
        follows_E = np.abs(np.diff(recording.onset_s) - recording.epoch_s) < recording.epoch_s / 2
        target_EK = smooth_boundaries(target_EK, idx_E != IGNORE_INDEX, follows_E, loss.boundary_smoothing)
        targets.append(target_EK.astype(np.float32))
    return targets


def smooth_boundaries(
    target_EK: np.ndarray, is_scored_E: np.ndarray, follows_E: np.ndarray, share: float
) -> np.ndarray:
    """Targets of which each neighbour in time has half of `share`; an absent or unscored neighbour leaves its half.

    Scorers agree least where one sleep stage ends and another begins; within a bout nothing changes.

    Args:
        target_EK: rows that sum to 1.
        is_scored_E: epochs whose row means something.
        follows_E: (E - 1,) whether the next epoch follows without a gap.
        share: `loss.boundary_smoothing`.
    """
    smooth_EK = target_EK.copy()
    is_pair_E = follows_E & is_scored_E[:-1] & is_scored_E[1:]
    step_EK = share / 2 * np.where(is_pair_E[:, None], target_EK[1:] - target_EK[:-1], 0.0)
    smooth_EK[:-1] += step_EK
    smooth_EK[1:] -= step_EK
    return smooth_EK


def _vote_columns(recording: Recording) -> dict[SleepStage, np.ndarray]:
    names = {name: name.removeprefix(VOTES_PREFIX) for name in recording.columns if name.startswith(VOTES_PREFIX)}
    codes = [stage.value for stage in SleepStage]
    for name, code in names.items():
        if code not in codes:
            stages = ", ".join(codes)
            raise ValueError(
                f"{recording.recording}: column {name!r} counts votes for no known stage; one of: {stages}"
            )
    return {SleepStage(code): np.asarray(recording.columns[name], dtype=float) for name, code in names.items()}


def _count_votes(recording: Recording, target_EK: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Shares of the votes for the label set's sleep stages; an epoch without any keeps its class."""
    columns = _vote_columns(recording)
    none_E = np.zeros(len(target_EK))
    votes_EK = np.stack([columns.get(sleep_stage, none_E) for sleep_stage in label_set.sleep_stages], axis=1)
    if not (np.isfinite(votes_EK).all() and (votes_EK >= 0).all()):
        raise ValueError(f"{recording.recording}: votes must be 0 or more, and none may be missing")
    total_E1 = votes_EK.sum(axis=1, keepdims=True)
    return np.where(total_E1 > 0, votes_EK / np.where(total_E1 > 0, total_E1, 1.0), target_EK)
