"""Normalisation of series on their way into a model; the method is part of the model's config.

Shape letters: E epochs, C channels, L samples of an epoch, K knots, F frequencies.
"""

from collections.abc import Sequence

import numpy as np
import scipy

from tslm.batch import Reference
from tslm.evidence.muscle import carry_tone
from tslm.signals.filters import resample_polyphase

# Views that a model reads of a series: each is the series, normalised in its own way.
NORMALIZATIONS = {
    "zscore": ("zscore",),
    "recording": ("recording",),
    "whitened": ("whitened",),
    "zscore_whitened": ("zscore", "whitened"),
}
_STD_FLOOR = 1e-6  # the guide's
STEPS_A_STD = 10  # a digit series holds tenths of the series' standard deviation
# Cycles a sample, evenly spaced in log frequency: 0.2 to 45 Hz at 100 Hz; constant below the first and above the last.
KNOTS_K = np.geomspace(0.002, 0.45, 32)
NUM_KNOTS = len(KNOTS_K)
_FRAME_SAMPLES = 400  # length of a spectrum's frame: four seconds at 100 Hz
_MARGIN_SAMPLES = 200  # mirrored at both ends of an epoch, so that whitening meets no jump there
_MAX_LOG_GAIN = np.log(1e3)  # beyond 60 dB under its strongest band a recording holds rounding noise
# ln amplitude of a frame of white noise of standard deviation 1, by the median of its (exponentially distributed) power
_WHITE_LOG_AMPLITUDE = 0.5 * np.log(np.log(2) * np.square(np.hanning(_FRAME_SAMPLES)).sum())
_EPOCHS_AT_ONCE = 64
_NIGHT_EPOCHS = 500  # a reference is measured on about this many epochs, evenly spread


def normalize_series(values: np.ndarray, normalization: str, reference: Reference) -> np.ndarray:
    """Normalise along the last axis; float32, (..., samples), or (..., views, samples) where there are several views.

    `zscore` removes the series' own mean and divides by its population standard deviation (guide,
    section on preprocessing). `recording` removes the mean and divides by the recording's typical
    amplitude, so that loud and quiet epochs stay different. `whitened` divides each frequency by the
    recording's typical amplitude there: what is left is how an epoch differs from its night, whatever
    skull, electrode and amplifier do to the spectrum. `zscore_whitened` gives both views. A series
    without a known spectrum is taken to be white already, which is the same as `recording`. An EMG (a
    reference with a tone) becomes the muscle's tone by rank within its recording, whatever the
    normalisation.

    Raises:
        ValueError: NaN or infinite values, an empty series, or an unknown normalisation.
    """
    if values.shape[-1] == 0:
        raise ValueError("the series is empty")
    if not np.isfinite(values).all():
        raise ValueError("the series holds NaN or infinite values; repair or drop it before scoring")
    views = [_normalize_view(values, view, reference) for view in _find_views(normalization)]
    return views[0] if len(views) == 1 else np.stack(views, axis=-2)


def count_views(normalization: str) -> int:
    """Number of views of a normalisation; ValueError lists the known ones."""
    return len(_find_views(normalization))


def _find_views(normalization: str) -> tuple[str, ...]:
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"unknown model.normalization {normalization!r}; one of: {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[normalization]


def _normalize_view(values: np.ndarray, view: str, reference: Reference) -> np.ndarray:
    if reference.tone is not None:
        return carry_tone(values, reference.tone)
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    if view == "zscore":
        divisor = np.maximum(values.std(axis=-1, keepdims=True, dtype=np.float64), _STD_FLOOR)
    else:
        divisor = np.float64(max(reference.scale, _STD_FLOOR))
    scaled = (centred / divisor).astype(np.float32)
    if view == "whitened" and reference.log_amplitude_K is not None:
        return _divide_spectrum(scaled, reference.log_amplitude_K)
    return scaled


def normalize_channels(
    values_ECL: np.ndarray, normalization: str, references: Sequence[Reference | None]
) -> np.ndarray:
    """Normalise epochs, each channel by its own reference; (num_epochs, num_channels, samples) float32.

    A channel without a reference is one that the recording lacks; it is zero. Errors as `normalize_series`.
    """
    channels = [
        normalize_series(values_ECL[:, channel_idx], normalization, reference or Reference())
        for channel_idx, reference in enumerate(references)
    ]
    return np.stack(channels, axis=1)


