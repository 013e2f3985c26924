import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.factories.small import small_recording, write_small_cohort
from tests.factories.tiny_run import command
from tslm.data.prepared.recordings import read_participants, write_participants, write_recording
from tslm.training.runs.folder import pick_main_metrics, read_log
from tslm.training.runs.manifest import read_manifest

RUN = "no_llm/classifier/stage0_encoder"
TWO_PASSES = ("train.train_epochs=2", "train.patience=9")


def train(data_dir: Path, results_dir: Path, *more: str) -> int:
    return command(data_dir, ["stage0_encoder"], f"results_dir={results_dir}", *TWO_PASSES, *more)


def test_a_run_says_what_it_was_made_of(data_dir: Path, tmp_path: Path) -> None:
    assert train(data_dir, tmp_path) == 0
    manifest = read_manifest(tmp_path / RUN)
    assert manifest is not None
    assert manifest.ended_at is not None
    assert len(manifest.launches) == 1
    assert manifest.tracker_runs == {}
    assert {Path(name).name for name in manifest.data_sha256} == {
        "night1.parquet",
        "night2.parquet",
        "night3.parquet",
        "participants.tsv",
    }
    passes = [record for record in read_log(tmp_path / RUN / "log.jsonl") if "val_loss" in record]
    assert passes and all("val_kappa" in record for record in passes)  # which ranks its checkpoints


def test_data_that_changed_since_the_checkpoint_are_refused_unless_told(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "cohort")
    more = (f"stage.train_dir={cohort}", f"stage.test_dir={cohort}")
    assert train(data_dir, tmp_path, *more) == 0
    (tmp_path / RUN / "results" / "metrics.json").unlink()  # as if it had been stopped before the evaluation
    changed = write_recording(small_recording("night2", 10, seed=99), cohort, "train")
    others = [row for row in read_participants(cohort) if row.recording != changed.recording]
    write_participants([*others, changed], cohort)
    capsys.readouterr()
    assert train(data_dir, tmp_path, *more, "--resume") == 2
    error = capsys.readouterr().err
    assert "night2.parquet: changed" in error
    assert "--accept_changed_data" in error
    assert error.count("\n") == 1
    assert train(data_dir, tmp_path, *more, "--resume", "--accept_changed_data") == 0
    manifest = read_manifest(tmp_path / RUN)
    assert manifest is not None
    assert len(manifest.launches) == 2
    assert train(data_dir, tmp_path, *more, "--resume") == 0


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for package in ("sqlalchemy", "alembic"):
        pytest.importorskip(package, reason=f"{package} is not installed, so MLflow has no local store")
    return pytest.importorskip("mlflow", reason="mlflow is not installed")


def test_mlflow_follows_a_run_through_a_stop_and_its_evaluation(data_dir: Path, tmp_path: Path, mlflow: Any) -> None:
    assert train(data_dir, tmp_path, "tracking=mlflow") == 0
    folder = tmp_path / RUN
    manifest = read_manifest(folder)
    assert manifest is not None
    run_id = manifest.tracker_runs["mlflow"]
    # Stopped in the second pass: the first pass' checkpoint is the last, and there are no scores yet.
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    shutil.rmtree(folder / "checkpoints" / "last")
    (folder / "checkpoints" / "previous").rename(folder / "checkpoints" / "last")
    (folder / "results" / "metrics.json").unlink()
    assert train(data_dir, tmp_path, "tracking=mlflow", "--resume") == 0

    run = client.get_run(run_id)
    records = read_log(folder / "log.jsonl")
    metrics = pick_main_metrics(json.loads((folder / "results" / "metrics.json").read_text()))
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert run.data.tags["stage"] == "stage0_encoder"
    assert run.data.tags["git_commit"]
    assert run.data.params["train.train_epochs"] == "2"
    assert run.data.metrics["test/accuracy"] == pytest.approx(metrics["accuracy"])
    steps = {metric.step for metric in client.get_metric_history(run_id, "loss")}
    assert steps == {record["step"] for record in records if "loss" in record}
    passes = [record for record in records if "val_kappa" in record]
    kept = {file.path for file in client.list_artifacts(run_id, "checkpoints")}
    assert kept == {f"checkpoints/kappa_{record['val_kappa']:.4f}_step_{record['step']}" for record in passes}
    names = {Path(file.path).name for file in client.list_artifacts(run_id, min(kept))}
    assert {"config.json", "model.safetensors", "state.json"} <= names
    assert not names & {"optimizer.safetensors", "training.json"}
    best = json.loads((folder / "checkpoints" / "best" / "state.json").read_text())
    copy = f"checkpoints/kappa_{best['val_kappa']:.4f}_step_{best['step']}"
    sent = {Path(file.path).name for file in client.list_artifacts(run_id, copy)}
    assert {path.name for path in (folder / "checkpoints" / "best").iterdir()} == sent  # with what is fitted later
    assert {"calibration.json", "transitions.json"} <= sent
    folders = ("confusion_matrices", "hypnograms")
    drawings = [file.path for folder in folders for file in client.list_artifacts(run_id, folder)]
    assert {"confusion_matrices/classifier.html", "hypnograms/night4.html"} <= set(drawings)
