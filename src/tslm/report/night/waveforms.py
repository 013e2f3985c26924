"""Waveforms of a night made small enough to travel inside the page.

A sample is one step of a ladder between the lowest and the highest value of its epoch; steps are
written as differences to the sample before, which compresses well. Where a night is too long for
its budget of bytes, first the steps get coarser, then the rate falls, and at last epochs that
nobody doubts are left out; the page says which.

Shape letters: N epochs of the page, L samples of an epoch, D samples drawn.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tslm.signals.filters import resample_polyphase

# (largest rate in Hz, bits a sample) of the first channel and of the others, best first; 7 bits are 128 steps in a
# chart of some 150 pixels, and what matters in EOG and EMG is slow or is seen in the envelope.
_QUALITIES: tuple[tuple[tuple[float, int], tuple[float, int]], ...] = (
    ((128.0, 8), (128.0, 8)),
    ((128.0, 8), (64.0, 6)),
    ((128.0, 7), (64.0, 5)),
    ((128.0, 6), (50.0, 5)),
    ((64.0, 6), (50.0, 5)),
    ((50.0, 5), (50.0, 4)),
)
_TRIED_EPOCHS = 48
_BASE64_GROWTH = 4 / 3
_MARGIN = 1.03  # by which the estimate may be wrong
_LEVEL = 6


@dataclass(frozen=True)
class PackedChannel:
    """What the page decodes: `blob` is gzip of (N, 2) float32 little-endian, lowest and step, then (N, D) uint8."""

    blob: bytes
    fs_hz: float  # of what is drawn
    num_samples: int  # D, per epoch
    bits: int


def pack_waveforms(
    channels: Mapping[str, np.ndarray], fs_hz: float, max_bytes: int, doubted: Sequence[bool] | np.ndarray
) -> tuple[list[PackedChannel], np.ndarray]:
    """Waveforms of all channels within `max_bytes` of base64, and which epochs (num_epochs,) bool they are of.

    No channels, and no epoch, where not even the doubted epochs fit.

    Args:
        channels: name -> (num_epochs, samples) microvolt, the one that is looked at most first.
        fs_hz: their sampling rate.
        max_bytes: what the packed waveforms may take in the page.
        doubted: per epoch, whether it is kept when not all can be.
    """
    epochs = [np.asarray(epochs_NL, dtype=np.float32) for epochs_NL in channels.values()]
    num_epochs = len(epochs[0])
    some = np.unique(np.linspace(0, num_epochs - 1, _TRIED_EPOCHS).astype(int))
    for kept in (np.ones(num_epochs, dtype=bool), np.asarray(doubted, dtype=bool)):
        if not kept.any():
            continue
        for quality in _QUALITIES:
            tried = _encode_all([epochs_NL[some] for epochs_NL in epochs], fs_hz, quality)
            if _count_bytes(tried) * _MARGIN * kept.sum() / len(some) > max_bytes:
                continue
            packed = _encode_all([epochs_NL[kept] for epochs_NL in epochs], fs_hz, quality)
            if _count_bytes(packed) <= max_bytes:
                return packed, kept
    return [], np.zeros(num_epochs, dtype=bool)


def unpack_waveforms(packed: PackedChannel) -> np.ndarray:
    """(stored epochs, D) float32 microvolt, as the page draws them."""
    raw = np.frombuffer(gzip.decompress(packed.blob), dtype=np.uint8)
    num_epochs = len(raw) // (8 + packed.num_samples)
    bases_N2 = raw[: 8 * num_epochs].view("<f4").reshape(num_epochs, 2)
    steps_ND = raw[8 * num_epochs :].reshape(num_epochs, packed.num_samples)
    codes_ND = np.cumsum(steps_ND, axis=1, dtype=np.uint8) & (2**packed.bits - 1)
    return bases_N2[:, :1] + codes_ND * bases_N2[:, 1:]


def _encode_all(
    epochs: Sequence[np.ndarray], fs_hz: float, quality: tuple[tuple[float, int], tuple[float, int]]
) -> list[PackedChannel]:
    wanted = [quality[0], *[quality[1]] * (len(epochs) - 1)]
    return [
        _encode(*_slow_down(epochs_NL, fs_hz, largest_hz), bits)
        for epochs_NL, (largest_hz, bits) in zip(epochs, wanted, strict=True)
    ]


def _count_bytes(packed: Sequence[PackedChannel]) -> float:
    return sum(len(channel.blob) for channel in packed) * _BASE64_GROWTH


def _slow_down(epochs_NL: np.ndarray, fs_hz: float, largest_hz: float) -> tuple[np.ndarray, float]:
    """The epochs at a whole fraction of their rate, as near below `largest_hz` as an epoch divides."""
    num_samples = epochs_NL.shape[1]
    factor = int(np.ceil(fs_hz / largest_hz - 1e-9))
    while factor > 1 and num_samples % factor:
        factor += 1
    if factor <= 1 or factor >= num_samples:
        return epochs_NL, fs_hz
    return resample_polyphase(epochs_NL, fs_hz, fs_hz / factor), fs_hz / factor


def _encode(epochs_ND: np.ndarray, fs_hz: float, bits: int) -> PackedChannel:
    lowest_N1 = epochs_ND.min(axis=1, keepdims=True)
    step_N1 = np.maximum(epochs_ND.max(axis=1, keepdims=True) - lowest_N1, 1e-6) / (2**bits - 1)
    codes_ND = np.rint((epochs_ND - lowest_N1) / step_N1).astype(np.uint8)
    steps_ND = np.diff(codes_ND, axis=1, prepend=np.uint8(0)) & np.uint8(2**bits - 1)
    bases_N2 = np.concatenate([lowest_N1, step_N1], axis=1).astype("<f4")
    blob = gzip.compress(bases_N2.tobytes() + steps_ND.tobytes(), _LEVEL, mtime=0)
    return PackedChannel(blob, fs_hz, epochs_ND.shape[1], bits)
