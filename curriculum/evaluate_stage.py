"""Scores of a curriculum stage: its best checkpoint on the test split, and sleep staging after each training pass."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.utils.data import DataLoader

from curriculum.plan import flatten_config, metrics_path, predictions_path
from curriculum.processes import gather_rows, share_indices
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import TaskDataset, build_dataset, describe_labels, find_task
from tslm.data.samples.sampling import ShareBatches, spread_subset
from tslm.data.splits.provenance import checksum_data, describe_split
from tslm.explain.faithfulness import add_faithfulness
from tslm.models import build_tokenizer
from tslm.predictions.journal import PredictionJournal
from tslm.predictions.night_scorer import Source
from tslm.predictions.rows import PredictionRow, write_predictions
from tslm.predictions.scorings import parse_scorings
from tslm.predictions.stager import Stager, build_stager, open_stager
from tslm.progress_bar import progress_bar
from tslm.report.page import build_drawings
from tslm.scoring.systems import score_systems, write_metrics
from tslm.training.checkpoints.checkpoint import hash_checkpoint, load_checkpoint, read_state, record_evaluation
from tslm.training.checkpoints.model_card import CARD_METRICS
from tslm.training.loop import evaluate_loss
from tslm.training.runs.folder import BEST, checkpoint_dir, pick_main_metrics
from tslm.training.runs.recorder import record_test

_ANSWERS = "answers_"  # how files of an evaluation in progress begin

logger = logging.getLogger(__name__)


def evaluate_stage(config: RunConfig, accelerator: Accelerator, leaky: bool = False) -> dict[str, Any]:
    """Score the best checkpoint of a curriculum stage on its test split; write predictions and metrics.

    The model's own settings come from the checkpoint, data and decoding from `config`. With `leaky`
    all predictions and the metrics are marked as leaky, not only those of recordings split by epoch.
    """
    accelerator.wait_for_everyone()
    saved = load_checkpoint_config(checkpoint_dir(config, BEST))
    config = replace(config, model=saved.model, llm=saved.llm)
    metric = find_task(config.stage).metric
    rows, metrics = EVALUATIONS[metric](config, accelerator)
    leaky |= metrics.get("leaky", False)
    rows = [row | {"leaky": True} for row in rows] if leaky else rows
    metrics |= {"stage": config.stage.name, "metric": metric, "seed": saved.seed, "leaky": leaky}
    if config.stage.fold >= 0:
        metrics["fold"] = config.stage.fold
    if accelerator.is_main_process:
        if rows:
            write_predictions(rows, predictions_path(config))
        facts = {"data": describe_split(config.stage, "test")}
        main = pick_main_metrics(metrics)
        shown = {name: main[name] for name in CARD_METRICS if name in main}
        record_evaluation(checkpoint_dir(config, BEST), facts | shown)
        step = int(read_state(checkpoint_dir(config, BEST)).get("step", 0))
        drawings = build_drawings(parse_scorings(rows), metrics) if config.tracking != "none" else {}
        record_test(config, metrics, step, drawings)
        write_metrics(metrics, metrics_path(config))  # a run with this file is complete, `--resume` skips it
        for path in predictions_path(config).parent.glob(f"{_ANSWERS}*"):  # of all processes
            path.unlink()
    return metrics


def _evaluate_answers(config: RunConfig, accelerator: Accelerator) -> tuple[list[PredictionRow], dict[str, Any]]:
    rows, losses = _answer_test(config, accelerator, config.stage.num_test_samples)
    counts = Counter(row["truth"] for row in rows) if find_task(config.stage).stages_sleep else Counter()
    logger.info(
        "test: %s", describe_labels(len(rows), {label: counts[label] for label in rows[0]["options"] if counts})
    )
    has_both = find_task(config.stage).reads_recordings and config.stage.prompt_inputs == "all"
    if config.writes_text and config.stage.num_alone_samples and has_both:
        for inputs in ("facts", "series"):
            alone = replace(config, stage=replace(config.stage, inputs=inputs))
            alone_rows, alone_losses = _answer_test(alone, accelerator, config.stage.num_alone_samples)
            rows, losses = rows + alone_rows, losses | alone_losses
    scorings = parse_scorings(rows)
    metrics = score_systems(scorings)
    for system, loss in losses.items():
        metrics["systems"][system] |= loss
    add_faithfulness(metrics, scorings)
    return rows, metrics


def _answer_test(
    config: RunConfig, accelerator: Accelerator, num_samples: int
) -> tuple[list[PredictionRow], dict[str, dict[str, Any]]]:
    """Answer `num_samples` samples (0: all) of the test split.

    Returns:
        The rows, and of a language model by system the loss of the reference texts of the same samples.
    """
    stager = open_stager(checkpoint_dir(config, BEST), accelerator.device, config)
    source = stager.read_split("test")
    rows = _answer_resumably(stager, source, stager.list_units(source, num_samples), accelerator)
    if not config.writes_text:
        return rows, {}
    collator = Collator(config.model, build_tokenizer(config))
    loader = build_share_loader(cast(TaskDataset, source), num_samples, collator, config, accelerator)
    result = evaluate_loss(stager.model, loader, accelerator)
    return rows, {
        rows[0]["system"]: {
            "loss": result.loss,
            "perplexity": result.perplexity,
            "token_accuracy": result.accuracy,
            "num_tokens": int(result.num_supervised),
            "tokens_per_sample": result.num_supervised / len(rows),
        }
    }


def _answer_resumably(
    stager: Stager, source: Source, units: list[int], accelerator: Accelerator
) -> list[PredictionRow]:
    """Answer as `answer_shared`, each process with its rows on disk: a run that is killed goes on with them."""
    share, config = share_indices(units, accelerator), stager.config
    request = {
        "weights": hash_checkpoint(checkpoint_dir(config, BEST)),
        "samples": checksum_data(config.stage, ["test"]),
        "settings": {name: str(value) for name, value in flatten_config(config).items()},
        "units": share,
    }
    name = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:16]  # rows of another evaluation are not found
    journal = PredictionJournal(predictions_path(config).with_name(f"{_ANSWERS}{name}"), request, resume=True)
    blocks, is_main = stager.list_blocks(source, share), accelerator.is_main_process
    num_done = sum(map(len, blocks[: journal.num_blocks]))
    with progress_bar(total=len(share), initial=num_done, desc="generate", disable=not is_main) as bar:
        for block in blocks[journal.num_blocks :]:
            journal.append(stager.answer(source, block))
            bar.update(len(block))
    return gather_rows(journal.read_rows(), accelerator)


def answer_shared(
    stager: Stager, source: Source, units: list[int], accelerator: Accelerator, explain: bool = True
) -> list[PredictionRow]:
    """Answer on every process its share of the units, and return the rows of all processes on each of them."""
    share = share_indices(units, accelerator)
    return gather_rows(list(stager.answer(source, share, explain)), accelerator)


def _evaluate_reconstruction(config: RunConfig, accelerator: Accelerator) -> tuple[list[PredictionRow], dict[str, Any]]:
    """Measure the variance of hidden patches that the model explains."""
    model: Any = load_checkpoint(checkpoint_dir(config, BEST), device=accelerator.device)[0].to(accelerator.device)
    dataset, collator = build_dataset(config, "test"), Collator(config.model, build_tokenizer(config))
    loader = build_share_loader(dataset, config.stage.num_test_samples, collator, config, accelerator)
    sums_4T = torch.zeros(4, model.decoder.out_features, dtype=torch.float64, device=accelerator.device)
    for batch in loader:
        if batch.is_filler:
            continue
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


EVALUATIONS: dict[str, Callable[[RunConfig, Accelerator], tuple[list[PredictionRow], dict[str, Any]]]] = {
    "sleep": _evaluate_answers,
    "accuracy": _evaluate_answers,
    "perplexity": _evaluate_answers,
    "reconstruction": _evaluate_reconstruction,
}


def build_share_loader(
    dataset: TaskDataset, num_samples: int, collator: Collator, config: RunConfig, accelerator: Accelerator
) -> DataLoader:
    """Build batches of this process' share of `num_samples` samples (0: all), spread evenly over a set."""
    indices = list(spread_subset(dataset, num_samples).indices)
    place = accelerator.process_index, accelerator.num_processes
    return DataLoader(ShareBatches(dataset, indices, collator, config.train.eval_batch_size, *place), batch_size=None)


