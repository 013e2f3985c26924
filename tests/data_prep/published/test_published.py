"""Readers of published corpora on small files in the published formats, and on real ones where there are any."""

import ast
import csv
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.prepare import main
from data_prep.published.choice import draw_opentslm_splits, split_question
from data_prep.published.rows import Row, UnusableRowError, draw_split, parse_series
from tslm.answers.grammar import parse_answer, render_answer
from tslm.data.prepared.corpora import read_corpus

QUESTION = (
    "Given the following definitions:\nSudden spike: A short rise.\nSelect one of the following answers:\n"
    "(a) No outlier.\n(b) A sudden spike.\n(c) A level shift.\nOnly answer (a), (b), or (c)."
)
real_material = pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="set TSLM_DATA_DIR to read real corpora")


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_tsqa(path: Path, num_rows: int = 20, **changes: str) -> None:
    header = ["Task", "Size", "Question", "Answer", "Label", "Series"]
    rows = [
        ["Outliers", "64", QUESTION, f"({'abc'[idx % 3]})", "x", str([idx + value / 7 for value in range(64)])]
        for idx in range(num_rows)
    ]
    for column, value in changes.items():
        rows[1][header.index(column)] = value
    write_csv(path, header, rows)


def prepare(*words: str, out: Path) -> int:
    return main([*words[:1], "--out", str(out), *words[1:]])


def everything(out: Path) -> list:
    return [sample for split in ("train", "val", "test") for sample in read_corpus(out, split)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 2), st.sampled_from([", ", ",", " ,\n"]))
