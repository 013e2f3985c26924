"""Training of one curriculum stage: start weights, data, the loop, its checkpoints and log."""

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from curriculum.evaluate_stage import build_share_loader
from curriculum.plan import checkpoint_dir, checkpoints_dir, log_path
from curriculum.processes import check_same_on_all
from curriculum.validate_stage import build_validation
from tslm.config.files import CONFIG_FILE, save_config
from tslm.config.schema import RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import NightDataset, SleepDataset, TaskDataset, build_dataset, find_task, state_timing
from tslm.data.samples.sampling import TrainBatches
from tslm.data.splits.provenance import checksum_data, compare_checksums, describe_split
from tslm.files import restore_swapped
from tslm.models import build_model, build_tokenizer
from tslm.models.classifier import Classifier
from tslm.models.llm.backbone import compile_layers
from tslm.models.text_model import TextModel
from tslm.predictions.answer import average_probabilities, fit_calibration
from tslm.predictions.calibration import load_calibration, save_calibration
from tslm.predictions.transitions import fit_run_transitions, save_transitions
from tslm.training.checkpoints.checkpoint import load_checkpoint, load_weights, set_trained_parts
from tslm.training.checkpoints.resume import ResumePoint, find_resume_point, restore_optimizer, set_aside_damaged
from tslm.training.checkpoints.saver import CheckpointSaver
from tslm.training.loop import Trainer, TrainingStoppedError
from tslm.training.optim import build_optimizer, build_scheduler
from tslm.training.progress import Progress
from tslm.training.runs.folder import BEST, run_dir
from tslm.training.runs.log import RunLog
from tslm.training.runs.manifest import describe_launch, read_manifest
from tslm.training.runs.recorder import RunRecorder
from tslm.training.sample_losses import SampleLosses, read_losses
from tslm.training.stop_signals import StopSignals

_MOST_NAMED = 4  # files in a message

logger = logging.getLogger(__name__)


def train_stage(
    config: RunConfig,
    start_from: Path | None,
    accelerator: Accelerator,
    leaky: bool = False,
    resume: bool = False,
    accept_changed_data: bool = False,
) -> None:
    """Train one stage and write its best and last checkpoint.

    Args:
        config: of the stage.
        start_from: checkpoint whose weights it begins with; None: new ones.
        accelerator: of the run.
        leaky: goes into the log: the stage's test data leak (tslm.data.splits.leakage).
        resume: go on from the stage's own last checkpoint, where there is one.
        accept_changed_data: of a run that goes on, when its data are not those that it began with.

    Raises:
        FloatingPointError: loss or gradient is not finite.
        TrainingStoppedError: a signal came; `resume` goes on from there.
        ValueError: the data or the number of processes are not those that the run began with, or processes find
            different checkpoints.
    """
    point = find_resume_point(checkpoints_dir(config)) if resume else None
    check_same_on_all(point.progress.step if point else None, accelerator)  # all have looked before the first writes
    if point is not None:
        _check_processes(point, accelerator)
    if not accelerator.is_main_process:
        _train(config, start_from, accelerator, leaky, point, None)
        return
    data_sha256 = checksum_data(config.stage)
    if point is not None and not accept_changed_data:
        _check_data(config, data_sha256)
    run_log = RunLog(log_path(config))
    _begin_log(run_log, config, point)
    launch = describe_launch(sys.argv, accelerator.num_processes, datetime.now(UTC))
    recorder = RunRecorder(config, run_dir(config), run_log, launch, data_sha256, leaky, is_resumed=resume)
    is_finished = False
    try:
        _train(config, start_from, accelerator, leaky, point, recorder)
        is_finished = True
    finally:
        recorder.close(datetime.now(UTC), is_finished)


@dataclass(frozen=True)
class _Parts:
    """What one training works with, standing where it is to go on."""

    config: RunConfig  # with the timing of the nights that are read
    train_set: TaskDataset
    val_set: TaskDataset
    data: TrainBatches
    val_loader: DataLoader
    model: nn.Module  # as accelerate prepared it
    optimizer: torch.optim.Optimizer  # likewise
    inner_optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    progress: Progress
    facts: dict[str, Any]  # for the log


