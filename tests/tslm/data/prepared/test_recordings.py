import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.factories.small import CHANNEL, small_recording, small_sample, write_small_cohort, write_small_corpus
from tslm.data.prepared import recordings
from tslm.data.prepared.corpora import read_corpus, write_corpus
from tslm.data.prepared.recordings import (
    PARTICIPANTS_FILE,
    read_checked,
    read_participants,
    read_recording,
    write_participants,
    write_recording,
)
from tslm.data.samples.night_windows import load_recordings
from tslm.files import hash_file
from tslm.labels import SleepStage


def test_a_recording_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = replace(small_recording(), start="2024-01-02T22:30:00", age="30", sex="F", source="simulated")
    row = write_recording(written, tmp_path, "train")
    read = read_recording(tmp_path / "night1.parquet")
    for name, epochs_EL in written.channels.items():
        step = np.abs(epochs_EL).max() / 32767
        assert np.abs(read.channels[name] - epochs_EL).max() <= 0.51 * step
        assert read.channels[name].dtype == np.float32
    for name in ("recording", "subject", "fs_hz", "epoch_s", "sleep_stages", "species", "start", "age", "sex"):
        assert getattr(read, name) == getattr(written, name)
    assert np.array_equal(read.onset_s, written.onset_s)
    assert read.columns["rationale"] == written.columns["rationale"]
    assert np.allclose(read.columns["rms_uv"], written.columns["rms_uv"])
    assert np.array_equal(read.columns["motion_flag"], written.columns["motion_flag"])
    assert read.columns["motion_flag"].dtype == bool
    assert row.sha256 == hash_file(tmp_path / "night1.parquet")


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [write_recording(small_recording(), tmp_path / folder, "train") for folder in ("a", "b")]
    assert rows[0].sha256 == rows[1].sha256


def test_only_the_channels_asked_for_are_read(tmp_path: Path) -> None:
    write_recording(small_recording(), tmp_path, "train")
    assert list(read_recording(tmp_path / "night1.parquet", [CHANNEL]).channels) == [CHANNEL]


def test_a_missing_channel_lists_those_there(tmp_path: Path) -> None:
    write_recording(small_recording(), tmp_path, "train")
    with pytest.raises(ValueError, match="no channel 'EEG C4'.*EEG Fpz-Cz, EMG"):
        read_recording(tmp_path / "night1.parquet", ["EEG C4"])


def test_a_recording_without_epochs_reads_back_empty(tmp_path: Path) -> None:
    full = small_recording()
    empty = replace(
        full,
        channels={CHANNEL: full.channels[CHANNEL][:0]},
        sleep_stages=(),
        onset_s=full.onset_s[:0],
        columns={},
    )
    write_recording(empty, tmp_path, "train")
    assert read_recording(tmp_path / "night1.parquet").num_epochs == 0


def test_values_that_are_not_finite_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    recording = small_recording()
    recording.channels[CHANNEL][3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        write_recording(recording, tmp_path, "train")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_prepared_recording_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match="broken.parquet"):
        read_recording(tmp_path / "broken.parquet")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_recording(tmp_path / "absent.parquet")
    path = write_corpus([small_sample(0)], tmp_path, "train")
    with pytest.raises(ValueError, match="not a prepared recording"):
        read_recording(path)


