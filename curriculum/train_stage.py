"""Training of one curriculum stage: start weights, data, training loop, checkpoints and log."""

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from curriculum.evaluate_stage import build_share_loader, build_validation
from curriculum.processes import check_same_on_all
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.files import CONFIG_FILE, save_config
from tslm.config.schema import RunConfig
from tslm.data.novelty import fit_run_novelty, save_novelty
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import (
    TaskDataset,
    build_dataset,
    count_labels,
    describe_labels,
    describe_nights,
    find_task,
)
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.data.samples.sampling import TrainBatches
from tslm.data.splits.provenance import checksum_data, compare_checksums, describe_split
from tslm.files import read_json, restore_swapped
from tslm.models import build_model, build_tokenizer
from tslm.models.llm.backbone import compile_layers
from tslm.models.text_model import TextModel
from tslm.predictions.calibration import save_calibration
from tslm.predictions.night_scorer import NightScorer
from tslm.predictions.stager import open_stager
from tslm.predictions.transitions import fit_run_transitions, save_transitions
from tslm.training.checkpoints.checkpoint import load_weights, read_unmoved
from tslm.training.checkpoints.resume import ResumePoint, find_resume_point, set_aside_damaged
from tslm.training.loop import RunData, Trainer
from tslm.training.optim import set_trained_parts
from tslm.training.runs.folder import BEST, STATE_FILE, RunLog, checkpoint_dir, checkpoints_dir, run_dir
from tslm.training.runs.manifest import describe_launch, read_manifest
from tslm.training.runs.recorder import RunContext, RunRecorder

_MAX_NAMED = 4  # files in a message

logger = logging.getLogger(__name__)


def train_stage(
    config: RunConfig,
    start_from: Path | None,
    accelerator: Accelerator,
    leaky: bool = False,
    resume: bool = False,
    accept_changed_data: bool = False,
) -> None:
    """Train one curriculum stage and write its best and last checkpoint.

    Args:
        config: of the curriculum stage.
        start_from: checkpoint with the initial weights; None for random ones.
        accelerator: of the run.
        leaky: whether the test data leak into the training data (tslm.data.splits.leakage); is logged.
        resume: continue from the last checkpoint of this curriculum stage, if there is one.
        accept_changed_data: resume although the data have changed since the run began.

    Raises:
        FloatingPointError: loss or gradient is not finite.
        TrainingStoppedError: a signal was received; `resume` continues from there.
        ValueError: the data or the number of processes have changed since the run began, or the processes found
            different checkpoints.
    """
    point = find_resume_point(checkpoints_dir(config)) if resume else None
    check_same_on_all(point.progress.step if point else None, accelerator)  # all have looked before the first writes
    if point is not None:
        _check_processes(point, accelerator)
    if not accelerator.is_main_process:
        _train(RunContext(config, accelerator), start_from, leaky, point)
        return
    data_sha256 = checksum_data(config.stage)
    if point is not None and not accept_changed_data:
        _check_data(config, data_sha256)
    launch = describe_launch(sys.argv, accelerator.num_processes, datetime.now(UTC))
    recorder = RunRecorder(config, launch, data_sha256, leaky, is_resumed=resume)
    is_finished = False
    try:
        _begin_log(recorder.log, config, point)
        _train(RunContext(config, accelerator, recorder), start_from, leaky, point)
        is_finished = True
    finally:
        recorder.close(datetime.now(UTC), is_finished)


def _train(run: RunContext, start_from: Path | None, leaky: bool, point: ResumePoint | None) -> None:
    """Train from `start_from`, or from the point to resume from."""
    set_seed(run.config.seed)
    config = _inherit_spectrum(run.config, start_from)
    train_set = build_dataset(config, "train")
    config = replace(config, model=describe_nights(config.model, train_set))
    trained_on = {split: describe_split(config.stage, split) for split in ("train", "val")} | {"leaky": leaky}
    run = replace(run, config=config, facts={"trained_on": trained_on})
    val_set = build_dataset(config, "val")
    model = _build_start(config, train_set, point.folder if point else start_from, is_resumed=point is not None)
    if config.stage.taught_by == "classifier":
        _teach(config, model, train_set, run.accelerator.device)
    trainer = Trainer(run, model, _build_data(run, model, train_set, val_set), point)
    logger.info(
        "%s: %d samples to draw from, %d parameters trained", config.stage.name, len(train_set), trainer.num_parameters
    )
    if run.accelerator.is_main_process:
        save_config(config, run_dir(config) / CONFIG_FILE)
    label_counts = {}
    for split, samples in (("train", train_set), ("val", val_set)):
        label_counts[split] = count_labels(samples)
        logger.info("%s: %s", split, describe_labels(len(samples), label_counts[split]))
    run.log(
        {
            "event": "resume" if point else "start",
            "step": trainer.progress.step,
            "stage": config.stage.name,
            "num_trained_parameters": trainer.num_parameters,
            "num_steps": trainer.num_steps,
            "label_counts": label_counts,
            "leaky": leaky,
        }
    )
    progress = trainer.fit()
    del trainer, model
    run.accelerator.free_memory()
    if run.accelerator.is_main_process:
        _complete_best(config, run.accelerator.device, run.log)
        if run.recorder is not None:  # the copy that was sent before lacks what is fitted only now
            best = checkpoint_dir(config, BEST)
            run.recorder.send_checkpoint(best, read_json(best / STATE_FILE))
    run.accelerator.wait_for_everyone()
    run.log({"event": "end", **asdict(progress)})


