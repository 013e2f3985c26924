"""What has come of one channel of a live recording, cut into epochs at the model's rate."""

import math

import numpy as np

from tslm.data.readers.align import align_signal
from tslm.data.readers.raw import RawSignal
from tslm.evidence.muscle import ENVELOPE_BELOW_HZ
from tslm.signals.filters import bridge_gaps, find_ratio, resample_polyphase

_LONGEST_S = 7 * 86400.0  # a ratio of rates that holds for so long
_REACH = 48  # samples of the lower rate that resampling looks to either side: its filter has 44
_ENVELOPE_S = 300.0  # of a slow channel, interpolated at a time


class ChannelBuffer:
    """Samples of one channel; `cut` gives epoch after epoch and forgets what no later one needs.

    An epoch is resampled by the same filter as a whole recording, from the same stretch of samples whatever the chunks
    were. Where the rate is another than the model's, the filter needs `delay_s` of signal after the epoch's end. A
    channel slower than 20 Hz is an envelope, interpolated up to its last sample.
    """

    def __init__(self, fs_hz: float, model_fs_hz: float, epoch_samples: int) -> None:
        self.fs_hz, self.model_fs_hz, self.epoch_samples = fs_hz, model_fs_hz, epoch_samples
        self.is_slow = fs_hz < ENVELOPE_BELOW_HZ
        ratio = find_ratio(fs_hz, model_fs_hz, 1.0 if self.is_slow else _LONGEST_S)
        self._up, self._down = ratio.numerator, ratio.denominator
        is_resampled = ratio != 1 and not self.is_slow
        self._reach = math.ceil(_REACH * max(1.0, fs_hz / model_fs_hz)) if is_resampled else 0  # samples
        self._chunks: list[np.ndarray] = []
        self._first = self._num_samples = 0  # position of the first sample held; samples that have come
        self._epoch = 0

    @property
    def delay_s(self) -> float:
        """Seconds after its end for which an epoch waits."""
        return self._reach / self.fs_hz

    def append(self, values: np.ndarray) -> None:
        """Take samples, float32; NaN where none was recorded."""
        self._chunks.append(values)
        self._num_samples += len(values)

    def has_epoch(self) -> bool:
        """Whether all samples of the next epoch are here."""
        return self._num_samples >= math.ceil((self._epoch + 1) * self._source_samples - 1e-6) + self._reach

    def cut(self) -> np.ndarray:
        """The next epoch at the model's rate, (L,) float32, NaN where samples are missing."""
        begin, end = self._epoch * self.epoch_samples, (self._epoch + 1) * self.epoch_samples  # at the model's rate
        held = np.concatenate(self._chunks)
        self._chunks = [held]
        stop = math.ceil(end * self._down / self._up - 1e-6) + self._reach
        if self.is_slow:
            start = max(0, math.floor(begin * self._down / self._up - _ENVELOPE_S * self.fs_hz))
            part = held[start - self._first : stop - self._first]
            signal = RawSignal(part, self.fs_hz, start_s=start / self.fs_hz)
            epoch_L = align_signal(signal, self.model_fs_hz, end).values[begin:]
        else:
            # A stretch begins where a sample of either rate lies.
            start = max(0, (begin * self._down // self._up - self._reach) // self._down * self._down)
            part = held[start - self._first : stop - self._first]
            skip = begin - start * self._up // self._down
            epoch_L = self._resample(part)[skip : skip + self.epoch_samples]
        assert len(epoch_L) == self.epoch_samples
        self._epoch += 1
        self._forget()
        return epoch_L

    @property
    def _source_samples(self) -> float:
        return self.epoch_samples * self._down / self._up

    def _resample(self, part: np.ndarray) -> np.ndarray:
        if self._up == self._down:
            return part
        missing = np.isnan(part)
        values = resample_polyphase(bridge_gaps(part), float(self._down), float(self._up))
        if missing.any():
            nearest = np.rint(np.arange(len(values)) * (self._down / self._up)).astype(int)
            values[missing[np.minimum(nearest, len(missing) - 1)]] = np.nan
        return values

    def _forget(self) -> None:
        kept_s = _ENVELOPE_S if self.is_slow else (self._reach + 2 * self._down) / self.fs_hz
        first = math.floor(self._epoch * self._source_samples - kept_s * self.fs_hz) - 1
        if first > self._first:
            self._chunks = [self._chunks[0][first - self._first :].copy()]
            self._first = first
