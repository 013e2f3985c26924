import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories.small import LAUNCH, build_small_model, small_config
from tslm.cli import main
from tslm.config.files import save_config
from tslm.config.schema import RunConfig
from tslm.training.checkpoints.checkpoint import save_checkpoint
from tslm.training.runs.folder import RunLog
from tslm.training.runs.manifest import RunManifest, write_manifest

DATA = {"prepared/a/n1.parquet": "1" * 64, "prepared/a/participants.tsv": "2" * 64, "prepared/b/n3.parquet": "3" * 64}


def config_of_run() -> RunConfig:
    return small_config(model__name="classifier", stage__name="stage0_encoder", train__batch_size=3)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The folder that a training of ten steps leaves, eight of them done."""
    config = config_of_run()
    folder = tmp_path / "stage0_encoder"
    save_config(config, folder / "config.yaml")
    model = build_small_model(config)
    for which, step, val_loss in (("best", 5, 0.41), ("last", 8, 0.52)):
        state = {"train_epoch": 1, "step": step, "val_loss": val_loss, "best_val_loss": 0.41}
        save_checkpoint(model, config, state, folder / "checkpoints" / which)
    log = RunLog(folder / "log.jsonl")
    log.clear()
    log.append({"event": "start", "num_steps": 10})
    for step in range(1, 9):
        log.append({"step": step, "train_epoch": 1, "loss": 1 / step})
    write_manifest(RunManifest(7, (LAUNCH,), DATA, tracker_runs={"mlflow": "5ca1ab1e"}), folder)
    return folder


def write_metrics(run_dir: Path) -> None:
    scores = {"accuracy": 0.8123, "cohen_kappa": 0.7, "per_class_f1": {"Wake": 0.9, "REM sleep": None}, "leaky": True}
    metrics = {"leaky": scores.pop("leaky"), "systems": {"classifier": scores}}
    (run_dir / "results").mkdir()
    (run_dir / "results" / "metrics.json").write_text(json.dumps(metrics))


def inspect(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["inspect", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_run_tells_config_code_packages_data_and_progress(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_metrics(run_dir)
    text = inspect(capsys, run_dir)
    for said in (
        "run of stage0_encoder, classifier, seed 0",
        "not finished: step 8 of 10, train_epoch 1",
        "best  step 5, train_epoch 1, val_loss 0.4100",
        "0c70bedfacade, with changed files",
        "torch 2.13.0",
        "NVIDIA H200",
        "train.py --stages stage0_encoder 'stage.train_dir=my nights'",
        "mlflow run  5ca1ab1e",
        "prepared/a  2 files, ",
        "train.batch_size          3",
        "LEAKY",
        "F1 Wake      0.900",
        "F1 REM sleep  -",
        "checkpoints/best/model.safetensors",
    ):
        assert " ".join(said.split()) in " ".join(text.split()), said
    assert "train.patience" not in text
    assert "train.patience" in inspect(capsys, run_dir, "--all")


def test_json_holds_everything(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(inspect(capsys, run_dir, "--json"))
    assert facts["config"]["train"]["patience"] == 5
    assert facts["changed"]["train.batch_size"] == 3
    assert facts["data_sha256"] == DATA
    assert facts["launches"][0]["git_commit"] == "0c70bedfacade"
    assert facts["checkpoints"]["last"]["val_loss"] == 0.52
    assert facts["training"]["num_steps"] == 10
    size = (run_dir / "checkpoints" / "best" / "model.safetensors").stat().st_size
    assert facts["files"]["checkpoints/best/model.safetensors"] == size


def test_the_checksum_of_a_data_folder_changes_with_any_file_in_it(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads(inspect(capsys, run_dir, "--json"))["data"]
    changed = RunManifest(7, (LAUNCH,), DATA | {"prepared/a/n1.parquet": "9" * 64})
    write_manifest(changed, run_dir)
    after = json.loads(inspect(capsys, run_dir, "--json"))["data"]
    assert before["prepared/a"]["sha256"] != after["prepared/a"]["sha256"]
    assert before["prepared/b"] == after["prepared/b"] == {"num_files": 1, "sha256": after["prepared/b"]["sha256"]}


def test_a_checkpoint_tells_of_itself_and_of_the_run_it_stands_in(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = inspect(capsys, run_dir / "checkpoints" / "best")
    assert "checkpoint of stage0_encoder, classifier" in text
    assert "val_loss 0.4100" in text
    assert "val_loss 0.5200" not in text
    assert "0c70bedfacade" in text


def test_a_checkpoint_tells_its_own_scores(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_dir / "checkpoints" / "best" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluation": {"cohen_kappa": 0.777}}))
    assert "Cohen's kappa  0.777" in inspect(capsys, path.parent)


def test_a_checkpoint_alone_is_described_without_a_run(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = (run_dir / "checkpoints" / "best").rename(tmp_path / "alone")
    text = inspect(capsys, alone)
    assert "step 5" in text
    assert "origin" not in text


def test_the_training_state_of_the_last_checkpoint_overrules_the_log(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"step": 10, "num_steps": 10, "train_epoch": 2, "is_finished": True}
    (run_dir / "checkpoints" / "last" / "training.json").write_text(json.dumps({"progress": state}))
    assert "finished: step 10 of 10, train_epoch 2" in inspect(capsys, run_dir)


def test_a_run_of_before_there_were_manifests_says_so(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "run.json").unlink()
    text = inspect(capsys, run_dir)
    assert "not recorded in this run" in text
    assert "no checksums" in text


def test_settings_of_another_version_are_shown_and_marked(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_dir / "config.yaml"
    path.write_text(path.read_text() + "wind: strong\n")
    assert '"strong" (unknown to this version)' in inspect(capsys, run_dir)


def test_resumes_and_the_end_are_told(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = replace(LAUNCH, started_at="2026-11-23T01:00:00+00:00", git_commit=None)
    ended = replace(RunManifest(7, (LAUNCH,), DATA).resume(later), ended_at="2026-11-23T02:00:00+00:00")
    write_manifest(ended, run_dir)
    text = inspect(capsys, run_dir)
    assert "not known: no checkout" in text
    assert all(time in text for time in ("2026-11-22T08:30:01", "2026-11-23T01:00:00", "2026-11-23T02:00:00"))


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "log.jsonl", "checkpoints/best/state.json"])
def test_a_damaged_file_is_named_in_one_line(name: str, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / name).write_text("[broken\n{}\n")
    assert main(["inspect", str(run_dir)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name.rsplit("/", 1)[-1] in error


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_that_is_no_run_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / name)]) == 2
    assert "neither a run" in capsys.readouterr().err


def test_inspection_loads_no_torch(run_dir: Path) -> None:
    code = f"import sys, tslm.cli; tslm.cli.main(['inspect', {str(run_dir)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
