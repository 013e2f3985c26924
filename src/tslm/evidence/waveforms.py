"""Detectors of single waveforms in scoring epochs: slow waves, K-complexes, spindles, sawtooth waves.

All work on many epochs at once and on each by itself. Shape letters: E epochs, W windows of an epoch, w chosen windows,
L samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from tslm.evidence.stretches import Stretches, find_stretches

# Pass bands in Hz; the edges fall off as raised cosines over the second figure.
_FILTERS: dict[str, tuple[float, float, float, float]] = {
    "slow": (0.5, 2.0, 0.2, 1.0),  # slow waves, AASM 2007
    "trace": (0.4, 2.5, 0.2, 1.0),  # what the height of slow waves is read from
    "eyes": (0.3, 8.0, 0.2, 2.0),  # a saccade lasts .1 s, its potential decays over half a second
    "alpha": (8.0, 11.0, 1.0, 1.0),
    "sigma": (12.0, 15.0, 1.0, 1.0),  # Vallat & Walker 2021 (YASA)
    "low_beta": (17.0, 20.0, 1.0, 1.0),
    "fast": (20.0, 45.0, 1.0, 1.0),  # muscle and the brain awake
    "broad": (1.0, 30.0, 0.5, 2.0),
    "sawtooth": (1.5, 12.0, 0.5, 2.0),  # the waves and the harmonics that make them triangular and notched
}
SLOW_WAVE_UV = 75.0  # peak to peak, AASM 2007
SLOW_PEAK_MOST_UV = 200.0  # either way, as YASA's deepest trough; beyond it a body or an electrode moves
SLOW_UNEVEN_MOST = 2.5  # larger half-wave over smaller; a lid leaves a large one and a small one
K_COMPLEX_LEAD = 0.8  # first half-wave over second, in height
SLOW_ROUGHNESS_MOST = 0.7  # RMS of what lies above the slow band over RMS in it; a gaze shift has steep edges
FAST_MOST = 1.2  # RMS of 20-45 Hz over RMS of 12-15 Hz within 4 s of the wave
FAST_MOST_BESIDE_EYES = 0.8  # the same where a saccade or a blink lies in the wave
_FAST_FLOOR_UV = 1.0  # RMS; less than this is as quiet as sleep
_BACKGROUND_S = 4.0
SPINDLE_S = (0.5, 2.0)  # shortest by AASM 2007, longest by YASA
SPINDLE_FAST_MOST = 0.45  # RMS of 20-45 Hz within 4 s over the spindle's own in 12-15 Hz; wake and muscle have more
SAWTOOTH_HZ = (2.0, 5.0)  # AASM 2007 has 2-6, most lie at 2.5-3 (Bernardi et al. 2019); 6 Hz is drowsy theta
SAWTOOTH_RMS_UV = 5.8  # of a triangular wave of 20 uV peak to peak, about the smallest that scorers mark
SAWTOOTH_REGULARITY = 0.55  # autocorrelation after one wave, see `find_sawtooth_trains`
SAWTOOTH_SKEWNESS = 0.5  # |skewness| of the slope: one flank is steeper than the other
_SAWTOOTH_WINDOW_S, _SAWTOOTH_HOP_S = 3.0, 0.5


@dataclass(frozen=True)
class SlowWaves:
    """Pairs of neighbouring half-waves of 0.5-2 Hz that exceed 75 uV, in time order; positions in the flattened epochs.

    Neighbouring pairs share a half-wave.
    """

    start_samples: np.ndarray  # (num_waves,) int64
    turn_samples: np.ndarray  # (num_waves,) int64, where the second half-wave starts
    stop_samples: np.ndarray  # (num_waves,) int64, exclusive
    first_uv: np.ndarray  # (num_waves,) float32, height of the first half-wave, of either sign
    second_uv: np.ndarray  # (num_waves,) float32, of the second
    unevenness: np.ndarray  # (num_waves,) float32, larger half-wave over smaller up to 8 Hz, 1 or more

    def take(self, mask: np.ndarray) -> "SlowWaves":
        """Those where a mask (num_waves,) is True."""
        return SlowWaves(*(getattr(self, field.name)[mask] for field in fields(self)))


def filter_bands(
    centred_EL: np.ndarray, fs_hz: float, filters: Mapping[str, tuple[float, float, float, float]] = _FILTERS
) -> dict[str, np.ndarray]:
    """Zero-phase filtered copies (num_epochs, samples) of mean-free epochs by filter name, microvolt.

    Epochs are mirrored by 2 s at both ends against edge effects and filtered in the frequency domain.
    Each filter is (low, high, width of the lower edge, width of the upper edge) in Hz.
    """
    length = centred_EL.shape[1]
    pad = min(round(2 * fs_hz), length - 1)
    num_fft = scipy.fft.next_fast_len(length + 2 * pad, real=True)
    padded_EL = np.pad(centred_EL, ((0, 0), (pad, num_fft - length - pad)), mode="reflect")
    spectrum_EF = scipy.fft.rfft(padded_EL, axis=1)
    freqs_hz = scipy.fft.rfftfreq(num_fft, 1 / fs_hz)
    return {
        name: scipy.fft.irfft(spectrum_EF * _gain(freqs_hz, *edges), num_fft, axis=1)[:, pad : pad + length]
        for name, edges in filters.items()
    }


def find_slow_waves(bands: Mapping[str, np.ndarray], fs_hz: float) -> SlowWaves:
    """Slow waves as the AASM manual defines them: 0.5-2 Hz, more than 75 uV peak to peak, of either polarity.

    A wave is a pair of neighbouring half-waves between zero crossings of 0.5-2 Hz that together last 0.5-2 s. Its
    height is that of `trace_EL`, since a filter of 0.5-2 Hz rounds the peaks off.
    """
    num_samples = bands["slow"].shape[1]
    slow, trace, sharp = (np.ascontiguousarray(bands[name]).ravel() for name in ("slow", "trace", "eyes"))
    starts, stops, peak_uv = _half_waves(slow, num_samples)
    highest, lowest = _peaks_between(trace, starts)
    sharp_highest, sharp_lowest = _peaks_between(sharp, starts)
    sharp_uv = np.maximum(np.where(slow[starts] > 0, sharp_highest, -sharp_lowest), 1e-3)
    same_epoch = starts[:-1] // max(num_samples, 1) == starts[1:] // max(num_samples, 1)
    duration_s = (stops[1:] - starts[:-1]) / fs_hz
    height_uv = np.maximum(highest[:-1], highest[1:]) - np.minimum(lowest[:-1], lowest[1:])
    kept = same_epoch & (duration_s >= 0.5) & (duration_s <= 2.0) & (height_uv > SLOW_WAVE_UV)
    first_uv, second_uv = sharp_uv[:-1][kept], sharp_uv[1:][kept]
    unevenness = np.maximum(first_uv, second_uv) / np.minimum(first_uv, second_uv)
    return SlowWaves(
        starts[:-1][kept], starts[1:][kept], stops[1:][kept], peak_uv[:-1][kept], peak_uv[1:][kept], unevenness
    )


def keep_waves_of_sleep(
    waves: SlowWaves, bands: Mapping[str, np.ndarray], eye_positions: np.ndarray, fs_hz: float
) -> tuple[SlowWaves, SlowWaves]:
    """The slow waves of a human that sleep makes, without those of eyes, lids and movement.

    A blink, a look around or a turn of the body fills 0.5-2 Hz as well. Kept are waves whose larger half is no more
    than 2.5 times the smaller, whose shape lies in 0.5-2 Hz for the most part, and around which the EEG is that of
    sleep: within 4 s either way, 20-45 Hz (muscle, brain awake) has at most 1.2 times the RMS of 12-15 Hz, or less than
    1 uV, and 0.5-2 Hz stays below 200 uV.

    A wave that holds the step or the peak of an eye movement is in doubt, since the flanks of K-complexes look like
    saccades. It is taken for a slow wave where the background has at most 0.8 times; in between it counts for neither.

    The bounds were chosen on simulated nights and on real snippets of deep sleep and of eye movements
    (docs/experiments). Eye movements over a background as quiet as that of sleep still pass.

    Args:
        waves: of `find_slow_waves`.
        bands: of `filter_bands`.
        eye_positions: (num,) places of steps and blinks in the flattened epochs, of any shape of wave.
        fs_hz: sampling rate.

    Returns:
        The slow waves, and the same with those in doubt.
    """
    starts, stops = waves.start_samples, waves.stop_samples
    first, last = _surround(starts, stops, bands["slow"].shape[1], fs_hz)
    rough_uv = _rms_between(bands["eyes"] - bands["slow"], starts, stops)
    rough = rough_uv > SLOW_ROUGHNESS_MOST * _rms_between(bands["slow"], starts, stops)
    lid = waves.unevenness > SLOW_UNEVEN_MOST
    num_loud = np.append(0, np.cumsum(np.abs(bands["slow"]) > SLOW_PEAK_MOST_UV))
    moved = num_loud[last] > num_loud[first]
    num_eyes = np.bincount(eye_positions + 1, minlength=bands["slow"].size + 1).cumsum()
    beside_eyes = num_eyes[stops] > num_eyes[starts]
    most = np.where(beside_eyes, FAST_MOST_BESIDE_EYES, FAST_MOST)
    possible = ~(rough | lid | moved | is_restless(bands, starts, stops, FAST_MOST, fs_hz))
    return waves.take(possible & ~is_restless(bands, starts, stops, most, fs_hz)), waves.take(possible)


def is_restless(
    bands: Mapping[str, np.ndarray], starts: np.ndarray, stops: np.ndarray, most: np.ndarray | float, fs_hz: float
) -> np.ndarray:
    """(num,) whether the EEG within 4 s of each stretch is not that of sleep, positions in the flattened epochs.

    20-45 Hz (muscle, brain awake) then has more than `most` times the RMS of 12-15 Hz, and more than 1 uV.
    """
    around = _surround(starts, stops, bands["slow"].shape[1], fs_hz)
    fast_uv, sigma_uv = (_rms_between(bands[name], *around) for name in ("fast", "sigma"))
    return fast_uv > np.maximum(most * sigma_uv, _FAST_FLOOR_UV)


def cover_samples(starts: np.ndarray, stops: np.ndarray, num_samples: int) -> np.ndarray:
    """(num_samples,) bool, True inside any of the stretches."""
    edges = np.bincount(starts, minlength=num_samples + 1) - np.bincount(stops, minlength=num_samples + 1)
    return np.cumsum(edges[:-1]) > 0


def merge_slow_waves(waves: SlowWaves, shape_EL: tuple[int, int]) -> Stretches:
    """Stretches of slow waves that adjoin; AASM 2007 asks a fifth of the epoch for N3."""
    num_epochs, num_samples = shape_EL
    epoch_idx = waves.start_samples // max(num_samples, 1)
    is_first = np.ones(len(epoch_idx), dtype=bool)
    is_first[1:] = (waves.start_samples[1:] > waves.stop_samples[:-1]) | (epoch_idx[1:] != epoch_idx[:-1])
    is_last = np.append(is_first[1:], True)[: len(is_first)]
    before = epoch_idx * num_samples
    starts, stops = (waves.start_samples - before)[is_first], (waves.stop_samples - before)[is_last]
    return Stretches(epoch_idx[is_first], starts, stops, num_epochs, num_samples)


def find_k_complexes(waves: SlowWaves, slow_EL: np.ndarray, fs_hz: float) -> Stretches:
    """K-complexes: a large half-wave, then one of the other sign, alone and clear of the background.

    AASM 2007: a negative wave, then a positive one, at least 0.5 s, stands out. Which half is negative depends on how
    the recording was wired, so either may be first. Here: a slow wave whose first half-wave is at least 0.8 times as
    high as the second, whose larger one exceeds 3 times the epoch's typical slow amplitude (1.48 x median of |x|), and
    with nothing beyond 0.6 of that in the second before and the second after it. Of two that share a half-wave the
    higher counts.
    """
    num_epochs, num_samples = slow_EL.shape
    typical_uv = 1.4826 * np.median(np.abs(slow_EL), axis=1)
    epoch_idx = waves.start_samples // max(num_samples, 1)
    larger_uv = np.maximum(waves.first_uv, waves.second_uv)
    kept = (
        (_loudest_around(waves, slow_EL, round(fs_hz)) <= 0.6 * larger_uv)
        & (waves.first_uv >= K_COMPLEX_LEAD * waves.second_uv)
        & (larger_uv >= 3.0 * typical_uv[epoch_idx])
    )
    kept[kept] = _highest_of_neighbours(waves.take(kept))
    epoch_idx = epoch_idx[kept]
    starts, stops = (side[kept] - epoch_idx * num_samples for side in (waves.start_samples, waves.stop_samples))
    return Stretches(epoch_idx, starts, stops, num_epochs, num_samples)


def find_spindles(bands: Mapping[str, np.ndarray], fs_hz: float) -> Stretches:
    """Sleep spindles of 0.5-2 s.

    A spindle lasts as long as the moving RMS of sigma stays over its threshold; the RMS's window of
    0.3 s lengthens short ones by up to as much.

    Three thresholds as in YASA (Vallat & Walker 2021, after Lacourse 2019): sigma holds a fifth of
    the power in 1-30 Hz, correlates with the broad signal by 0.65, and its moving RMS exceeds the
    epoch's by 1.5 trimmed standard deviations. Bands of the same width on either side (8-11 and
    17-20 Hz) must each hold less than half of sigma's power, so alpha and muscle are no spindles. A spindle also stands
    out from 20-45 Hz within 4 s of it, as chance bursts of wake and REM do not (docs/experiments).
    """
    sigma_EL, broad_EL = bands["sigma"], bands["broad"]
    short, long = round(0.3 * fs_hz), round(fs_hz)
    sigma_power_EL = _moving_mean(sigma_EL**2, short)
    broad_power_EL = _moving_mean(broad_EL**2, short)
    broad_mean_EL = _moving_mean(broad_EL, short)
    covariance_EL = _moving_mean(sigma_EL * broad_EL, short)
    variance_EL = np.maximum(broad_power_EL - broad_mean_EL**2, 1e-12)
    correlated_EL = covariance_EL > 0.65 * np.sqrt(np.maximum(sigma_power_EL, 0.0) * variance_EL)
    long_sigma_EL = _moving_mean(sigma_EL**2, long)
    rich_EL = long_sigma_EL > 0.2 * _moving_mean(broad_EL**2, long)
    sides_EL = np.maximum(_moving_mean(bands["alpha"] ** 2, long), _moving_mean(bands["low_beta"] ** 2, long))
    narrow_EL = long_sigma_EL > 2.0 * sides_EL
    rms_EL = np.sqrt(np.maximum(sigma_power_EL, 0.0))
    strong_EL = rms_EL > _trimmed_threshold(rms_EL, 1.5)
    core_EL = correlated_EL & rich_EL & narrow_EL & strong_EL
    spindles = _keep_spindles(find_stretches(strong_EL), core_EL, fs_hz)
    before = spindles.epoch_idx * sigma_EL.shape[1]
    starts, stops = spindles.starts + before, spindles.stops + before
    fast_uv = _rms_between(bands["fast"], *_surround(starts, stops, sigma_EL.shape[1], fs_hz))
    return spindles.take(fast_uv <= SPINDLE_FAST_MOST * _rms_between(sigma_EL, starts, stops))


def find_sawtooth_trains(bands: Mapping[str, np.ndarray], fs_hz: float) -> Stretches:
    """Trains of sawtooth waves: 2-5 Hz, triangular with one steep flank, as in REM sleep (AASM 2007).

    What sets a train apart from mixed frequencies is that it repeats itself and that its waves rise and fall at
    different speed. In windows of 3 s every 0.5 s the signal of 1.5-12 Hz must resemble itself after one wave
    (autocorrelation first peaks between 1/5 and 1/2 s, at 0.55 or more), have a skewed slope (|skewness| of its change
    over 0.04 s at least 0.5; that of a rhythm or of noise is near 0), have the RMS of a triangular wave of 20 uV, and
    exceed the slow waves under it. Windows that follow one another are one train.

    The bounds were set on fourteen simulated nights with known trains and on real wake (docs/experiments). Absence of a
    count is no evidence of absence.
    """
    sawtooth_EL = bands["sawtooth"]
    length, hop = round(_SAWTOOTH_WINDOW_S * fs_hz), round(_SAWTOOTH_HOP_S * fs_hz)
    fastest, shortest, longest = (round(fs_hz / freq_hz) for freq_hz in (_FILTERS["sawtooth"][1], *SAWTOOTH_HZ[::-1]))
    windows_EWL = sliding_window_view(sawtooth_EL, length, axis=1)[:, ::hop]
    num_fft = scipy.fft.next_fast_len(length + longest + 2, real=True)
    spectrum_EWF = scipy.fft.rfft(windows_EWL, num_fft, axis=-1)
    products_EWL = scipy.fft.irfft(spectrum_EWF.real**2 + spectrum_EWF.imag**2, num_fft, axis=-1)[..., : longest + 2]
    lags = np.arange(longest + 2)
    similarity_EWL = products_EWL * (length / (length - lags)) / np.maximum(products_EWL[..., :1], 1e-9)
    later_EWL = similarity_EWL[..., fastest : longest + 1]
    repeats_EWL = (
        (later_EWL >= similarity_EWL[..., fastest - 1 : longest])
        & (later_EWL >= similarity_EWL[..., fastest + 1 : longest + 2])
        & (later_EWL >= SAWTOOTH_REGULARITY)
    )
    # The first repetition counts: alpha, too, comes back after three of its waves.
    repeats_EW = repeats_EWL.any(axis=-1) & (repeats_EWL.argmax(axis=-1) >= shortest - fastest)
    power_EW = products_EWL[..., 0] / length
    slow_EW = np.square(sliding_window_view(bands["slow"], length, axis=1)[:, ::hop]).mean(axis=-1)
    in_train_EW = repeats_EW & (power_EW >= SAWTOOTH_RMS_UV**2) & (slow_EW <= power_EW)
    lag = max(1, round(0.02 * fs_hz))
    change_EL = np.zeros_like(sawtooth_EL)
    change_EL[:, lag:-lag] = sawtooth_EL[:, 2 * lag :] - sawtooth_EL[:, : -2 * lag]
    change_wL = sliding_window_view(change_EL, length, axis=1)[:, ::hop][in_train_EW]
    in_train_EW[in_train_EW] = np.abs(_skewness(change_wL)) >= SAWTOOTH_SKEWNESS
    return find_stretches(in_train_EW, hop, length)


def _gain(freqs_hz: np.ndarray, low_hz: float, high_hz: float, low_edge_hz: float, high_edge_hz: float) -> np.ndarray:
    rise = np.clip((freqs_hz - low_hz + low_edge_hz) / low_edge_hz, 0.0, 1.0)
    fall = np.clip((high_hz + high_edge_hz - freqs_hz) / high_edge_hz, 0.0, 1.0)
    return ((0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))).astype(np.float32)


def _half_waves(flat: np.ndarray, num_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, stop, height) of each stretch of one sign; none crosses from one epoch to the next."""
    turns = np.flatnonzero(np.diff(flat > 0)) + 1
    starts = np.union1d(turns, np.arange(0, flat.size, num_samples)) if flat.size else turns
    stops = np.append(starts[1:], flat.size)[: len(starts)]
    highest, lowest = _peaks_between(flat, starts)
    return starts, stops, np.maximum(highest, -lowest)


