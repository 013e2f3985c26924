"""Evidence of a scoring epoch: amplitude, bands and waveforms, one column each.

Every text about an epoch is written from these columns, and the checker of texts reads the same ones. An epoch is
measured by itself: its values do not depend on the rest of the night.

Shape letters: E epochs, L samples of an epoch, F frequencies.
"""

from collections.abc import Mapping

import numpy as np
import scipy.fft
import scipy.signal

from tslm.evidence.eyes import count_eye_movements
from tslm.evidence.waveforms import (
    count_k_complexes,
    count_sawtooth_trains,
    filter_bands,
    find_slow_waves,
    measure_spindles,
    slow_wave_share,
)
from tslm.evidence.words import RECENT_EPOCHS
from tslm.labels import species_group
from tslm.signals.artifacts import SATURATION_OF_GROUP_UV, measure_seconds
from tslm.signals.spectrum import BANDS_HZ, EVIDENCE_BANDS_HZ, measure_psd, sum_band

EVIDENCE_COLUMNS: tuple[str, ...] = (
    "rms_uv",
    "peak_to_peak_uv",
    *(f"{band}_share" for band in BANDS_HZ),
    "high_frequency_ratio",
    "dominant_hz",
    "alpha_fraction",
    "slow_wave_fraction",
    "spindle_count",
    "spindle_density_per_min",
    "spindle_duration_s",
    "k_complex_count",
    "sawtooth_count",
    "eye_movement_count",
    "artefact_fraction",
)
RECENT_COLUMN = "recent_wave_count"  # of `count_recent_waves`, which looks at the epochs before
Bands = Mapping[str, tuple[float, float]]
MIN_EPOCH_S = 4.0
MIN_FS_HZ = 64.0
_EPOCHS_AT_ONCE = 64  # keeps the working arrays in the cache


