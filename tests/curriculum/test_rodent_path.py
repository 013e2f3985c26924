"""Rodents from the simulator to a score: prepare, train, evaluate."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from curriculum.train import main as train
from data_prep.prepare import main as prepare
from tests.factories.recordings import write_night
from tslm.batch import Reference
from tslm.config.compose import compose_config
from tslm.data.prepared.recordings import read_recording
from tslm.data.readers.raw import RawSignal
from tslm.evidence.muscle import measure_tone_scale
from tslm.nn.front_ends import FilterbankFrontEnd
from tslm.predictions.rows import read_predictions
from tslm.predictions.stager import open_stager
from tslm.signals.normalize import normalize_series
from tslm.staging.night import score_night
from tslm.training.runs.folder import pick_main_metrics

# The preset is made for 500 Hz; at 100 Hz the same windows have a fifth of the samples.
ENCODER = {
    "patch_size": 50,
    "band_window_samples": 200,
    "band_low": 0.005,
    "band_high": 0.45,
    "band_break": 0.1,
    "d_model": 16,
    "num_heads": 2,
    "d_ff": 32,
    "num_bands": 12,
}


def test_the_presets_bands_take_in_the_tone_of_the_muscle() -> None:
    config = compose_config("stage0_encoder", "rodent")
    model = config.model
    assert config.stage.channels == ("EEG", "EMG")
    loudness_E1 = np.geomspace(1, 100, 20)[:, None]
    epochs_EL = (loudness_E1 * np.random.default_rng(0).standard_normal((20, 5000))).astype(np.float32)
    reference = Reference(tone=measure_tone_scale(epochs_EL, 500))
    tone_EL = torch.from_numpy(normalize_series(epochs_EL[[0, -1]], model.normalization, reference))
    energy_ENF = FilterbankFrontEnd(model.encoder).band_log_energy(tone_EL)
    assert float((energy_ENF[1] - energy_ENF[0]).mean(dim=0).max()) > 1.0


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mice") / "cohort"
    assert prepare(["sim_rodent", "--out", str(folder), "num_subjects=3", "hours=0.5", "fs_hz=100", "seed=2"]) == 0
    return folder


def train_scorer(cohort_dir: Path, results_dir: Path, *more: str) -> None:
    overrides = [
        *(f"model.encoder.{key}={value}" for key, value in ENCODER.items()),
        "model.context.hidden_size=8",
        f"stage.train_dir={cohort_dir}",
        f"results_dir={results_dir}",
        "train.train_epochs=1",
        "train.batch_size=8",
        "stage.num_train_samples=8",
        "stage.num_val_samples=8",
        *more,
    ]
    assert train(["--stages", "stage0_encoder", "--config", "rodent", *overrides]) == 0


def test_simulated_animals_are_prepared_learned_and_scored(cohort_dir: Path, tmp_path: Path) -> None:
    train_scorer(cohort_dir, tmp_path / "results")
    (metrics_path,) = (tmp_path / "results").rglob("metrics.json")
    metrics = pick_main_metrics(json.loads(metrics_path.read_text()))
    assert metrics["labels"] == ["Wake", "NREM sleep", "REM sleep"]
    assert math.isfinite(metrics["accuracy"])
    (predictions_path,) = (tmp_path / "results").rglob("test_predictions.jsonl")
    rows = list(read_predictions(predictions_path))
    assert len(rows) == metrics["num_samples"] > 150
    assert [row["onset_s"] for row in rows[:2]] == [0.0, 10.0]


def test_a_raw_file_is_read_with_the_inputs_that_the_scorer_was_trained_with(cohort_dir: Path, tmp_path: Path) -> None:
    inputs = "model.inputs=[features,flags,light,clock]"
    train_scorer(cohort_dir, tmp_path / "results", inputs, "stage.drop_flagged=[motion]")
    (checkpoint,) = (tmp_path / "results").rglob("checkpoints/best")
    night = read_recording(sorted(cohort_dir.glob("*.parquet"))[0])
    signals = {
        name: RawSignal(values.reshape(-1), 100.0) for name, values in night.channels.items() if name in ("EEG", "EMG")
    }
    start = night.start.partition("+")[0]
    write_night(tmp_path / "raw.edf", signals, (), 10.0, start)
    probabilities_EK = score_night(tmp_path / "raw.edf", model=checkpoint, lights="07:00-19:00").probabilities_EK
    expected_EK = open_stager(checkpoint, "cpu").score(night)
    np.testing.assert_allclose(probabilities_EK[: len(expected_EK)], expected_EK, atol=0.02)
    with pytest.raises(ValueError, match="states no times of light"):
        score_night(tmp_path / "raw.edf", model=checkpoint)
    with pytest.raises(ValueError, match="lights='7 to 19'; wanted when they go on and off"):
        score_night(tmp_path / "raw.edf", model=checkpoint, lights="7 to 19")
