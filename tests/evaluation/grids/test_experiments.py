import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from curriculum.train import main as train
from evaluation.experiments import main
from evaluation.grids.grid import check_settings, expand_grid, load_grid
from evaluation.grids.launcher import LOG_FILE, RECORD_FILE
from evaluation.grids.table import estimate
from tests.factories.small import small_recording
from tslm.config.compose import configs_dir
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.data.splits.rules import assign_splits
from tslm.training.process import StopSignals

PRESET = """
defaults: [config]
model:
  encoder: {d_model: 16, num_layers: 1, num_heads: 2, d_ff: 32, num_bands: 8}
  context: {hidden_size: 8, window_epochs: 5}
train: {train_epochs: 1, batch_size: 4, precision: fp32}
"""
# Stands in for train.py: it knows what a run leaves, and takes a moment instead of a minute.
FAKE_TRAIN = """
import json, os, sys
from pathlib import Path
settings = dict(word.split("=", 1) for word in sys.argv if "=" in word)
if settings.get("stage.fold") == "1" and "GATE" in os.environ:
    open(os.environ["GATE"]).read()  # a pipe that nobody writes to
if settings.get("loss.label_smoothing") == "0.3":
    sys.exit("warming up\\nerror: the loss is not finite")
folder = Path(settings["results_dir"]) / "no_llm" / "classifier" / "stage0_encoder" / "results"
folder.mkdir(parents=True, exist_ok=True)
options = ["Wake", "NREM sleep", "REM sleep"]
fold, smooth = int(settings.get("stage.fold", 0)), float(settings.get("loss.label_smoothing", 0))
kappa = 0.5 + 0.1 * fold + smooth
rows = [{"system": "classifier", "sample_id": f"n{fold}:{idx}", "recording": f"n{fold}", "epoch_idx": idx,
         "onset_s": 10.0 * idx, "truth": options[1], "options": options, "answer": options[2 if idx == 9 else 1],
         "probabilities": [0.1, 0.3, 0.6] if idx == 9 else [0.1, 0.8, 0.1]} for idx in range(20)]
(folder / "test_predictions.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
scores = {"cohen_kappa": kappa, "macro_f1": kappa / 2, "accuracy": kappa, "leaky": False,
          "per_class_f1": {"Wake": kappa, "NREM sleep": 0.9, "REM sleep": 0.4 if fold else None}}
(folder / "metrics.partial").write_text(json.dumps({"systems": {"classifier": scores}}))
(folder / "metrics.partial").rename(folder / "metrics.json")  # as train.py does; the table is read meanwhile
print(*sys.argv)
"""


def write_grid(folder: Path, **changes: Any) -> Path:
    grid: dict[str, Any] = {
        "preset": str(folder / "small.yaml"),
        "settings": [f"stage.train_dir={folder}/cohort"],
        "axes": {
            "context": {"alone": ["model.context.window_epochs=1"], "epochs7": ["model.context.window_epochs=7"]},
            "loss": {"plain": [], "smooth": ["loss.label_smoothing=0.1"]},
        },
        "smoothing": {"none": {"method": "none"}, "median3": {"method": "median", "window_epochs": 3}},
        "folds": "range(0,3)",
        "results_dir": str(folder / "results"),
        "launch": ["python", str(folder / "fake_train.py")],
    }
    (folder / "small.yaml").write_text(PRESET)
    (folder / "fake_train.py").write_text(FAKE_TRAIN)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(grid | changes, sort_keys=False))
    return path


def read_table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results" / "grid" / "table.json").read_text())


def test_every_combination_is_a_run_in_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = expand_grid(load_grid(write_grid(tmp_path, seeds="0,1")))
    assert len({run.folder for run in runs}) == len(runs) == 2 * 2 * 3 * 2
    assert {run.folder.parent.name.rsplit("-", 1)[0] for run in runs} == {
        f"{context}-{loss}" for context in ("alone", "epochs7") for loss in ("plain", "smooth")
    }
    assert [(run.seed, run.fold) for run in runs[:5]] == [(0, 0)] * 4 + [(0, 1)]
    last = runs[-1]
    assert {"loss.label_smoothing=0.1", "stage.fold=2", "seed=1", "--resume"} <= set(last.arguments)
    assert f"results_dir={last.folder}" in last.arguments


