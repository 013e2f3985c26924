"""Calibration of a simulated night: its band powers are moved to targets drawn from a fitted table.

The table (calibration.json, written by `data_prep.realism.fit_calibration`) was fitted on the band powers of 18
Sleep-EDF cassette recordings of 9 subjects, channel Fpz-Cz, with half an hour of wake around sleep. It holds `mu` mean
per sleep stage, `C` covariance between subjects over all sleep stages and features, `S` covariance within a sleep
stage, `rho` its autocorrelation from epoch to epoch. Features: ln of the mean power spectral density
(microvolt^2 / Hz) in five bands, and ln of the power (microvolt^2) below them.

Shape letters: E epochs, F frames, B frequency bins.
"""

import functools
import json
from pathlib import Path

import numpy as np
import scipy

from data_prep.simulators.synthesis import (
    FRAMES_PER_EPOCH,
    FREQS_HZ,
    build_hat_basis,
    combine,
    join_frames,
    read_psd,
    smooth_rows,
    split_frames,
)

BANDS_HZ = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 50)}
NUM_FEATURES = len(BANDS_HZ) + 1
# Between the bins .39 and .78 Hz of the table's periodograms (2.56 s) lies the lower border of delta.
_DELTA_FROM_HZ = 0.6
_FOLDER = Path(__file__).parent
KNOTS_HZ = np.array([0.2, 0.7, 2.2, 5.7, 10.2, 19, 40])
FEATURE_OF_KNOT = [5, 0, 0, 1, 2, 3, 4]
_MAX_STEP = 3.0  # ln power; a larger gain would turn noise into signal
_NEIGHBOURS = ((1, 0.2), (5, 0.25), (20, 0.4))  # (epochs on either side, weight)
_SUBJECT_LIMIT = 1.6  # standard deviations; nine subjects do not describe the tails
_RESIDUAL_SCALE = 0.92  # the influence of neighbours is part of the variance within sleep stages
_OWN_SHARE = 0.5  # share of the residual's variance that follows the signal
_PASSES = 3
_STEP = 0.5  # share of the error that one pass removes


Table = dict[str, np.ndarray]  # mu (5, 6), C (30, 30), S (5, 6, 6), rho (5, 6), sleep stages W N1 N2 N3 R


@functools.cache
def load_table(name: str = "calibration") -> Table:
    """The table fitted to Fpz-Cz, or with "posterior" to Pz-Oz."""
    table = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {name: np.asarray(table[name]) for name in ("mu", "C", "S", "rho")}


def draw_targets(
    rng: np.random.Generator,
    sleep_stage_E: np.ndarray,
    own_E6: np.ndarray | None = None,
    table: Table | None = None,
) -> np.ndarray:
    """Feature targets of a new subject's night, (E, 6): sleep stage mean + subject + residual.

    Args:
        rng: Source of all randomness.
        sleep_stage_E: (E,) sleep stage codes.
        own_E6: Features of the signal to be calibrated. If given, half of the residual's variance follows them, so
            that an epoch full of blinks keeps more delta than its neighbours.
        table: Of the derivation; None is that of Fpz-Cz.
    """
    table = load_table() if table is None else table
    num_sleep_stages = table["mu"].shape[0]
    between = _draw_normal(rng, table["C"], 1, _SUBJECT_LIMIT).reshape(num_sleep_stages, NUM_FEATURES)
    means = (table["mu"] + between)[sleep_stage_E]
    targets = means + _lean_on_neighbours(means, sleep_stage_E)
    for sleep_stage in range(num_sleep_stages):
        mask_E = sleep_stage_E == sleep_stage
        residual = _draw_residual(rng, table["S"][sleep_stage], table["rho"][sleep_stage], mask_E.size)[mask_E]
        if own_E6 is not None and residual.shape[0] > 1:
            own = own_E6[mask_E]
            scores = (own - own.mean(axis=0)) / np.maximum(own.std(axis=0), 0.1)
            own_residual = np.clip(scores, -2.5, 2.5) * np.sqrt(np.diag(table["S"][sleep_stage]))
            residual = np.sqrt(1 - _OWN_SHARE) * residual + np.sqrt(_OWN_SHARE) * own_residual
        targets[mask_E] += _RESIDUAL_SCALE * residual
    return targets


