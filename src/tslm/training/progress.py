"""Progress of a training run, and its speed."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from accelerate import Accelerator

from tslm.batch import Batch

logger = logging.getLogger(__name__)

_MAX_DATA_WAIT = 0.1  # share of the time that a GPU may wait for data before the log warns
_BYTES_PER_GB = 1e9


@dataclass
class Progress:
    """State of a run in progress, besides weights and optimizer, from which it resumes. JSON values only."""

    train_epoch: int = 1  # pass in progress, counted from one
    num_batches: int = 0  # finished batches of this pass, on each process
    step: int = 0
    num_samples: int = 0
    num_processes: int = 1  # that share a batch
    loss_sum: float = 0.0  # of this pass so far, all processes
    weight_sum: float = 0.0  # likewise: what the loss is a mean over, tokens of a language model
    best_val_loss: float | None = None  # of the best checkpoint (tslm.training.checkpoints.ranking)
    best_val_kappa: float | None = None  # likewise, where checkpoints are ranked by it
    best_train_epoch: int = 0
    lowest_val_loss: float | None = None  # of all passes
    stale: int = 0  # passes since the last best checkpoint or lowest validation loss
    class_counts: dict[str, int] = field(default_factory=dict)  # trained so far in this pass, all processes
    wall_s: float = 0.0
    is_finished: bool = False
    stopped_early: bool = False


class Meter:
    """Clock and counters of one process; a resumed run continues from the time in its progress."""

    def __init__(self, accelerator: Accelerator, progress: Progress) -> None:
        self.accelerator = accelerator
        self.started = time.monotonic() - progress.wall_s
        self.saved = self.read_at = time.monotonic()
        self.num_samples, self.num_tokens, self.wait_s = 0, 0.0, 0.0
        self.seen_before = progress.num_samples
        self.has_warned = False

    @property
    def wall_s(self) -> float:
        """Seconds of training, summed over all launches of the run."""
        return time.monotonic() - self.started

    @property
    def minutes_since_save(self) -> float:
        """Minutes since the last checkpoint, or since this launch."""
        return (time.monotonic() - self.saved) / 60

    def note_save(self) -> None:
        """Restart the clock of `minutes_since_save`."""
        self.saved = time.monotonic()

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches unchanged; count the time spent waiting for each."""
        source = iter(batches)
        while True:
            requested = time.monotonic()
            batch = next(source, None)
            self.wait_s += time.monotonic() - requested
            if batch is None:
                return
            yield batch

    def add(self, progress: Progress, record: dict[str, Any]) -> float:
        """Count one step and return samples per second since the last `read`."""
        self.num_samples += progress.num_samples - self.seen_before
        self.seen_before = progress.num_samples
        self.num_tokens += record.pop("num_tokens")
        return self.num_samples / max(time.monotonic() - self.read_at, 1e-9)

    def read(self) -> dict[str, float]:
        """Return speeds since the last call; warn once if a GPU waits for data too long."""
        now = time.monotonic()
        elapsed = max(now - self.read_at, 1e-9)
        is_gpu = self.accelerator.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated() if is_gpu else psutil.Process().memory_info().rss
        speeds = {
            "samples_s": self.num_samples / elapsed,
            "tokens_s": self.num_tokens / elapsed,
            "data_wait_share": self.wait_s / elapsed,
            "memory_gb": memory / _BYTES_PER_GB,
        }
        if is_gpu and speeds["data_wait_share"] > _MAX_DATA_WAIT and not self.has_warned:
            self.has_warned = True
            logger.warning(
                "the GPU waits for data %.0f %% of the time; try train.num_workers=4 or more",
                100 * speeds["data_wait_share"],
            )
        self.num_samples, self.num_tokens, self.wait_s, self.read_at = 0, 0.0, 0.0, now
        return speeds
