"""How well a model stages the validation nights after a pass: what a tracker's best checkpoints are chosen by."""

from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from curriculum.processes import gather_rows, share_indices
from tslm.config.schema import RunConfig
from tslm.data.samples.dataset import NightDataset, TaskDataset, find_task
from tslm.data.samples.sampling import spread_subset
from tslm.models import build_tokenizer
from tslm.models.classifier import Classifier
from tslm.models.text_model import TextModel
from tslm.predictions.answer import classify_nights, generate_predictions
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_systems
from tslm.training.runs.folder import pick_main_metrics


def build_validation(
    config: RunConfig, model: nn.Module, val_set: TaskDataset, accelerator: Accelerator
) -> Callable[[], dict[str, float]] | None:
    """A function that gives `val_kappa` and `val_macro_f1`; None where nobody asks, or the stage stages no nights.

    A classifier scores whole nights. A language model is asked for `num_calibration_samples` epochs which of the
    stages is the most likely one, without a rationale. Every process calls the function and takes its share. Sharded
    models (FSDP) are not asked: their processes would wait for one another where shares are uneven.
    """
    is_sharded = accelerator.distributed_type is DistributedType.FSDP
    if config.tracking == "none" or not find_task(config.stage).stages_sleep or is_sharded:
        return None
    if config.writes_text and not config.stage.num_calibration_samples:
        return None

    def validate() -> dict[str, float]:
        rows = gather_rows(_answer(config, model, val_set, accelerator), accelerator)
        metrics = pick_main_metrics(score_systems(parse_scorings(rows), num_resamples=0))
        found = {"val_kappa": metrics.get("cohen_kappa"), "val_macro_f1": metrics.get("macro_f1")}
        return {name: value for name, value in found.items() if value is not None}  # kappa of one class is undefined

    return validate


def _answer(config: RunConfig, model: nn.Module, val_set: TaskDataset, accelerator: Accelerator) -> list[PredictionRow]:
    """Prediction rows of this process' share."""
    if isinstance(model, Classifier) and isinstance(val_set, NightDataset):
        nights = val_set.recordings[accelerator.process_index :: accelerator.num_processes]
        return list(classify_nights(model, nights, config, accelerator.device))
    assert isinstance(model, TextModel)
    tokenizer = build_tokenizer(config)
    assert tokenizer is not None
    chosen = list(spread_subset(val_set, config.stage.num_calibration_samples).indices)
    return generate_predictions(
        model,
        tokenizer,
        val_set,
        share_indices(chosen, accelerator),
        config,
        accelerator.device,
        show_progress=False,
        with_rationale=False,
    )
