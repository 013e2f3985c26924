"""Eye movements as a single frontal EEG channel shows them: saccades and blinks, away from slow waves.

Thresholds and ratios without a source were chosen on simulated nights, whose eye movements are known
(docs/experiments).
Shape letters: E epochs, L samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from tslm.evidence.stretches import Stretches
from tslm.evidence.waveforms import SlowWaves, cover_samples, is_restless

SACCADE_UV = 25.0  # smallest step
BLINK_UV = 60.0  # smallest peak over what lies around it
# What the detectors look at, before and after a movement's position: the step and its plateau, the lid's whole wave.
_SACCADE_S, _BLINK_S = (0.05, 0.26), (0.2, 0.2)
# RMS of 20-45 Hz over RMS of 12-15 Hz around a movement; below this the EEG is that of N2 and N3, where eyes rest.
_SACCADE_FAST_LEAST, _BLINK_FAST_LEAST = 0.9, 1.0
_EVEN_MOST = 2.0  # larger half-wave over smaller; the rebound of a lid is shallower
_BRAIN_SHARE = 0.1  # of an epoch in slow waves, from which on no eye movement is told from them


@dataclass(frozen=True)
class EyeCandidates:
    """Steps and blinks of any origin, in time order; the flanks of slow waves are among them."""

    positions: np.ndarray  # (num,) int64, in the flattened epochs
    reach_samples: np.ndarray  # (num, 2) int64, before and after the position
    fast_least: np.ndarray  # (num,) float64, RMS of 20-45 Hz over RMS of 12-15 Hz that the EEG around it must exceed


def find_eye_candidates(eyes_EL: np.ndarray, fs_hz: float) -> EyeCandidates:
    """What looks like a saccade or a blink in epochs (num_epochs, samples) of the band "eyes"."""
    found = ((_find_saccades, _SACCADE_S, _SACCADE_FAST_LEAST), (_find_blinks, _BLINK_S, _BLINK_FAST_LEAST))
    positions = [find(eyes_EL, fs_hz) for find, _, _ in found]
    num = [len(position) for position in positions]
    reach_s, fast_least = (np.repeat(list(values), num, axis=0) for values in list(zip(*found, strict=True))[1:])
    order = np.argsort(np.concatenate(positions), kind="stable")
    reach_samples = np.rint(reach_s[order] * fs_hz).astype(np.int64)
    return EyeCandidates(np.concatenate(positions)[order], reach_samples, fast_least[order])


def find_eye_movements(
    candidates: EyeCandidates, waves: SlowWaves, bands: Mapping[str, np.ndarray], fs_hz: float
) -> Stretches:
    """Saccades and blinks that stand out on one frontal EEG channel.

    Sensitivity is low: of the eye movements in simulated nights two fifths are found in wake and an eighth in REM; most
    of those counted are true. On the one real night with an EOG, counts in sleep did not follow the eyes
    (docs/experiments), so a count is no proof. Nothing counts where the EEG within 4 s is as quiet as in N2 and N3
    (`tslm.evidence.waveforms.is_restless`; blinks need an EEG awake), since flanks of K-complexes and slow waves look
    like eye movements. Where slow waves with even halves cover a tenth of the epoch, the count is 0, and nothing within
    a second of such a wave counts. A count of 0 therefore means "none seen", not "none". A movement that begins within
    half a second of the one before counts with it.

    Args:
        candidates: of `find_eye_candidates`.
        waves: slow waves, with those in doubt, of `tslm.evidence.waveforms.keep_waves_of_sleep`.
        bands: of `tslm.evidence.waveforms.filter_bands`.
        fs_hz: sampling rate.
    """
    num_epochs, num_samples = shape_EL = bands["slow"].shape
    brain = waves.unevenness <= _EVEN_MOST
    starts, stops = waves.start_samples[brain], waves.stop_samples[brain]
    first = starts // num_samples * num_samples
    share_E = cover_samples(starts, stops, num_epochs * num_samples).reshape(shape_EL).mean(axis=1)
    starts, stops = np.maximum(starts - round(fs_hz), first), np.minimum(stops + round(fs_hz), first + num_samples)
    near_EL = cover_samples(starts, stops, num_epochs * num_samples).reshape(shape_EL)
    free = (~near_EL & (share_E < _BRAIN_SHARE)[:, None]).ravel()[candidates.positions]
    free &= is_restless(bands, candidates.positions, candidates.positions, candidates.fast_least, fs_hz)
    position, reach = candidates.positions[free], candidates.reach_samples[free]
    epoch_idx, at = np.divmod(position, num_samples)
    is_first = np.ones(len(at), dtype=bool)
    is_first[1:] = (np.diff(position) >= 0.5 * fs_hz) | (np.diff(epoch_idx) > 0)
    first = np.flatnonzero(is_first)
    starts, stops = at - reach[:, 0], np.minimum(at + reach[:, 1], num_samples)
    if len(first):
        starts, stops = np.minimum.reduceat(starts, first), np.maximum.reduceat(stops, first)
    return Stretches(epoch_idx[first], starts, stops, num_epochs, num_samples)


def _find_saccades(eyes_EL: np.ndarray, fs_hz: float) -> np.ndarray:
    """Positions in the flattened epochs of steps, either way, that rise within .1 s and then decay.

    The step exceeds 25 uV and 3.5 times the epoch's typical change over .1 s, starts from near zero (not
    from a trough: the flank of a K-complex), and .6 of it is still there in the next fifth of a second.
    Part of it must stay longer, which vertex waves and K-complexes do not.
    """
    half = round(0.05 * fs_hz)
    rise_EL = np.zeros_like(eyes_EL)
    rise_EL[:, half:-half] = eyes_EL[:, 2 * half :] - eyes_EL[:, : -2 * half]
    height_EL = np.abs(rise_EL)
    peak_EL = _stands_out(height_EL, 3.5, SACCADE_UV, 0.2, fs_hz)
    idx, at = _inside(peak_EL, 0.3, 0.46, fs_hz)
    height, sign = height_EL[idx, at], np.sign(rise_EL[idx, at])
    before, after, later = (
        sign * _mean_around(eyes_EL, idx, at, span_s, fs_hz) for span_s in ((-0.3, -0.06), (0.06, 0.26), (0.26, 0.46))
    )
    kept = (before >= -0.3 * height) & (before <= 0.5 * height) & (after - before >= 0.6 * height)
    kept &= later - before >= 0.2 * height
    return (idx * eyes_EL.shape[1] + at)[kept]


def _find_blinks(eyes_EL: np.ndarray, fs_hz: float) -> np.ndarray:
    """Positions in the flattened epochs of single waves of .2-.4 s, up or down, as the closing lid leaves at Fpz.

    The peak exceeds the mean of what lies .3 s before and after it by 60 uV and 4 times the epoch's
    typical value of that; at least half of it is beyond zero, and neither side holds the opposite.
    """
    reach = round(0.3 * fs_hz)
    crest_EL = np.zeros_like(eyes_EL)
    crest_EL[:, reach:-reach] = eyes_EL[:, reach:-reach] - 0.5 * (eyes_EL[:, 2 * reach :] + eyes_EL[:, : -2 * reach])
    height_EL = np.abs(crest_EL)
    peak_EL = _stands_out(height_EL, 4.0, BLINK_UV, 0.3, fs_hz)
    idx, at = _inside(peak_EL, 0.5, 0.5, fs_hz)
    height, sign = height_EL[idx, at], np.sign(crest_EL[idx, at])
    before, after = (sign * _mean_around(eyes_EL, idx, at, span_s, fs_hz) for span_s in ((-0.5, -0.25), (0.25, 0.5)))
    kept = (np.minimum(before, after) >= -0.4 * height) & (sign * eyes_EL[idx, at] >= 0.5 * height)
    return (idx * eyes_EL.shape[1] + at)[kept]


def _stands_out(values_EL: np.ndarray, factor: float, least_uv: float, width_s: float, fs_hz: float) -> np.ndarray:
    """Largest values within `width_s` that reach `least_uv` and `factor` times the epoch's 1.48 x median of |x|."""
    bar_E1 = np.maximum(least_uv, factor * 1.4826 * np.median(np.abs(values_EL), axis=1, keepdims=True))
    width = 2 * round(0.5 * width_s * fs_hz) + 1
    return (values_EL >= bar_E1) & (scipy.ndimage.maximum_filter1d(values_EL, width, axis=1) == values_EL)


def _inside(mask_EL: np.ndarray, before_s: float, after_s: float, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Epoch and sample of the True values that have so much signal before and after them."""
    idx, at = np.nonzero(mask_EL)
    whole = (at >= round(before_s * fs_hz)) & (at < mask_EL.shape[1] - round(after_s * fs_hz))
    return idx[whole], at[whole]


def _mean_around(
    values_EL: np.ndarray, idx: np.ndarray, at: np.ndarray, span_s: tuple[float, float], fs_hz: float
) -> np.ndarray:
    """(num,) mean of the samples from `span_s[0]` to `span_s[1]`, counted from each position."""
    offsets = np.arange(round(span_s[0] * fs_hz), round(span_s[1] * fs_hz))
    return values_EL[idx[:, None], at[:, None] + offsets].mean(axis=1)
