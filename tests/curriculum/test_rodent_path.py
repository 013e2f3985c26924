"""Rodents from the simulator to a score: prepare, train, evaluate."""

import json
import math
from pathlib import Path

from curriculum.train import main as train
from data_prep.prepare import main as prepare
from tslm.scoring.predictions import read_predictions

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


def test_simulated_animals_are_prepared_learned_and_scored(tmp_path: Path) -> None:
    cohort_dir = tmp_path / "cohort"
    assert prepare(["sim_rodent", "--out", str(cohort_dir), "num_subjects=3", "hours=0.5", "fs_hz=100", "seed=2"]) == 0
    overrides = [
        *(f"model.encoder.{key}={value}" for key, value in ENCODER.items()),
        "model.context.hidden_size=8",
        f"stage.train_dir={cohort_dir}",
        f"results_dir={tmp_path / 'results'}",
        "train.train_epochs=1",
        "train.batch_size=8",
        "stage.num_train_samples=8",
        "stage.num_val_samples=8",
    ]
    assert train(["--stages", "stage0_encoder", "--config", "rodent", *overrides]) == 0
    (metrics_path,) = (tmp_path / "results").rglob("metrics.json")
    metrics = json.loads(metrics_path.read_text())
    assert metrics["labels"] == ["Wake", "NREM sleep", "REM sleep"]
    assert math.isfinite(metrics["accuracy"])
    (predictions_path,) = (tmp_path / "results").rglob("test_predictions.jsonl")
    rows = list(read_predictions(predictions_path))
    assert len(rows) == metrics["num_samples"] > 150
    assert [row["onset_s"] for row in rows[:2]] == [0.0, 10.0]
