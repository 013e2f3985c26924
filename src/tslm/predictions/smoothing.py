"""Hypnograms smoothed over time: a hidden Markov model or a median filter on the probabilities of a scorer.

The smoothed answers of a system `x` are a further system, `x+hmm`, `x+median` or `x+posterior`.

The hidden Markov model is the hybrid of Bourlard & Morgan (Connectionist Speech Recognition, 1994): the scorer gives
P(stage | signal), and the model needs P(signal | stage), proportional to P(stage | signal) / P(stage), with the stage's
frequency for the scorer as P(stage). Sums are over logarithms, so nights may be of any length. Epochs are taken as
independent; with a scorer that reads neighbouring epochs, posteriors are too confident.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from tslm.hypnogram import split_at_gaps
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.nights import STAGE_OF_ANSWER, find_epoch_s
from tslm.predictions.rows import SAMPLE_KEYS, PredictionRow, pick_likeliest
from tslm.predictions.transitions import Transitions, load_transitions

_FLOOR = 1e-12  # rounded probabilities of 0 must not exclude a sleep stage
_TOLERANCE = 1e-2  # of the sum of rounded probabilities
_DIGITS = 6
_TIME = ("recording", "epoch_idx", "onset_s")


@dataclass(frozen=True)
class Smoothing:
    """How to smooth: a method of `METHODS`, and for the median filter its length."""

    method: str = "hmm"
    window_epochs: int = 5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown smoothing {self.method!r}; one of: {', '.join(METHODS)}")
        if self.window_epochs < 1 or self.window_epochs % 2 == 0:
            raise ValueError(
                f"window_epochs={self.window_epochs}: give the median filter an odd number, such as 3 or 5"
            )

    @property
    def needs_transitions(self) -> bool:
        """Whether the method uses transition probabilities."""
        return self.method in ("hmm", "posterior")

    def load_transitions(self, checkpoint_dir: Path) -> Transitions | None:
        """Transitions of a checkpoint; None where the method needs none. Errors as `load_transitions`."""
        return load_transitions(checkpoint_dir) if self.needs_transitions else None

    @property
    def gives_probabilities(self) -> bool:
        """Whether the method gives probabilities, not one sequence of sleep stages."""
        return self.method != "hmm"

    def describe(self) -> dict[str, str | int]:
        """The method and its settings, for output files."""
        return {"method": self.method} | ({"window_epochs": self.window_epochs} if self.method == "median" else {})


def smooth_stages(
    probabilities_EK: np.ndarray,
    onset_s: np.ndarray,
    epoch_s: float,
    smoothing: Smoothing,
    transitions: Transitions | None = None,
) -> np.ndarray:
    """The stage of every epoch of one recording after smoothing, (num_epochs,) int64; see `smooth_probabilities`."""
    return pick_likeliest(smooth_probabilities(probabilities_EK, onset_s, epoch_s, smoothing, transitions))


def smooth_probabilities(
    probabilities_EK: np.ndarray,
    onset_s: np.ndarray,
    epoch_s: float,
    smoothing: Smoothing,
    transitions: Transitions | None = None,
) -> np.ndarray:
    """The probabilities of one recording after smoothing; stretches between gaps are smoothed apart.

    Args:
        probabilities_EK: of the scorer, (num_epochs, num_stages).
        onset_s: (num_epochs,) seconds, in time order.
        epoch_s: length of an epoch.
        smoothing: the method.
        transitions: of the same sleep stages and epoch length; for hidden Markov models.

    Returns:
        (num_epochs, num_stages) with rows that sum to 1; 0 and 1 where the method gives a sequence of sleep stages.

    Raises:
        ValueError: no probabilities, epochs out of order, or transitions that are missing or of another kind.
    """
    check_probabilities(probabilities_EK)
    if len(onset_s) != len(probabilities_EK) or (np.diff(onset_s) <= 0).any():
        raise ValueError(f"{len(onset_s)} onsets of {len(probabilities_EK)} epochs: give one per epoch, in time order")
    if smoothing.needs_transitions:
        if transitions is None:
            raise ValueError(f"smoothing by {smoothing.method} needs transitions; name a file, checkpoint or cohort")
        if abs(transitions.epoch_s - epoch_s) > 1e-6:
            raise ValueError(f"transitions of epochs of {transitions.epoch_s:g} s do not fit epochs of {epoch_s:g} s")
    smoothed = [
        METHODS[smoothing.method](probabilities_EK[run], smoothing, transitions)
        for run in split_at_gaps(onset_s, epoch_s)
    ]
    return np.concatenate([probabilities_EK[:0], *smoothed])


def smooth_predictions(
    rows: Sequence[PredictionRow], smoothing: Smoothing, transitions: Transitions | None = None
) -> list[PredictionRow]:
    """Rows of further systems: each system's answers after smoothing by its own probabilities.

    Rows without probabilities are left out, and so are smoothed systems. The stretches of a recording between gaps
    and left-out epochs are smoothed apart.

    Raises:
        ValueError: no epochs of nights, no probabilities, no neighbours, or other sleep stages than the transitions.
    """
    rows = [row for row in rows if "smoothing" not in row]
    if missing := [name for name in _TIME if any(row.get(name) is None for row in rows)]:
        raise ValueError(f"rows without {missing[0]!r} cannot be smoothed over time; score nights, not questions")
    known = [row for row in rows if row.get("probabilities") is not None]
    if not known:
        raise ValueError("no row has probabilities; generate the predictions with constrained answers")
    sleep_stages = transitions.sleep_stages if transitions else _read_sleep_stages(rows[0])
    _check_neighbours(rows)
    epoch_s = find_epoch_s(rows)
    smoothed = []
    for system in dict.fromkeys(row["system"] for row in known):
        own = [row for row in known if row["system"] == system]
        of_rows = _smooth_rows(own, sleep_stages, epoch_s, smoothing, transitions)
        for row, probabilities in zip(own, of_rows, strict=True):
            facts: Any = {name: value for name, value in row.items() if name in SAMPLE_KEYS}
            facts |= {"system": f"{system}+{smoothing.method}", "smoothing": smoothing.describe()}
            facts["answer"] = max(probabilities, key=probabilities.__getitem__)
            if smoothing.gives_probabilities:
                facts["probabilities"] = [round(probabilities[name], _DIGITS) for name in row["options"]]
            smoothed.append(facts)
    return smoothed


def _smooth_rows(
    rows: Sequence[PredictionRow],
    sleep_stages: Sequence[SleepStage],
    epoch_s: float,
    smoothing: Smoothing,
    transitions: Transitions | None,
) -> list[dict[str, float]]:
    """The smoothed probability of each answer of every row of one system."""
    smoothed: list[dict[str, float]] = [{} for _ in rows]
    names = [ANSWER_NAMES[sleep_stage] for sleep_stage in sleep_stages]
    by_recording: dict[str, list[int]] = {}
    for idx, row in enumerate(rows):
        by_recording.setdefault(row["recording"], []).append(idx)
    for recording, indices in by_recording.items():
        indices.sort(key=lambda idx: rows[idx]["onset_s"])
        probabilities_EK = np.array([_read_in_order(rows[idx], sleep_stages) for idx in indices])
        onset_s = np.array([rows[idx]["onset_s"] for idx in indices])
        try:
            smoothed_EK = smooth_probabilities(probabilities_EK, onset_s, epoch_s, smoothing, transitions)
        except ValueError as error:
            raise ValueError(f"{recording}: {error}") from error
        for idx, values in zip(indices, smoothed_EK.tolist(), strict=True):
            smoothed[idx] = dict(zip(names, values, strict=True))
    return smoothed


def _read_in_order(row: PredictionRow, sleep_stages: Sequence[SleepStage]) -> list[float]:
    """A row's probabilities in the order of the sleep stages."""
    of_stage = dict(zip(_read_sleep_stages(row), row["probabilities"] or [], strict=True))
    if set(of_stage) != set(sleep_stages):
        known = ", ".join(ANSWER_NAMES[sleep_stage] for sleep_stage in sleep_stages)
        raise ValueError(f"{row['sample_id']} has the options {', '.join(row['options'])}; transitions know {known}")
    return [of_stage[sleep_stage] for sleep_stage in sleep_stages]


