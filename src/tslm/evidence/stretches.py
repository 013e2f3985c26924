"""Stretches of scoring epochs in which a detector finds something: what counts, shares and events are derived from.

Shape letters: E epochs, W windows of an epoch.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Stretches:
    """Runs of neighbouring windows of scoring epochs, by epoch and in time order.

    A detector that decides on each sample has windows of one sample.
    """

    epoch_idx: np.ndarray  # (num,) int64
    starts: np.ndarray  # (num,) int64, first window
    stops: np.ndarray  # (num,) int64, exclusive
    num_epochs: int
    num_windows: int  # of an epoch
    hop_samples: float = 1.0  # from one window to the next
    window_samples: float = 1.0

    def take(self, mask: np.ndarray) -> "Stretches":
        """Those where a mask (num,) is True."""
        return replace(self, epoch_idx=self.epoch_idx[mask], starts=self.starts[mask], stops=self.stops[mask])

    def count(self) -> np.ndarray:
        """(num_epochs,) number of stretches."""
        return np.bincount(self.epoch_idx, minlength=self.num_epochs)

    def measure_share(self) -> np.ndarray:
        """(num_epochs,) share of the windows that lie in a stretch."""
        covered_E = np.bincount(self.epoch_idx, self.stops - self.starts, minlength=self.num_epochs)
        return covered_E / max(self.num_windows, 1)

    def measure_mean_s(self, fs_hz: float) -> np.ndarray:
        """(num_epochs,) mean duration in s, 0 where there is none."""
        total_s = np.bincount(self.epoch_idx, self.locate(fs_hz)[1], minlength=self.num_epochs)
        return total_s / np.maximum(self.count(), 1)

    def locate(self, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
        """(num,) onset from the start of the epoch and (num,) duration, in s.

        Windows may overlap. Where two stretches do, they are divided in the middle of what they share.
        """
        onset_samples = self.starts * self.hop_samples
        stop_samples = (self.stops - 1) * self.hop_samples + self.window_samples
        shared = np.flatnonzero((self.epoch_idx[1:] == self.epoch_idx[:-1]) & (stop_samples[:-1] > onset_samples[1:]))
        middle_samples = 0.5 * (stop_samples[shared] + onset_samples[shared + 1])
        stop_samples[shared] = onset_samples[shared + 1] = middle_samples
        return onset_samples / fs_hz, (stop_samples - onset_samples) / fs_hz


def find_stretches(mask_EW: np.ndarray, hop_samples: float = 1.0, window_samples: float = 1.0) -> Stretches:
    """Runs of True in each epoch of a mask (num_epochs, windows)."""
    num_epochs, num_windows = mask_EW.shape
    walled_EW = np.zeros((num_epochs, num_windows + 2), dtype=np.int8)
    walled_EW[:, 1:-1] = mask_EW
    edges_EW = np.diff(walled_EW, axis=1)
    epoch_idx, starts = np.nonzero(edges_EW == 1)
    stops = np.nonzero(edges_EW == -1)[1]
    return Stretches(epoch_idx, starts, stops, num_epochs, num_windows, hop_samples, window_samples)