def measure_evidence(epochs_EL: np.ndarray, fs_hz: float, species: str = "human") -> dict[str, np.ndarray]:
    """One value an epoch for each of EVIDENCE_COLUMNS.

    Shares and fractions are 0 to 1: `<band>_share` of the power in 0.5-30 Hz, `alpha_fraction`,
    `slow_wave_fraction` and `artefact_fraction` of the epoch's time. `high_frequency_ratio` is
    power in 30-45 Hz over power in 0.5-30 Hz (muscle). `dominant_hz` is where power times
    frequency peaks, which takes the 1/f slope out. `spindle_duration_s` is the mean of the epoch's
    spindles, 0 without any; `sawtooth_count` counts trains, not waves, and an
    `eye_movement_count` of 0 means that none is seen, not that the eyes rest. Counts are int16, the rest float32.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite.
        fs_hz: sampling rate, at least 64 Hz.
        species: whose bands (EVIDENCE_BANDS_HZ) and saturation level apply. The waveforms are those of the human
            scalp EEG for every species; of other species only the slow waves say something.

    Raises:
        ValueError: the array is not two-dimensional, an epoch is shorter than 4 s, the rate is too low, or
            the species is unknown.
    """
    group = species_group(species)
    epochs_EL = np.asarray(epochs_EL)
    if epochs_EL.ndim != 2:
        raise ValueError(f"epochs have shape {epochs_EL.shape}; wanted (num_epochs, samples): reshape the signal first")
    if fs_hz < MIN_FS_HZ:
        raise ValueError(f"sampling rate is {fs_hz:g} Hz; evidence up to 30 Hz needs {MIN_FS_HZ:g} Hz or more")
    if epochs_EL.shape[1] < MIN_EPOCH_S * fs_hz:
        raise ValueError(f"epochs last {epochs_EL.shape[1] / fs_hz:g} s; evidence needs {MIN_EPOCH_S:g} s or more")
    if not len(epochs_EL):
        return {name: np.zeros(0, dtype=_dtype(name)) for name in EVIDENCE_COLUMNS}
    parts = [
        _measure_chunk(epochs_EL[start : start + _EPOCHS_AT_ONCE].astype(np.float32), fs_hz, group)
        for start in range(0, len(epochs_EL), _EPOCHS_AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in EVIDENCE_COLUMNS}


def count_recent_waves(evidence: Mapping[str, np.ndarray], onset_s: np.ndarray, epoch_s: float) -> np.ndarray:
    """(E,) int16 spindles and K-complexes of the three epochs before each, where they follow without a gap.

    AASM 2007, rule 5.C: N2 goes on in epochs without either that follow such epochs.

    Args:
        evidence: columns of `measure_evidence` of consecutive epochs.
        onset_s: (E,) start of each epoch, in time order.
        epoch_s: length of an epoch.
    """
    waves_E = evidence["spindle_count"].astype(np.int16) + evidence["k_complex_count"].astype(np.int16)
    recent_E = np.zeros_like(waves_E)
    for back in range(1, min(RECENT_EPOCHS, len(waves_E) - 1) + 1):
        follows_E = np.abs(onset_s[back:] - onset_s[:-back] - back * epoch_s) < epoch_s / 2
        recent_E[back:] += np.where(follows_E, waves_E[:-back], 0)
    return recent_E


def _measure_chunk(epochs_EL: np.ndarray, fs_hz: float, group: str) -> dict[str, np.ndarray]:
    bands_hz = EVIDENCE_BANDS_HZ[group]
    artefact_fraction = _artefact_fraction(epochs_EL, fs_hz, SATURATION_OF_GROUP_UV[group])
    centred_EL = epochs_EL - epochs_EL.mean(axis=1, keepdims=True)
    bands = filter_bands(centred_EL, fs_hz)
    waves = find_slow_waves(bands["slow"], fs_hz)
    num_spindles, spindle_s = measure_spindles(bands, fs_hz)
    values = {
        "rms_uv": np.sqrt(np.mean(centred_EL**2, axis=1)),
        "peak_to_peak_uv": np.ptp(epochs_EL, axis=1),
        **_spectral_shares(centred_EL, fs_hz, bands_hz),
        "alpha_fraction": _alpha_fraction(centred_EL, fs_hz, bands_hz),
        "slow_wave_fraction": slow_wave_share(waves, epochs_EL.shape),
        "spindle_count": num_spindles,
        "spindle_density_per_min": num_spindles * (60 * fs_hz / epochs_EL.shape[1]),
        "spindle_duration_s": spindle_s,
        "k_complex_count": count_k_complexes(waves, bands["slow"], fs_hz),
        "sawtooth_count": count_sawtooth_trains(bands, fs_hz),
        "eye_movement_count": count_eye_movements(bands["eyes"], waves, fs_hz),
        "artefact_fraction": artefact_fraction,
    }
    return {name: value.astype(_dtype(name), copy=False) for name, value in values.items()}


def _spectral_shares(centred_EL: np.ndarray, fs_hz: float, bands_hz: Bands) -> dict[str, np.ndarray]:
    """Band shares by Welch's method: 4-s Hann windows, half overlapping (the usual choice for sleep EEG)."""
    freqs_hz, psd_EF = measure_psd(centred_EL, fs_hz)
    total_E = np.maximum(sum_band(psd_EF, freqs_hz, 0.5, 30.0), np.finfo(np.float32).tiny)
    shares = {f"{band}_share": sum_band(psd_EF, freqs_hz, *edges) / total_E for band, edges in bands_hz.items()}
    top_hz = min(45.0, 0.45 * fs_hz)
    scored_mask = (freqs_hz >= 0.5) & (freqs_hz < 30.0)
    weighted_EF = psd_EF[:, scored_mask] * freqs_hz[scored_mask]
    has_power_E = weighted_EF.max(axis=1, initial=0.0) > 0
    dominant_hz = np.where(has_power_E, freqs_hz[scored_mask][weighted_EF.argmax(axis=1)], 0.0)
    high_frequency_ratio = sum_band(psd_EF, freqs_hz, 30.0, top_hz) / total_E if top_hz > 30 else 0 * total_E
    return {**shares, "high_frequency_ratio": high_frequency_ratio, "dominant_hz": dominant_hz}


def _alpha_fraction(centred_EL: np.ndarray, fs_hz: float, bands_hz: Bands) -> np.ndarray:
    """Share of the epoch in which alpha carries more power than theta, sigma or beta.

    2-s Hann windows every second. Delta is left out, so slow eye movements do not mask a rhythm
    that the eye still sees. AASM 2007: more than half the epoch in alpha is wake.
    """
    length = round(2 * fs_hz)
    windows_EWL = np.lib.stride_tricks.sliding_window_view(centred_EL, length, axis=1)[:, :: round(fs_hz)]
    taper_L = scipy.signal.windows.hann(length, sym=False).astype(np.float32)
    spectrum_EWF = scipy.fft.rfft(windows_EWL * taper_L, axis=-1)
    power_EWF = spectrum_EWF.real**2 + spectrum_EWF.imag**2
    freqs_hz = scipy.fft.rfftfreq(length, 1 / fs_hz)
    power = {band: sum_band(power_EWF, freqs_hz, *edges) for band, edges in bands_hz.items()}
    rivals_EW = np.maximum(np.maximum(power["theta"], power["sigma"]), power["beta"])
    return (power["alpha"] > rivals_EW).mean(axis=1)


def _artefact_fraction(epochs_EL: np.ndarray, fs_hz: float, saturation_uv: float) -> np.ndarray:
    """Share of the epoch's whole seconds that are flat (under 1 uV peak to peak) or reach the saturation level."""
    flat_ES, saturated_ES, _ = measure_seconds(epochs_EL, fs_hz, saturation_uv)
    return (flat_ES | saturated_ES).mean(axis=1)


def _dtype(column: str) -> type:
    return np.int16 if column.endswith("_count") else np.float32
