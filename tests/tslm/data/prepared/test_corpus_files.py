from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.factories.small import small_config, small_sample
from tslm.data.prepared.corpora import is_leaky_corpus, read_corpus, write_corpus, write_splits
from tslm.data.samples.dataset import TASKS
from tslm.data.splits.leakage import check_leakage


def test_a_series_that_many_samples_share_is_stored_once(tmp_path: Path) -> None:
    series = small_sample(0).series
    write_corpus([replace(small_sample(idx), series=series) for idx in range(30)], tmp_path, "train")
    with pa.memory_map(str(tmp_path / "train.series.arrow")) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 1
    corpus = read_corpus(tmp_path, "train")
    assert len(corpus) == 30
    np.testing.assert_array_equal(corpus[29].series[0], series[0])


def test_splits_are_written_in_one_pass_over_a_stream(tmp_path: Path) -> None:
    pairs = ((("train", "val")[idx % 2], small_sample(idx)) for idx in range(2500))
    paths = write_splits(pairs, tmp_path)
    assert [path.name for path in paths] == ["train.parquet", "val.parquet", "test.parquet"]
    assert [len(read_corpus(tmp_path, split)) for split in ("train", "val", "test")] == [1250, 1250, 0]
    for idx in (0, 998, 1001, 1249):
        read, written = read_corpus(tmp_path, "val")[idx], small_sample(2 * idx + 1)
        assert read.sample_id == written.sample_id
        np.testing.assert_array_equal(read.series[0], written.series[0])


def test_a_failure_midway_leaves_the_corpus_that_was_there(tmp_path: Path) -> None:
    write_corpus([small_sample(1)], tmp_path, "train")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    samples = [small_sample(2), replace(small_sample(3), answer="no option")]
    with pytest.raises(ValueError, match="none of its options"):
        write_splits([("train", sample) for sample in samples], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_samples_are_taken_by_index_slice_and_from_the_end(tmp_path: Path) -> None:
    write_corpus([small_sample(idx) for idx in range(7)], tmp_path, "test")
    corpus = read_corpus(tmp_path, "test")
    assert corpus[-1].sample_id == "choice:6"
    assert [sample.sample_id for sample in corpus[1:6:2]] == ["choice:1", "choice:3", "choice:5"]
    assert [sample.sample_id for sample in corpus.take([4, 0])] == ["choice:4", "choice:0"]
    assert corpus.answers == [sample.answer for sample in corpus]
    with pytest.raises(IndexError):
        corpus[7]


@pytest.mark.parametrize("spoil", ["missing", "cut", "of another corpus"])
def test_a_series_file_that_does_not_belong_is_an_error(spoil: str, tmp_path: Path) -> None:
    write_corpus([small_sample(idx) for idx in range(4)], tmp_path, "train")
    path = tmp_path / "train.series.arrow"
    if spoil == "missing":
        path.unlink()
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        write_corpus([small_sample(idx) for idx in range(3)], tmp_path / "other", "train")
        path.write_bytes((tmp_path / "other" / "train.series.arrow").read_bytes())
    with pytest.raises(ValueError, match="prepare (it|the corpus) again"):
        read_corpus(tmp_path, "train")


def test_a_corpus_of_the_older_layout_says_to_prepare_it_again(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sample_id": ["a"], "series": [[[1.0]]]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="prepare it again"):
        read_corpus(tmp_path, "train")


def test_published_sleep_rationales_keep_only_what_the_label_set_can_answer(tmp_path: Path) -> None:
    options = ("Wake", "Non-REM stage 2", "Movement")
    samples = [
        replace(small_sample(3 * idx), sample_id=str(idx), options=options, answer=options[idx % 3]) for idx in range(6)
    ]
    write_corpus(samples, tmp_path, "train")
    dataset = TASKS["sleep_cot"].read(small_config(), tmp_path, "train")
    assert [dataset[idx].answer for idx in range(len(dataset))] == ["Wake", "Non-REM stage 2"] * 2
    assert dataset.class_idx.tolist() == [0, 2, 0, 2]
    assert dataset[0].options == ("Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep")
    with_movement = TASKS["sleep_cot"].read(small_config(model__label_set="aasm_movement"), tmp_path, "train")
    assert len(with_movement) == 6


@pytest.mark.parametrize(("note", "leaky"), [('{"leaky": true}', True), ('{"leaky": false}', False), ("", False)])
def test_a_corpus_that_leaks_says_so_itself(note: str, leaky: bool, tmp_path: Path) -> None:
    config = small_config(stage__task="choice", stage__train_dir=str(tmp_path), stage__test_dir="")
    if note:
        (tmp_path / "corpus.json").write_text(note)
    assert check_leakage([config]) == ({config.stage.name} if leaky else set())
    elsewhere = small_config(stage__task="choice", stage__train_dir=str(tmp_path), stage__test_dir=str(tmp_path / "b"))
    assert check_leakage([elsewhere]) == set()


def test_a_damaged_note_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(ValueError, match="prepare the corpus again"):
        is_leaky_corpus(tmp_path)