def test_a_choice_of_a_model_is_the_option_of_train_py(tmp_path: Path) -> None:
    axes = {"backbone": {"light": ["model=classifier", "model.context.hidden_size=8"]}}
    run = expand_grid(load_grid(write_grid(tmp_path, axes=axes, folds="-1")))[0]
    assert run.arguments[run.arguments.index("--model") + 1] == "classifier"
    assert not [word for word in run.arguments if word.startswith(("model=", "stage.fold"))]


def test_models_of_ones_own_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "light.yaml").write_text("model: {name: classifier, context: {hidden_size: 8}}\n")
    axes = {"backbone": {"light": ["model=light"]}}
    grid = load_grid(write_grid(tmp_path, axes=axes, folds="-1", config_dir=str(tmp_path / "mine")))
    check_settings(grid)
    (run,) = expand_grid(grid)
    assert run.arguments[run.arguments.index("--config_dir") + 1] == str(tmp_path / "mine")


def test_changed_settings_never_pass_for_the_old_ones(tmp_path: Path) -> None:
    before = {run.folder.parent for run in expand_grid(load_grid(write_grid(tmp_path)))}
    axes = {"context": {"alone": ["model.context.window_epochs=1"]}, "loss": {"plain": ["loss.label_smoothing=0.2"]}}
    after = {run.folder.parent for run in expand_grid(load_grid(write_grid(tmp_path, axes=axes)))}
    assert {folder.name.rsplit("-", 1)[0] for folder in after} == {"alone-plain"}
    assert not before & after
    grid = load_grid(write_grid(tmp_path))
    folders = []
    for preset in (PRESET, f"# a remark\n{PRESET}", PRESET.replace("batch_size: 4", "batch_size: 8")):
        (tmp_path / "small.yaml").write_text(preset)
        folders.append(expand_grid(grid)[0].folder)
    assert folders[0] == folders[1] != folders[2]


def test_runs_can_be_chosen_by_lists_and_ranges(tmp_path: Path) -> None:
    grid = load_grid(write_grid(tmp_path))
    assert len(expand_grid(grid, ["fold=0,2", "loss=smooth"])) == 2 * 2
    assert {run.fold for run in expand_grid(grid, ["fold=range(1,3)"])} == {1, 2}


def test_cells_that_make_no_sense_can_be_left_out(tmp_path: Path) -> None:
    runs = expand_grid(load_grid(write_grid(tmp_path, skip=[{"context": "alone", "loss": "smooth"}], folds="0")))
    assert [tuple(run.cell.values()) for run in runs] == [
        ("alone", "plain"),
        ("epochs7", "plain"),
        ("epochs7", "smooth"),
    ]


def test_the_grids_of_the_project_can_be_run() -> None:
    num_runs = {}
    for path in sorted((configs_dir() / "experiments").glob("*.yaml")):
        grid = load_grid(path)
        check_settings(grid)
        num_runs[path.stem] = len(expand_grid(grid))
        assert list(grid.axes) == ["context", "backbone", "loss", "emg"]
        assert set(grid.smoothing) == {"none", "hmm", "median5"}
    assert num_runs == {"phase1": 840, "phase1_2h": 210, "phase1_small": 24}


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"axis": {}}, [], "axis"),
        ({"baseline": {"loss": "focal"}}, [], "loss=focal, of the baseline or of skip, is no value"),
        ({"smoothing": {"m": {"method": "mean"}}}, [], "mean"),
        ({"smoothing": {"m": {"method": "median", "window": 3}}}, [], "window"),
        ({"skip": [{"los": "plain"}]}, [], "los=plain, of the baseline or of skip"),
        ({"axes": {"loss": {}}}, [], "at least one value"),
        ({"axes": {"loss": {"a": ["loss.label_smoothin=1"]}}}, [], "loss=a: unknown key 'loss.label_smoothin'"),
        ({"axes": {"backbone": {"a": ["model=resnet"]}}}, [], "unknown model 'resnet'"),
        ({}, ["los=plain"], "no axis of grid"),
        ({}, ["loss=focal"], "one of: plain, smooth"),
        ({}, ["--jobs", "0"], "1 or more"),
    ],
)
def test_a_mistake_in_grid_or_call_is_one_line_before_anything_runs(
    changes: dict, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", str(write_grid(tmp_path, **changes)), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_missing_grid_says_where_grids_are(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", str(tmp_path / "nothing.yaml")]) == 2
    assert "configs/experiments" in capsys.readouterr().err


