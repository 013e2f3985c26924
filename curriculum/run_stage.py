"""One curriculum stage: start weights, data, training, evaluation on the test split."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from torch import nn
from torch.utils.data import DataLoader, Sampler, Subset

from curriculum.plan import BEST, checkpoint_dir, log_path, metrics_path, predictions_path, run_dir
from tslm.config import CONFIG_FILE, RunConfig, save_config
from tslm.data.collate import Collator
from tslm.data.dataset import NightDataset, SleepDataset, StageDataset, build_dataset, state_timing
from tslm.data.night_windows import load_recordings
from tslm.data.provenance import describe_split
from tslm.data.sampling import build_train_sampler, spread_subset
from tslm.models import build_model, build_tokenizer
from tslm.models.backbone import compile_layers
from tslm.models.classifier import Classifier
from tslm.models.masked_encoder import MaskedEncoder
from tslm.models.text_model import TextModel
from tslm.scoring.calibration import load_calibration, save_calibration
from tslm.scoring.inference import classify_nights, fit_calibration, generate_predictions
from tslm.scoring.predictions import PredictionRow, score_predictions, write_metrics, write_predictions
from tslm.training.checkpoint import (
    load_checkpoint,
    load_weights,
    record_evaluation,
    save_checkpoint,
    set_trained_parts,
)
from tslm.training.loop import evaluate_loss, fit
from tslm.training.model_card import CARD_METRICS
from tslm.training.optim import build_optimizer, build_scheduler

logger = logging.getLogger(__name__)


def build_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate set up for the run's precision; devices and processes come from `accelerate launch`."""
    AcceleratorState._reset_state(reset_partial_state=False)  # the stage before may have had another precision
    return Accelerator(
        mixed_precision="bf16" if config.train.precision == "bf16" else "no",
        # Stages without night windows leave the context network and its projector unread.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def train_stage(config: RunConfig, start_from: Path | None, accelerator: Accelerator, leaky: bool = False) -> None:
    """Train one stage from `start_from` (None: new weights) and write its best and last checkpoint.

    `leaky` goes into the log: the stage's test data leak (tslm.data.leakage).
    """
    set_seed(config.seed)
    train_set = build_dataset(config, "train")
    config = replace(config, model=state_timing(config.model, train_set))
    val_set = build_dataset(config, "val")
    tokenizer = build_tokenizer(config)
    model = build_model(config)
    if start_from is not None:
        load_weights(model, config, start_from, train_lora="lora" in config.stage.trained)
        logger.info("%s starts from %s", config.stage.name, start_from)
    set_trained_parts(model, config)
    _weigh_classes(model, train_set)
    if config.train.compile and isinstance(model, TextModel):
        compile_layers(model.llm)
    collator = Collator(config.model, tokenizer)
    generator = torch.Generator().manual_seed(config.seed)
    train_loader: DataLoader = DataLoader(
        train_set,  # type: ignore[arg-type]
        batch_size=config.train.batch_size,
        sampler=_build_sampler(train_set, config, generator),
        collate_fn=collator,
        num_workers=config.train.num_workers,
    )
    val_loader = _own_share(val_set, config.stage.num_val_samples, collator, config, accelerator)
    optimizer = build_optimizer(model.param_groups(config.optim), config.optim)  # type: ignore[operator]
    num_trained = sum(param.numel() for param in model.parameters() if param.requires_grad)
    prepared, optimizer, train_loader = accelerator.prepare(model, optimizer, train_loader)
    num_steps = config.train.train_epochs * -(-len(train_loader) // config.train.grad_accum)
    scheduler = build_scheduler(getattr(optimizer, "optimizer", optimizer), config.optim, num_steps)
    logger.info("%s: %d samples to draw from, %d parameters trained", config.stage.name, len(train_set), num_trained)
    log = _open_log(log_path(config), accelerator)
    if accelerator.is_main_process:
        save_config(config, run_dir(config) / CONFIG_FILE)
    log(
        {
            "event": "start",
            "stage": config.stage.name,
            "num_trained_parameters": num_trained,
            "num_steps": num_steps,
            "leaky": leaky,
        }
    )

    trained_on = {split: describe_split(config.stage, split) for split in ("train", "val")} | {"leaky": leaky}

    def save(which: str, state: dict[str, Any]) -> None:
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            state = {**state, "trained_on": trained_on}
            save_checkpoint(accelerator.unwrap_model(prepared), config, state, checkpoint_dir(config, which))

    result = fit(
        prepared, train_loader, val_loader, optimizer, scheduler, accelerator, config.train, config.optim, save, log
    )
    accelerator.free_memory()
    if config.stage.metric == "sleep" and config.stage.num_calibration_samples and accelerator.is_main_process:
        log({"event": "calibration", **_calibrate(config, accelerator.device)})
    accelerator.wait_for_everyone()
    log({"event": "end", **vars(result)})


def _calibrate(config: RunConfig, device: torch.device) -> dict[str, float | None]:
    """Fit the temperatures of the stage's best checkpoint, on validation data, and keep them in its folder."""
    folder = checkpoint_dir(config, BEST)
    model, _ = load_checkpoint(folder)
    calibration = fit_calibration(model.to(device), build_tokenizer(config), config, device)
    save_calibration(calibration, folder)
    return asdict(calibration)


def _build_sampler(train_set: StageDataset, config: RunConfig, generator: torch.Generator) -> Sampler[int]:
    train = config.train if config.writes_text else replace(config.train, bucket_batches=0)  # windows are all as long
    return build_train_sampler(train_set, config.stage, train, config.model, generator)


def evaluate_stage(config: RunConfig, accelerator: Accelerator, leaky: bool = False) -> dict[str, Any]:
    """Score the stage's best checkpoint on its test split; writes predictions and metrics, returns these.

    The model's own settings come from the checkpoint, data and decoding from `config`. With `leaky`
    every prediction and the metrics say so, beside those whose own recording is split by epoch.
    """
    accelerator.wait_for_everyone()
    model, saved = load_checkpoint(checkpoint_dir(config, BEST))
    config = replace(config, model=saved.model, llm=saved.llm)
    model.to(accelerator.device)
    rows, metrics = EVALUATIONS[config.stage.metric](model, config, accelerator)
    leaky |= metrics.get("leaky", False)
    rows = [row | {"leaky": True} for row in rows] if leaky else rows
    metrics |= {"stage": config.stage.name, "metric": config.stage.metric, "seed": saved.seed, "leaky": leaky}
    if config.stage.fold >= 0:
        metrics["fold"] = config.stage.fold
    if accelerator.is_main_process:
        if rows:
            write_predictions(rows, predictions_path(config))
        write_metrics(metrics, metrics_path(config))
        facts = {"data": describe_split(config.stage, "test")}
        shown = {name: metrics[name] for name in CARD_METRICS if name in metrics}
        record_evaluation(checkpoint_dir(config, BEST), facts | shown)
    return metrics


def _evaluate_answers(
    model: nn.Module, config: RunConfig, accelerator: Accelerator
) -> tuple[list[PredictionRow], dict[str, Any]]:
    calibration = load_calibration(checkpoint_dir(config, BEST))
    if isinstance(model, Classifier):
        recordings = load_recordings(config.stage.data_dir("test"), "test", config.stage.channels, config.stage.fold)
        nights = recordings[accelerator.process_index :: accelerator.num_processes]
        nights_rows = classify_nights(model, nights, config, accelerator.device, calibration=calibration)
        rows = _gather(list(nights_rows), accelerator)
        return rows, score_predictions(rows)
    dataset = build_dataset(config, "test")
    tokenizer = build_tokenizer(config)
    assert tokenizer is not None
    subset = spread_subset(dataset, config.stage.num_test_samples)
    share = list(subset.indices)[accelerator.process_index :: accelerator.num_processes]
    rows = _gather(
        generate_predictions(
            model,  # type: ignore[arg-type]
            tokenizer,
            dataset,
            share,
            config,
            accelerator.device,
            accelerator.is_main_process,
            calibration,
        ),
        accelerator,
    )
    return rows, score_predictions(rows)


def _evaluate_perplexity(
    model: nn.Module, config: RunConfig, accelerator: Accelerator
) -> tuple[list[PredictionRow], dict[str, Any]]:
    collator = Collator(config.model, build_tokenizer(config))
    loader = _own_share(build_dataset(config, "test"), config.stage.num_test_samples, collator, config, accelerator)
    result = evaluate_loss(model, loader, accelerator)
    return [], {
        "loss": result.loss,
        "perplexity": result.perplexity,
        "token_accuracy": result.accuracy,
        "num_tokens": int(result.num_supervised),
    }


def _evaluate_reconstruction(
    model: nn.Module, config: RunConfig, accelerator: Accelerator
) -> tuple[list[PredictionRow], dict[str, Any]]:
    """How much better hidden patches are filled in than by the mean of all of them."""
    assert isinstance(model, MaskedEncoder)
    loader = _own_share(
        build_dataset(config, "test"), config.stage.num_test_samples, Collator(config.model, None), config, accelerator
    )
    sums_4T = torch.zeros(4, model.decoder.out_features, dtype=torch.float64, device=accelerator.device)
    for batch in loader:
        with torch.inference_mode(), accelerator.autocast():
            guess_PT, truth_PT = (values.double() for values in model.reconstruct(batch.to(accelerator.device)))
        error_PT = guess_PT - truth_PT
        sums_4T += torch.stack([values.sum(dim=0) for values in (error_PT**2, truth_PT, truth_PT**2, truth_PT**0)])
    error_T, truth_T, square_T, count_T = accelerator.reduce(sums_4T, "sum")
    loss, variance = (error_T / count_T).mean(), (square_T / count_T - (truth_T / count_T) ** 2).mean()
    return [], {
        "loss": float(loss),
        "explained_variance": float(1 - loss / variance),
        "num_patches": int(count_T[0]),
    }


EVALUATIONS: dict[str, Callable[[nn.Module, RunConfig, Accelerator], tuple[list[PredictionRow], dict[str, Any]]]] = {
    "sleep": _evaluate_answers,
    "accuracy": _evaluate_answers,
    "perplexity": _evaluate_perplexity,
    "reconstruction": _evaluate_reconstruction,
}


def _weigh_classes(model: nn.Module, train_set: StageDataset) -> None:
    """Class weights of the classifier, or of that in a text model, from the nights that the stage trains on."""
    classifier = model.classifier if isinstance(model, TextModel) else model
    if isinstance(classifier, Classifier) and isinstance(train_set, NightDataset | SleepDataset):
        classifier.set_class_weights(torch.from_numpy(train_set.count_classes()))


def _own_share(
    dataset: StageDataset, num_samples: int, collator: Collator, config: RunConfig, accelerator: Accelerator
) -> DataLoader:
    indices = spread_subset(dataset, num_samples).indices[accelerator.process_index :: accelerator.num_processes]
    return DataLoader(
        Subset(dataset, list(indices)),  # type: ignore[arg-type]
        batch_size=config.train.eval_batch_size,
        collate_fn=collator,
    )


def _gather(rows: list[PredictionRow], accelerator: Accelerator) -> list[PredictionRow]:
    gathered = gather_object(rows) if accelerator.num_processes > 1 else rows
    return sorted(gathered, key=lambda row: (row.get("recording", ""), row.get("epoch_idx", 0), row["sample_id"]))


def _open_log(path: Path, accelerator: Accelerator) -> Callable[[dict[str, Any]], None]:
    """A function that appends one JSON line; silent on other processes. A new run starts a new log."""
    if accelerator.is_main_process:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def log(record: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    return log
