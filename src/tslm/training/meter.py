"""Speed, memory and waiting of a training, between two lines of its log."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import torch
from accelerate import Accelerator

from tslm.batch import Batch
from tslm.training.progress import Progress

logger = logging.getLogger(__name__)

_MOST_DATA_WAIT = 0.1  # share of the time that a GPU may wait for data before the log warns
_BYTES_A_GB = 1e9


class Meter:
    """Clock and counters of one process; a run that goes on brings the time it took so far."""

    def __init__(self, accelerator: Accelerator, progress: Progress) -> None:
        self.accelerator = accelerator
        self.started = time.monotonic() - progress.wall_s
        self.saved = self.read_at = time.monotonic()
        self.num_samples, self.num_tokens, self.wait_s = 0, 0.0, 0.0
        self.seen_before = progress.num_samples
        self.has_warned = False

    @property
    def wall_s(self) -> float:
        """Seconds of training, of all starts of the run together."""
        return time.monotonic() - self.started

    @property
    def minutes_since_save(self) -> float:
        """Since the last checkpoint, or since this start."""
        return (time.monotonic() - self.saved) / 60

    def note_save(self) -> None:
        """A checkpoint was taken."""
        self.saved = time.monotonic()

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the time until each is there counts as waiting."""
        source = iter(batches)
        while True:
            asked = time.monotonic()
            batch = next(source, None)
            self.wait_s += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, progress: Progress, record: dict[str, Any]) -> float:
        """Count a step; returns samples a second since the last reading."""
        self.num_samples += progress.num_samples - self.seen_before
        self.seen_before = progress.num_samples
        self.num_tokens += record.pop("num_tokens")
        return self.num_samples / max(time.monotonic() - self.read_at, 1e-9)

    def read(self) -> dict[str, float]:
        """Speeds since the last reading; on a GPU says so once when it waits for data too long."""
        now = time.monotonic()
        elapsed = max(now - self.read_at, 1e-9)
        is_gpu = self.accelerator.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated() if is_gpu else psutil.Process().memory_info().rss
        speeds = {
            "samples_s": self.num_samples / elapsed,
            "tokens_s": self.num_tokens / elapsed,
            "data_wait_share": self.wait_s / elapsed,
            "memory_gb": memory / _BYTES_A_GB,
        }
        if is_gpu and speeds["data_wait_share"] > _MOST_DATA_WAIT and not self.has_warned:
            self.has_warned = True
            logger.warning(
                "the GPU waits for data %.0f %% of the time; try train.num_workers=%d or more",
                100 * speeds["data_wait_share"],
                4,
            )
        self.num_samples, self.num_tokens, self.wait_s, self.read_at = 0, 0.0, 0.0, now
        return speeds
