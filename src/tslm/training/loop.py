"""The training loop. It knows Batch -> ModelOutput and nothing of tasks, files or models.

A step: `grad_accum` batches forward and backward on summed losses, then one division of the
gradient by the supervised weight of all processes together, clipping, and the optimizer. So the
mean is over tokens, whatever their spread over batches and processes.

What a step does depends on the weights and on its number alone: every draw has a seed of its own
(tslm.seeds). A run that goes on from a `Progress` therefore ends where it would have ended.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from tslm.batch import Batch
from tslm.config.schema import OptimConfig, TrainConfig
from tslm.models.interface import ModelOutput
from tslm.seeds import Draw, derive_seed
from tslm.training.meter import Meter
from tslm.training.progress import Progress
from tslm.training.sample_losses import SampleLosses
from tslm.training.validation import evaluate_loss

logger = logging.getLogger(__name__)


class TrainingStoppedError(KeyboardInterrupt):
    """A signal asked the run to stop; the checkpoint of the step it names was handed on."""


class TrainData(Protocol):
    """What a pass reads; `tslm.data.samples.sampling.TrainBatches` is one."""

    def __len__(self) -> int:
        """Batches a pass, the same number on every process."""

    def read_pass(self, train_epoch: int, first_batch: int = 0, losses_N: np.ndarray | None = None) -> Iterable[Batch]:
        """This process' batches of a pass, from `first_batch` on; `losses_N` are those of the samples before it."""


