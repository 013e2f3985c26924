"""Measurements of a short ECG: R peaks, rate, regularity, early beats, pauses, R heights."""

from dataclasses import dataclass

import numpy as np
import scipy.signal
from scipy.ndimage import median_filter, uniform_filter1d

MIN_BEATS = 3
EARLY_SHARE = 0.8  # an RR interval under this share of the median ends in an early beat


@dataclass(frozen=True)
class EcgFacts:
    """Measured figures of one record."""

    r_peaks: np.ndarray  # (num_beats,) sample indices
    rr_s: np.ndarray  # (num_beats - 1,) seconds
    rate_bpm: float  # 60 over the mean RR interval
    rr_variation: float  # standard deviation of RR over its mean
    num_early_beats: int
    longest_rr_s: float
    rate_change: float  # rate in the last third of the intervals over that in the first third
    r_heights: np.ndarray  # (num_leads,) median height of the positive peak at the R above the baseline

    @property
    def num_beats(self) -> int:
        """Number of R peaks found."""
        return len(self.r_peaks)


def find_r_peaks(ecg_CL: np.ndarray, fs_hz: float) -> np.ndarray:
    """Sample indices of the R peaks of a record (num_leads, num_samples), any unit.

    After Pan & Tompkins (1985): band-pass 5-20 Hz, squared, averaged over 0.12 s; here summed over
    leads. Peaks stand 0.25 s apart at least and above 0.3 of the median of the ten strongest.
    """
    sos = scipy.signal.butter(2, (5.0, min(20.0, 0.45 * fs_hz)), btype="bandpass", fs=fs_hz, output="sos")
    filtered_CL = scipy.signal.sosfiltfilt(sos, ecg_CL, axis=-1)
    scale_C1 = np.maximum(filtered_CL.std(axis=-1, keepdims=True), 1e-12)
    energy_L = uniform_filter1d(((filtered_CL / scale_C1) ** 2).sum(axis=0), max(round(0.12 * fs_hz), 1))
    refractory = max(round(0.25 * fs_hz), 1)
    peaks, found = scipy.signal.find_peaks(np.pad(energy_L, 1), height=0.0, distance=refractory)
    if not len(peaks):
        return np.zeros(0, dtype=np.int64)
    bar = 0.3 * float(np.median(np.sort(found["peak_heights"])[-10:]))
    beats = peaks[found["peak_heights"] >= bar] - 1
    reach = round(0.06 * fs_hz)
    sharp_L = np.abs(filtered_CL / scale_C1).sum(axis=0)
    refined = [
        start + int(sharp_L[start : beat + reach + 1].argmax()) for beat in beats for start in [max(beat - reach, 0)]
    ]
    return np.unique(refined)


def measure_ecg(ecg_CL: np.ndarray, fs_hz: float) -> EcgFacts:
    """Facts of a record (num_leads, num_samples); ValueError when fewer than three beats are found."""
    ecg_CL = np.asarray(ecg_CL, dtype=np.float64)
    if ecg_CL.ndim != 2:
        raise ValueError(f"the ECG has shape {ecg_CL.shape}; wanted (num_leads, num_samples)")
    r_peaks = find_r_peaks(ecg_CL, fs_hz)
    if len(r_peaks) < MIN_BEATS:
        raise ValueError(f"{len(r_peaks)} beats found; {MIN_BEATS} are needed: give a longer or cleaner record")
    rr_s = np.diff(r_peaks) / fs_hz
    third = max(len(rr_s) // 3, 1)
    return EcgFacts(
        r_peaks=r_peaks,
        rr_s=rr_s,
        rate_bpm=float(60.0 / rr_s.mean()),
        rr_variation=float(rr_s.std() / rr_s.mean()),
        num_early_beats=int((rr_s < EARLY_SHARE * np.median(rr_s)).sum()),
        longest_rr_s=float(rr_s.max()),
        rate_change=float(rr_s[:third].mean() / rr_s[-third:].mean()),
        r_heights=_r_heights(ecg_CL, r_peaks, fs_hz),
    )


def _r_heights(ecg_CL: np.ndarray, r_peaks: np.ndarray, fs_hz: float) -> np.ndarray:
    baseline_CL = median_filter(ecg_CL, (1, round(0.6 * fs_hz)), mode="nearest")
    near = np.arange(-round(0.04 * fs_hz), round(0.04 * fs_hz) + 1)
    window_BN = np.clip(r_peaks[:, None] + near, 0, ecg_CL.shape[1] - 1)
    return np.median((ecg_CL - baseline_CL)[:, window_BN].max(axis=-1), axis=-1)