def test_a_series_in_text_reads_as_pythons_own_parser_reads_it(values: list[float], depth: int, comma: str) -> None:
    text = "[" * depth + comma.join(map(repr, values)) + "]" * depth
    expected = np.asarray(ast.literal_eval(text), dtype=np.float32).reshape(-1)
    np.testing.assert_array_equal(parse_series(text), expected)
    np.testing.assert_array_equal(parse_series(values), expected)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "empty"),
        (None, "empty"),
        ("[1, 2", "not a list of numbers"),
        ("1, 2", "not a list of numbers"),
        ("[1, two]", "not a list of numbers"),
        ("[__import__('os').getcwd()]", "not a list of numbers"),
        ("[[1, 2], [3, 4]]", "not a list of numbers"),
        ([[1.0], [2.0]], "several series"),
        ("[]", "holds no number"),
        ("[1, nan]", "NaN"),
        ("[1, 1e999]", "NaN or infinite"),
    ],
)
def test_what_is_no_series_says_why(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_series(value)


def test_a_series_is_parsed_ten_times_faster_than_by_literal_eval() -> None:
    text = str([np.random.default_rng(0).normal(0, 2e-5, 3000).tolist()])

    def best_s(parse: object, num_tries: int) -> float:
        times_s = []
        for _ in range(num_tries):
            start_s = time.process_time()
            parse(text)  # type: ignore[operator]
            times_s.append(time.process_time() - start_s)
        return min(times_s)

    best_s(parse_series, 3)
    assert best_s(ast.literal_eval, 5) > 10 * best_s(parse_series, 20)


def test_a_units_split_depends_on_its_name_alone_and_shares_come_out() -> None:
    units = [f"series {idx}" for idx in range(4000)]
    splits = [draw_split(unit, "70/20/10", 0) for unit in units]
    assert [draw_split(unit, "70/20/10", 0) for unit in reversed(units)] == splits[::-1]
    for split, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert splits.count(split) / len(units) == pytest.approx(share, abs=0.03)
    assert {draw_split(unit, "test", 0) for unit in units[:50]} == {"test"}
    assert splits != [draw_split(unit, "70/20/10", 1) for unit in units]


def test_an_error_names_row_and_column() -> None:
    row = Row("file.csv, row 12", 12, {"Series": "[1, x]"})
    with pytest.raises(UnusableRowError, match="^file.csv, row 12: column Series is not a list of numbers$"):
        row.series("Series")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tsqa_becomes_lettered_questions(kind: str, tmp_path: Path) -> None:
    write_tsqa(tmp_path / "raw" / "TSQA.csv")
    if kind == "parquet":
        with (tmp_path / "raw" / "TSQA.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "raw" / "train.parquet")
        (tmp_path / "raw" / "TSQA.csv").unlink()
    assert prepare("tsqa", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 0
    samples = everything(tmp_path / "out")
    assert [len(read_corpus(tmp_path / "out", split)) for split in ("train", "val", "test")] == [16, 2, 2]
    for sample in samples:
        idx = int(sample.sample_id.split()[-1]) - 1
        assert sample.options == ("(a) No outlier.", "(b) A sudden spike.", "(c) A level shift.")
        assert sample.answer == sample.options[idx % 3]
        assert parse_answer(render_answer("abc"[idx % 3]), sample.options) == sample.answer
        assert "Only answer" not in sample.question
        assert sample.question.startswith("Given the following definitions:\nSudden spike: A short rise.")
        np.testing.assert_allclose(sample.series[0], idx + np.arange(64) / 7, rtol=1e-6)


def test_tsqa_comes_from_the_hub_where_no_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `evaluate` is not installed")
    asked: list[tuple[str, object]] = []
    load = datasets.load_dataset

    def give_local(repo: str, revision: str) -> object:
        asked.append((repo, revision))
        return load("csv", data_files=str(tmp_path / "hub" / "TSQA.csv"), cache_dir=str(tmp_path / "cache"))

    write_tsqa(tmp_path / "hub" / "TSQA.csv", 10, Series="[1, x]")
    monkeypatch.setattr(datasets, "load_dataset", give_local)
    assert prepare("tsqa", out=tmp_path / "out") == 0
    assert asked == [("ChengsenWang/TSQA", "main")]
    assert len(everything(tmp_path / "out")) == 9
    assert "left out 1 of 10 rows: column Series is not a list of numbers (ChengsenWang/TSQA, row 2)" in caplog.text


def test_a_hub_out_of_reach_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `evaluate` is not installed")

    def fail(*_arguments: object, **_options: object) -> str:
        raise ConnectionError("no connection")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert prepare("tsqa", out=tmp_path / "out") == 1
    assert "give raw_dir=DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Series": "[1, x]"}, "column Series is not a list of numbers (TSQA.csv, row 2)"),
        ({"Answer": "(f)"}, "column Answer is none of the options (TSQA.csv, row 2)"),
        ({"Answer": ""}, "column Answer empty (TSQA.csv, row 2)"),
        ({"Question": "How high is it?"}, "column Question offers no lettered options (TSQA.csv, row 2)"),
    ],
)
def test_an_unusable_row_is_counted_by_reason_and_the_others_stay(
    changes: dict[str, str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tsqa(tmp_path / "raw" / "TSQA.csv", **changes)
    assert prepare("tsqa", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 0
    assert len(everything(tmp_path / "out")) == 19
    assert f"left out 1 of 20 rows: {said}" in caplog.text
    report = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert list(report["num_left_out"].values()) == [1]
    assert sum(report["num_samples"].values()) == 19


def test_a_series_on_both_sides_of_a_split_marks_the_corpus_as_leaking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header = ["Task", "Question", "Answer", "Series"]
    write_csv(tmp_path / "raw" / "TSQA.csv", header, [["Trend", QUESTION, "(a)", "[1, 2, 3]"]] * 20)
    assert prepare("tsqa", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["leaky"] is True
    assert "1 series are in several splits" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Task,Question,Answer\nx,y,z\n", "lacks the column(s) Series"),
        (b'Task,Question,Answer,Series\nTrend,"cut off in the mid', "damaged after row 0"),
        (b"Task,Question,Answer,Series\nTrend,\xff\xfe,(a),[1]\n", "damaged after row 0"),
        (b"Task,Question,Answer,Series\nTrend,why,(a),[1]\n", "none of 1 rows can be used; TSQA.csv, row 1"),
        (b"", "lacks the column(s) Task"),
    ],
)
def test_a_damaged_table_is_one_clear_line(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "TSQA.csv").write_bytes(content)
    assert prepare("tsqa", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("num_rows", [11, 100, 4800])
def test_tsqas_splits_are_those_that_opentslm_draws(num_rows: int) -> None:
    datasets = pytest.importorskip("datasets", reason="the independent reference is not installed")
    rows = datasets.Dataset.from_dict({"idx": list(range(num_rows))})
    first = rows.train_test_split(test_size=0.1, seed=42)
    second = first["train"].train_test_split(test_size=0.1 / 0.9, seed=42)
    splits = draw_opentslm_splits(num_rows)
    assert sorted(first["test"]["idx"]) == [idx for idx, split in enumerate(splits) if split == "test"]
    assert sorted(second["test"]["idx"]) == [idx for idx, split in enumerate(splits) if split == "val"]


def test_a_question_without_options_stays_whole() -> None:
    assert split_question("What comes next?\nGive (a) number.") == ("What comes next?\nGive (a) number.", ())


def exam_item(**changes: object) -> dict[str, object]:
    item = {"question": "Which is noisier?", "options": ["First", "Second"], "answer": "Second", "id": 1}
    return item | {"ts1": [0.0, 1.5, -2.0], "ts2": "[3.0, 4.5, 5.0]"} | changes


def test_timeseriesexam_keeps_one_or_two_series_and_letters_the_options(tmp_path: Path) -> None:
    items = [
        exam_item(),
        exam_item(ts1=None, ts2=None, ts=[1, 2, 3], options=[1.21, "0", 3.6], answer=1.21),
    ]
    (tmp_path / "qa.json").write_text(json.dumps(items), encoding="utf-8")
    assert prepare("timeseriesexam", f"raw_dir={tmp_path}", out=tmp_path / "out") == 0
    two, one = read_corpus(tmp_path / "out", "test")
    assert (two.options, two.answer) == (("(a) First", "(b) Second"), "(b) Second")
    assert two.series_names == ("Time series 1", "Time series 2")
    assert two.series[1].tolist() == [3.0, 4.5, 5.0]
    assert (one.options, one.answer) == (("(a) 1.21", "(b) 0", "(c) 3.6"), "(a) 1.21")
    assert one.series[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": "Third"}, "column answer is none of the options (qa.json, item 2)"),
        ({"options": ["one"]}, "column options is not a list of two or more different ones"),
        ({"ts2": [1, None]}, "column ts2"),
        ({"ts1": None, "ts2": None}, "column ts is empty"),
    ],
)
def test_an_exam_item_that_cannot_be_used_is_named(
    changes: dict[str, object], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "qa.json").write_text(json.dumps([exam_item(), exam_item(**changes)]), encoding="utf-8")
    assert prepare("timeseriesexam", f"raw_dir={tmp_path}", out=tmp_path / "out") == 0
    assert said in caplog.text
    assert len(everything(tmp_path / "out")) == 1


def test_broken_json_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qa.json").write_text('[{"question": ', encoding="utf-8")
    assert prepare("timeseriesexam", f"raw_dir={tmp_path}", out=tmp_path / "out") == 2
    assert "qa.json is not JSON" in capsys.readouterr().err


def write_m4(folder: Path) -> None:
    lengths = {"H1": 60, "H2": 90, "H3": 40}
    rows = [[name, *(str(value) for value in range(num)), *[""] * (90 - num)] for name, num in lengths.items()]
    write_csv(folder / "Hourly-train.csv", [f"V{idx}" for idx in range(1, 92)], rows)
    write_csv(folder / "Hourly-test.csv", ["V1", "V2", "V3"], [[name, "-1.5", "7"] for name in lengths])
    write_csv(folder / "M4-info.csv", ["M4id", "category", "Frequency"], [["H2", "Finance", "24"]])


def test_m4_competition_series_are_joined_and_captioned_by_measurement(tmp_path: Path) -> None:
    write_m4(tmp_path / "raw")
    assert prepare("m4", f"raw_dir={tmp_path / 'raw'}", "captions=measured", "split=train", out=tmp_path / "out") == 0
    samples = {sample.sample_id: sample for sample in read_corpus(tmp_path / "out", "train")}
    assert samples["m4:H1"].series[0].tolist() == [*map(float, range(60)), -1.5, 7.0]
    assert samples["m4:H2"].series_names == ("Hourly series, finance",)
    assert "rises" in samples["m4:H2"].rationale
    assert all(sample.answer == "" and sample.options == () for sample in samples.values())


def test_m4_takes_opentslms_captions_by_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    series = [[f"M{idx}", json.dumps([idx + value * 0.5 for value in range(20)])] for idx in range(30)]
    write_csv(tmp_path / "raw" / "m4_series_Monthly.csv", ["id", "series"], series)
    captions = [[f"M{idx}", f"It climbs,\nfrom {idx}."] for idx in range(29)]
    write_csv(tmp_path / "raw" / "m4_captions_Monthly.csv", ["id", "caption"], captions)
    assert prepare("m4", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 0
    samples = everything(tmp_path / "out")
    assert len(samples) == 29
    for sample in samples:
        idx = int(sample.sample_id.removeprefix("m4:M"))
        assert sample.rationale == f"It climbs,\nfrom {idx}."
        assert sample.series[0][0] == idx
    assert "left out 1 of 30 rows: column id has no caption (m4_series_Monthly.csv, row 30)" in caplog.text


def test_m4_without_captions_says_where_they_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_m4(tmp_path / "raw")
    assert prepare("m4", f"raw_dir={tmp_path / 'raw'}", out=tmp_path / "out") == 2
    assert "captions=measured" in capsys.readouterr().err


@real_material
@pytest.mark.parametrize(
    ("words", "folder", "num_samples"),
    [
        (["timeseriesexam"], "timeseriesexam", 400),
        (["tsqa"], "tsqa_format", 1),
        (["m4", "captions=measured"], "m4", 414),
    ],
)
def test_real_files_give_every_row(words: list[str], folder: str, num_samples: int, tmp_path: Path) -> None:
    raw_dir = Path(os.environ["TSLM_DATA_DIR"]) / folder
    assert prepare(words[0], f"raw_dir={raw_dir}", *words[1:], out=tmp_path) == 0
    samples = everything(tmp_path)
    assert len(samples) == num_samples
    assert all(math.isfinite(values.sum()) for sample in samples for values in sample.series)