def measure_features(signal_N: np.ndarray, psd_FB: np.ndarray | None = None) -> np.ndarray:
    """The table's features of every epoch, (E, 6)."""
    psd_FB = read_psd(split_frames(signal_N)) if psd_FB is None else psd_FB
    num_epochs = (psd_FB.shape[0] - 1) // FRAMES_PER_EPOCH
    # The first frame of an epoch lies across its edge; the other 14 lie inside.
    inside = psd_FB[:-1].reshape(num_epochs, FRAMES_PER_EPOCH, -1)[:, 1:].mean(axis=1, dtype=np.float64)
    bands = [_band(max(low, _DELTA_FROM_HZ), high) for low, high in BANDS_HZ.values()]
    powers = np.stack([inside[:, band].mean(axis=1) for band in bands], axis=1)
    widths_hz = np.array([high - low for low, high in BANDS_HZ.values()])
    variance = signal_N.reshape(num_epochs, -1).var(axis=1, dtype=np.float64)
    below = np.maximum(variance - np.einsum("ef,f->e", powers, widths_hz), 0.02 * variance)
    return np.log(np.maximum(np.column_stack([powers, below]), 1e-6))


def impose_targets(signal_N: np.ndarray, targets_E6: np.ndarray) -> np.ndarray:
    """The signal with its features moved seven eighths of the way to the targets, (N,) float32."""
    basis = build_hat_basis(KNOTS_HZ)
    for _ in range(_PASSES):
        spectra_FB = split_frames(signal_N)
        error = np.clip(targets_E6 - measure_features(signal_N, read_psd(spectra_FB)), -_MAX_STEP, _MAX_STEP)
        gains_F7 = 0.5 * _STEP * _to_frames(error)[:, FEATURE_OF_KNOT]  # ln amplitude is half of ln power
        signal_N = join_frames(spectra_FB * np.exp(combine(gains_F7, basis)))
    return signal_N


def _to_frames(values_E6: np.ndarray) -> np.ndarray:
    """Epoch values at every frame, smoothed over 10 s so that there are no steps between epochs."""
    values = np.repeat(values_E6, FRAMES_PER_EPOCH, axis=0)
    return smooth_rows(np.concatenate([values, values[-1:]]), 2)


def _lean_on_neighbours(means_E6: np.ndarray, sleep_stage_E: np.ndarray) -> np.ndarray:
    """Influence of the neighbouring epochs on an epoch's features; its mean per sleep stage is zero.

    N2 beside N3 is slower than N2 before REM. Reaches and weights come from a regression of the residuals of the
    table's recordings on the sleep stage means around.
    """
    pull = sum(weight * (smooth_rows(means_E6, reach) - means_E6) for reach, weight in _NEIGHBOURS)
    for sleep_stage in np.unique(sleep_stage_E):
        pull[sleep_stage_E == sleep_stage] -= pull[sleep_stage_E == sleep_stage].mean(axis=0)
    return pull


def _band(low_hz: float, high_hz: float) -> slice:
    return slice(*np.searchsorted(FREQS_HZ, (low_hz, high_hz)))


def _draw_residual(rng: np.random.Generator, covariance: np.ndarray, rho: np.ndarray, num: int) -> np.ndarray:
    """First-order autoregressive residual of one sleep stage over the whole night, (num, 6)."""
    shocks = _draw_normal(rng, covariance, num)
    shocks[1:] *= np.sqrt(1 - rho**2)
    return np.stack(
        [scipy.signal.lfilter([1.0], [1.0, -r], column) for r, column in zip(rho, shocks.T, strict=True)], axis=1
    )


def _draw_normal(rng: np.random.Generator, covariance: np.ndarray, num: int, limit: float = 2.5) -> np.ndarray:
    """Normal vectors from scores clipped at `limit` standard deviations, (num, size)."""
    ridge = 1e-4 * np.eye(covariance.shape[0])  # the table is rounded and of less than full rank
    factor = np.linalg.cholesky(covariance + ridge)
    scores = np.clip(rng.standard_normal((num, covariance.shape[0])), -limit, limit)
    return np.einsum("nk,jk->nj", scores, factor)
