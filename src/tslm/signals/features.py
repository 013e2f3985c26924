"""Features of scoring epochs that sleep studies of people and rodents report: band powers, ratios, EMG, entropy.

Unlike evidence (tslm.evidence), they do not count waveforms that a scorer would name. Each epoch is
measured by itself. Shape letters: E epochs, L samples of an epoch, F frequencies.
"""

import numpy as np

from tslm.evidence.muscle import measure_emg
from tslm.labels import species_group
from tslm.signals.spectrum import FEATURE_BANDS_HZ, LINES_HZ, WELCH_S, measure_line_noise, measure_psd, sum_band

FEATURE_COLUMNS: tuple[str, ...] = (
    *(f"{band}_log_power" for band in FEATURE_BANDS_HZ["human"]),
    "theta_delta_ratio",
    "spectral_entropy",
    "line_noise_ratio",
    "emg_rms_uv",
)
_ENTROPY_HZ = (0.5, 30.0)
_FLOOR_UV2 = 1e-6  # a dead channel has log power -6, not minus infinity


def measure_features(
    epochs_EL: np.ndarray,
    fs_hz: float,
    species: str = "human",
    emg_EL: np.ndarray | None = None,
    emg_fs_hz: float | None = None,
) -> dict[str, np.ndarray]:
    """One float32 value an epoch for each of FEATURE_COLUMNS.

    - `<band>_log_power`: log10 of the power in uV^2 between the edges in FEATURE_BANDS_HZ, by Welch's
      method (4-s Hann windows, half overlapping, averaged), at least -6. NaN for a band
      whose upper edge lies above the Nyquist frequency (gamma of rodents below 160 Hz).
    - `theta_delta_ratio`: power in theta over power in delta.
    - `spectral_entropy`: Shannon entropy of the spectrum in 0.5-30 Hz over that of a flat one, 0 to 1
      (Inouye et al. 1991).
    - `line_noise_ratio`: density at the mains' frequency over that beside it, of 50 and 60 Hz the larger;
      1 without a line. NaN where both lie within 2 Hz of the Nyquist frequency or above it.
    - `emg_rms_uv`: RMS of the EMG in 10-100 Hz, as signals/muscle.py measures it. NaN without an EMG.

    The columns are the same for any input, so tables of different recordings fit together; all
    of an epoch is NaN where its signal holds NaN.

    Args:
        epochs_EL: (num_epochs, samples) EEG in microvolt, epochs of 4 s or more, at 64 Hz or more.
        fs_hz: sampling rate of the EEG.
        species: of tslm.labels.SPECIES_GROUPS; chooses the bands.
        emg_EL: (num_epochs, samples) EMG in microvolt, of the same epochs.
        emg_fs_hz: sampling rate of the EMG; None for the EEG's.

    Raises:
        ValueError: unknown species, an array of the wrong shape, or a rate too low.
    """
    group = species_group(species)
    epochs_EL = np.asarray(epochs_EL)
    if epochs_EL.ndim != 2 or epochs_EL.shape[1] < WELCH_S * fs_hz:
        raise ValueError(f"epochs have shape {epochs_EL.shape}; wanted (num_epochs, samples) of 4 s or more each")
    if fs_hz < 64:
        raise ValueError(f"sampling rate is {fs_hz:g} Hz; features up to 30 Hz need 64 Hz or more")
    values = _measure_spectral(epochs_EL, fs_hz, group)
    values["emg_rms_uv"] = np.full(len(epochs_EL), np.nan)
    if emg_EL is not None:
        values["emg_rms_uv"] = _measure_emg_rms(np.asarray(emg_EL), emg_fs_hz or fs_hz)
        if len(emg_EL) != len(epochs_EL):
            raise ValueError(f"{len(emg_EL)} epochs of EMG for {len(epochs_EL)} of EEG; wanted the same epochs")
    return {name: values[name].astype(np.float32) for name in FEATURE_COLUMNS}


def _measure_emg_rms(emg_EL: np.ndarray, fs_hz: float) -> np.ndarray:
    rms_uv = np.full(len(emg_EL), np.nan)
    known_E = np.isfinite(emg_EL).reshape(len(emg_EL), -1).all(axis=1)
    rms_uv[known_E] = measure_emg(emg_EL[known_E], fs_hz)["emg_rms_uv"]
    return rms_uv


def _measure_spectral(epochs_EL: np.ndarray, fs_hz: float, group: str) -> dict[str, np.ndarray]:
    freqs_hz, psd_EF = measure_psd(epochs_EL.astype(np.float32), fs_hz)
    known_E = np.isfinite(psd_EF).all(axis=1)
    power = {
        band: sum_band(psd_EF, freqs_hz, low, high) * freqs_hz[1] if high <= fs_hz / 2 else np.full(len(psd_EF), np.nan)
        for band, (low, high) in FEATURE_BANDS_HZ[group].items()
    }
    prominences_E = [measure_line_noise(psd_EF, freqs_hz, line_hz)[0] for line_hz in LINES_HZ]
    values = {f"{band}_log_power": np.log10(np.maximum(value, _FLOOR_UV2)) for band, value in power.items()}
    values["theta_delta_ratio"] = power["theta"] / np.maximum(power["delta"], _FLOOR_UV2)
    values["spectral_entropy"] = _spectral_entropy(
        psd_EF[:, (freqs_hz >= _ENTROPY_HZ[0]) & (freqs_hz < _ENTROPY_HZ[1])]
    )
    values["line_noise_ratio"] = np.fmax(*prominences_E)
    return {name: np.where(known_E, value, np.nan) for name, value in values.items()}


def _spectral_entropy(psd_EF: np.ndarray) -> np.ndarray:
    share_EF = psd_EF / np.maximum(psd_EF.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    logarithm_EF = np.log(share_EF, out=np.zeros_like(share_EF), where=share_EF > 0)
    return -(share_EF * logarithm_EF).sum(axis=1) / np.log(psd_EF.shape[1])
