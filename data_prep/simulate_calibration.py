"""Calibration of a simulated night: its band powers are steered to targets drawn from a fitted table.

The table (sim_human_calibration.json) was fitted on the band powers of 18 Sleep-EDF cassette
recordings of 9 subjects, channel Fpz-Cz, half an hour of wake kept around sleep: `mu` mean per
stage, `C` covariance between subjects over all stages and features, `S` covariance within a stage,
`rho` its autocorrelation from epoch to epoch. Features: ln of the mean power spectral density
(microvolt^2 / Hz) in five bands, and ln of the power (microvolt^2) below them.

Shape letters: E epochs, F frames, B frequency bins.
"""

import functools
import json
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from data_prep.simulate_spectrum import (
    FRAMES_PER_EPOCH,
    FREQS_HZ,
    build_hat_basis,
    combine,
    join_frames,
    read_psd,
    split_frames,
)

BANDS_HZ = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 50)}
NUM_FEATURES = len(BANDS_HZ) + 1
_TABLE_PATH = Path(__file__).with_name("sim_human_calibration.json")
_KNOTS_HZ = np.array([0.2, 0.7, 2.2, 5.7, 10.2, 19, 40])
_FEATURE_OF_KNOT = [5, 0, 0, 1, 2, 3, 4]
_MAX_STEP = 3.0  # ln power; a gain beyond that would turn noise into signal
_PASSES = 3
_STEP = 0.5  # share of the error that one pass takes away


@functools.cache
def load_table() -> dict[str, np.ndarray]:
    """The fitted table: mu (5, 6), C (30, 30), S (5, 6, 6), rho (5, 6), stages W N1 N2 N3 R."""
    table = json.loads(_TABLE_PATH.read_text(encoding="utf-8"))
    return {name: np.asarray(table[name]) for name in ("mu", "C", "S", "rho")}


def draw_targets(rng: np.random.Generator, stage_E: np.ndarray) -> np.ndarray:
    """Feature targets of a new subject's night, (E, 6): stage mean + subject + correlated residual."""
    table = load_table()
    num_stages = table["mu"].shape[0]
    between = _draw_normal(rng, table["C"], 1).reshape(num_stages, NUM_FEATURES)
    targets = np.empty((stage_E.size, NUM_FEATURES))
    for stage in range(num_stages):
        shocks = _draw_normal(rng, table["S"][stage], stage_E.size)
        rho = table["rho"][stage]
        for feature in range(NUM_FEATURES):
            steps = shocks[:, feature] * np.sqrt(1 - rho[feature] ** 2)
            steps[0] = shocks[0, feature]
            shocks[:, feature] = lfilter([1.0], [1.0, -rho[feature]], steps)
        here = stage_E == stage
        targets[here] = (table["mu"][stage] + between[stage] + shocks)[here]
    return targets


def measure_features(signal_N: np.ndarray, psd_FB: np.ndarray | None = None) -> np.ndarray:
    """The table's features of every epoch, (E, 6)."""
    psd_FB = read_psd(split_frames(signal_N)) if psd_FB is None else psd_FB
    num_epochs = (psd_FB.shape[0] - 1) // FRAMES_PER_EPOCH
    # The first frame of an epoch lies across its edge; the other 14 lie inside.
    inside = psd_FB[:-1].reshape(num_epochs, FRAMES_PER_EPOCH, -1)[:, 1:].mean(axis=1, dtype=np.float64)
    powers = np.stack([inside[:, _band(*band)].mean(axis=1) for band in BANDS_HZ.values()], axis=1)
    widths_hz = np.array([high - low for low, high in BANDS_HZ.values()])
    variance = signal_N.reshape(num_epochs, -1).var(axis=1, dtype=np.float64)
    below = np.maximum(variance - np.einsum("ef,f->e", powers, widths_hz), 0.02 * variance)
    return np.log(np.maximum(np.column_stack([powers, below]), 1e-6))


def impose_targets(signal_N: np.ndarray, targets_E6: np.ndarray) -> np.ndarray:
    """The signal with its features moved seven eighths of the way to the targets, (N,) float32."""
    basis = build_hat_basis(_KNOTS_HZ)
    for _ in range(_PASSES):
        spectra_FB = split_frames(signal_N)
        error = np.clip(targets_E6 - measure_features(signal_N, read_psd(spectra_FB)), -_MAX_STEP, _MAX_STEP)
        gains_F7 = 0.5 * _STEP * _to_frames(error)[:, _FEATURE_OF_KNOT]  # ln amplitude is half of ln power
        signal_N = join_frames(spectra_FB * np.exp(combine(gains_F7, basis)))
    return signal_N


def _to_frames(values_E6: np.ndarray) -> np.ndarray:
    """Epoch values at every frame, smoothed over 10 s so that no step betrays the epoch grid."""
    values = np.repeat(values_E6, FRAMES_PER_EPOCH, axis=0)
    padded = np.concatenate([values[:1], values[:1], values, values[-1:], values[-1:], values[-1:]])
    sums = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), axis=0)
    return (sums[5:] - sums[:-5]) / 5


def _band(low_hz: float, high_hz: float) -> slice:
    return slice(*np.searchsorted(FREQS_HZ, (low_hz, high_hz)))


def _draw_normal(rng: np.random.Generator, covariance: np.ndarray, num: int) -> np.ndarray:
    """Normal vectors from scores limited to 2.5 standard deviations, (num, size)."""
    ridge = 1e-4 * np.eye(covariance.shape[0])  # the table is rounded and of less than full rank
    factor = np.linalg.cholesky(covariance + ridge)
    scores = np.clip(rng.standard_normal((num, covariance.shape[0])), -2.5, 2.5)
    return np.einsum("nk,jk->nj", scores, factor)
