"""Rodents from the simulator to a score: prepare, train, evaluate."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from curriculum.train import main as train
from data_prep.prepare import main as prepare
from tslm.batch import Reference
from tslm.config.compose import compose_config
from tslm.evidence.muscle import measure_tone_scale
from tslm.nn.front_ends import FilterbankFrontEnd
from tslm.predictions.rows import read_predictions
from tslm.signals.normalize import normalize_series
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
    metrics = pick_main_metrics(json.loads(metrics_path.read_text()))
    assert metrics["labels"] == ["Wake", "NREM sleep", "REM sleep"]
    assert math.isfinite(metrics["accuracy"])
    (predictions_path,) = (tmp_path / "results").rglob("test_predictions.jsonl")
    rows = list(read_predictions(predictions_path))
    assert len(rows) == metrics["num_samples"] > 150
    assert [row["onset_s"] for row in rows[:2]] == [0.0, 10.0]