def _read_sleep_stages(row: PredictionRow) -> tuple[SleepStage, ...]:
    if not row["options"] or any(option not in STAGE_OF_ANSWER for option in row["options"]):
        raise ValueError(f"{row['sample_id']} has options that are no sleep stages; only nights can be smoothed")
    return tuple(STAGE_OF_ANSWER[option] for option in row["options"])


def _check_neighbours(rows: Sequence[PredictionRow]) -> None:
    """Raise ValueError where no two rows are neighbouring epochs."""
    epochs = {(row["recording"], row["epoch_idx"]) for row in rows}
    if not any((recording, epoch_idx + 1) in epochs for recording, epoch_idx in epochs):
        raise ValueError("no two rows are neighbouring epochs, nothing can be smoothed; score all epochs of a night")


def decode_viterbi(probabilities_EK: np.ndarray, transitions: Transitions) -> np.ndarray:
    """The most probable sequence of stages given all epochs of a stretch (Viterbi 1967), (num_epochs,) int64."""
    if not len(probabilities_EK):
        return np.zeros(0, dtype=np.int64)
    score_EK = _scan(_log_steps(probabilities_EK, transitions), np.maximum)[:, 0]
    # Best predecessor of each sleep stage of the next epoch, for all epochs at once.
    origins = (score_EK[:-1, :, None] + _log(transitions.transition_KK)).argmax(axis=1).tolist()
    path = [int(score_EK[-1].argmax())]
    for origin_K in reversed(origins):
        path.append(origin_K[path[-1]])
    return np.array(path[::-1], dtype=np.int64)


