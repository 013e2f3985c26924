import json
from pathlib import Path

import pytest

from evaluation.score import main as score
from evaluation.smooth import main
from tests.factories.rows import OPTIONS, make_odd_epoch_rows, of_system
from tests.factories.small import small_recording, write_small_cohort
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.predictions.transitions import fit_cohort_transitions, save_transitions

LABELS = LABEL_SETS["aasm"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Forty epochs of deep sleep, one of them taken for REM, in a run's folder."""
    rows = make_odd_epoch_rows(40, 20)
    write_predictions(rows, tmp_path / "run" / "results" / "test_predictions.jsonl")
    return tmp_path / "run" / "results" / "test_predictions.jsonl"


def write_deep_cohort(cohort_dir: Path) -> Path:
    stages = [SleepStage.WAKE] * 10 + [SleepStage.N3] * 30 + [SleepStage.REM] * 10
    rows = [
        write_recording(small_recording(f"n{seed}", 50, seed, sleep_stages=stages), cohort_dir, split)
        for seed, split in enumerate(("train", "val", "test"))
    ]
    write_participants(rows, cohort_dir)
    return cohort_dir


def test_a_file_is_smoothed_by_the_training_nights_of_a_cohort(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cohort_dir = write_deep_cohort(tmp_path / "cohort")
    assert main([str(path), "--transitions", str(cohort_dir)]) == 0
    assert "1 of 40 epochs of 1 recording(s) have another answer" in capsys.readouterr().out
    smoothed = path.with_name("test_predictions_hmm.jsonl")
    assert {row["answer"] for row in of_system(read_predictions(smoothed), "classifier+hmm")} == {OPTIONS[3]}
    assert of_system(read_predictions(smoothed), "classifier") == read_predictions(path)
    assert score([str(smoothed), "--out", str(tmp_path / "m.json"), "--num_resamples", "0"]) == 0
    assert "classifier+hmm: smoothed over time, method hmm" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["systems"]["classifier+hmm"]["accuracy"] == 1
    assert main([str(smoothed), "--transitions", str(cohort_dir), "--out", str(path)]) == 0
    assert path.read_text() == smoothed.read_text()  # smoothing twice is smoothing once


def test_the_transitions_of_the_runs_own_checkpoint_are_the_default(path: Path, tmp_path: Path) -> None:
    best = path.parents[1] / "checkpoints" / "best"
    best.mkdir(parents=True)
    save_transitions(fit_cohort_transitions(write_deep_cohort(tmp_path / "cohort"), LABELS), best)
    assert main([str(path), "--method", "posterior", "--out", str(tmp_path / "out.jsonl")]) == 0
    assert read_predictions(tmp_path / "out.jsonl")[60]["smoothing"] == {"method": "posterior"}


def test_a_median_filter_needs_no_transitions(path: Path) -> None:
    assert main([str(path), "--method", "median", "--window", "3"]) == 0
    rows = read_predictions(path.with_name("test_predictions_median.jsonl"))
    assert rows[60]["answer"] == OPTIONS[3]
    assert rows[60]["smoothing"] == {"method": "median", "window_epochs": 3}


def test_only_training_nights_are_counted(tmp_path: Path) -> None:
    write_small_cohort(tmp_path / "cohort", num_epochs=12)
    assert fit_cohort_transitions(tmp_path / "cohort", LABELS).num_epochs == 24


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "name one with --transitions"),
        (["--transitions", "nowhere"], "there are no transitions at nowhere"),
        (["--method", "median", "--window", "4"], "odd number"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    more: list[str], said: str, path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(path), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert [item.name for item in path.parent.iterdir()] == [path.name]
