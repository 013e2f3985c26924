"""Zero-phase filters, resampling to any rate, and interpolation of gaps: none of them moves a wave in time."""

from fractions import Fraction

import numpy as np
import scipy

_ORDER = 4  # of each of the two passes
_PAD_CYCLES = 1.5  # of the lowest edge; longer than a Butterworth filter of this order rings
PASS_SHARE = 0.9  # of the lower Nyquist frequency: 45 Hz where one of the rates is 100 Hz
STOP_BAND_DB = 70.0  # from the lower Nyquist frequency on
MAX_DRIFT_S = 1e-4
_LARGEST_FACTORS = (100, 1_000, 10_000, 100_000)


def filter_zero_phase(
    signal: np.ndarray, fs_hz: float, low_hz: float | None = None, high_hz: float | None = None
) -> np.ndarray:
    """Band-pass, high-pass (`low_hz` only) or low-pass (`high_hz` only) along the last axis.

    A Butterworth filter of order 4, run forwards and backwards (`scipy.signal.sosfiltfilt`): no
    ripple, no delay, half the amplitude (-6 dB) at the edges, -48 dB or less an octave beyond a
    single edge. The signal is mirrored at both ends against edge effects.

    Args:
        signal: (..., samples), finite; rows are filtered each by itself.
        fs_hz: sampling rate.
        low_hz: lower edge; None lets everything below pass.
        high_hz: upper edge; None lets everything above pass.

    Returns:
        The filtered signal, float32, in the same shape and unit.

    Raises:
        ValueError: no edge, edges out of order or not below the Nyquist frequency, NaN, or fewer than two samples.
    """
    edges_hz = [edge for edge in (low_hz, high_hz) if edge is not None]
    if not edges_hz:
        raise ValueError("a filter needs low_hz or high_hz")
    if min(edges_hz) <= 0 or max(edges_hz) >= fs_hz / 2 or edges_hz != sorted(set(edges_hz)):
        wanted = f"wanted 0 < low_hz < high_hz < {fs_hz / 2:g} Hz, half the sampling rate"
        raise ValueError(f"filter edges are low_hz={low_hz}, high_hz={high_hz}; {wanted}")
    kind = "bandpass" if len(edges_hz) == 2 else "highpass" if high_hz is None else "lowpass"
    sos = scipy.signal.butter(_ORDER, edges_hz if len(edges_hz) == 2 else edges_hz[0], kind, fs=fs_hz, output="sos")
    return _run_both_ways(sos, signal, _PAD_CYCLES * fs_hz / min(edges_hz))


def notch(signal: np.ndarray, fs_hz: float, line_hz: float, width_hz: float = 2.0) -> np.ndarray:
    """Take out a narrow band around `line_hz`, as the mains, along the last axis and without phase shift.

    A second-order notch (`scipy.signal.iirnotch`), run forwards and backwards; amplitude is halved at
    `width_hz` / 2 on either side.

    Raises:
        ValueError: the band does not lie between 0 and the Nyquist frequency, NaN, or fewer than two samples.
    """
    if width_hz <= 0 or line_hz - width_hz / 2 <= 0 or line_hz + width_hz / 2 >= fs_hz / 2:
        raise ValueError(
            f"notch of {width_hz:g} Hz at {line_hz:g} Hz; wanted a band between 0 and {fs_hz / 2:g} Hz, "
            "half the sampling rate"
        )
    sos = scipy.signal.tf2sos(*scipy.signal.iirnotch(line_hz, line_hz / width_hz, fs_hz))
    return _run_both_ways(sos, signal, _PAD_CYCLES * fs_hz / width_hz)


def _run_both_ways(sos: np.ndarray, signal: np.ndarray, pad_samples: float) -> np.ndarray:
    signal = np.asarray(signal)
    if signal.ndim < 1 or signal.shape[-1] < 2:
        raise ValueError(f"signal has shape {signal.shape}; a filter needs two samples or more along the last axis")
    if not np.isfinite(signal).all():
        raise ValueError("signal holds NaN or infinite values; fill or leave out what is missing before filtering")
    padding = min(int(np.ceil(pad_samples)), signal.shape[-1] - 1)
    return scipy.signal.sosfiltfilt(sos, signal, axis=-1, padlen=padding).astype(np.float32)


def bridge_gaps(signal: np.ndarray) -> np.ndarray:
    """Draw a straight line over every gap, from the last sample before it to the first after it.

    Args:
        signal: (..., samples) floats, NaN where missing; rows are bridged each by itself.

    Returns:
        The same array where nothing is missing, else a copy. A gap at an end holds the nearest value; a
        row without any sample becomes zero.
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    bridged = signal.copy().reshape(-1, signal.shape[-1])
    gaps = missing.reshape(bridged.shape)
    for row in np.flatnonzero(gaps.any(axis=1)):
        gap = gaps[row]
        known = np.flatnonzero(~gap)
        bridged[row, gap] = np.interp(np.flatnonzero(gap), known, bridged[row, known]) if known.size else 0.0
    return bridged.reshape(signal.shape)


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
