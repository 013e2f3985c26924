import hashlib
from pathlib import Path

import pytest

from tests.factories.small import small_recording, write_small_cohort, write_small_corpus
from tslm.config.schema import CurriculumStageConfig
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.data.splits.provenance import checksum_data, compare_checksums
from tslm.data.splits.split import Split


def hash_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_recordings_of_the_splits_and_their_table_are_checksummed(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    found = checksum_data(CurriculumStageConfig(train_dir=str(tmp_path)))
    names = ("night1.parquet", "night2.parquet", "night3.parquet", "participants.tsv")  # night4 is the test's
    assert found == {str(tmp_path / name): hash_bytes(tmp_path / name) for name in names}


def test_each_split_is_looked_for_in_its_own_folder(tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_small_cohort(tmp_path / name)
    found = checksum_data(CurriculumStageConfig(train_dir=str(tmp_path / "here"), val_dir=str(tmp_path / "there")))
    assert [Path(name).relative_to(tmp_path).as_posix() for name in found] == [
        "here/night1.parquet",
        "here/night2.parquet",
        "here/participants.tsv",
        "there/night3.parquet",
        "there/participants.tsv",
    ]


def test_a_fold_chooses_its_recordings(tmp_path: Path) -> None:
    rows = [write_recording(small_recording(f"night{n}", 5, n), tmp_path, Split("train", n)) for n in range(4)]
    write_participants(rows, tmp_path)
    found = checksum_data(CurriculumStageConfig(train_dir=str(tmp_path), fold=1), ["val"])
    assert [Path(name).name for name in found] == ["night2.parquet", "participants.tsv"]


def test_the_files_of_a_corpus_are_checksummed_with_their_series(tmp_path: Path) -> None:
    write_small_corpus(tmp_path, "choice")
    found = checksum_data(CurriculumStageConfig(task="choice", train_dir=str(tmp_path)))
    names = ("train.parquet", "train.series.arrow", "val.parquet", "val.series.arrow")
    assert found == {str(tmp_path / name): hash_bytes(tmp_path / name) for name in names}


def test_of_a_folder_that_only_a_reader_of_ones_own_knows_every_file_is_checksummed(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("train.txt", "more/val.bin"):
        (tmp_path / name).write_text(name)
    found = checksum_data(CurriculumStageConfig(train_dir=str(tmp_path)))
    assert found == {str(tmp_path / name): hash_bytes(tmp_path / name) for name in ("more/val.bin", "train.txt")}


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.parquet is missing; prepare it with"):
        checksum_data(CurriculumStageConfig(train_dir=str(tmp_path)))
    write_small_cohort(tmp_path)
    (tmp_path / "night2.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"night2\.parquet"):
        checksum_data(CurriculumStageConfig(train_dir=str(tmp_path)))


def test_differences_are_told_a_line_a_file() -> None:
    before = {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}
    assert compare_checksums(before, dict(reversed(before.items()))) == []
    lines = compare_checksums(before, {"d": "4" * 64, "b": "5" * 64, "c": "3" * 64})
    assert lines == ["a: missing", "b: changed (SHA-256 was 222222222222, is 555555555555)", "d: new"]


def test_one_changed_bit_is_seen(tmp_path: Path) -> None:
    write_small_corpus(tmp_path, "choice")
    stage = CurriculumStageConfig(task="choice", train_dir=str(tmp_path))
    before = checksum_data(stage)
    path = tmp_path / "val.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [line.split(": ")[0] for line in compare_checksums(before, checksum_data(stage))] == [str(path)]