def build_validation(
    config: RunConfig, model: nn.Module, val_set: TaskDataset, accelerator: Accelerator
) -> Callable[[], dict[str, float]] | None:
    """Build a function that gives `val_kappa` and `val_macro_f1`; None for other tasks.

    A classifier scores whole nights. A language model chooses the most likely sleep stage of
    `num_calibration_samples` epochs, without a rationale, and for a tracker alone. Every process calls the function
    and answers its share. Sharded models (FSDP) are left out: with uneven shares their processes would wait for one
    another.
    """
    is_sharded = accelerator.distributed_type is DistributedType.FSDP
    if is_sharded or not find_task(config.stage).stages_sleep:
        return None
    if config.writes_text and (config.tracking == "none" or not config.stage.num_calibration_samples):
        return None

    stager = build_stager(model, config)
    units = stager.list_units(val_set, config.stage.num_calibration_samples)

    def validate() -> dict[str, float]:
        rows = answer_shared(stager, val_set, units, accelerator, explain=False)
        metrics = pick_main_metrics(score_systems(parse_scorings(rows), num_resamples=0))
        found = {"val_kappa": metrics.get("cohen_kappa"), "val_macro_f1": metrics.get("macro_f1")}
        return {name: value for name, value in found.items() if value is not None}  # kappa of one class is undefined

    return validate