class Trainer:
    """One stage's training.

    Args:
        model: prepared by accelerate, as is `optimizer`.
        scheduler: of the inner optimizer, where the run stands.
        accelerator: of the run.
        train: the loop's settings.
        optim: for the clipping norm.
        seed: of the run.
        save: called with "best" or "last", the progress, and figures of the pass, on every process.
        log: called with one record a logged step or pass; the caller sees to it that one process writes.
        is_interrupted: whether a signal asked this process to stop.
        validate: figures of the validation set beside its loss, asked for after each pass on every process; they go
            into the log and the checkpoints' state.
        losses: keeps the losses of single samples, by which the next pass is drawn; None: nobody asks for them.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        accelerator: Accelerator,
        train: TrainConfig,
        optim: OptimConfig,
        seed: int,
        save: Callable[[str, Progress, dict[str, Any]], None],
        log: Callable[[dict[str, Any]], None],
        is_interrupted: Callable[[], bool] = lambda: False,
        validate: Callable[[], dict[str, float]] | None = None,
        losses: SampleLosses | None = None,
    ) -> None:
        self.model, self.optimizer, self.scheduler, self.accelerator = model, optimizer, scheduler, accelerator
        self.train, self.max_grad_norm, self.seed = train, optim.max_grad_norm, seed
        self.save, self.log, self.is_interrupted, self.validate = save, log, is_interrupted, validate
        self.losses = losses
        self.params = [param for group in optimizer.param_groups for param in group["params"]]

    def fit(self, data: TrainData, val_loader: DataLoader, progress: Progress | None = None) -> Progress:
        """Train until the passes are done or the validation loss stops improving.

        Args:
            data: the training passes.
            val_loader: this process' own share of the validation samples.
            progress: where a stopped run stood; None: at the beginning.

        Raises:
            FloatingPointError: loss or gradient is not finite (names the samples, before any update), or
                the validation loss is not.
            TrainingStoppedError: a signal came; the checkpoint of the step then reached was written.
        """
        progress = progress or Progress()
        if progress.is_finished:
            return progress
        if not self.accelerator.is_main_process:
            progress.class_counts = {}  # what a resumed run starts from is the sum over processes
        meter = Meter(self.accelerator, progress)
        steps_a_pass = math.ceil(len(data) / self.train.grad_accum)
        with tqdm(
            total=self.train.train_epochs * steps_a_pass,
            initial=progress.step,
            unit="step",
            disable=not self.accelerator.is_main_process,
        ) as bar:
            while not progress.is_finished:
                self._run_pass(data, progress, meter, bar)
                self._close_pass(val_loader, progress, meter)
        return progress

    def _run_pass(self, data: TrainData, progress: Progress, meter: "Meter", bar: tqdm) -> None:
        self.model.train()
        known_N = self.losses.known_N if self.losses is not None else None
        batches = meter.watch(data.read_pass(progress.train_epoch, progress.num_batches, known_N))
        while chunk := list(islice(batches, self.train.grad_accum)):
            wants_save = meter.minutes_since_save >= self.train.checkpoint_every_min > 0
            record, flags = self._step(chunk, progress, (self.is_interrupted(), wants_save))
            self.scheduler.step()
            bar.update()
            bar.set_postfix(loss=f"{record['loss']:.3f}", samples_s=f"{meter.add(progress, record):.1f}")
            if progress.step % self.train.log_every_steps == 0:
                self.log({"step": progress.step, "train_epoch": progress.train_epoch, **record, **meter.read()})
            is_interrupted, wants_save = flags
            every = self.train.checkpoint_every_steps
            if is_interrupted or wants_save or (every and progress.step % every == 0):
                self._save("last", progress, meter, {})
            if is_interrupted:
                raise TrainingStoppedError(f"stopped after step {progress.step}")

    def _step(
        self, batches: list[Batch], progress: Progress, flags: tuple[bool, bool]
    ) -> tuple[dict[str, Any], list[bool]]:
        """One update; `flags` are true where they are so on any process."""
        device = self.accelerator.device
        counts = Counter(progress.class_counts)
        own: list[dict[str, Any]] = []  # to name the samples where something is not finite
        sums = torch.zeros(2, device=device)
        for place, batch in enumerate(batches):
            torch.manual_seed(derive_seed(self.seed, Draw.STEP, self.accelerator.process_index, progress.step, place))
            is_last = place == len(batches) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():  # accelerate does this by itself, but not for sharded models
                    output: ModelOutput = self.model(batch.to(device, non_blocking=True))
                share = 0.0 if batch.is_filler else 1.0
                self.accelerator.backward(output.loss_sum * share)
            sums += torch.stack([output.loss_sum.detach(), output.weight_sum]) * share
            own.append({"sample_ids": batch.sample_ids, "loss": output.loss_sum.detach()})
            counts.update({} if batch.is_filler else batch.class_counts)
            if self.losses is not None and not batch.is_filler:
                self.losses.note(progress.step, batch.sample_idx, output.loss_B)
        read = [batch for batch in batches if not batch.is_filler]
        facts = [sum(len(batch.sample_ids) for batch in read), sum(batch.num_positions for batch in read), *flags]
        totals = self.accelerator.reduce(torch.cat([sums, torch.tensor(facts, device=device, dtype=sums.dtype)]), "sum")
        grads = [param for param in self.params if param.grad is not None]
        for param in grads:  # data-parallel wrappers average over processes; undo that, divide by the global weight
            param.grad.mul_(self.accelerator.num_processes / totals[1])
        norm = torch.nn.utils.clip_grad_norm_(grads, self.max_grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # sharded gradients
        loss_sum, weight_sum, num_samples, num_tokens, *raised, grad_norm = torch.cat([totals, norm[None]]).tolist()
        if not (math.isfinite(loss_sum) and math.isfinite(grad_norm)):
            self._report_not_finite(loss_sum, grad_norm, own, progress)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.num_batches += len(batches)
        progress.num_samples += int(num_samples)
        progress.class_counts = dict(counts)
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        record = {"loss": loss_sum / weight_sum, "grad_norm": grad_norm, "lr": rates, "num_tokens": num_tokens}
        return record, [bool(flag) for flag in raised]

    def _report_not_finite(self, loss: float, grad_norm: float, own: list[dict[str, Any]], progress: Progress) -> None:
        facts = [batch | {"loss": float(batch["loss"])} for batch in own]
        everyone = gather_object(facts) if self.accelerator.num_processes > 1 else facts
        guilty = [batch for batch in everyone if not math.isfinite(batch["loss"])] or everyone
        sample_ids = [sample_id for batch in guilty for sample_id in batch["sample_ids"]]
        step = progress.step + 1
        self.log(
            {"event": "not_finite", "step": step, "loss": str(loss), "grad_norm": str(grad_norm), "batches": guilty}
        )
        raise FloatingPointError(
            f"step {step}: loss {loss} or gradient norm {grad_norm} is not finite; samples: {sample_ids}"
        )

    def _close_pass(self, val_loader: DataLoader, progress: Progress, meter: "Meter") -> None:
        """Validate, keep the best, and move on to the next pass or end."""
        counts = self._gather_counts(progress.class_counts)
        val = evaluate_loss(self.model, val_loader, self.accelerator)
        if not math.isfinite(val.loss):
            raise FloatingPointError(
                f"validation loss {val.loss} after train_epoch {progress.train_epoch} is not finite"
            )
        best = progress.best_val_loss
        improved = best is None or val.loss < best - self.train.min_delta
        if improved:
            progress.best_val_loss, progress.best_train_epoch, progress.stale = val.loss, progress.train_epoch, 0
        else:
            progress.stale += 1
        figures = {
            "train_epoch": progress.train_epoch,
            "step": progress.step,
            "val_loss": val.loss,
            "best_val_loss": progress.best_val_loss,
            **(self.validate() if self.validate is not None else {}),
        }
        accuracy = None if math.isnan(val.accuracy) else val.accuracy
        self.log({**figures, "val_accuracy": accuracy, "class_counts": counts})
        logger.info("train_epoch %d: validation loss %.4f, accuracy %.3f", progress.train_epoch, val.loss, val.accuracy)
        if improved:  # before "last": a run stopped in between does this pass' end again, and the same
            self._save("best", progress, meter, figures)
        progress.stopped_early = progress.stale >= self.train.patience
        progress.is_finished = progress.stopped_early or progress.train_epoch >= self.train.train_epochs
        if progress.stopped_early:
            logger.info("no improvement for %d passes: stopped early", progress.stale)
        if self.losses is not None:
            self.losses.close_pass()
        if not progress.is_finished:
            progress.train_epoch, progress.num_batches, progress.class_counts = progress.train_epoch + 1, 0, {}
        self._save("last", progress, meter, figures)

    def _save(self, which: str, progress: Progress, meter: "Meter", figures: dict[str, Any]) -> None:
        progress.wall_s = meter.wall_s
        progress.class_counts, own = self._gather_counts(progress.class_counts), progress.class_counts
        self.save(which, Progress(**asdict(progress)), figures)
        progress.class_counts = own
        meter.note_save()

    def _gather_counts(self, counts: dict[str, int]) -> dict[str, int]:
        everyone = gather_object([counts]) if self.accelerator.num_processes > 1 else [counts]
        return dict(sorted(sum((Counter(part) for part in everyone), Counter()).items()))
