"""Polyphase resampling to any rate, in time: sample k of the output is the signal at k / fs_out_hz."""

from fractions import Fraction

import numpy as np
import scipy.signal

PASS_SHARE = 0.9  # of the lower Nyquist frequency: 45 Hz where one of the rates is 100 Hz
STOP_BAND_DB = 70.0  # from the lower Nyquist frequency on
MAX_DRIFT_S = 1e-4
_LARGEST_FACTORS = (100, 1_000, 10_000, 100_000)


def resample_polyphase(signal: np.ndarray, fs_in_hz: float, fs_out_hz: float) -> np.ndarray:
    """The signal at another sampling rate, along the last axis, without delay.

    A linear-phase Kaiser low-pass passes up to 0.9 of the lower Nyquist frequency (ripple under 0.01
    dB) and damps by 70 dB from the Nyquist frequency on, so nothing folds back. The rates' ratio is
    taken as the simplest fraction that drifts by less than 0.1 ms over the signal; 500 or 512 to 100
    Hz and their like are exact. Beyond its ends the signal is continued by its first and last value.

    Args:
        signal: (..., samples); each row is resampled by itself. NaN spreads over 44 samples of the
            lower rate on either side of it, no further.
        fs_in_hz: rate of `signal`.
        fs_out_hz: wanted rate.

    Returns:
        (..., ceil(samples * fs_out_hz / fs_in_hz)) float32: all k with k / fs_out_hz inside the signal,
        so epochs of a whole number of samples at both rates stay where they were.

    Raises:
        ValueError: a rate is not positive, or no fraction of factors up to 100,000 is near enough to the ratio.
    """
    signal = np.asarray(signal, dtype=np.float32)
    if not (np.isfinite([fs_in_hz, fs_out_hz]).all() and min(fs_in_hz, fs_out_hz) > 0):
        raise ValueError(f"cannot resample from {fs_in_hz:g} to {fs_out_hz:g} Hz; wanted two positive rates")
    ratio = find_ratio(fs_in_hz, fs_out_hz, signal.shape[-1] / fs_in_hz)
    if ratio == 1 or not signal.size:
        return signal[..., :0] if ratio != 1 else signal.copy()
    taps = _design_low_pass(max(ratio.numerator, ratio.denominator))
    return scipy.signal.resample_poly(
        signal, ratio.numerator, ratio.denominator, axis=-1, window=taps, padtype="edge"
    ).astype(np.float32, copy=False)


def find_ratio(fs_in_hz: float, fs_out_hz: float, duration_s: float) -> Fraction:
    """Simplest fraction near fs_out / fs_in that puts no sample of `duration_s` off by a tenth of a millisecond."""
    exact = fs_out_hz / fs_in_hz
    for largest in _LARGEST_FACTORS:
        ratio = Fraction(exact).limit_denominator(largest)
        if (
            ratio
            and abs(float(ratio) / exact - 1) * duration_s < MAX_DRIFT_S
            and ratio.numerator <= _LARGEST_FACTORS[-1]
        ):
            return ratio
    raise ValueError(
        f"cannot resample {duration_s:g} s from {fs_in_hz!r} to {fs_out_hz!r} Hz within {1000 * MAX_DRIFT_S:g} ms; "
        "choose an output rate that stands in a simpler ratio to the input"
    )


def _design_low_pass(factor: int) -> np.ndarray:
    """Taps of the anti-aliasing filter at `factor` times the lower rate, of odd length; gain 1."""
    num_taps, beta = scipy.signal.kaiserord(STOP_BAND_DB, (1 - PASS_SHARE) / factor)
    taps = scipy.signal.firwin(num_taps | 1, (1 + PASS_SHARE) / 2 / factor, window=("kaiser", beta))
    return taps.astype(np.float32)
