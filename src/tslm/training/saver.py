"""Checkpoints of a run in progress: copied in a moment, written while training goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from tslm.config import RunConfig
from tslm.files import swap_in
from tslm.training.checkpoint import fill_beside, take_snapshot
from tslm.training.progress import Progress
from tslm.training.resume import copy_optimizer, rotate_in, write_training_state
from tslm.training.run_folder import LAST


class CheckpointSaver:
    """What the loop calls with "best" or "last".

    At most one checkpoint is being written: the next waits for it. What went wrong with one comes up at the next,
    or at `finish`; the checkpoints before it are whole.

    Args:
        checkpoints_dir: where `best`, `last` and `previous` stand.
        config: goes into every checkpoint.
        model: as accelerate prepared it.
        optimizer: its state goes beside the last checkpoint's weights.
        accelerator: of the run.
        count_log_records: how long the run's log is now.
        state: goes into every checkpoint's state.json, beside the figures of the pass.
    """

    def __init__(
        self,
        checkpoints_dir: Path,
        config: RunConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        count_log_records: Callable[[], int],
        state: Mapping[str, Any],
    ) -> None:
        self.checkpoints_dir, self.config, self.state = checkpoints_dir, config, state
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.count_log_records = count_log_records
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    def __call__(self, which: str, progress: Progress, figures: Mapping[str, Any]) -> None:
        """Copy what a checkpoint holds and have it written; called on every process."""
        self.finish()
        model = self.accelerator.unwrap_model(self.model)
        snapshot = take_snapshot(model)
        optimizer_state = copy_optimizer(self.optimizer, model) if which == LAST else {}
        if not self.accelerator.is_main_process:
            return
        folder, num_log_records = self.checkpoints_dir / which, self.count_log_records()
        state = {"train_epoch": progress.train_epoch, "step": progress.step, **figures, **self.state}

        def write() -> None:
            with fill_beside(snapshot, model, self.config, state, folder) as partial:
                if which == LAST:
                    write_training_state(optimizer_state, progress, num_log_records, partial)
                    rotate_in(partial, folder)
                else:
                    swap_in(partial, folder)

        self._running = self._pool.submit(write)

    def finish(self) -> None:
        """Wait until everything is on disk; raises what went wrong."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