def _peaks_between(flat: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(num,) highest and lowest value from each start to the next."""
    if not starts.size:
        return np.zeros(0, dtype=flat.dtype), np.zeros(0, dtype=flat.dtype)
    return np.maximum.reduceat(flat, starts), np.minimum.reduceat(flat, starts)


def _highest_of_neighbours(waves: SlowWaves) -> np.ndarray:
    """(num_waves,) bool, False where a wave shares a half-wave with a higher one."""
    height_uv = waves.first_uv + waves.second_uv
    shared = waves.start_samples[1:] == waves.turn_samples[:-1]
    highest = np.ones(len(height_uv), dtype=bool)
    highest[:-1] &= ~(shared & (height_uv[1:] > height_uv[:-1]))
    highest[1:] &= ~(shared & (height_uv[:-1] >= height_uv[1:]))
    return highest


def _skewness(values_wL: np.ndarray) -> np.ndarray:
    """(num_windows,) third standardised moment of each row."""
    centred_wL = values_wL - values_wL.mean(axis=1, keepdims=True)
    return np.mean(centred_wL**3, axis=1) / np.maximum(np.mean(centred_wL**2, axis=1), 1e-12) ** 1.5


def _surround(starts: np.ndarray, stops: np.ndarray, num_samples: int, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """The stretches and 4 s before and after them, inside their epochs."""
    first, reach = starts // max(num_samples, 1) * num_samples, round(_BACKGROUND_S * fs_hz)
    return np.maximum(starts - reach, first), np.minimum(stops + reach, first + num_samples)


def _rms_between(values_EL: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """(num,) RMS from each start to its stop, positions in the flattened epochs."""
    energy = np.zeros(values_EL.size + 1)
    np.cumsum(np.square(values_EL).ravel(), dtype=np.float64, out=energy[1:])
    return np.sqrt(np.maximum(energy[stops] - energy[starts], 0.0) / (stops - starts))


def _loudest_around(waves: SlowWaves, slow_EL: np.ndarray, reach: int) -> np.ndarray:
    """(num_waves,) largest |x| within `reach` samples before and after each wave, inside its epoch."""
    num_epochs, num_samples = slow_EL.shape
    padded_EL = np.zeros((num_epochs, num_samples + 2 * reach), dtype=np.float32)
    padded_EL[:, reach : reach + num_samples] = np.abs(slow_EL)
    # [i] = largest of the `reach` samples that end before padded sample i + reach
    window_EL = scipy.ndimage.maximum_filter1d(padded_EL, reach, axis=1, origin=-(reach // 2))
    epoch_idx = waves.start_samples // max(num_samples, 1)
    start, stop = waves.start_samples - epoch_idx * num_samples, waves.stop_samples - epoch_idx * num_samples
    return np.maximum(window_EL[epoch_idx, start], window_EL[epoch_idx, stop + reach])


def _keep_spindles(strong: Stretches, core_EL: np.ndarray, fs_hz: float) -> Stretches:
    """The stretches of a spindle's length that hold a core sample."""
    num_core = np.zeros((len(core_EL), core_EL.shape[1] + 1), dtype=np.int32)
    np.cumsum(core_EL, axis=1, out=num_core[:, 1:])
    holds_core = num_core[strong.epoch_idx, strong.stops] > num_core[strong.epoch_idx, strong.starts]
    duration_s = (strong.stops - strong.starts) / fs_hz
    return strong.take(holds_core & (duration_s >= SPINDLE_S[0]) & (duration_s <= SPINDLE_S[1]))


def _trimmed_threshold(values_EL: np.ndarray, num_deviations: float) -> np.ndarray:
    """(num_epochs, 1) mean + k standard deviations after 10 % of the values are cut at each end."""
    ordered_EL = np.sort(values_EL[:, ::4], axis=1)  # the moving RMS is smooth: every fourth value will do
    cut = ordered_EL.shape[1] // 10
    middle_EL = ordered_EL[:, cut : ordered_EL.shape[1] - cut]
    return (middle_EL.mean(axis=1) + num_deviations * middle_EL.std(axis=1))[:, None]


def _moving_mean(values_EL: np.ndarray, width: int) -> np.ndarray:
    return scipy.ndimage.uniform_filter1d(values_EL, width, axis=1, mode="nearest")
