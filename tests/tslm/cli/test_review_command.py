import csv
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra review")

from tests.factories.reviews import OPTIONS, make_rows, write_run
from tslm.cli import main
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.read import read_hypnogram_file
from tslm.labels import LABEL_SETS
from tslm.review.records import Review
from tslm.review.run_epochs import read_review_run
from tslm.review.store import ReviewStore


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run", make_rows(30))


def fill(run_dir: Path, num_epochs: int = 12, **more) -> Path:
    """Reviews of two people: the second one is a point milder in every other epoch."""
    run = read_review_run(run_dir)
    path = run.predictions_path.with_name("reviews.sqlite")
    with ReviewStore(path, run.predictions_sha256, run.predictions_path, **more) as store:
        for idx in range(num_epochs):
            for reviewer, milder in (("Ann", 0), ("Bo", idx % 2)):
                review = Review(1 + idx % 4 + milder, 3, 4, OPTIONS[idx % 5], "=1+1")
                store.save(reviewer, f"n1:{idx}", review, OPTIONS, 0)
    return path


@pytest.mark.parametrize("blinded", [False, True])
def test_an_export_has_a_row_a_review_and_the_expert_only_where_shown(run_dir, tmp_path, blinded, capsys):
    fill(run_dir, start_blinded=blinded)
    out = tmp_path / "out" / "reviews.csv"
    assert main(["review", str(run_dir), "--export", str(out)]) == 0
    assert f"24 reviews written: {out}" in capsys.readouterr().out
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert len(rows) == 24
    assert (rows[0]["reviewer"], rows[0]["sample_id"], rows[0]["comment"]) == ("Ann", "n1:0", "'=1+1")
    assert rows[0]["blinded"] == str(int(blinded))
    assert ("expert_label" in rows[0]) is not blinded
    assert main(["review", str(run_dir), "--export", str(out), "--unblind"]) == 0
    truths = {row["sample_id"]: row["truth"] for row in make_rows(30)}
    assert all(row["expert_label"] == truths[row["sample_id"]] for row in csv.DictReader(out.open(encoding="utf-8")))


def test_agreement_is_printed_and_written(run_dir, tmp_path, capsys):
    fill(run_dir, start_blinded=True)
    assert main(["review", str(run_dir), "--agreement"]) == 0
    text = capsys.readouterr().out
    assert "accuracy: Ann and Bo" in text
    assert "stage with the model" in text
    assert "stage with the expert" not in text
    out = tmp_path / "agreement.json"
    assert main(["review", str(run_dir), "--agreement", str(out), "--unblind"]) == 0
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert scores["accuracy"]["pairs"][0]["share_same"] == 0.5
    assert scores["corrected_stage"]["with_expert"]["Ann"]["num_epochs"] == 12


def test_mistakes_are_one_line(run_dir, tmp_path, capsys):
    store = fill(run_dir)
    other = write_run(tmp_path / "other", make_rows(5))
    for arguments, message in (
        ([str(tmp_path / "nowhere"), "--agreement"], "no predictions at"),
        ([str(other), "--agreement"], "there are no reviews at"),
        ([str(other), "--agreement", "--db", str(store)], "holds reviews of other predictions"),
        ([str(run_dir), "--blind"], "begun with the expert's label shown"),
        ([str(run_dir), "--blind", "--unblind"], "exclude one another"),
        ([str(run_dir), "--limit", "0"], "the limit is 0"),
        ([str(run_dir), "--data", str(tmp_path / "nodata")], "nodata"),
        ([str(run_dir), "--reviewer", ""], "1 to 64 printable"),
        ([str(run_dir), "--host", "no.such.host.invalid", "--port", "0"], "cannot listen on no.such.host.invalid"),
    ):
        assert main(["review", *arguments]) in (1, 2), arguments
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.rstrip("\n").rpartition("\n")[2].startswith("error: ")


def test_a_missing_package_is_named_with_its_extra(run_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["review", str(run_dir)]) == 1
    assert not list(run_dir.rglob("*.sqlite"))
    assert "tslm-sleep[serve]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--limit", "0"],
        ["--data", "nowhere"],
        ["--reviewer", ""],
        ["--host", "no.such.host.invalid"],
        ["--port", "70000"],
        ["--unblind", "--limit", "0"],
    ],
)
def test_a_command_that_shows_nothing_begins_no_store_and_unblinds_none(run_dir, words):
    assert main(["review", str(run_dir), *words]) in (1, 2)
    path = read_review_run(run_dir).predictions_path.with_name("reviews.sqlite")
    assert not path.exists()
    fill(run_dir, 1, start_blinded=True)
    assert main(["review", str(run_dir), *words]) in (1, 2)
    run = read_review_run(run_dir)
    with ReviewStore(path, run.predictions_sha256, run.predictions_path) as store:
        assert store.is_blinded


@pytest.mark.server
def test_the_page_is_served_until_ctrl_c_which_is_no_error(run_dir):
    command = [sys.executable, "-m", "tslm", "review", str(run_dir), "--port", "0", "--blind", "--limit", "3"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        address = re.search(r"3 epochs to review at (http://127\.0\.0\.1:\d+)", process.stdout.readline())[1]
        with urllib.request.urlopen(address) as answer:
            page = answer.read().decode()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert 'id="review"' in page
    assert "complete of 3: none" in rest


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_a_reviewers_stages_come_back_as_a_hypnogram(run_dir, tmp_path, capsys):
    fill(run_dir)
    out = tmp_path / "h.csv"
    assert main(["review", str(run_dir), "--export_hypnogram", str(out)]) == 2
    assert "choose with --reviewer one of: Ann, Bo" in capsys.readouterr().err
    assert main(["review", str(run_dir), "--export_hypnogram", str(out), "--reviewer", "Ann"]) == 0
    assert f"12 of 30 epochs reviewed, hypnogram written: {out}" in capsys.readouterr().out
    rows, answers = read_csv(out), list(read_review_run(run_dir).answers.values())
    stage_of = {name: stage.value for name, stage in zip(OPTIONS, LABEL_SETS["aasm"].sleep_stages, strict=True)}
    assert [row["epoch_idx"] for row in rows] == [str(40 + idx) for idx in range(30)]
    assert [row["stage"] for row in rows[:12]] == [stage_of[OPTIONS[idx % 5]] for idx in range(12)]
    assert [row["stage"] for row in rows[12:]] == [stage_of[answer] for answer in answers[12:]]
    assert [row["stage_model"] for row in rows] == [stage_of[answer] for answer in answers]
    labels = read_hypnogram_file(out, HypnogramConfig(), 30.0).labels
    assert [label.text for label in labels] == [row["stage"] for row in rows]


def test_the_hypnograms_of_several_recordings_are_files_of_their_own(tmp_path):
    rows = make_rows(6)
    others = [row | {"recording": "n2", "sample_id": row["sample_id"].replace("n1", "n2")} for row in rows]
    lacking = [row for row in others if row["epoch_idx"] != 42]
    run_dir = write_run(tmp_path / "run", rows + lacking)
    fill(run_dir, 3)
    out = tmp_path / "h.csv"
    assert main(["review", str(run_dir), "--export_hypnogram", str(out), "--reviewer", "Bo"]) == 0
    first, second = (read_csv(tmp_path / f"h_{name}.csv") for name in ("n1", "n2"))
    assert [row["is_reviewed"] for row in first] == ["1"] * 3 + ["0"] * 3
    assert [row["stage"] == "UNSCORED" for row in second] == [idx == 2 for idx in range(6)]
    assert not out.exists()
