import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.experiments import main
from tests.factories.small import small_recording, write_fold_cohort

# Stands in for train.py. Its kappa is 0.5 + the label smoothing in inner folds and 0.9 - the label smoothing in outer
# ones, so the best inner cell is the worst outer one. PLANT names a recording that every inner run is said to read.
FAKE_TRAIN = """
import csv, json, os, sys
from pathlib import Path
settings = dict(word.split("=", 1) for word in sys.argv if "=" in word)
for word in sys.argv:  # of a setting given twice, the last holds
    name, _, value = word.partition("=")
    settings[name] = value
cohort, fold = Path(settings["stage.train_dir"]), settings["stage.fold"]
with (cohort / "participants.tsv").open(newline="") as file:
    nights = [night["recording"] for night in csv.DictReader(file, delimiter="\\t") if night["fold"] != fold]
is_inner = "nested" in cohort.parts
if is_inner and "PLANT" in os.environ:
    nights.append(os.environ["PLANT"])
run = Path(settings["results_dir"]) / "no_llm" / "classifier" / "stage0_encoder" / f"fold_{fold}"
(run / "results").mkdir(parents=True, exist_ok=True)
launch = dict.fromkeys(("started_at", "command", "num_processes", "git_commit", "git_dirty", "python", "os", "cpu",
                        "num_cpus", "gpus", "packages"), ())
data = {str(cohort / f"{name}.parquet"): "0" for name in nights}
(run / "run.json").write_text(json.dumps({"seed": 0, "launches": [launch], "data_sha256": data}))
smooth = float(settings.get("loss.label_smoothing", 0))
kappa = 0.5 + smooth + 0.01 * int(fold) if is_inner else 0.9 - smooth - 0.01 * int(fold)
(run / "results" / "metrics.json").write_text(json.dumps({"cohen_kappa": kappa, "macro_f1": 0.4, "accuracy": 0.6}))
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two cells over a cohort of five subjects, a fold each."""
    recordings = [small_recording(f"night{idx}", 10, idx, subject=f"s{idx}") for idx in range(5)]
    write_fold_cohort(tmp_path / "cohort", recordings)
    (tmp_path / "fake_train.py").write_text(FAKE_TRAIN)
    return write_grid(tmp_path)


def write_grid(folder: Path, **changes: Any) -> Path:
    grid: dict[str, Any] = {
        "settings": [f"stage.train_dir={folder}/cohort"],
        "axes": {"loss": {f"smooth{idx}": [f"loss.label_smoothing=0.{idx}"] for idx in (1, 2)}},
        "folds": "range(0,5)",
        "results_dir": str(folder / "results"),
        "launch": ["python", str(folder / "fake_train.py")],
    }
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid | changes, sort_keys=False))
    return folder / "grid.yaml"


def test_each_fold_is_tested_once_by_the_cell_that_its_inner_folds_chose(
    grid: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", str(grid), "--nested", "3", "fold=4"]) == 0
    table = json.loads((grid.parent / "results" / "grid" / "nested.json").read_text())
    assert [row["fold"] for row in table["folds"]] == [4]
    for row in table["folds"]:
        assert row["chosen"] == {"loss": "smooth2", "smoothing": "none"}
        assert row["inner_kappa"] == pytest.approx(0.71)
        assert row["cohen_kappa"] == pytest.approx(0.7 - 0.01 * row["fold"])
    assert table["metrics"]["cohen_kappa"]["mean"] == pytest.approx(0.66)
    outer = [path for path in (grid.parent / "results").rglob("metrics.json") if "nested" not in path.parts]
    assert len(outer) == 1  # no other cell has ever seen the test subjects
    assert len(list((grid.parent / "results" / "grid" / "nested").rglob("metrics.json"))) == 2 * 3
    printed = capsys.readouterr().out
    assert re.search(r"\| 4 \| smooth2 \| none \| 0\.710 \|.* 0\.660 \|", printed)
    assert "| mean |" in printed


def test_an_inner_run_that_has_read_a_test_subject_stops_the_command(
    grid: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT", "night2")
    assert main(["run", str(grid), "--nested", "3", "fold=2", "loss=smooth1"]) == 2
    assert "has read night2 of subject s2, whom that fold tests: a leak" in capsys.readouterr().err


def test_a_dry_run_lists_the_inner_runs(grid: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", str(grid), "--nested", "3", "fold=0", "loss=smooth1", "--dry_run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing")]
    assert len(lines) == 3
    assert all(f"stage.test_dir={grid.parent}/results/grid/nested/fold_0/cohort" in line for line in lines)
    assert not (grid.parent / "results").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"axes": {"data": {"a": ["stage.train_dir=x"]}}}, "axis data sets stage.train_dir=x"),
        ({"stages": ["stage1_mcq"]}, "stage1_mcq reads no nights"),
        ({"folds": "-1"}, "has no folds"),
        ({"settings": ["stage.train_dir=a", "stage.test_dir=b"]}, "nested folds need one cohort"),
    ],
)
def test_a_grid_that_cannot_be_tuned_says_why(
    changes: dict[str, Any], said: str, grid: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", str(write_grid(grid.parent, **changes)), "--nested", "3"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
