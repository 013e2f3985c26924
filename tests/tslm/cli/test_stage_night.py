import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.factories.staging import NUM_EPOCHS
from tslm.cli import main
from tslm.export.table import EXPORTS
from tslm.files import DISCLAIMER


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main(["stage", *map(str, arguments), "--device", "cpu"])
    return code, *capsys.readouterr()


def copy_night(night: Path, folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        shutil.copy(night, folder / name)
    return folder


def list_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_recording_becomes_a_folder_of_all_exports(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
) -> None:
    code, out, _ = run(capsys, unlabelled_night, "--model", staging_models, "--out", tmp_path)
    assert code == 0
    folder = tmp_path / "P01"
    assert len(list_files(folder)) == len(EXPORTS)
    assert f"explained {round(NUM_EPOCHS / 5)} epochs" in out and "report.html" in out
    assert "'F4-M1'" in out  # what was chosen is said
    explanations = json.loads((folder / "explanations.json").read_text())
    assert explanations["disclaimer"] == DISCLAIMER
    assert sum("text" in epoch for epoch in explanations["epochs"]) == round(NUM_EPOCHS / 5)
    page = (folder / "report.html").read_text()
    assert DISCLAIMER.split(";")[0] in page and "no expert has checked it" in page
    assert "2024-03-05" not in page + (folder / "statistics.json").read_text()


def test_a_staged_night_is_not_staged_again_and_a_half_written_one_is(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
) -> None:
    call = (unlabelled_night, "--model", staging_models, "--out", tmp_path, "--explain", "3")
    assert run(capsys, *call)[0] == 0
    before = list_files(tmp_path / "P01")
    code, out, _ = run(capsys, *call)
    assert code == 0 and "already staged" in out
    (tmp_path / "P01" / "statistics.json").unlink()
    (tmp_path / "P01" / "hypnogram.csv").write_text("half")
    assert run(capsys, *call)[0] == 0
    after = list_files(tmp_path / "P01")
    assert after.keys() == before.keys()
    assert after["hypnogram.csv"] == before["hypnogram.csv"]
    assert after["explanations.json"] == before["explanations.json"]
    code, _, err = run(capsys, *call[:-1], "none")
    assert code == 2 and "explain '3', not 'none'" in err


def test_of_a_folder_one_bad_night_stops_no_other(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = copy_night(unlabelled_night, tmp_path / "raw", "a.edf", "c.edf")
    (raw / "b.edf").write_bytes(b"0" * 300)
    code, _, err = run(capsys, raw, "--model", staging_models, "--out", tmp_path / "out", "--explain", "none")
    assert code == 2 and "1 of 3 nights failed" in err
    assert "b.edf: error:" in caplog.text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]
    assert not (tmp_path / "out" / "a" / "explanations.json").exists()


def write_hypnogram(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["N2", "REM", "?"] * (NUM_EPOCHS // 3)), encoding="utf-8")
    return path


def test_an_experts_hypnogram_is_scored_against_and_changes_no_stage(
    capsys: pytest.CaptureFixture[str], unlabelled_night: Path, staging_models: Path, tmp_path: Path
) -> None:
    call = (unlabelled_night, "--model", staging_models, "--explain", "all")
    expert = write_hypnogram(tmp_path / "anna.txt")
    code, out, _ = run(capsys, *call, "--expert", expert, "--out", tmp_path / "scored")
    assert code == 0
    assert "Against anna.txt" in out and "Cohen's kappa" in out and "Rows: expert" in out
    assert run(capsys, *call, "--out", tmp_path / "plain")[0] == 0
    scored, plain = (list_files(tmp_path / name / "P01") for name in ("scored", "plain"))
    for name in ("hypnogram.csv", "explanations.json", "events.csv", "annotations.edf"):
        assert scored[name] == plain[name]
    found = json.loads(scored["statistics.json"])
    assert found["expert"] == "anna.txt"
    assert {name: part["num_samples"] for name, part in found["scores"]["systems"].items()} == {
        "classifier": NUM_EPOCHS * 2 // 3,
        "language_model": NUM_EPOCHS * 2 // 3,
    }
    assert json.loads(plain["statistics.json"])["scores"] == {}
    page = scored["report.html"].decode()
    assert "hypnogram anna.txt" in page and "What is taken for what" in page and "<h4>Expert</h4>" in page
    code, _, err = run(capsys, *call, "--out", tmp_path / "scored")
    assert code == 2 and "expert 'anna.txt', not ''" in err


def test_of_several_nights_each_has_its_own_expert_from_a_folder(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = copy_night(unlabelled_night, tmp_path / "raw", "a.edf", "b.edf")
    expert = write_hypnogram(tmp_path / "scored" / "b.txt")
    call = (raw, "--model", staging_models, "--explain", "none", "--out", tmp_path / "out", "--expert")
    for wrong in (expert, raw):
        code, _, err = run(capsys, *call, wrong)
        assert code == 2 and "give a folder" in err or "holds no hypnogram of a.edf" in err
    assert run(capsys, *call, expert.parent)[0] == 0
    assert "Against b.txt" in caplog.text and "no hypnogram of this night below" in caplog.text
    found = [json.loads((tmp_path / f"out/{name}/statistics.json").read_text()) for name in ("a", "b")]
    assert [each["expert"] for each in found] == ["", "b.txt"]


def test_channels_are_listed_without_staging(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
) -> None:
    code, out, _ = run(capsys, unlabelled_night, "--model", staging_models, "--out", tmp_path, "--list_channels")
    assert code == 0
    assert all(name in out for name in ("F4-M1", "E1-M2", "SpO2", "left out"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epoch_s", "20"), "reads 30 s"),
        (("--explain", "some"), "explain='some'"),
        (("--explain", "500"), "epoch 500 is not among"),
        (("--llm", "gemma-9"), "no language model of gemma-9"),
        (("--workers", "0"), "--workers 0"),
        (("--channel", "Oz"), "'Oz'"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    code, _, err = run(capsys, unlabelled_night, "--model", staging_models, "--out", tmp_path, *arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