def test_a_dry_run_lists_commands_and_then_a_time(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_grid(tmp_path)
    assert main(["run", str(path), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("missing   ") == 12
    assert "no run has finished yet" in printed
    assert not (tmp_path / "results").exists()
    assert main(["run", str(path), "fold=0"]) == 0
    capsys.readouterr()
    assert main(["run", str(path), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("complete ") == 4
    assert "about 0 min with --jobs 1, from the 4 runs" in printed


def test_the_table_has_means_intervals_and_paired_differences(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_grid(tmp_path, baseline={"loss": "plain", "smoothing": "none"}, seeds="0,1")
    assert main(["run", str(path), "--jobs", "2"]) == 0
    table = read_table(tmp_path)
    assert (table["num_runs"], table["num_planned"], len(table["rows"])) == (24, 24, 8)
    row = next(row for row in table["rows"] if (row["loss"], row["smoothing"]) == ("smooth", "none"))
    kappa = row["metrics"]["cohen_kappa"]
    values = [0.6, 0.7, 0.8]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert [kappa[name] for name in ("mean", "low", "high", "num_folds")] == pytest.approx([0.7, low, high, 3])
    difference = row["differences"]["cohen_kappa"]
    assert [difference[name] for name in ("mean", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
    assert row["metrics"]["F1 REM sleep"]["num_folds"] == 2
    assert [row["is_baseline"] for row in table["rows"]] == [True] + [False] * 7
    best = [row for row in table["rows"] if row["is_best"]]
    assert {row["loss"] for row in best} == {"smooth"}
    text = (tmp_path / "results" / "grid" / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert "| **smooth** |" in text
    assert "| baseline |" in text
    with (tmp_path / "results" / "grid" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert float(rows[2]["cohen_kappa_low"]) == pytest.approx(low)


def test_smoothing_is_a_row_of_its_own_without_another_training(tmp_path: Path) -> None:
    assert main(["run", str(write_grid(tmp_path)), "fold=1"]) == 0
    table = read_table(tmp_path)
    accuracy = {row["smoothing"]: row["metrics"]["accuracy"]["mean"] for row in table["rows"][:2]}
    assert accuracy == {"none": pytest.approx(0.6), "median3": 1.0}
    kept = list((tmp_path / "results").rglob("smoothed_median3.metrics.json"))
    assert len(kept) == len(list((tmp_path / "results").rglob(RECORD_FILE))) == 4
    times = [path.stat().st_mtime_ns for path in kept]
    assert main(["run", str(write_grid(tmp_path)), "fold=1"]) == 0
    assert [path.stat().st_mtime_ns for path in kept] == times
    smoothing = {"none": {"method": "none"}, "median3": {"method": "median", "window_epochs": 1}}
    assert main(["run", str(write_grid(tmp_path, smoothing=smoothing)), "fold=1"]) == 0
    assert read_table(tmp_path)["rows"][1]["metrics"]["accuracy"]["mean"] == 0.95


def test_one_fold_has_no_interval() -> None:
    assert estimate([0.7])["mean"] == 0.7
    assert (estimate([0.7])["low"], estimate([])["mean"]) == (None, None)


def test_a_run_that_fails_is_named_with_its_last_lines_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    axes = {"loss": {"plain": [], "broken": ["loss.label_smoothing=0.3"], "smooth": ["loss.label_smoothing=0.1"]}}
    assert main(["run", str(write_grid(tmp_path, axes=axes, folds="0,1"))]) == 1
    error = capsys.readouterr().err
    assert error.count("error: broken-") == 2
    assert "the loss is not finite" in error
    assert LOG_FILE in error
    assert "warming up" in caplog.text
    table = read_table(tmp_path)
    assert [(row["loss"], row["num_runs"]) for row in table["rows"][::2]] == [
        ("plain", 2),
        ("broken", 0),
        ("smooth", 2),
    ]
    assert table["rows"][2]["metrics"] == {}


def test_a_run_that_another_process_trains_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_grid(tmp_path, axes={"loss": {"plain": []}}, folds="-1")
    (run,) = expand_grid(load_grid(path))
    run.folder.mkdir(parents=True)
    with (run.folder / LOG_FILE).open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert main(["run", str(path)]) == 1
        assert "another process trains this run already" in capsys.readouterr().err
    assert main(["run", str(path)]) == 0


def write_folds(cohort_dir: Path) -> None:
    """Three animals, a fold each."""
    recordings = [small_recording(f"night{seed}", 20, seed, subject=f"s{seed}") for seed in range(3)]
    places = assign_splits([recording.subject for recording in recordings], "loso", 0)
    rows = [write_recording(recording, cohort_dir, places[recording.subject]) for recording in recordings]
    write_participants(rows, cohort_dir)


def interrupt(command: list[str], is_time: Callable[[], bool]) -> str:
    """What a command says on stderr that is told to stop as soon as it is time."""
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and not is_time():
        with suppress(subprocess.TimeoutExpired):
            running.wait(0.02)
    running.send_signal(signal.SIGTERM)
    _, error = running.communicate(timeout=100)
    assert running.returncode == 1, error
    return error


def test_an_interrupted_grid_is_finished_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "gate")
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    path = write_grid(tmp_path, axes={"loss": {"plain": [], "smooth": ["loss.label_smoothing=0.1"]}}, folds="0,1")
    command = [sys.executable, "-m", "evaluation.experiments", "run", str(path)]
    results = tmp_path / "results"
    error = interrupt(command, lambda: bool(list(results.rglob("table.json"))))
    monkeypatch.delenv("GATE")
    assert "interrupted; the same command goes on" in error
    done = {path: path.stat().st_mtime_ns for path in results.rglob("metrics.json")}
    assert 1 <= len(done) <= 2
    assert main(["run", str(path)]) == 0
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())
    assert [row["num_runs"] for row in read_table(tmp_path)["rows"]] == [2] * 4


def test_a_run_of_train_py_that_was_interrupted_goes_on_and_is_smoothed_by_its_own_transitions(tmp_path: Path) -> None:
    write_folds(tmp_path / "cohort")
    settings = [f"stage.train_dir={tmp_path}/cohort", "train.train_epochs=2"]
    path = write_grid(
        tmp_path,
        settings=[*settings, "train.log_every_steps=1", "stage.num_val_samples=4"],
        axes={"loss": {"plain": []}},
        folds="0",
        smoothing={"none": {"method": "none"}, "hmm": {"method": "hmm"}},
        launch=["python", "-m", "curriculum.train"],
    )

    def read_events() -> list[Any]:
        logs = list((tmp_path / "results").rglob("log.jsonl"))
        return [json.loads(line).get("event") for line in logs[0].read_text().splitlines()] if logs else []

    (run,) = expand_grid(load_grid(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopSignals, "is_set", lambda _: True)
        assert train(list(run.arguments)) == 1
    assert read_events()[-1] == "stopped"
    assert not list((tmp_path / "results").rglob("metrics.json"))
    assert main(["run", str(path)]) == 0
    assert "resume" in read_events()
    rows = read_table(tmp_path)["rows"]
    assert [row["num_runs"] for row in rows] == [1, 1]
    assert all(np.isfinite(row["metrics"]["macro_f1"]["mean"]) for row in rows)