def _assemble(
    config: RunConfig, start_from: Path | None, accelerator: Accelerator, point: ResumePoint | None
) -> _Parts:
    """Data, model and optimizer of a stage that starts from a checkpoint, from nothing, or where it stopped."""
    set_seed(config.seed)
    train_set = build_dataset(config, "train")
    config = replace(config, model=state_timing(config.model, train_set))
    val_set = build_dataset(config, "val")
    model = _build_start(config, train_set, point.folder if point else start_from, is_resumed=point is not None)
    collator = Collator(config.model, build_tokenizer(config))
    place, use_pins = (accelerator.process_index, accelerator.num_processes), accelerator.device.type == "cuda"
    data = TrainBatches(train_set, collator, config, *place, pin_memory=use_pins)
    val_loader = build_share_loader(val_set, config.stage.num_val_samples, collator, config, accelerator)
    num_trained = sum(param.numel() for param in model.parameters() if param.requires_grad)
    optimizer = build_optimizer(model.param_groups(config.optim), config.optim)  # type: ignore[operator]
    prepared, wrapped = accelerator.prepare(model, optimizer)
    inner = getattr(wrapped, "optimizer", wrapped)
    progress = point.progress if point else Progress(num_processes=accelerator.num_processes)
    if point is not None:
        restore_optimizer(inner, accelerator.unwrap_model(prepared), point.folder)
    num_steps = config.train.train_epochs * -(-len(data) // config.train.grad_accum)
    scheduler = build_scheduler(inner, config.optim, num_steps, progress.step)
    logger.info("%s: %d samples to draw from, %d parameters trained", config.stage.name, len(train_set), num_trained)
    facts = {"stage": config.stage.name, "num_trained_parameters": num_trained, "num_steps": num_steps}
    return _Parts(config, train_set, val_set, data, val_loader, prepared, wrapped, inner, scheduler, progress, facts)


def _train(
    config: RunConfig,
    start_from: Path | None,
    accelerator: Accelerator,
    leaky: bool,
    point: ResumePoint | None,
    recorder: RunRecorder | None,
) -> None:
    """Train one stage from `start_from`, or from the point where it stopped; only the main process has a recorder."""

    def log(record: dict[str, Any]) -> None:
        if recorder is not None:
            recorder.log(record)

    parts = _assemble(config, start_from, accelerator, point)
    config, progress = parts.config, parts.progress
    if accelerator.is_main_process:
        save_config(config, run_dir(config) / CONFIG_FILE)
    log({"event": "resume" if point else "start", "step": progress.step, **parts.facts, "leaky": leaky})
    trained_on = {split: describe_split(config.stage, split) for split in ("train", "val")} | {"leaky": leaky}
    losses = _build_losses(len(parts.train_set), config, accelerator, point)
    save = CheckpointSaver(
        checkpoints_dir(config),
        config,
        parts.model,
        parts.inner_optimizer,
        accelerator,
        recorder.count_records if recorder is not None else None,
        {"trained_on": trained_on},
        recorder.keep_checkpoint if recorder is not None else None,
        losses,
    )
    with StopSignals() as signals:
        trainer = Trainer(
            parts.model,
            parts.optimizer,
            parts.scheduler,
            accelerator,
            config.train,
            config.optim,
            config.seed,
            save,
            log,
            signals.is_set,
            build_validation(config, accelerator.unwrap_model(parts.model), parts.val_set, accelerator),
            losses,
        )
        try:
            progress = trainer.fit(parts.data, parts.val_loader, progress)
        except TrainingStoppedError:
            log({"event": "stopped", "step": progress.step})
            raise
        finally:
            save.finish()
    del trainer, save, parts
    accelerator.free_memory()
    if accelerator.is_main_process:
        _complete_best(config, accelerator.device, log)
    accelerator.wait_for_everyone()
    log({"event": "end", **asdict(progress)})


def _complete_best(config: RunConfig, device: torch.device, log: Callable[[dict[str, Any]], None]) -> None:
    """Add to the best checkpoint what is fitted on data once its weights stand: temperatures and transitions."""
    task = find_task(config.stage)
    if task.stages_sleep and config.stage.num_calibration_samples:
        log({"event": "calibration", **_calibrate(config, device)})
    if task.reads_recordings and task.stages_sleep and config.has_classifier:
        prior_K = _measure_prior(config, device)
        save_transitions(fit_run_transitions(config, prior_K), checkpoint_dir(config, BEST))


def _check_processes(point: ResumePoint, accelerator: Accelerator) -> None:
    """A batch is shared by all processes: with another number of them the pass would be cut into other batches."""
    before, now = point.progress.num_processes, accelerator.num_processes
    if before != now:
        raise ValueError(
            f"{point.folder} is of a run with {before} processes, this start has {now}: "
            f"accelerate launch --num_processes {before}, or --overwrite to begin anew"
        )


def _build_start(config: RunConfig, train_set: TaskDataset, start_from: Path | None, is_resumed: bool) -> nn.Module:
    """The model with the weights it begins with and the stage's parts trainable."""
    model = build_model(config)
    if start_from is not None:
        load_weights(model, config, start_from, train_lora="lora" in config.stage.trained)
        logger.info("%s %s %s", config.stage.name, "goes on from" if is_resumed else "starts from", start_from)
    set_trained_parts(model, config)
    _weigh_classes(model, train_set)
    if config.train.compile and isinstance(model, TextModel):
        compile_layers(model.llm)
    return model


def _weigh_classes(model: nn.Module, train_set: TaskDataset) -> None:
    """Class weights of the classifier, or of that in a text model, from the nights that the stage trains on."""
    classifier = model.classifier if isinstance(model, TextModel) else model
    if isinstance(classifier, Classifier) and isinstance(train_set, NightDataset | SleepDataset):
        classifier.set_class_weights(torch.from_numpy(train_set.count_classes()))


def _build_losses(
    num_samples: int, config: RunConfig, accelerator: Accelerator, point: ResumePoint | None
) -> SampleLosses | None:
    """Where the run keeps the losses of single samples, if `stage.hard_examples` draws by them."""
    if not config.stage.hard_examples:
        return None
    return SampleLosses(num_samples, accelerator, read_losses(point.folder) if point else None)


def _calibrate(config: RunConfig, device: torch.device) -> dict[str, float | None]:
    """Fit the temperatures of the stage's best checkpoint, on validation data, and keep them in its folder."""
    folder = checkpoint_dir(config, BEST)
    model, _ = load_checkpoint(folder)
    calibration = fit_calibration(model.to(device), build_tokenizer(config), config, device)
    save_calibration(calibration, folder)
    return asdict(calibration)


def _measure_prior(config: RunConfig, device: torch.device) -> np.ndarray | None:
    """How frequent the stage's best checkpoint takes each sleep stage to be, on validation data; a classifier only."""
    folder = checkpoint_dir(config, BEST)
    model, _ = (None, None) if config.writes_text else load_checkpoint(folder)
    if not isinstance(model, Classifier):
        return None
    return average_probabilities(model.to(device), config, device, load_calibration(folder))


def _begin_log(log: RunLog, config: RunConfig, point: ResumePoint | None) -> None:
    """A new log; for a run that goes on, what its checkpoint knows of the old one."""
    if point is None:
        log.clear()
        return
    set_aside_damaged(checkpoints_dir(config), point)
    restore_swapped(checkpoint_dir(config, BEST))
    num_dropped = log.truncate(point.num_log_records)
    logger.info("going on after step %d; %d later lines of the log are dropped", point.progress.step, num_dropped)


def _check_data(config: RunConfig, data_sha256: dict[str, str]) -> None:
    """Raise ValueError where a run that goes on would read other data than it began with."""
    manifest = read_manifest(run_dir(config))
    changes = compare_checksums(manifest.data_sha256, data_sha256) if manifest else []
    if changes:
        more = f"; and {len(changes) - _MOST_NAMED} more" if len(changes) > _MOST_NAMED else ""
        raise ValueError(
            f"the data are not those that {run_dir(config)} began with: {'; '.join(changes[:_MOST_NAMED])}{more}; "
            "restore them, or go on all the same with --accept_changed_data"
        )
