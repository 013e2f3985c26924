from pathlib import Path

import pytest
from accelerate import Accelerator

from curriculum.evaluate_stage import build_validation
from tests.factories.small import build_small_model, small_config, small_recording, write_small_cohort
from tslm.data.samples.dataset import build_dataset
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.predictions.night_scorer import NightScorer
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_system

CLASSIFIER = {"model__name": "classifier", "stage__name": "stage0_encoder", "stage__task": "night"}


def test_the_kappa_of_a_classifier_is_that_of_its_validation_nights(tmp_path: Path) -> None:
    config = small_config(tracking="mlflow", stage__train_dir=str(write_small_cohort(tmp_path)), **CLASSIFIER)
    model, accelerator = build_small_model(config, seed=3), Accelerator(cpu=True)
    val_set = build_dataset(config, "val")
    assert isinstance(val_set, NightDataset)
    validate = build_validation(config, model, val_set, accelerator)
    assert validate is not None
    (scoring,) = parse_scorings(NightScorer(model, config).answer(val_set)).values()
    metrics = score_system(scoring)
    assert validate() == {"val_kappa": metrics["cohen_kappa"], "val_macro_f1": metrics["macro_f1"]}


def test_a_language_model_is_asked_for_stages_of_as_many_epochs_as_calibrate_it(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, tracking="mlflow", stage__num_calibration_samples=4)
    model = build_small_model(config, lora_noise=0.2)
    val_set = SleepDataset([small_recording(num_epochs=10)], config)
    asked: list[int] = []
    val_set.describe, describe = lambda idx: asked.append(idx) or describe(idx), val_set.describe  # type: ignore
    validate = build_validation(config, model, val_set, Accelerator(cpu=True))
    assert validate is not None
    figures = validate()
    assert len(set(asked)) == 4
    assert -1 <= figures["val_kappa"] <= 1
    assert figures == validate()


def test_a_classifier_is_ranked_by_kappa_without_a_tracker_too(tmp_path: Path) -> None:
    config = small_config(tracking="none", stage__train_dir=str(write_small_cohort(tmp_path)), **CLASSIFIER)
    validate = build_validation(config, build_small_model(config), build_dataset(config, "val"), Accelerator(cpu=True))
    assert validate is not None
    assert "val_kappa" in validate()


@pytest.mark.parametrize(
    "changes", [{"tracking": "none"}, {"stage__task": "caption"}, {"stage__num_calibration_samples": 0}]
)
def test_nothing_is_asked_where_nobody_looks_or_nights_are_not_staged(changes: dict, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, **{"tracking": "mlflow", **changes})
    model, val_set = build_small_model(config), SleepDataset([small_recording()], config)
    assert build_validation(config, model, val_set, Accelerator(cpu=True)) is None
