"""The command on a tiny language model that was not trained: every file is written, every mistake is one line."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.cohorts.cohort import prepare_night
from data_prep.simulators.human.night import simulate_human_night
from evaluation.experiments import main
from evaluation.report import main as report
from tests.factories.pages import make_rows, read_page
from tests.factories.recordings import write_cohort
from tests.factories.small import build_small_model, small_config
from tslm.explain.interventions.outcomes import describe_edit
from tslm.explain.interventions.run import EDIT_NAMES
from tslm.files import read_json, write_json
from tslm.predictions.rows import write_predictions
from tslm.training.checkpoints.checkpoint import save_checkpoint

SETTINGS = {
    "stage__facts": "measured",
    "stage__channel": "EEG Fpz-Cz",
    "model__encoder__max_patches": 64,
    "stage__max_new_tokens": 12,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of one simulated night, and checkpoints of a language model and of a classifier."""
    folder = tmp_path_factory.mktemp("interventions")
    cohort = write_cohort(folder / "cohort", {"test": prepare_night(simulate_human_night(36, 0))})
    config = small_config(stage__train_dir=str(folder / "others"), **SETTINGS)
    save_checkpoint(build_small_model(config), config, {}, folder / "best")
    scorer = small_config(model__name="classifier", stage__task="night", stage__train_dir=str(cohort), **SETTINGS)
    save_checkpoint(build_small_model(scorer), scorer, {}, folder / "scorer")
    return folder


def intervene(folder: Path, *more: str, checkpoint: str = "best", data: str = "cohort") -> int:
    return main(
        ["intervene", "--checkpoint", str(folder / checkpoint), "--data", str(folder / data)]
        + ["--out", str(folder / "results"), "--device", "cpu", "--num_resamples", "50", *more]
    )


def test_every_edit_is_a_row_of_json_table_and_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert intervene(folder, "--num_epochs", "2") == 0
    assert "interventions.md" in capsys.readouterr().out
    found = json.loads((folder / "results" / "interventions.json").read_text())
    rows = {(row["edit"], row["condition"]): row for row in found["edits"]}
    assert {name for name, _ in rows} == set(EDIT_NAMES)
    assert {condition for _, condition in rows} == {"all", "series", "facts"}
    assert all(row["num_epochs"] == 2 for key, row in rows.items() if not key[0].startswith("rationale"))
    assert all(0 <= row["share_text_follows"] <= 1 for row in rows.values() if row["claim"])
    table = (folder / "results" / "interventions.md").read_text()
    assert all(f"| {name} | {condition} |" in table for name, condition in rows)
    write_predictions(make_rows(20), folder / "results" / "test_predictions.jsonl")
    assert report([str(folder / "results" / "test_predictions.jsonl")]) == 0
    page = read_page(folder / "results" / "report.html")
    assert "Do text and answer follow an edit?" in page.text
    assert "fact_five_spindles" in page.text


def test_the_metrics_of_a_run_get_the_shares_and_keep_the_rest(folder: Path) -> None:
    metrics_path = folder / "results" / "metrics.json"
    write_json({"systems": {"language_model": {"accuracy": 0.5}}}, metrics_path)
    assert intervene(folder, "--num_epochs", "2", "--edits", "alpha_added") == 0
    metrics = read_json(metrics_path)
    assert metrics.pop("interventions") == read_json(folder / "results" / "interventions.json")["edits"]
    assert metrics == {"systems": {"language_model": {"accuracy": 0.5}}}
    metrics_path.unlink()


def test_the_same_seed_gives_the_same_file(folder: Path) -> None:
    files = []
    for _ in range(2):
        assert intervene(folder, "--num_epochs", "2", "--edits", "alpha_added", "--seed", "5") == 0
        files.append((folder / "results" / "interventions.json").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--edits", "alpha"], "unknown edit 'alpha'; one of: spindles_removed"),
        (["--conditions", "signal"], "unknown condition 'signal'; one of: all, series, facts"),
        (["--num_epochs", "0"], "--num_epochs 0: give 1 or more"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line(more: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert intervene(folder, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.splitlines()[-1].startswith("error: ")


def test_a_classifier_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert intervene(folder, checkpoint="scorer") == 2
    assert "writes no text; give the checkpoint of a language model" in capsys.readouterr().err


def test_a_call_that_was_stopped_goes_on_with_what_it_had_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("--num_epochs", "2", "--edits", "spindles_added", "rationale_cut")
    assert intervene(folder, *call) == 0
    path = folder / "results" / "interventions.json"
    whole, limit = path.read_text(), 2
    measured: list[Any] = []

    def describe(*arguments: Any) -> dict[str, Any]:
        if len(measured) == limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        measured.append(arguments[:3])
        return describe_edit(*arguments)

    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("tslm.explain.interventions.run.describe_edit", describe)
        assert intervene(folder, *call) == 1
        assert len(measured) == limit
        capsys.readouterr()
        assert intervene(folder, *call) == 2
        assert "--resume goes on" in capsys.readouterr().err
        assert intervene(folder, "--num_epochs", "3", *call[2:], "--resume") == 2
        assert "num_epochs: 2 -> 3" in capsys.readouterr().err
        measured, limit = [], 99
        assert intervene(folder, *call, "--resume") == 0
    assert path.read_text() == whole
    assert len(measured) == len(json.loads(whole)["edits"]) - 2  # those before were not measured again
    assert not list((folder / "results").glob("*.partial*"))
