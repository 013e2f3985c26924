import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from curriculum.train import main
from tests.factories.small import small_recording, write_small_cohort
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.data.splits.split import SPLITS
from tslm.labels import SleepStage
from tslm.training.checkpoints.checkpoint import load_checkpoint

PRESET = """
defaults: [config]
model:
  encoder: {{d_model: 16, num_layers: 1, num_heads: 2, d_ff: 32, num_bands: 8}}
  context: {{hidden_size: 8, window_epochs: 5}}
masking: {{block_patches: 2}}
train: {{train_epochs: 1, batch_size: 4, precision: fp32, log_every_steps: 1}}
stage: {{train_dir: {data}/cohort}}
results_dir: {data}/results
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_small_cohort(tmp_path / "cohort", num_epochs=20)
    (tmp_path / "small.yaml").write_text(PRESET.format(data=tmp_path))
    return tmp_path


def train(data_dir: Path, stage: str, *more: str) -> int:
    return main(["--config", str(data_dir / "small.yaml"), "--stages", stage, *more])


def read_metrics(data_dir: Path, model: str, stage: str) -> dict:
    return json.loads((data_dir / "results" / "no_llm" / model / stage / "results" / "metrics.json").read_text())


def test_a_classifier_starts_from_the_masked_encoder(
    data_dir: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert train(data_dir, "stage0_masked", "optim.lr_encoder=0") == 0
    assert train(data_dir, "stage0_encoder", "stage.predecessor=stage0_masked", "optim.lr_encoder=0") == 0
    masked, classifier = (
        load_checkpoint(data_dir / "results" / "no_llm" / model / stage / "checkpoints" / "best")[0]
        for model, stage in (("masked_encoder", "stage0_masked"), ("classifier", "stage0_encoder"))
    )
    assert torch.equal(classifier.reader.encoder.positions_1ND, masked.reader.encoder.positions_1ND)
    assert "stage0_encoder starts from" in caplog.text
    assert read_metrics(data_dir, "classifier", "stage0_encoder")["num_samples"] == 20
    assert "stage0_masked: loss" in capsys.readouterr().out


def test_nights_without_labels_teach_the_encoder_more_than_the_mean_of_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(PRESET.format(data=tmp_path))
    rows = []
    for seed, split in enumerate(("train", "train", *SPLITS)):
        night = small_recording(f"night{seed}", 60, seed)
        unlabelled = replace(night, sleep_stages=(SleepStage.UNSCORED,) * 60)
        rows.append(write_recording(unlabelled, tmp_path / "cohort", split))
    write_participants(rows, tmp_path / "cohort")
    more = ["train.train_epochs=8", "optim.lr_encoder=0.01", "train.batch_size=2"]
    assert train(tmp_path, "stage0_masked", *more) == 0
    metrics = read_metrics(tmp_path, "masked_encoder", "stage0_masked")
    assert metrics["explained_variance"] > 0.2
    assert metrics["num_patches"] > 100
    log = (tmp_path / "results" / "no_llm" / "masked_encoder" / "stage0_masked" / "log.jsonl").read_text()
    assert "NaN" not in log


def test_what_the_user_can_mend_is_exit_2_and_one_line(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data_dir, "stage0_masked", "masking.shares=0.3") == 2
    assert "masking.share" in capsys.readouterr().err
    assert train(data_dir, "stage0_masked", "masking.share=1.5") == 2
    assert capsys.readouterr().err.count("\n") == 1
