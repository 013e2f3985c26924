import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.cross_validate import main
from tests.factories.small import small_recording, write_fold_cohort
from tslm.data.prepared.recordings import read_participants, write_participants
from tslm.data.splits.folds import list_folds
from tslm.predictions.rows import read_predictions

# Stands in for train.py, in a moment: it leaves what a run leaves. PLANT names a recording that every fold trains on.
FAKE_TRAIN = """
import csv, json, os, sys
from pathlib import Path
settings = dict(word.split("=", 1) for word in sys.argv if "=" in word)
fold, cohort = settings["stage.fold"], settings["stage.train_dir"]
folder = Path(settings["results_dir"]) / "no_llm" / "classifier" / "stage0_encoder" / f"fold_{fold}" / "results"
if (folder / "metrics.json").exists():
    sys.exit(0)
if fold == os.environ.get("BROKEN"):
    sys.exit("warming up\\nerror: the loss is not finite")
with open(cohort + "/participants.tsv", newline="") as file:
    nights = list(csv.DictReader(file, delimiter="\\t"))
trained_on = [night["recording"] for night in nights if night["fold"] != fold] + [os.environ.get("PLANT", "night0")]
data = {f"{cohort}/{name}.parquet": "0" for name in trained_on[: None if "PLANT" in os.environ else -1]}
folder.mkdir(parents=True)
launch = dict.fromkeys(("started_at", "command", "num_processes", "git_commit", "git_dirty", "python", "os", "cpu",
                        "num_cpus", "gpus", "packages"), ())
run = {"seed": 0, "launches": [launch], "data_sha256": {cohort + "/participants.tsv": "0", **data}}
(folder.parent / "run.json").write_text(json.dumps(run))
options = ["Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep"]
rows = [{"system": "language_model", "sample_id": f"{night['recording']}:{idx}", "recording": night["recording"],
         "subject": night["subject"], "epoch_idx": idx, "onset_s": 30.0 * idx, "truth": options[idx % 5],
         "options": options, "generated": f"Answer: {options[idx % 5 if idx % 3 else 0]}"}
        for night in nights if night["fold"] == fold for idx in range(12)]
(folder / "test_predictions.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
(folder / "metrics.json").write_text(json.dumps({"systems": {"x": {"accuracy": 0.5, "num_samples": len(rows)}}}))
"""


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six nights of three subjects, a fold each."""
    recordings = [small_recording(f"night{idx}", 12, idx, subject=f"s{idx % 3}") for idx in range(6)]
    write_fold_cohort(tmp_path / "cohort", recordings)
    (tmp_path / "fake_train.py").write_text(FAKE_TRAIN)
    return tmp_path / "cohort"


def command(cohort: Path, *more: str) -> list[str]:
    where = [f"stage.train_dir={cohort}", f"results_dir={cohort.parent}/results"]
    launch = shlex.join(["python", str(cohort.parent / "fake_train.py")])
    return ["--stages", "stage0_encoder", "--launch", launch, "--num_resamples", "50", *more, *where]


def read_metrics(cohort: Path) -> dict[str, Any]:
    found = list((cohort.parent / "results").rglob("all_folds/results/metrics.json"))
    return json.loads(found[0].read_text())


def test_all_folds_are_trained_and_their_predictions_scored_together(
    cohort: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(cohort)) == 0
    metrics = read_metrics(cohort)
    assert (metrics["num_samples"], metrics["missing_folds"]) == (72, [])
    assert metrics["systems"]["language_model"]["intervals"]["num_units"] == 3
    assert {fold: found["subjects"] for fold, found in metrics["folds"].items()} == {
        "0": ["s0"],
        "1": ["s1"],
        "2": ["s2"],
    }
    (path,) = (cohort.parent / "results").rglob("all_folds/results/test_predictions.jsonl")
    rows = read_predictions(path)
    assert len({row["sample_id"] for row in rows}) == 72
    assert {(row["subject"], row["fold"]) for row in rows} == {("s0", 0), ("s1", 1), ("s2", 2)}
    printed = capsys.readouterr().out
    assert re.search(r"fold 2 +s2 +24 +0\.500", printed)
    assert "over 3 subjects" in printed


def test_a_fold_that_fails_is_missed_by_name_and_made_good_by_the_same_command(
    cohort: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "1")
    assert main(command(cohort, "--jobs", "2")) == 1
    said = capsys.readouterr()
    assert "error: fold 1: error: the loss is not finite" in said.err
    assert "NOT ALL FOLDS: 1 missing" in said.out
    assert read_metrics(cohort)["missing_folds"] == [1]
    kept = {path: path.stat().st_mtime_ns for path in cohort.parent.rglob("fold_*/results/metrics.json")}
    monkeypatch.delenv("BROKEN")
    assert main(command(cohort)) == 0
    assert read_metrics(cohort)["num_samples"] == 72
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())


def test_a_subject_that_crosses_from_training_to_test_stops_the_scores(
    cohort: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT", "night3")
    assert main(command(cohort)) == 2
    assert "fold 0 tests recording night0 of subject s0 and was trained on it, or on another" in capsys.readouterr().err
    assert not list(cohort.parent.rglob("all_folds/results/*"))


def test_folds_are_smoothed_one_by_one_and_pooled(cohort: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command(cohort, "--folds", "1", "--smoothing", "median")) == 2  # these rows have no probabilities
    assert "no row has probabilities" in capsys.readouterr().err
    (path,) = (cohort.parent / "results").rglob("fold_1/results/test_predictions.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    likely = [[0.6 if answer == row["truth"] else 0.1 for answer in row["options"]] for row in rows]
    written = [row | {"probabilities": values} for row, values in zip(rows, likely, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    assert main(command(cohort, "--folds", "1", "--smoothing", "median")) == 0
    (path,) = (cohort.parent / "results").rglob("all_folds/results/test_predictions.jsonl")
    smoothings = {row["system"]: row.get("smoothing") for row in read_predictions(path)}
    assert smoothings == {
        "language_model": None,
        "language_model+median": {"method": "median", "window_epochs": 5},
    }
    assert read_metrics(cohort)["systems"]["language_model+median"]["structure"]["num_recordings"] == 2


@pytest.mark.parametrize("words", [["0,2"], ["0", "2"], ["2", "0", "seed=3"]])
def test_some_folds_can_be_chosen_and_a_dry_run_prints_their_commands(
    words: list[str], cohort: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(cohort, "--folds", *words, "--dry_run", "--model", "ssm")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["stage.fold=0", "stage.fold=2"]
    assert all(("seed=3" in line) == ("seed=3" in words) for line in lines)
    assert all("--model ssm --resume" in line for line in lines)
    assert not (cohort.parent / "results").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--folds", "7"], "--folds 7: "),
        (["--folds", "0", "one"], "--folds 'one' is no number of a fold"),
        (["--jobs", "0"], "give 1 or more"),
        (["stage.fold_=1"], "unknown key"),
        (["stage.test_dir=nowhere"], "nowhere/participants.tsv is missing"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    more: list[str], said: str, cohort: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(cohort, *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_cohort_without_folds_says_how_to_make_some(cohort: Path, capsys: pytest.CaptureFixture) -> None:
    write_participants([replace(row, split=replace(row.split, fold=None)) for row in read_participants(cohort)], cohort)
    assert list_folds(read_participants(cohort)) == []
    assert main(command(cohort)) == 2
    assert f"python -m data_prep.split {cohort} --out" in capsys.readouterr().err