def render_digits(values_L: np.ndarray, num_values: int) -> str:
    """A series as digits, for a language model without an encoder (Gruver et al. 2023, arXiv 2310.07820).

    A series longer than `num_values` is resampled to that number. Values are integers in tenths of the series'
    standard deviation; its mean and standard deviation stand elsewhere in the prompt. Gruver et al. separate digits by
    spaces for tokenizers that join digits; Llama and Gemma read them one by one (Llama 3: up to three), so no spaces
    are needed.

    Args:
        values_L: (num_samples,) finite, any unit.
        num_values: largest number of values.

    Raises:
        ValueError: an empty series, or values that are not finite.
    """
    values_L = np.asarray(values_L, dtype=np.float64)
    if not values_L.size or not np.isfinite(values_L).all():
        raise ValueError("a series that is empty or holds NaN cannot be written as digits; repair or drop it")
    scaled_L = (values_L - values_L.mean()) / max(values_L.std(), _STD_FLOOR)
    if len(scaled_L) > num_values:
        scaled_L = resample_polyphase(scaled_L, len(scaled_L), num_values)[:num_values]
    steps = np.rint(STEPS_A_STD * scaled_L).astype(int)
    return f" {len(steps)} values in tenths of the std: {','.join(map(str, steps.tolist()))}"


def measure_reference(epochs_EL: np.ndarray) -> Reference:
    """Typical amplitude and spectrum of a recording, from its own signal alone, without labels.

    The scale is the median over epochs of their standard deviation. The spectrum is the median over
    epochs and frames of log power. Flat epochs (electrode off) do not count; a recording of nothing
    else has scale 1 and no spectrum.

    Args:
        epochs_EL: (num_epochs, samples), finite; epochs shorter than a frame have no spectrum.
    """
    spread_E = epochs_EL.std(axis=-1, dtype=np.float64)
    alive_E = spread_E > _STD_FLOOR
    if not alive_E.any():
        return Reference()
    scale = float(np.median(spread_E[alive_E]))
    if epochs_EL.shape[-1] < _FRAME_SAMPLES:
        return Reference(scale)
    used_EL = epochs_EL[alive_E][:: max(1, round(alive_E.sum() / _NIGHT_EPOCHS))] / np.float32(scale)
    log_amplitude_K = _typical_log_amplitude(used_EL)
    # A constant makes the typical whitened epoch have standard deviation 1.
    whitened_EL = _divide_spectrum(used_EL - used_EL.mean(axis=-1, keepdims=True), log_amplitude_K)
    return Reference(scale, log_amplitude_K + np.log(np.median(whitened_EL.std(axis=-1))))


def measure_spectra(epochs_EL: np.ndarray) -> np.ndarray:
    """(E, K) ln amplitude of each epoch around each knot, the median over its frames; NaN where an epoch is flat.

    White noise of standard deviation 1 has 0 everywhere.

    Args:
        epochs_EL: (num_epochs, samples), finite; epochs shorter than a frame have no spectrum.
    """
    log_amplitude_EK = np.full((len(epochs_EL), NUM_KNOTS), np.nan)
    if epochs_EL.shape[-1] < _FRAME_SAMPLES:
        return log_amplitude_EK
    for start in range(0, len(epochs_EL), _EPOCHS_AT_ONCE):
        some_EL = epochs_EL[start : start + _EPOCHS_AT_ONCE]
        log_power_EF = np.median(_measure_log_power(some_EL), axis=1)
        alive_E = some_EL.std(axis=-1, dtype=np.float64) > _STD_FLOOR
        for epoch in np.flatnonzero(alive_E):
            log_amplitude_EK[start + epoch] = _interpolate(log_power_EF[epoch]) - _WHITE_LOG_AMPLITUDE
    return log_amplitude_EK


