"""Validation of sleep staging after a training pass: kappa and macro-F1, which trackers choose checkpoints by."""

from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from curriculum.evaluate_stage import answer_shared
from tslm.config.schema import RunConfig
from tslm.data.samples.dataset import TaskDataset, find_task
from tslm.predictions.scorings import parse_scorings
from tslm.predictions.stager import build_stager
from tslm.scoring.systems import score_systems
from tslm.training.runs.folder import pick_main_metrics


def build_validation(
    config: RunConfig, model: nn.Module, val_set: TaskDataset, accelerator: Accelerator
) -> Callable[[], dict[str, float]] | None:
    """A function that gives `val_kappa` and `val_macro_f1`; None without a tracker, or for other tasks.

    A classifier scores whole nights. A language model chooses the most likely sleep stage of
    `num_calibration_samples` epochs, without a rationale. Every process calls the function and answers its share.
    Sharded models (FSDP) are left out: with uneven shares their processes would wait for one another.
    """
    is_sharded = accelerator.distributed_type is DistributedType.FSDP
    if config.tracking == "none" or not find_task(config.stage).stages_sleep or is_sharded:
        return None
    if config.writes_text and not config.stage.num_calibration_samples:
        return None

    stager = build_stager(model, config)
    units = stager.list_units(val_set, config.stage.num_calibration_samples)

    def validate() -> dict[str, float]:
        rows = answer_shared(stager, val_set, units, accelerator, explain=False)
        metrics = pick_main_metrics(score_systems(parse_scorings(rows), num_resamples=0))
        found = {"val_kappa": metrics.get("cohen_kappa"), "val_macro_f1": metrics.get("macro_f1")}
        return {name: value for name, value in found.items() if value is not None}  # kappa of one class is undefined

    return validate
