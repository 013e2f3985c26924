"""The table of baselines."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tslm.baselines.band_power import fit_band_power
from tslm.baselines.inputs import BaselineInputs, Scorer, UnfitNightsError, answer_nights
from tslm.baselines.text import fit_text_digits, fit_text_evidence
from tslm.baselines.yasa import YASA_EPOCH_S, check_yasa, score_with_yasa
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.evidence.muscle import find_emg_channel
from tslm.labels import LABEL_SETS
from tslm.predictions.transitions import fit_transitions, list_hypnograms

HOUR_S = 3600.0
SHRINK_STEPS = 20.0  # weight of the whole night's transitions, in counted steps of an hour


@dataclass(frozen=True)
class Baseline:
    """A row of the table.

    `fit` trains and returns a scorer, which yields a prediction row for each epoch. It raises ImportError if a package
    is missing, and UnfitNightsError for nights that it does not support; the comparison shows the message.
    """

    about: str
    fit: Callable[[BaselineInputs], Scorer]


def fit_majority(inputs: BaselineInputs) -> Scorer:
    """Predict the frequencies of the sleep stages in the training epochs for every epoch."""
    count_K = sum(
        (_count_stages(recording, inputs) for recording in inputs.train.read(with_signals=False)),
        np.zeros(len(inputs.label_set.sleep_stages)),
    )
    if not count_K.any():
        raise ValueError(f"{inputs.train.cohort_dir} has no scored epoch in split {inputs.train.split!r}")
    share_K = count_K / count_K.sum()
    return answer_nights(
        inputs, "majority", lambda recording: np.tile(share_K, (recording.num_epochs, 1)), with_signals=False
    )


def fit_transition_prior(inputs: BaselineInputs) -> Scorer:
    """Predict sleep stages by time since the start, from the transitions of the training hypnograms.

    A Markov chain with transitions by hour (Kemp & Kamphuisen 1986, Sleep 9, 405-414). With n counted steps from stage
    i to j that begin in hour h, and the whole nights' p (`fit_transitions`), p_h[i, j] = (n_h[i, j] + m p[i, j]) /
    (n_h[i] + m), m = SHRINK_STEPS. The initial distribution is that of the first epochs of the training recordings and
    one more recording with the overall shares.
    """
    nights = list(inputs.train.read(with_signals=False))
    hypnograms = [hypnogram for recording in nights for hypnogram in list_hypnograms(recording)]
    chain = fit_transitions(hypnograms, inputs.label_set, inputs.species)
    count_HKK, first_K = _count_steps(nights, inputs), chain.share_K.copy()
    for recording in nights:
        scored = [idx for each in recording.sleep_stages if (idx := inputs.label_set.index(each)) >= 0]
        if scored:
            first_K[scored[0]] += 1
    seen_HK1 = count_HKK.sum(axis=2, keepdims=True)
    transition_HKK = (count_HKK + SHRINK_STEPS * chain.transition_KK) / (seen_HK1 + SHRINK_STEPS)

    def score_night(recording: Recording) -> np.ndarray:
        time_E = _count_epochs(recording)
        probability_TK = np.empty((time_E[-1] + 1, len(first_K)))
        probability_TK[0] = first_K / first_K.sum()
        for time in range(1, len(probability_TK)):
            hour = int((time - 1) * recording.epoch_s // HOUR_S)
            step_KK = transition_HKK[hour] if hour < len(transition_HKK) else chain.transition_KK
            probability_TK[time] = probability_TK[time - 1] @ step_KK
        return probability_TK[time_E]

    return answer_nights(inputs, "transition_prior", score_night, with_signals=False)


def fit_yasa(inputs: BaselineInputs) -> Scorer:
    """YASA's own classifier, trained on some 3,000 other nights; it also reads EOG and EMG if given.

    Gaps in a recording are closed.
    """
    if inputs.label_set != LABEL_SETS["aasm"]:
        raise UnfitNightsError(f"YASA stages people by the AASM's five stages, not {inputs.label_set.name}")
    check_yasa()
    eeg, *others = inputs.test.channels
    emg = find_emg_channel(others)
    eog = next((name for name in others if "eog" in name.lower()), None)

    return answer_nights(inputs, "yasa", lambda night: score_night_with_yasa(night, eeg, eog, emg), with_signals=True)


def score_night_with_yasa(recording: Recording, eeg: str, eog: str | None = None, emg: str | None = None) -> np.ndarray:
    """YASA's probabilities of every epoch of a prepared night, (num_epochs, 5) in the order W, N1, N2, N3, R.

    Gaps in the recording are closed.

    Raises:
        ImportError: YASA is not installed.
        UnfitNightsError: epochs of another length than 30 s.
    """
    if recording.epoch_s != YASA_EPOCH_S:
        raise UnfitNightsError(f"{recording.recording} has epochs of {recording.epoch_s:g} s; YASA's are of 30 s")
    return score_with_yasa(_close_gaps(recording), eeg, eog, emg)


BASELINES: dict[str, Baseline] = {
    "majority": Baseline("the most frequent stage of the training epochs; no signal", fit_majority),
    "transition_prior": Baseline(
        "transitions of the training hypnograms by hour since the recording began; no signal", fit_transition_prior
    ),
    "band_power": Baseline(
        "gradient boosting on band powers of the epoch and its neighbours, trained on the same nights", fit_band_power
    ),
    "yasa": Baseline("YASA (Vallat & Walker 2021), trained on some 3,000 other nights", fit_yasa),
    "text_digits": Baseline("language model without encoder, untrained: reads the series as digits", fit_text_digits),
    "text_evidence": Baseline(
        "language model without encoder, untrained: reads what was measured, in words", fit_text_evidence
    ),
}


def _count_stages(recording: Recording, inputs: BaselineInputs) -> np.ndarray:
    idx_E = np.array([inputs.label_set.index(sleep_stage) for sleep_stage in recording.sleep_stages], dtype=np.int64)
    return np.bincount(idx_E[idx_E >= 0], minlength=len(inputs.label_set.sleep_stages))


def _count_epochs(recording: Recording) -> np.ndarray:
    """(num_epochs,) int64: position of each epoch after the first, epochs in gaps included."""
    return np.rint((recording.onset_s - recording.onset_s[0]) / recording.epoch_s).astype(np.int64)


def _count_steps(nights: list[Recording], inputs: BaselineInputs) -> np.ndarray:
    """(hours, num_stages, num_stages): steps between neighbouring epochs, by the hour in which they begin."""
    num_stages = len(inputs.label_set.sleep_stages)
    num_hours = 1 + max(int(_count_epochs(night)[-1] * night.epoch_s // HOUR_S) for night in nights)
    count_HKK = np.zeros((num_hours, num_stages, num_stages))
    for night in nights:
        idx_E = np.array([inputs.label_set.index(each) for each in night.sleep_stages], dtype=np.int64)
        time_E = _count_epochs(night)
        is_step_E = (np.diff(time_E) == 1) & (idx_E[:-1] >= 0) & (idx_E[1:] >= 0)
        hour_E = (time_E[:-1] * night.epoch_s // HOUR_S).astype(np.int64)
        np.add.at(count_HKK, (hour_E[is_step_E], idx_E[:-1][is_step_E], idx_E[1:][is_step_E]), 1)
    return count_HKK


def _close_gaps(recording: Recording) -> RawRecording:
    return RawRecording(
        recording=recording.recording,
        subject=recording.subject,
        signals={
            name: RawSignal(epochs_EL.reshape(-1), recording.fs_hz) for name, epochs_EL in recording.channels.items()
        },
        sleep_stages=recording.sleep_stages,
        epoch_s=recording.epoch_s,
        age=recording.age,
        sex=recording.sex,
    )