def find_typical(log_amplitude_EK: np.ndarray) -> np.ndarray | None:
    """(K,) the median over epochs that have a spectrum (`measure_spectra`); None where none has."""
    known_EK = log_amplitude_EK[np.isfinite(log_amplitude_EK[:, 0])]
    return np.median(known_EK, axis=0) if len(known_EK) else None


def build_reference(log_amplitude_EK: np.ndarray, prior_K: np.ndarray | None, prior_epochs: float) -> Reference:
    """Reference of a recording by its epochs' spectra (`measure_spectra`), the less its own the shorter it is.

    Its typical spectrum is the mean of its own, weighted by its number of epochs, and of `prior_K`, weighted by
    `prior_epochs`. Half an hour may hold one sleep stage alone; its own median is then no yardstick for that stage.

    Args:
        log_amplitude_EK: spectra of the recording's epochs.
        prior_K: typical spectrum of other recordings; None: unknown.
        prior_epochs: epochs of the recording that weigh as much as the prior.
    """
    own_K, num_epochs = find_typical(log_amplitude_EK), int(np.isfinite(log_amplitude_EK[:, 0]).sum())
    if own_K is None and prior_K is None:
        return Reference()
    share = 1.0 if prior_K is None else num_epochs / max(num_epochs + prior_epochs, 1e-9)
    parts = [weight * part_K for weight, part_K in ((share, own_K), (1 - share, prior_K)) if part_K is not None]
    typical_K = np.sum(parts, axis=0)
    typical_K = np.maximum(typical_K, typical_K.max() - _MAX_LOG_GAIN)
    frequency_F = np.arange(1, _FRAME_SAMPLES // 2) / _FRAME_SAMPLES
    log_amplitude_F = np.interp(np.log(frequency_F), np.log(KNOTS_K), typical_K)
    scale = float(np.sqrt(np.mean(np.exp(2 * log_amplitude_F))))
    return Reference(scale, typical_K - np.log(scale))


def _typical_log_amplitude(epochs_EL: np.ndarray) -> np.ndarray:
    """(K,) median log amplitude around each knot."""
    log_power_ETF = _measure_log_power(epochs_EL)
    log_amplitude_K = _interpolate(np.median(log_power_ETF.reshape(-1, log_power_ETF.shape[-1]), axis=0))
    return np.maximum(log_amplitude_K, log_amplitude_K.max() - _MAX_LOG_GAIN)


def _measure_log_power(epochs_EL: np.ndarray) -> np.ndarray:
    """(E, frames, F) ln power of every frame."""
    frames = np.lib.stride_tricks.sliding_window_view(epochs_EL, _FRAME_SAMPLES, axis=-1)[:, :: _FRAME_SAMPLES // 2]
    frames = (frames - frames.mean(axis=-1, keepdims=True)) * np.hanning(_FRAME_SAMPLES).astype(np.float32)
    return np.log(np.abs(scipy.fft.rfft(frames, axis=-1)) ** 2 + np.float32(1e-12))


def _interpolate(log_power_F: np.ndarray) -> np.ndarray:
    """(K,) ln amplitude at the knots."""
    frequency_F = np.arange(1, log_power_F.size) / _FRAME_SAMPLES
    return 0.5 * np.interp(np.log(KNOTS_K), np.log(frequency_F), log_power_F[1:])


def _divide_spectrum(values: np.ndarray, log_amplitude_K: np.ndarray) -> np.ndarray:
    num_samples = values.shape[-1]
    margin = min(_MARGIN_SAMPLES, num_samples - 1)
    widths = [(0, 0)] * (values.ndim - 1) + [(margin, margin)]
    padded = np.pad(values, widths, mode="reflect", reflect_type="odd")
    length = scipy.fft.next_fast_len(padded.shape[-1], real=True)
    frequency_F = np.maximum(scipy.fft.rfftfreq(length), KNOTS_K[0])
    gain_F = np.exp(-np.interp(np.log(frequency_F), np.log(KNOTS_K), log_amplitude_K)).astype(np.float32)
    gain_F[0] = 0  # no mean
    filtered = scipy.fft.irfft(scipy.fft.rfft(padded, n=length, axis=-1) * gain_F, n=length, axis=-1)
    return filtered[..., margin : margin + num_samples].astype(np.float32)
