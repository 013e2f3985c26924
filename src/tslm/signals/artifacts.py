"""Values that cannot be, and artefact flags: flatline, saturation, motion burst, line noise, missing samples.

An epoch is flagged when a twentieth of it is affected: of its whole seconds, or of its samples where they
are missing. That share is the one in Luna's CHEP-MASK examples (clipped=0.05, flat=0.05); for a 30-s
epoch it is 2 s. What is typical of a recording is the median over its seconds, so pass all its epochs.

Shape letters: E epochs, L samples of an epoch, S whole seconds of an epoch.
"""

import numpy as np

from tslm.signals.filters import bridge_gaps, filter_zero_phase
from tslm.signals.spectrum import LINES_HZ, WELCH_S, measure_line_noise, measure_psd

FILL_VALUE = 1e15  # of any unit: netCDF writes 9.97e36 where nothing was measured, others the largest number there is
IMPOSSIBLE_UV = 1e6  # no electrode gives 1 V
ARTIFACT_KINDS = ("flatline", "saturation", "motion", "line_noise", "missing")
FLAGGED_SHARE = 0.05
SATURATION_UV = 250.0  # the usual clipping level of an ambulatory EEG amplifier
# Electrodes on the dura of a mouse see slow waves of several hundred microvolts.
SATURATION_OF_GROUP_UV = {"human": SATURATION_UV, "rodent": 1000.0}
FLAT_UV = 1.0
PLATEAU_S = 0.03  # a recording's own extreme held this long is a rail; SC4001 holds its -192 uV for 3 samples at most
_PLATEAU_TOLERANCE = 1e-4  # of the recording's range; half a step of a 12-bit converter
# A second of movement is large and rich in muscle at once: slow waves are only large, a frown is only fast.
MOTION_AMPLITUDE = 3.5  # peak to peak, times the recording's typical second
MOTION_MUSCLE = 3.0  # RMS above 20 Hz, times the recording's typical second
_MUSCLE_HZ = 20.0
LINE_PROMINENCE = 3.0  # 5 dB; of 9,000 simulated 30-s epochs without a line none reached 2
LINE_SHARE = 0.01  # of the power in 0.5-30 Hz: a tenth of the EEG's RMS, which an eye sees on the trace


def take_for_missing(values: np.ndarray, limit: float) -> tuple[np.ndarray, str]:
    """Samples with NaN for each one beyond a limit, and what was done in one phrase; the same array where none is.

    Args:
        values: (num_samples,) of any unit; NaN where samples are missing.
        limit: FILL_VALUE, or IMPOSSIBLE_UV of microvolt.
    """
    beyond = np.abs(values) >= limit
    num_beyond = int(np.count_nonzero(beyond))
    if not num_beyond:
        return values, ""
    what = "beyond 1 V" if limit == IMPOSSIBLE_UV else f"beyond {limit:g} (fill values)"
    return np.where(beyond, np.float32(np.nan), values), f"{num_beyond} samples {what} taken for missing"


def flag_artifacts(
    epochs_EL: np.ndarray, fs_hz: float, line_hz: float | None = None, saturation_uv: float = SATURATION_UV
) -> dict[str, np.ndarray]:
    """Which epochs of a recording hold artefacts, (num_epochs,) bool by kind.

    - `flatline`: seconds of less than 1 uV peak to peak.
    - `saturation`: seconds that reach `saturation_uv`, or hold the recording's own highest or lowest value
      for 0.03 s (and 3 samples) on end, as a clipping amplifier does at any level.
    - `motion`: seconds whose amplitude and whose muscle activity both stand out of the recording.
      Never set below 50 Hz sampling rate.
    - `line_noise`: mains at 50 or 60 Hz. Never set where the line is not 2 Hz below the Nyquist frequency.
    - `missing`: samples that are NaN. Seconds with NaN do not count for the other kinds.

    Args:
        epochs_EL: (num_epochs, samples) microvolt as recorded, before any filter; NaN where samples are missing.
        fs_hz: sampling rate.
        line_hz: the mains' frequency; None looks at 50 and 60 Hz.
        saturation_uv: level that no true signal reaches.

    Raises:
        ValueError: the array is not two-dimensional, or an epoch is shorter than 4 s.
    """
    epochs_EL = np.asarray(epochs_EL, dtype=np.float32)
    if epochs_EL.ndim != 2 or epochs_EL.shape[1] < WELCH_S * fs_hz:
        raise ValueError(f"epochs have shape {epochs_EL.shape}; wanted (num_epochs, samples) of 4 s or more each")
    if not len(epochs_EL):
        return {kind: np.zeros(0, dtype=bool) for kind in ARTIFACT_KINDS}
    missing_EL = np.isnan(epochs_EL)
    flat_ES, saturated_ES, peak_to_peak_ES = measure_seconds(epochs_EL, fs_hz, saturation_uv)
    saturated_ES |= _find_plateaus(epochs_EL, fs_hz, saturated_ES.shape[1])
    bridged_EL = bridge_gaps(epochs_EL)
    return {
        "flatline": flat_ES.mean(axis=1) >= FLAGGED_SHARE,
        "saturation": saturated_ES.mean(axis=1) >= FLAGGED_SHARE,
        "motion": _find_motion(bridged_EL, peak_to_peak_ES, fs_hz).mean(axis=1) >= FLAGGED_SHARE,
        "line_noise": _find_line_noise(bridged_EL, fs_hz, LINES_HZ if line_hz is None else (line_hz,)),
        "missing": missing_EL.mean(axis=1) >= FLAGGED_SHARE,
    }


