"""Evidence of a scoring epoch: amplitude, bands and waveforms, one column each.

Every text about an epoch is written from these columns, and the checker of texts reads the same ones. An epoch is
measured by itself: its values do not depend on the rest of the night.

Shape letters: E epochs, L samples of an epoch, F frequencies.
"""

from collections.abc import Mapping

import numpy as np

from tslm.evidence.criteria import Feature
from tslm.evidence.events import EVENT_KINDS, cut_chunks, find_features
from tslm.evidence.words import RECENT_EPOCHS
from tslm.labels import species_group
from tslm.signals.spectrum import BANDS_HZ, EVIDENCE_BANDS_HZ, Bands, measure_psd, sum_band

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
        ValueError: as `tslm.evidence.events.cut_chunks`, or the species is unknown.
    """
    group = species_group(species)
    parts = [_measure_chunk(chunk_EL, fs_hz, group) for chunk_EL in cut_chunks(epochs_EL, fs_hz)]
    return {
        name: np.concatenate([np.zeros(0, dtype=_dtype(name)), *(part[name] for part in parts)])
        for name in EVIDENCE_COLUMNS
    }


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
    centred_EL = epochs_EL - epochs_EL.mean(axis=1, keepdims=True)
    found = find_features(epochs_EL, centred_EL, fs_hz, group, EVENT_KINDS["human"])
    num_spindles = found[Feature.SPINDLES].count()
    values = {
        "rms_uv": np.sqrt(np.mean(centred_EL**2, axis=1)),
        "peak_to_peak_uv": np.ptp(epochs_EL, axis=1),
        **_spectral_shares(centred_EL, fs_hz, EVIDENCE_BANDS_HZ[group]),
        "alpha_fraction": found[Feature.ALPHA].measure_share(),
        "slow_wave_fraction": found[Feature.SLOW_WAVES].measure_share(),
        "spindle_count": num_spindles,
        "spindle_density_per_min": num_spindles * (60 * fs_hz / epochs_EL.shape[1]),
        "spindle_duration_s": found[Feature.SPINDLES].measure_mean_s(fs_hz),
        "k_complex_count": found[Feature.K_COMPLEXES].count(),
        "sawtooth_count": found[Feature.SAWTOOTH].count(),
        "eye_movement_count": found[Feature.EYE_MOVEMENTS].count(),
        "artefact_fraction": found[Feature.ARTEFACT].measure_share(),
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


def _dtype(column: str) -> type:
    return np.int16 if column.endswith("_count") else np.float32
