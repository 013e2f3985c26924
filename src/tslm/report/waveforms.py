"""Waveforms of a night made small enough to travel inside the page.

A sample is one step of a ladder between the lowest and the highest value of its epoch; steps are
written as differences to the sample before, which compresses well. Where a night is too long for
its budget of bytes, first the steps get coarser, then the rate falls, and at last epochs that
nobody doubts are left out; the page says which.

Shape letters: C channels, N epochs of the page, L samples of an epoch, D samples drawn.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tslm.signals.resample import resample_polyphase

# (largest rate in Hz, bits a sample), best first; 7 bits are 128 steps in a chart of some 150 pixels.
_QUALITIES: tuple[tuple[float, int], ...] = ((128.0, 8), (128.0, 7), (100.0, 6), (64.0, 6), (50.0, 6), (50.0, 5))
_TRIED_EPOCHS = 48
_BASE64_GROWTH = 4 / 3
_MARGIN = 1.03  # by which the estimate may be wrong
_LEVEL = 6


@dataclass(frozen=True)
class PackedWaveforms:
    """What the page decodes: `blob` is gzip of `bases` (C, N, 2) float32 little-endian, then steps (C, N, D) uint8."""

    blob: bytes
    fs_hz: float  # of what is drawn
    num_samples: int  # D, per epoch and channel
    bits: int
    stored: tuple[bool, ...]  # per epoch of the page


def pack_waveforms(
    channels: Mapping[str, np.ndarray], fs_hz: float, max_bytes: int, doubted: Sequence[bool] | np.ndarray
) -> PackedWaveforms | None:
    """Waveforms of all channels within `max_bytes` of base64; None where not even the doubted epochs fit.

    Args:
        channels: name -> (num_epochs, samples) microvolt, all of one shape.
        fs_hz: their sampling rate.
        max_bytes: what the packed waveforms may take in the page.
        doubted: per epoch, whether it is kept when not all can be.
    """
    epochs_CNL = np.stack(list(channels.values())).astype(np.float32, copy=False)
    some = np.unique(np.linspace(0, epochs_CNL.shape[1] - 1, _TRIED_EPOCHS).astype(int))
    for kept in (np.ones(epochs_CNL.shape[1], dtype=bool), np.asarray(doubted, dtype=bool)):
        if not kept.any():
            continue
        for largest_hz, bits in _QUALITIES:
            tried = _encode(*_slow_down(epochs_CNL[:, some], fs_hz, largest_hz), bits)
            if len(tried.blob) * _MARGIN * _BASE64_GROWTH * kept.sum() / len(some) > max_bytes:
                continue
            packed = _encode(*_slow_down(epochs_CNL[:, kept], fs_hz, largest_hz), bits)
            if len(packed.blob) * _BASE64_GROWTH <= max_bytes:
                return PackedWaveforms(packed.blob, packed.fs_hz, packed.num_samples, bits, tuple(kept.tolist()))
    return None


def unpack_waveforms(packed: PackedWaveforms, num_channels: int) -> np.ndarray:
    """(C, stored epochs, D) float32 microvolt, as the page draws them."""
    raw = gzip.decompress(packed.blob)
    num_epochs = sum(packed.stored)
    split = num_channels * num_epochs * 2 * 4
    bases_CN2 = np.frombuffer(raw[:split], dtype="<f4").reshape(num_channels, num_epochs, 2)
    steps_CND = np.frombuffer(raw[split:], dtype=np.uint8).reshape(num_channels, num_epochs, packed.num_samples)
    codes_CND = np.cumsum(steps_CND, axis=2, dtype=np.uint8) & (2**packed.bits - 1)
    return bases_CN2[..., :1] + codes_CND * bases_CN2[..., 1:]


def _slow_down(epochs_CNL: np.ndarray, fs_hz: float, largest_hz: float) -> tuple[np.ndarray, float]:
    """The epochs at a whole fraction of their rate, as near below `largest_hz` as an epoch divides."""
    num_samples = epochs_CNL.shape[-1]
    factor = int(np.ceil(fs_hz / largest_hz - 1e-9))
    while factor > 1 and num_samples % factor:
        factor += 1
    if factor <= 1 or factor >= num_samples:
        return epochs_CNL, fs_hz
    return resample_polyphase(epochs_CNL, fs_hz, fs_hz / factor), fs_hz / factor


def _encode(epochs_CND: np.ndarray, fs_hz: float, bits: int) -> PackedWaveforms:
    lowest_CN1 = epochs_CND.min(axis=2, keepdims=True)
    step_CN1 = np.maximum(epochs_CND.max(axis=2, keepdims=True) - lowest_CN1, 1e-6) / (2**bits - 1)
    codes_CND = np.rint((epochs_CND - lowest_CN1) / step_CN1).astype(np.uint8)
    steps_CND = np.diff(codes_CND, axis=2, prepend=np.uint8(0)) & np.uint8(2**bits - 1)
    bases_CN2 = np.concatenate([lowest_CN1, step_CN1], axis=2).astype("<f4")
    blob = gzip.compress(bases_CN2.tobytes() + steps_CND.tobytes(), _LEVEL, mtime=0)
    return PackedWaveforms(blob, fs_hz, epochs_CND.shape[2], bits, ())
