from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep import split, verify
from tests.factories.small import write_small_cohort
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants, read_recording
from tslm.data.splits.split import Split

FILES = [f"night{number}.parquet" for number in range(1, 5)]


def resplit(cohort_dir: Path, out_dir: Path, *options: str) -> int:
    return split.main([str(cohort_dir), "--out", str(out_dir), *options])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_cohort_is_split_anew_with_the_same_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    assert resplit(cohort, tmp_path / "b", "split=loso") == 0
    assert "4 recordings of 4 subjects (4 folds; train with stage.fold=N)" in capsys.readouterr().out
    assert names_in(tmp_path / "b") == [*FILES, PARTICIPANTS_FILE]
    assert all((tmp_path / "b" / name).read_bytes() == (cohort / name).read_bytes() for name in FILES)
    before, after = read_participants(cohort), read_participants(tmp_path / "b")
    assert [row.split.fold for row in after] == [0, 1, 2, 3]
    assert [replace(row, split=Split()) for row in after] == [replace(row, split=Split()) for row in before]
    assert verify.main([str(cohort), str(tmp_path / "b")]) == 0
    assert "8 recordings are whole" in capsys.readouterr().out


def test_to_a_split_by_epoch_and_back_gives_the_same_recordings(tmp_path: Path) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    assert resplit(cohort, tmp_path / "b", "split=by_epoch") == 0
    assert all(row.split.leaks for row in read_participants(tmp_path / "b"))
    assert resplit(tmp_path / "b", tmp_path / "c", "split=test") == 0
    for name in FILES:
        there, back = read_recording(cohort / name), read_recording(tmp_path / "c" / name)
        assert "split" in read_recording(tmp_path / "b" / name).columns
        assert replace(there, channels={}, onset_s=0, columns={}) == replace(back, channels={}, onset_s=0, columns={})
        assert all(np.array_equal(there.channels[key], back.channels[key]) for key in there.channels)
        assert list(there.columns) == list(back.columns)
    assert {row.split.part for row in read_participants(tmp_path / "c")} == {"test"}
    assert verify.main([str(tmp_path / "b"), str(tmp_path / "c")]) == 0


def test_a_recording_is_held_out_by_its_row_in_the_table(tmp_path: Path) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    assert resplit(cohort, tmp_path / "b", "split=holdout:recording=night2") == 0
    parts = {row.recording: row.split.part for row in read_participants(tmp_path / "b")}
    assert parts.pop("night2") == "test"
    assert set(parts.values()) == {"train", "val"}


def test_folds_in_time_and_stratified_ones_copy_the_recordings_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    for rule, said in (("skfold:3", "3 folds; train"), ("temporal:2", "2 folds in time within each subject")):
        assert resplit(cohort, tmp_path / rule, f"split={rule}") == 0
        assert said in capsys.readouterr().out
        assert all((tmp_path / rule / name).read_bytes() == (cohort / name).read_bytes() for name in FILES)
    assert {row.split.fold for row in read_participants(tmp_path / "skfold:3")} == {0, 1, 2}
    assert all(row.split.is_within_subject for row in read_participants(tmp_path / "temporal:2"))
    assert resplit(tmp_path / "temporal:2", tmp_path / "c", "split=test") == 0
    assert not any(row.split.leaks for row in read_participants(tmp_path / "c"))
    assert not (tmp_path / "c" / "participants.json").exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_and_missing_recordings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = write_small_cohort(tmp_path)
    damage(cohort / FILES[1])
    (cohort / FILES[3]).unlink()
    assert verify.main([str(cohort)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert errors[0].startswith(f"error: {cohort / FILES[1]} is damaged")
    assert errors[1] == f"error: {cohort / FILES[3]} is missing"
    assert errors[2].startswith("error: 2 of 4 recordings failed")
    assert len(errors) == 3


def test_a_damaged_cohort_is_not_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    damage(cohort / FILES[2])
    assert resplit(cohort, tmp_path / "b") == 2
    assert f"{FILES[2]} is damaged" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["split=kfold:9"], "needs 9 subjects or more, there are 4"),
        (["split=sleep_edf_20"], "here are 0"),
        (["split=halves"], "wanted train/val/test in percent"),
        (["sed=3"], "did you mean 'seed'?"),
        (["--out", "a"], "is the cohort's own folder"),
        (["--out", "other"], "holds night9.parquet, which is not of this cohort"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_code_2(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = write_small_cohort(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "night9.parquet").write_bytes(b"mine")
    before = (cohort / PARTICIPANTS_FILE).read_bytes()
    assert resplit(cohort, tmp_path / "b", *options) == 2
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert last_line.startswith("error: ")
    assert said in last_line
    assert (cohort / PARTICIPANTS_FILE).read_bytes() == before


@pytest.mark.parametrize("command", [["nowhere"], [".", "nowhere"]])
def test_a_folder_that_is_no_cohort_is_code_2(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_small_cohort(tmp_path))
    assert verify.main(command) == 2
    assert "python -m data_prep.prepare" in capsys.readouterr().err


@pytest.mark.parametrize("main", [split.main, verify.main])
def test_help_has_an_example(main: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])  # type: ignore[operator]
    assert caught.value.code == 0
    assert "example: python -m data_prep" in capsys.readouterr().out


def test_what_balancing_does_to_neighbours_is_shown_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_small_cohort(tmp_path / "a")
    before = names_in(tmp_path), names_in(cohort)
    assert split.main([str(cohort), "--subsample", "balanced"]) == 0
    shown = capsys.readouterr().out
    assert "next one kept" in shown and "balanced" in shown
    assert (names_in(tmp_path), names_in(cohort)) == before
    assert split.main([str(cohort)]) == 2
    assert "--out names the folder of the copy" in capsys.readouterr().err
