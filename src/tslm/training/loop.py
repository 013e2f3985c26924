"""The training loop. It knows Batch -> ModelOutput and nothing of tasks, files or models.

A step: `grad_accum` batches forward and backward on summed losses, then one division of the
gradient by the supervised weight of all processes together, clipping, and the optimizer. So the
mean is over tokens, whatever their spread over batches and processes.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from tslm.batch import Batch
from tslm.config import OptimConfig, TrainConfig
from tslm.models.interface import ModelOutput

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvalResult:
    """Mean loss over supervised weight, and the share predicted right."""

    loss: float
    accuracy: float
    num_supervised: float

    @property
    def perplexity(self) -> float:
        """Exponential of the token-weighted mean loss."""
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class FitResult:
    """How a stage's training ended."""

    best_val_loss: float
    best_train_epoch: int
    num_steps: int
    num_samples: int
    wall_s: float
    stopped_early: bool


def fit(
    model: torch.nn.Module,
    train_loader: DataLoader,
    val_loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler,
    accelerator: Accelerator,
    train: TrainConfig,
    optim: OptimConfig,
    save: Callable[[str, dict[str, Any]], None],
    log: Callable[[dict[str, Any]], None],
) -> FitResult:
    """Train until the passes are done or the validation loss stops improving.

    Args:
        model: prepared by accelerate, with `train_loader` and `optimizer`.
        val_loader: this process' own share of the validation samples.
        save: called with "best" or "last" and the state to keep, on every process.
        log: called with one record a logged step or pass, on the main process.

    Raises:
        FloatingPointError: loss or gradient is not finite (names the samples, before any update), or
            the validation loss is not.
    """
    best, best_train_epoch, stale, num_steps, num_samples = math.inf, 0, 0, 0, 0
    started = time.monotonic()
    with tqdm(
        total=train.train_epochs * math.ceil(len(train_loader) / train.grad_accum),
        unit="step",
        disable=not accelerator.is_main_process,
    ) as bar:
        for train_epoch in range(1, train.train_epochs + 1):
            model.train()
            for batches in _chunks(train_loader, train.grad_accum):
                record = _step(model, batches, optimizer, accelerator, optim.max_grad_norm)
                rate = scheduler.get_last_lr()
                scheduler.step()
                num_steps += 1
                num_samples += int(record.pop("num_samples"))
                speed = num_samples / (time.monotonic() - started)
                bar.update()
                bar.set_postfix(loss=f"{record['loss']:.3f}", lr=f"{max(rate):.1e}", samples_s=f"{speed:.1f}")
                if num_steps % train.log_every_steps == 0 and accelerator.is_main_process:
                    log({"step": num_steps, "train_epoch": train_epoch, **record, "lr": rate, "samples_s": speed})
            val = evaluate_loss(model, val_loader, accelerator)
            if not math.isfinite(val.loss):
                raise FloatingPointError(f"validation loss {val.loss} after train_epoch {train_epoch} is not finite")
            improved = val.loss < best - train.min_delta
            best, best_train_epoch = (val.loss, train_epoch) if improved else (best, best_train_epoch)
            stale = 0 if improved else stale + 1
            state = {"train_epoch": train_epoch, "step": num_steps, "val_loss": val.loss, "best_val_loss": best}
            if accelerator.is_main_process:
                log({**state, "val_accuracy": None if math.isnan(val.accuracy) else val.accuracy})
                logger.info("train_epoch %d: validation loss %.4f, accuracy %.3f", train_epoch, val.loss, val.accuracy)
            save("last", state)
            if improved:
                save("best", state)
            if stale >= train.patience:
                logger.info("no improvement for %d passes: stopped early", stale)
                break
    stopped_early = stale >= train.patience
    return FitResult(best, best_train_epoch, num_steps, num_samples, time.monotonic() - started, stopped_early)


@torch.no_grad()
def evaluate_loss(model: torch.nn.Module, loader: DataLoader, accelerator: Accelerator) -> EvalResult:
    """Mean loss over this process' samples and those of the others; each sample counts once.

    NaN where nothing is supervised.
    """
    unwrapped = accelerator.unwrap_model(model)
    was_training = unwrapped.training
    unwrapped.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
    for batch in loader:
        with accelerator.autocast():
            output: ModelOutput = unwrapped(batch.to(accelerator.device))
        correct, count = output.num_correct, _count_supervised(batch)
        if correct is None:  # this model has no right and wrong
            correct, count = torch.zeros(()), 0.0
        totals += torch.tensor([float(output.loss_sum), float(output.weight_sum), float(correct), count]).to(totals)
    totals = accelerator.reduce(totals, "sum")
    unwrapped.train(was_training)
    loss_sum, weight_sum, correct_sum, count_sum = totals.tolist()
    if not weight_sum:
        return EvalResult(math.nan, math.nan, count_sum)
    return EvalResult(loss_sum / weight_sum, correct_sum / count_sum if count_sum else math.nan, count_sum)


def _step(
    model: torch.nn.Module,
    batches: list[Batch],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    max_grad_norm: float,
) -> dict[str, float]:
    totals = torch.zeros(3, device=accelerator.device)
    for position, batch in enumerate(batches):
        is_last = position == len(batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(model):
            output: ModelOutput = model(batch)
            accelerator.backward(output.loss_sum)
        counted = torch.tensor(float(len(batch.sample_ids)), device=accelerator.device)
        totals += torch.stack([output.loss_sum.detach(), output.weight_sum, counted])
    loss_sum, weight_sum, num_samples = accelerator.reduce(totals, "sum").tolist()
    params = [param for group in optimizer.param_groups for param in group["params"] if param.grad is not None]
    for param in params:  # data-parallel wrappers average over processes; undo that, divide by the global weight
        param.grad.mul_(accelerator.num_processes / weight_sum)
    grad_norm = float(torch.nn.utils.clip_grad_norm_(params, max_grad_norm))
    if not (math.isfinite(loss_sum) and math.isfinite(grad_norm)):
        sample_ids = [sample_id for batch in batches for sample_id in batch.sample_ids]
        raise FloatingPointError(f"loss {loss_sum} or gradient norm {grad_norm} is not finite; samples: {sample_ids}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": loss_sum / weight_sum, "grad_norm": grad_norm, "num_samples": num_samples}


def _chunks(loader: DataLoader, size: int) -> Iterator[list[Batch]]:
    batches = iter(loader)
    while chunk := list(islice(batches, size)):
        yield chunk


def _count_supervised(batch: Batch) -> float:
    labels = batch.labels_BT if batch.labels_BT is not None else batch.stage_idx_BW
    assert labels is not None
    return float((labels >= 0).sum())
