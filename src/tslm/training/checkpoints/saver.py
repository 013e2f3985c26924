"""Checkpoints of a run in progress: copied in a moment, written while training goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from tslm.config.schema import RunConfig
from tslm.files import swap_in
from tslm.training.checkpoints.checkpoint import fill_beside, take_snapshot
from tslm.training.checkpoints.resume import copy_optimizer, rotate_in, write_training_state
from tslm.training.progress import Progress
from tslm.training.runs.folder import LAST
from tslm.training.sample_losses import SampleLosses, write_losses


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
        count_log_records: how long the run's log is now; asked on the main process only.
        state: goes into every checkpoint's state.json, beside the figures of the pass.
        after_last: called in the writing thread once a last checkpoint is on disk, with its folder and its state; the
            next is not begun before it returns.
        losses: of single samples, beside the last checkpoint's weights too; None: nobody keeps them.
    """

    def __init__(
        self,
        checkpoints_dir: Path,
        config: RunConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        count_log_records: Callable[[], int] | None,
        state: Mapping[str, Any],
        after_last: Callable[[Path, Mapping[str, Any]], None] | None = None,
        losses: SampleLosses | None = None,
    ) -> None:
        self.checkpoints_dir, self.config, self.state = checkpoints_dir, config, state
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.count_log_records, self.after_last = count_log_records, after_last
        self.losses = losses
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    def __call__(self, which: str, progress: Progress, figures: Mapping[str, Any]) -> None:
        """Copy what a checkpoint holds and have it written; called on every process."""
        self.finish()
        model = self.accelerator.unwrap_model(self.model)
        snapshot = take_snapshot(model)
        optimizer_state = copy_optimizer(self.optimizer, model) if which == LAST else {}
        losses_state = self.losses.copy_state() if self.losses is not None and which == LAST else None
        if not self.accelerator.is_main_process:
            return
        assert self.count_log_records is not None
        folder, num_log_records = self.checkpoints_dir / which, self.count_log_records()
        state = {"train_epoch": progress.train_epoch, "step": progress.step, **figures, **self.state}

        def write() -> None:
            with fill_beside(snapshot, model, self.config, state, folder) as partial:
                if which == LAST:
                    if losses_state is not None:
                        write_losses(losses_state, partial)
                    write_training_state(optimizer_state, progress, num_log_records, partial)
                    rotate_in(partial, folder)
                else:
                    swap_in(partial, folder)
            if which == LAST and self.after_last is not None:
                self.after_last(folder, state)

        self._running = self._pool.submit(write)

    def finish(self) -> None:
        """Wait until everything is on disk; raises what went wrong."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