def compute_posteriors(probabilities_EK: np.ndarray, transitions: Transitions) -> np.ndarray:
    """Probability of each stage given all epochs of a stretch, by the forward-backward algorithm; (num_epochs, K).

    Rabiner 1989, "A tutorial on hidden Markov models", equations 19 to 27.
    """
    if not len(probabilities_EK):
        return np.zeros(probabilities_EK.shape)
    step_EKK = _log_steps(probabilities_EK, transitions)
    joint_EK = _scan(step_EKK, np.logaddexp)[:, 0]
    ahead_EKK = _scan(step_EKK[:0:-1].transpose(0, 2, 1), np.logaddexp)[::-1]  # of each epoch but the last
    joint_EK[:-1] += np.logaddexp.reduce(ahead_EKK, axis=1)
    return np.exp(joint_EK - np.logaddexp.reduce(joint_EK, axis=1, keepdims=True))


def filter_median(probabilities_EK: np.ndarray, window_epochs: int) -> np.ndarray:
    """Each stage's median probability over a window of epochs, reflected at the ends; rows sum to 1.

    With probabilities of 0 and 1 this is the majority in the window; epochs without a majority stay as they are.
    """
    if not len(probabilities_EK):
        return probabilities_EK
    median_EK = scipy.ndimage.median_filter(probabilities_EK, size=(window_epochs, 1), mode="reflect")
    median_EK = np.where(median_EK.any(axis=1, keepdims=True), median_EK, probabilities_EK)
    return median_EK / median_EK.sum(axis=1, keepdims=True)


def check_probabilities(probabilities_EK: np.ndarray, sleep_stages: tuple[SleepStage, ...] = ()) -> None:
    """Raise ValueError for a wrong shape, or for the first epoch whose values are no probabilities."""
    if probabilities_EK.ndim != 2 or (sleep_stages and probabilities_EK.shape[1] != len(sleep_stages)):
        raise ValueError(
            f"probabilities of shape {probabilities_EK.shape}; give one row per epoch and one column per sleep stage"
            + (f", of {len(sleep_stages)}" if sleep_stages else "")
        )
    bad_E = ~np.isfinite(probabilities_EK).all(axis=1) | (probabilities_EK < 0).any(axis=1)
    bad_E |= ~(np.abs(probabilities_EK.sum(axis=1) - 1) <= _TOLERANCE)
    if bad_E.any():
        epoch = int(bad_E.argmax())
        raise ValueError(
            f"epoch {epoch} has {probabilities_EK[epoch].tolist()}, no probabilities: each must be 0 or more and "
            "their sum 1; score the recording again"
        )


def _log_steps(probabilities_EK: np.ndarray, transitions: Transitions) -> np.ndarray:
    """(E, K, K) log score of each step into an epoch: from the row's stage to the column's, and the epoch's signal.

    The signal's score is P(stage | signal) / P(stage), up to a constant. All rows of the first epoch are equal.
    """
    check_probabilities(probabilities_EK, transitions.sleep_stages)
    emission_EK = np.log(np.maximum(probabilities_EK, _FLOOR, dtype=np.float64)) - np.log(transitions.prior_K)
    step_EKK = emission_EK[:, None, :] + _log(transitions.transition_KK)
    step_EKK[0] = emission_EK[0] + np.log(transitions.share_K)
    return step_EKK


def _scan(step_EKK: np.ndarray, join: np.ufunc) -> np.ndarray:
    """(E, K, K) log score of all paths from before the first epoch to each epoch; `join` combines paths that meet.

    A parallel scan of matrix products (Blelloch 1990, "Prefix sums and their applications"), three times as fast as a
    loop over epochs.
    """
    if len(step_EKK) < 2:
        return step_EKK
    odd = _scan(_chain(step_EKK[:-1:2], step_EKK[1::2], join), join)
    score_EKK = np.empty_like(step_EKK)
    score_EKK[0], score_EKK[1::2] = step_EKK[0], odd
    even = step_EKK[2::2]
    score_EKK[2::2] = _chain(odd[: len(even)], even, join)
    return score_EKK


def _chain(before_EKK: np.ndarray, after_EKK: np.ndarray, join: np.ufunc) -> np.ndarray:
    """Matrix products of logarithms; `join` combines the paths over each sleep stage in between."""
    num_stages = before_EKK.shape[-1]
    chained = before_EKK[:, :, 0, None] + after_EKK[:, 0, None, :]
    for idx in range(1, num_stages):
        join(chained, before_EKK[:, :, idx, None] + after_EKK[:, idx, None, :], out=chained)
    return chained


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a forbidden step
        return np.log(values)


METHODS: dict[str, Callable[[np.ndarray, Smoothing, Any], np.ndarray]] = {
    "none": lambda probabilities_EK, _, __: probabilities_EK,
    "median": lambda probabilities_EK, smoothing, _: filter_median(probabilities_EK, smoothing.window_epochs),
    "hmm": lambda probabilities_EK, _, transitions: np.eye(probabilities_EK.shape[1])[
        decode_viterbi(probabilities_EK, transitions)
    ],
    "posterior": lambda probabilities_EK, _, transitions: compute_posteriors(probabilities_EK, transitions),
}
