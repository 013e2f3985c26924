"""The training loop. It reads batches and model outputs and is independent of tasks, files and models.

A step runs `grad_accum` batches forward and backward on summed losses, divides the gradient once by the supervised
weight of all processes, clips it and updates the weights. So the loss is a mean over tokens, however they are spread
over batches and processes.

A step depends on the weights and its own number alone: every draw has a seed of its own (tslm.seeds). A run that
resumes from a `Progress` therefore ends with the same result.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from tslm.batch import Batch
from tslm.data.samples.sampling import TrainData
from tslm.models.interface import ModelOutput
from tslm.progress_bar import progress_bar
from tslm.seeds import Draw, derive_seed
from tslm.training.checkpoints.ranking import Standing
from tslm.training.checkpoints.resume import CheckpointSaver, ResumePoint, restore_optimizer
from tslm.training.optim import build_optimizer, build_scheduler
from tslm.training.process import StopSignals
from tslm.training.progress import Meter, Progress
from tslm.training.runs.recorder import RunContext

logger = logging.getLogger(__name__)

_SHOWN = {  # figures of a pass in the line about it
    "train_loss": "training loss",
    "train_perplexity": "perplexity",
    "val_loss": "validation loss",
    "val_perplexity": "perplexity",
    "val_accuracy": "accuracy",
    "val_kappa": "Cohen's kappa",
}


class TrainingStoppedError(KeyboardInterrupt):
    """A signal stopped the run; the checkpoint of the named step was saved."""


@dataclass(frozen=True)
class RunData:
    """Training and validation data of one run."""

    train: TrainData
    val_batches: Iterable[Batch]  # this process' part of the validation samples
    validate: Callable[[], dict[str, float]] | None = None  # further figures after each pass; called on every process


class Trainer:
    """Training of one curriculum stage.

    Args:
        run: config, accelerator, folder and log.
        model: with its trained parts set; accelerate prepares it here.
        data: training and validation batches.
        point: checkpoint to resume from, whose weights the model has already; None: start at the beginning.

    Attributes:
        progress: how far training has come.
        num_parameters: number of trained parameters.
        num_steps: number of optimizer steps if training is not stopped early.
    """

    def __init__(
        self, run: RunContext, model: torch.nn.Module, data: RunData, point: ResumePoint | None = None
    ) -> None:
        self.run, self.data = run, data
        self.accelerator, self.train, optim = run.accelerator, run.config.train, run.config.optim
        optimizer = build_optimizer(model.param_groups(optim), optim)  # type: ignore[operator]
        self.num_parameters = sum(param.numel() for param in model.parameters() if param.requires_grad)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        self.params = [param for group in inner.param_groups for param in group["params"]]
        self.progress = point.progress if point else Progress(num_processes=self.accelerator.num_processes)
        if point is not None:
            restore_optimizer(inner, self.accelerator.unwrap_model(self.model), point.folder)
            data.train.load_state(point.read_sampler_state())
        self.num_steps = self.train.train_epochs * math.ceil(len(data.train) / self.train.grad_accum)
        self.scheduler = build_scheduler(inner, optim, self.num_steps, self.progress.step)
        self.save = CheckpointSaver(run, self.model, inner, lambda: data.train.copy_state(self._gather))

    def fit(self) -> Progress:
        """Train until all passes are done or the validation loss stops improving.

        Raises:
            FloatingPointError: loss or gradient is not finite (names the samples, before any update), or the
                validation loss is not.
            TrainingStoppedError: a signal was received; the checkpoint of the last step was saved.
        """
        progress = self.progress
        if progress.is_finished:
            return progress
        if not self.accelerator.is_main_process:
            progress.class_counts = {}  # a checkpoint holds the sum over processes
        meter = Meter(self.accelerator, progress)
        is_main = self.accelerator.is_main_process
        bar = progress_bar(total=self.num_steps, initial=progress.step, unit="step", disable=not is_main)
        with StopSignals() as signals, bar:
            try:
                while not progress.is_finished:
                    self._run_pass(progress, meter, bar, signals)
                    self._close_pass(progress, meter)
            except TrainingStoppedError:
                self.run.log({"event": "stopped", "step": progress.step})
                raise
            finally:
                self.save.finish()  # repeated signals must not end the process before
        return progress

    def _run_pass(self, progress: Progress, meter: Meter, bar: tqdm, signals: StopSignals) -> None:
        self.model.train()
        batches = meter.watch(self.data.train.read_pass(progress.train_epoch, progress.num_batches))
        while chunk := list(islice(batches, self.train.grad_accum)):
            wants_save = meter.minutes_since_save >= self.train.checkpoint_every_min > 0
            record, flags = self._step(chunk, progress, (signals.is_set(), wants_save))
            self.scheduler.step()
            bar.update()
            bar.set_postfix(loss=f"{record['loss']:.3f}", samples_s=f"{meter.add(progress, record):.1f}")
            if progress.step % self.train.log_every_steps == 0:
                self.run.log({"step": progress.step, "train_epoch": progress.train_epoch, **record, **meter.read()})
            is_interrupted, wants_save = flags
            every = self.train.checkpoint_every_steps
            if is_interrupted or wants_save or (every and progress.step % every == 0):
                self._save("last", progress, meter, {})
            if is_interrupted:
                raise TrainingStoppedError(f"stopped after step {progress.step}")

    def _step(
        self, batches: list[Batch], progress: Progress, flags: tuple[bool, bool]
    ) -> tuple[dict[str, Any], list[bool]]:
        """Run one update; a returned flag is true if it is true on any process."""
        device = self.accelerator.device
        counts = Counter(progress.class_counts)
        own: list[dict[str, Any]] = []  # to name the samples if something is not finite
        sums = torch.zeros(2, device=device)
        for place, batch in enumerate(batches):
            torch.manual_seed(
                derive_seed(self.run.config.seed, Draw.STEP, self.accelerator.process_index, progress.step, place)
            )
            is_last = place == len(batches) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():  # accelerate does this by itself, but not for sharded models
                    output: ModelOutput = self.model(batch.to(device, non_blocking=True))
                share = 0.0 if batch.is_filler else 1.0
                self.accelerator.backward(output.loss_sum * share)
            sums += torch.stack([output.loss_sum.detach(), output.weight_sum]) * share
            own.append({"sample_ids": batch.sample_ids, "loss": output.loss_sum.detach()})
            counts.update({} if batch.is_filler else batch.class_counts)
            if not batch.is_filler:
                self.data.train.record_losses(progress.step, progress.num_batches + place, output.loss_B)
        read = [batch for batch in batches if not batch.is_filler]
        facts = [sum(len(batch.sample_ids) for batch in read), sum(batch.num_positions for batch in read), *flags]
        totals = self.accelerator.reduce(torch.cat([sums, torch.tensor(facts, device=device, dtype=sums.dtype)]), "sum")
        grads = [param for param in self.params if param.grad is not None]
        for param in grads:  # undo the mean over processes, divide by the global weight
            param.grad.mul_(self.accelerator.num_processes / totals[1])
        norm = torch.nn.utils.clip_grad_norm_(grads, self.run.config.optim.max_grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # sharded gradients
        loss_sum, weight_sum, num_samples, num_tokens, *raised, grad_norm = torch.cat([totals, norm[None]]).tolist()
        if not (math.isfinite(loss_sum) and math.isfinite(grad_norm)):
            self._report_not_finite(loss_sum, grad_norm, own, progress)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.num_batches += len(batches)
        progress.num_samples += int(num_samples)
        progress.loss_sum += loss_sum
        progress.weight_sum += weight_sum
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
        self.run.log(
            {"event": "not_finite", "step": step, "loss": str(loss), "grad_norm": str(grad_norm), "batches": guilty}
        )
        raise FloatingPointError(
            f"step {step}: loss {loss} or gradient norm {grad_norm} is not finite; samples: {sample_ids}"
        )

    def _close_pass(self, progress: Progress, meter: Meter) -> None:
        """Validate, save the best checkpoint, and start the next pass or end."""
        counts = self._gather_counts(progress.class_counts)
        val = evaluate_loss(self.model, self.data.val_batches, self.accelerator)
        if not math.isfinite(val.loss):
            raise FloatingPointError(
                f"validation loss {val.loss} after train_epoch {progress.train_epoch} is not finite"
            )
        figures: dict[str, Any] = {"train_epoch": progress.train_epoch, "step": progress.step}
        for name, loss in {"train": progress.loss_sum / (progress.weight_sum or math.nan), "val": val.loss}.items():
            figures[f"{name}_loss"] = loss
            if self.run.config.writes_text:
                figures[f"{name}_perplexity"] = to_perplexity(loss)
        figures |= self.data.validate() if self.data.validate is not None else {}
        is_best = self._rank_pass(progress, Standing.read(figures, self.run.config))
        figures["best_val_loss"] = progress.best_val_loss
        accuracy = None if math.isnan(val.accuracy) else val.accuracy
        self.run.log({**figures, "val_accuracy": accuracy, "class_counts": counts})
        logger.info("train_epoch %d: %s", progress.train_epoch, _describe_pass(figures, accuracy))
        # before "last": a run killed in between repeats the end of this pass
        self._save("best" if is_best else "top", progress, meter, figures)
        progress.stopped_early = progress.stale >= self.train.patience
        progress.is_finished = progress.stopped_early or progress.train_epoch >= self.train.train_epochs
        if progress.stopped_early:
            logger.info("no improvement for %d passes: stopped early", progress.stale)
        self.data.train.close_pass(self._gather)
        if not progress.is_finished:
            progress.train_epoch, progress.num_batches, progress.class_counts = progress.train_epoch + 1, 0, {}
            progress.loss_sum, progress.weight_sum = 0.0, 0.0
        self._save("last", progress, meter, figures)

    def _rank_pass(self, progress: Progress, standing: Standing) -> bool:
        """Return whether this is the best pass so far; count the passes in which nothing improved."""
        loss, min_delta = progress.best_val_loss, self.train.min_delta
        best = None if loss is None else Standing(loss, progress.best_val_kappa)
        is_best = standing.is_better(best, min_delta)
        is_lower = progress.lowest_val_loss is None or standing.val_loss < progress.lowest_val_loss - min_delta
        if is_best:
            progress.best_val_loss, progress.best_val_kappa = standing.val_loss, standing.val_kappa
            progress.best_train_epoch = progress.train_epoch
        if is_lower:
            progress.lowest_val_loss = standing.val_loss
        progress.stale = 0 if is_best or is_lower else progress.stale + 1
        return is_best

    def _save(self, which: str, progress: Progress, meter: Meter, figures: dict[str, Any]) -> None:
        progress.wall_s = meter.wall_s
        progress.class_counts, own = self._gather_counts(progress.class_counts), progress.class_counts
        self.save(which, Progress(**asdict(progress)), figures)
        progress.class_counts = own
        meter.note_save()

    def _gather_counts(self, counts: dict[str, int]) -> dict[str, int]:
        everyone = gather_object([counts]) if self.accelerator.num_processes > 1 else [counts]
        return dict(sorted(sum((Counter(part) for part in everyone), Counter()).items()))

    def _gather(self, tensor: Tensor) -> Tensor:
        if self.accelerator.num_processes == 1:
            return tensor
        return self.accelerator.gather(tensor.to(self.accelerator.device))


@dataclass(frozen=True)
class EvalResult:
    """Mean loss per supervised weight, and accuracy."""

    loss: float
    accuracy: float
    num_supervised: float

    @property
    def perplexity(self) -> float:
        """Exponential of the token-weighted mean loss."""
        return to_perplexity(self.loss)


def to_perplexity(loss: float) -> float:
    """Exponential of a mean loss; of losses beyond 700, that of 700, as a double holds no larger one."""
    return math.exp(min(loss, 700.0))


def _describe_pass(figures: Mapping[str, Any], accuracy: float | None) -> str:
    known = {**figures, "val_accuracy": accuracy}
    return ", ".join(f"{name} {known[key]:.4f}" for key, name in _SHOWN.items() if known.get(key) is not None)


@torch.no_grad()
def evaluate_loss(model: torch.nn.Module, batches: Iterable[Batch], accelerator: Accelerator) -> EvalResult:
    """Compute the mean loss over the samples of all processes; each sample counts once.

    The result is NaN if nothing is supervised.
    """
    unwrapped = accelerator.unwrap_model(model)
    was_training = unwrapped.training
    unwrapped.eval()
    totals = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
    for batch in batches:
        with accelerator.autocast():
            output: ModelOutput = unwrapped(batch.to(accelerator.device))
        if batch.is_filler:
            continue
        correct, count = output.num_correct, _count_supervised(batch)
        if correct is None:  # no accuracy is defined for this model
            correct, count = torch.zeros(()), 0.0
        totals += torch.tensor([float(output.loss_sum), float(output.weight_sum), float(correct), count]).to(totals)
    totals = accelerator.reduce(totals, "sum")
    unwrapped.train(was_training)
    loss_sum, weight_sum, correct_sum, count_sum = totals.tolist()
    if not weight_sum:
        return EvalResult(math.nan, math.nan, count_sum)
    return EvalResult(loss_sum / weight_sum, correct_sum / count_sum if count_sum else math.nan, count_sum)


def _count_supervised(batch: Batch) -> float:
    labels = batch.labels_BT if batch.labels_BT is not None else batch.sleep_stage_idx_BW
    assert labels is not None
    return float((labels >= 0).sum())