def test_participants_read_back_in_order(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    rows = read_participants(tmp_path)
    assert [row.recording for row in rows] == ["night1", "night2", "night3", "night4"]
    assert [row.split.part for row in rows] == ["train", "train", "val", "test"]


def test_a_subject_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    recordings = [small_recording(name, subject="s1") for name in ("night1", "night2")]
    rows = [
        write_recording(recording, tmp_path, split)
        for recording, split in zip(recordings, ("train", "test"), strict=True)
    ]
    with pytest.raises(ValueError, match="s1.*leak"):
        write_participants(rows, tmp_path)


def test_a_missing_cohort_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m data_prep.prepare"):
        read_participants(tmp_path)


def rewrite_participants(cohort_dir: Path, change: str, value: str | None) -> None:
    path = cohort_dir / PARTICIPANTS_FILE
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        row.pop(change) if value is None else row.update({change: value})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        ("split", None, "lacks.*split"),
        ("fs_hz", None, "lacks.*fs_hz"),
        ("fs_hz", "fast", "fs_hz.*fast"),
        ("split", "validation", "validation.*train, val, test"),
    ],
)
def test_participants_edited_wrongly_say_what_is_wrong(change: str, value: str, said: str, tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    rewrite_participants(tmp_path, change, value)
    with pytest.raises(ValueError, match=said):
        read_participants(tmp_path)


def test_participants_with_a_byte_order_mark_are_read_and_damaged_ones_named(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    path, expected = tmp_path / PARTICIPANTS_FILE, read_participants(tmp_path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_participants(tmp_path) == expected
    for damaged in (path.read_bytes() + b'"' + 200_000 * b"x", b"\xff\xfe" + path.read_text().encode("utf-16-le")):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{PARTICIPANTS_FILE} is no table"):
            read_participants(tmp_path)


def test_columns_that_people_add_to_participants_are_left_alone(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    expected = read_participants(tmp_path)
    rewrite_participants(tmp_path, "diagnosis", "none")
    assert read_participants(tmp_path) == expected


@pytest.mark.parametrize("task", ["choice", "caption", "ecg"])
def test_a_corpus_reads_back_as_it_was_written(task: str, tmp_path: Path) -> None:
    write_small_corpus(tmp_path, task)
    num_series = 2 if task == "ecg" else 1
    for number, read in enumerate(read_corpus(tmp_path, "val")):
        written = small_sample(100 + number, task, num_series)
        assert replace(read, series=()) == replace(written, series=())
        assert all(np.array_equal(a, b) for a, b in zip(read.series, written.series, strict=True))


def test_an_answer_outside_its_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choice:0.*none of its options"):
        write_corpus([replace(small_sample(0), answer="(c) other")], tmp_path, "train")
    assert not (tmp_path / "train.parquet").exists()


def test_series_and_names_must_pair(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 series but 0 names"):
        write_corpus([replace(small_sample(0), series_names=())], tmp_path, "train")


def test_a_missing_or_foreign_corpus_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m data_prep.prepare"):
        read_corpus(tmp_path, "train")
    write_recording(small_recording("train"), tmp_path, "train")
    with pytest.raises(ValueError, match="not a prepared corpus"):
        read_corpus(tmp_path, "train")


def test_stage_codes_are_kept_apart_on_disk(tmp_path: Path) -> None:
    stages = [SleepStage.MOVEMENT, SleepStage.UNSCORED, SleepStage.NREM, SleepStage.REM]
    write_recording(small_recording(sleep_stages=stages), tmp_path, "train")
    assert read_recording(tmp_path / "night1.parquet").sleep_stages == tuple(stages)


def test_a_recording_in_two_rows_is_refused_by_its_name(tmp_path: Path) -> None:
    rows = read_participants(write_small_cohort(tmp_path))
    with pytest.raises(ValueError, match="recording 'night1' stands in 2 rows"):
        write_participants([*rows, rows[0]], tmp_path)
    path = tmp_path / PARTICIPANTS_FILE
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(ValueError, match="recording 'night1' stands in 2 rows"):
        read_participants(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["EEG"]), "has no column 'EEG'"),
        (lambda table: table.drop_columns(["onset_s"]), "has no column 'onset_s'"),
        (lambda table: replace_column(table, "EEG", [[1, 2, 3]] * len(table)), "column 'EEG' is list"),
        (lambda table: replace_column(table, "EEG", ["x"] * len(table)), "column 'EEG' is string"),
        (lambda table: replace_column(table, "onset_s", [None] * len(table)), "column 'onset_s'"),
        (lambda table: replace_column(table, "onset_s", [float("nan")] * len(table)), "an onset that is no number"),
        (lambda table: replace_column(table, "sleep_stage", ["N9"] * len(table)), "the sleep stage 'N9'"),
        (lambda table: replace_column(table, "motion_flag", [{"a": 1}] * len(table)), "column 'motion_flag' is struct"),
        (lambda table: change_metadata(table, fs_hz="fast"), "no valid fs_hz"),
        (lambda table: change_metadata(table, epoch_s=-1), "no valid epoch_s"),
        (lambda table: change_metadata(table, epoch_s=0.5), "column 'EEG' is fixed_size_list"),
        (lambda table: change_metadata(table, scale_uv={"EEG": None}), "no valid scale_uv"),
        (lambda table: change_metadata(table, scale_uv=[1]), "no valid scale_uv"),
        (lambda table: change_metadata(table, notes="text"), "no valid notes"),
        (lambda table: change_metadata(table, subject=5), "no valid subject"),
        (lambda table: table.replace_schema_metadata({"tslm": 100_000 * "["}), "is damaged"),
    ],
)
def test_a_file_that_lacks_what_is_written_is_refused_in_one_line(
    change: Callable[[pa.Table], pa.Table], said: str, tmp_path: Path
) -> None:
    recording = replace(small_recording(), channels={"EEG": next(iter(small_recording().channels.values()))})
    recording = replace(recording, columns={"motion_flag": np.zeros(recording.num_epochs, dtype=bool)})
    write_recording(recording, tmp_path, "train")
    path = tmp_path / f"{recording.recording}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*{said}|{path.name} {said}") as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


def replace_column(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def change_metadata(table: pa.Table, **changes: Any) -> pa.Table:
    metadata = json.loads(table.schema.metadata[b"tslm"]) | changes
    return table.replace_schema_metadata({"tslm": json.dumps(metadata)})


def test_a_file_that_changed_after_it_was_prepared_is_not_read_for_training(tmp_path: Path) -> None:
    cohort = write_small_cohort(tmp_path)
    row = read_participants(cohort)[0]
    path = cohort / f"{row.recording}.parquet"
    assert read_checked(row, cohort, [CHANNEL]).split == row.split
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(ValueError, match=f"{path.name} is not the file that was prepared"):
        read_checked(row, cohort, [CHANNEL])
    with pytest.raises(ValueError, match="is not the file that was prepared"):
        load_recordings(cohort, row.split.text, [CHANNEL])
    path.write_bytes(whole)
    assert read_checked(row, cohort, [CHANNEL]).num_epochs == 10


def test_a_file_is_hashed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, hashed = write_small_cohort(tmp_path), list[Path]()
    monkeypatch.setattr(recordings, "hash_file", lambda path: hashed.append(path) or hash_file(path))
    for _ in range(3):
        load_recordings(cohort, "train", [CHANNEL])
    assert len(hashed) == len(set(hashed)) == sum(row.split.serves("train") for row in read_participants(cohort))


def test_epochs_of_another_length_than_the_files_own_are_refused(tmp_path: Path) -> None:
    night = small_recording()
    write_recording(replace(night, channels={CHANNEL: night.channels[CHANNEL][:, :3]}), tmp_path, "train")
    with pytest.raises(ValueError, match="is damaged: column 'EEG Fpz-Cz' is fixed_size_list"):
        read_recording(tmp_path / "night1.parquet")