def _build_data(run: RunContext, model: nn.Module, train_set: TaskDataset, val_set: TaskDataset) -> RunData:
    config, accelerator = run.config, run.accelerator
    collator = Collator(config.model, build_tokenizer(config))
    if config.writes_text:  # before hours of training, not at the evaluation after them
        prompts = Collator(config.model, collator.tokenizer, with_response=False)
        cast(TextModel, model).check_length(prompts([val_set[0]]), config.stage.max_new_tokens)
    place, use_pins = (accelerator.process_index, accelerator.num_processes), accelerator.device.type == "cuda"
    return RunData(
        TrainBatches(train_set, collator, config, *place, pin_memory=use_pins),
        build_share_loader(val_set, config.stage.num_val_samples, collator, config, accelerator),
        build_validation(config, model, val_set, accelerator),
    )


def _complete_best(config: RunConfig, device: torch.device, log: Callable[[dict[str, Any]], None]) -> None:
    """Fit temperatures, sleep-stage transitions and novelty, and add them to the best checkpoint."""
    task, folder = find_task(config.stage), checkpoint_dir(config, BEST)
    if task.stages_sleep and config.stage.num_calibration_samples:
        calibration = open_stager(folder, device, config).fit_calibration()
        save_calibration(calibration, folder)
        log({"event": "calibration", **asdict(calibration)})
    if task.reads_recordings and task.stages_sleep and config.has_classifier:
        prior_K = None if config.writes_text else open_stager(folder, device, config).average_probabilities()
        save_transitions(fit_run_transitions(config, prior_K), folder)
        if not config.writes_text and (novelty := fit_run_novelty(config)):
            save_novelty(novelty, folder)


def _inherit_spectrum(config: RunConfig, start_from: Path | None) -> RunConfig:
    """The config with the typical spectrum that the weights to start from were trained with."""
    if start_from is None or config.model.typical_spectrum:
        return config
    typical_spectrum = load_checkpoint_config(start_from).model.typical_spectrum
    return replace(config, model=replace(config.model, typical_spectrum=typical_spectrum))


def _check_processes(point: ResumePoint, accelerator: Accelerator) -> None:
    """Raise ValueError for another number of processes, which would divide the pass into other batches."""
    before, now = point.progress.num_processes, accelerator.num_processes
    if before != now:
        raise ValueError(
            f"{point.folder} is of a run with {before} processes, this start has {now}: "
            f"accelerate launch --num_processes {before}, or --overwrite to start again"
        )


def _build_start(config: RunConfig, train_set: TaskDataset, start_from: Path | None, is_resumed: bool) -> nn.Module:
    """Build the model with its initial weights and trainable parts."""

    def build() -> nn.Module:
        model = build_model(config)
        if start_from is not None:
            load_weights(model, config, start_from, train_lora="lora" in config.stage.trained)
        return model

    model = build() if start_from is None else read_unmoved(start_from, build)
    if start_from is not None:
        logger.info("%s %s %s", config.stage.name, "goes on from" if is_resumed else "starts from", start_from)
    set_trained_parts(model, config)
    if config.model.kind.role == "scorer" and isinstance(train_set, NightDataset | SleepDataset):
        model.set_class_weights(torch.from_numpy(train_set.count_classes()))  # type: ignore[operator]
    if config.train.compile and config.writes_text:
        compile_layers(model.llm)  # type: ignore[arg-type]
    return model


def _teach(config: RunConfig, model: nn.Module, train_set: TaskDataset, device: torch.device) -> None:
    """Let the classifier inside a language model say which sleep stages the training responses end in."""
    if not (isinstance(train_set, SleepDataset) and config.writes_text and config.stage.prompt_style == "brief"):
        raise ValueError(
            "stage.taught_by=classifier is for sleep stages of the prompt style brief and a model that writes text; "
            "set stage.taught_by=labels"
        )
    scorer = NightScorer(cast(TextModel, model).classifier.to(device), config)
    train_set.teach([scorer.score(recording) for recording in train_set.recordings])


def _begin_log(log: RunLog, config: RunConfig, point: ResumePoint | None) -> None:
    """Start a new log; for a resumed run, restore the log to its length at the checkpoint."""
    if point is None:
        log.clear()
        return
    set_aside_damaged(checkpoints_dir(config), point)
    restore_swapped(checkpoint_dir(config, BEST))
    num_dropped = log.truncate(point.num_log_records)
    logger.info("resuming after step %d; %d later lines of the log are dropped", point.progress.step, num_dropped)


def _check_data(config: RunConfig, data_sha256: dict[str, str]) -> None:
    """Raise ValueError if the data of a resumed run have changed."""
    manifest = read_manifest(run_dir(config))
    changes = compare_checksums(manifest.data_sha256, data_sha256) if manifest else []
    if changes:
        more = f"; and {len(changes) - _MAX_NAMED} more" if len(changes) > _MAX_NAMED else ""
        raise ValueError(
            f"the data are not those that {run_dir(config)} began with: {'; '.join(changes[:_MAX_NAMED])}{more}; "
            "restore them, or go on all the same with --accept_changed_data"
        )