def measure_seconds(
    epochs_EL: np.ndarray, fs_hz: float, saturation_uv: float = SATURATION_UV
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which whole seconds of each epoch are flat, which reach saturation, and their peak to peak amplitude.

    Returns:
        Three (num_epochs, seconds) arrays: bool, bool, float32 microvolt. A second with NaN is neither
        flat nor saturated, and its amplitude is NaN.
    """
    bounds = _second_starts(epochs_EL.shape[1], fs_hz)
    whole_EL = epochs_EL[:, : round(len(bounds) * fs_hz)]
    highest_ES = np.maximum.reduceat(whole_EL, bounds, axis=1)
    lowest_ES = np.minimum.reduceat(whole_EL, bounds, axis=1)
    peak_to_peak_ES = highest_ES - lowest_ES
    saturated_ES = np.maximum(highest_ES, -lowest_ES) >= saturation_uv
    return peak_to_peak_ES < FLAT_UV, saturated_ES, peak_to_peak_ES


def _second_starts(num_samples: int, fs_hz: float) -> np.ndarray:
    """(S,) first sample of each whole second."""
    return np.rint(np.arange(int(num_samples / fs_hz)) * fs_hz).astype(int)


def _find_plateaus(epochs_EL: np.ndarray, fs_hz: float, num_seconds: int) -> np.ndarray:
    """(num_epochs, seconds) bool: where a stretch at the recording's own extremes begins."""
    plateau_ES = np.zeros((len(epochs_EL), num_seconds), dtype=bool)
    lowest_uv, highest_uv = np.fmin.reduce(epochs_EL, axis=None), np.fmax.reduce(epochs_EL, axis=None)
    if not highest_uv - lowest_uv >= FLAT_UV:
        return plateau_ES
    tolerance_uv = _PLATEAU_TOLERANCE * (highest_uv - lowest_uv)
    held = np.flatnonzero((epochs_EL >= highest_uv - tolerance_uv) | (epochs_EL <= lowest_uv + tolerance_uv))
    length = max(3, round(PLATEAU_S * fs_hz))
    starts = held[: len(held) - length + 1][held[length - 1 :] - held[: len(held) - length + 1] == length - 1]
    epoch_idx, sample_idx = np.divmod(starts, epochs_EL.shape[1])
    second_idx = (sample_idx / fs_hz).astype(int)
    whole = second_idx < num_seconds
    plateau_ES[epoch_idx[whole], second_idx[whole]] = True
    return plateau_ES


def _find_motion(bridged_EL: np.ndarray, peak_to_peak_ES: np.ndarray, fs_hz: float) -> np.ndarray:
    if fs_hz < 2.5 * _MUSCLE_HZ:
        return np.zeros(peak_to_peak_ES.shape, dtype=bool)
    bounds = _second_starts(bridged_EL.shape[1], fs_hz)
    fast_EL = filter_zero_phase(bridged_EL, fs_hz, low_hz=_MUSCLE_HZ)[:, : round(len(bounds) * fs_hz)]
    muscle_ES = np.sqrt(np.add.reduceat(fast_EL**2, bounds, axis=1) / fs_hz)
    alive_ES = peak_to_peak_ES >= FLAT_UV  # a lead that was off for hours says nothing about what is typical
    if not alive_ES.any():
        return alive_ES
    large_ES = peak_to_peak_ES > MOTION_AMPLITUDE * np.median(peak_to_peak_ES[alive_ES])
    return large_ES & (muscle_ES > MOTION_MUSCLE * np.median(muscle_ES[alive_ES]))


def _find_line_noise(bridged_EL: np.ndarray, fs_hz: float, lines_hz: tuple[float, ...]) -> np.ndarray:
    found_E = np.zeros(len(bridged_EL), dtype=bool)
    if min(lines_hz) + 2.0 > fs_hz / 2:
        return found_E
    freqs_hz, psd_EF = measure_psd(bridged_EL, fs_hz)
    for line_hz in lines_hz:
        prominence_E, share_E = measure_line_noise(psd_EF, freqs_hz, line_hz)
        found_E |= (prominence_E >= LINE_PROMINENCE) & (share_E >= LINE_SHARE)
    return found_E
