"""Gradient boosting on the band powers of an epoch and its neighbours.

The features are those of signals/features.py; neighbours and scaling by the night are as in YASA
(Vallat & Walker 2021, eLife 10, e70092, "Smoothing and normalization"). Shape letters: E epochs, F features.
"""

from collections.abc import Sequence

import numpy as np
import scipy
from sklearn.ensemble import HistGradientBoostingClassifier

from tslm.baselines.inputs import BaselineInputs, Scorer, answer_nights
from tslm.data.prepared.recordings import Recording
from tslm.evidence.muscle import find_emg_channel, measure_emg
from tslm.hypnogram import split_at_gaps
from tslm.progress_bar import progress_bar
from tslm.signals.features import measure_features

CENTRED_EPOCHS, PAST_EPOCHS = 15, 4  # 7.5 and 2 min of 30-s epochs, as YASA has them
_QUANTILES = (5, 50, 95)  # the night's median and spread, by which means over neighbours are scaled


def fit_band_power(inputs: BaselineInputs) -> Scorer:
    """Train on the training nights: scikit-learn's histogram gradient boosting with its defaults, no early stopping.

    Raises:
        ValueError: no scored epoch to train on, or signals that have no band power (below 64 Hz).
    """
    tables, classes = [], []
    for recording in progress_bar(inputs.train.read(), desc="band power", unit="night"):
        idx_E = np.array(
            [inputs.label_set.index(sleep_stage) for sleep_stage in recording.sleep_stages], dtype=np.int64
        )
        tables.append(measure_night(recording, inputs.train.channels)[idx_E >= 0])
        classes.append(idx_E[idx_E >= 0])
    if not sum(map(len, classes)):
        raise ValueError(f"{inputs.train.cohort_dir} has no scored epoch in split {inputs.train.split!r}")
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=inputs.seed)
    table_EF = np.concatenate(tables)
    known_F = np.isfinite(table_EF).any(axis=0)  # a low rate has no gamma band; trees want a value to split at
    model.fit(table_EF[:, known_F], np.concatenate(classes))

    def score_night(recording: Recording) -> np.ndarray:
        probabilities_EK = np.zeros((recording.num_epochs, len(inputs.label_set.sleep_stages)))
        table_EF = measure_night(recording, inputs.test.channels)
        probabilities_EK[:, model.classes_] = model.predict_proba(table_EF[:, known_F])
        return probabilities_EK

    return answer_nights(inputs, "band_power", score_night, with_signals=True)


def measure_night(recording: Recording, channels: Sequence[str]) -> np.ndarray:
    """Features of every epoch of a night, (E, F) float32; NaN where a feature is not defined.

    Each channel's features as they are; their mean over 15 epochs around it with triangular weights and over the last
    4, each less the night's median and over its spread from the 5th to the 95th percentile; and the hours since
    the recording began. Means do not reach across gaps. An EMG has one feature, its RMS.
    """
    own_EF = np.concatenate([_measure_channel(recording, name) for name in channels], axis=1)
    triangle = scipy.signal.windows.triang(CENTRED_EPOCHS)
    past = np.r_[np.zeros(PAST_EPOCHS - 1), np.ones(PAST_EPOCHS)]  # of 7 epochs from the next third to the last third
    smoothed = []
    for weights in (triangle, past):
        runs = [_average(own_EF[run], weights) for run in split_at_gaps(recording.onset_s, recording.epoch_s)]
        smoothed.append(_scale(np.concatenate(runs)))
    hours_E1 = (recording.onset_s - recording.onset_s[0])[:, None] / 3600
    return np.concatenate([own_EF, *smoothed, hours_E1], axis=1).astype(np.float32)


def _measure_channel(recording: Recording, name: str) -> np.ndarray:
    epochs_EL = recording.channels[name]
    if find_emg_channel([name]):
        return measure_emg(epochs_EL, recording.fs_hz)["emg_rms_uv"][:, None]
    values = measure_features(epochs_EL, recording.fs_hz, recording.species)
    return np.stack([values[column] for column in values if column != "emg_rms_uv"], axis=1)


def _average(values_EF: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean around each epoch, over those that are there; the last of the weights is the past's."""
    known_EF = np.isfinite(values_EF)
    half = len(weights) // 2

    def spread(array_EF: np.ndarray) -> np.ndarray:
        whole = scipy.signal.convolve(array_EF, weights[:, None], mode="full", method="direct")
        return whole[half : half + len(array_EF)]

    with np.errstate(invalid="ignore", divide="ignore"):
        return spread(np.where(known_EF, values_EF, 0.0).astype(np.float64)) / spread(known_EF.astype(np.float64))


def _scale(values_EF: np.ndarray) -> np.ndarray:
    known_F = np.isfinite(values_EF).any(axis=0)
    scaled_EF = np.full_like(values_EF, np.nan)
    low_F, median_F, high_F = np.nanpercentile(values_EF[:, known_F], _QUANTILES, axis=0)
    spread_F = np.where(high_F > low_F, high_F - low_F, 1.0)
    scaled_EF[:, known_F] = (values_EF[:, known_F] - median_F) / spread_F
    return scaled_EF
