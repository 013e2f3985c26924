"""Curriculum stage 1: published multiple choice about series, TSQA and TimeSeriesExam."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from data_prep.published.rows import (
    Row,
    draw_split,
    find_raw_dir,
    read_csv_rows,
    read_json_rows,
    read_parquet_rows,
    write_published,
)
from tslm.data.hugging_face import read_hub_table
from tslm.data.prepared.corpora import CorpusSample
from tslm.data.splits.rules import parse_shares
from tslm.parallel import Workers

TSQA_REPO = "ChengsenWang/TSQA"
_TSQA_COLUMNS = ("Task", "Question", "Answer", "Series")
_OPTION = re.compile(r"^\s*\(([a-z])\)\s*(.*\S)\s*$")
_LETTER = re.compile(r"\(?([a-z])\)?[.:]?(?:\s.*)?", re.DOTALL)
_TSQA_SEED = 42  # of OpenTSLM's TSQADataset
_OPTIONS_END = "Only answer"  # start of the question's last line; our prompt has its own such line
_EXAM_SOURCE = "qa_dataset.json of github.com/moment-timeseries-foundation-model/TimeSeriesExam"
_EXAM_SERIES = {"ts": "The series", "ts1": "Time series 1", "ts2": "Time series 2"}  # column and name


@dataclass(frozen=True)
class TsqaOptions:
    """TSQA: CSV or parquet files in `raw_dir`; without it, those of the hub."""

    raw_dir: Path | None = None
    repo: str = TSQA_REPO
    revision: str = "main"


@dataclass(frozen=True)
class TimeSeriesExamOptions:
    """TimeSeriesExam: JSON files in `raw_dir`. It is an exam, so by default every question is in the test split."""

    raw_dir: Path | None = None
    split: str = "test"  # or percent of questions in train/val/test
    seed: int = 0

    def __post_init__(self) -> None:
        parse_shares(self.split)


def prepare_tsqa(options: TsqaOptions, out_dir: Path, _workers: Workers | None = None) -> list[Path]:
    """Prepare TSQA, one question about one series, in the splits that OpenTSLM draws.

    Raises:
        FileNotFoundError: `raw_dir` holds no CSV or parquet file.
        ImportError: without `raw_dir`, `datasets` is not installed.
        OSError: the hub cannot be reached.
        ValueError: a file is damaged, or no row is a multiple-choice question.
    """
    rows: Iterator[Row]
    if options.raw_dir is None:
        num_rows, found = read_hub_table(options.repo, options.revision, _TSQA_COLUMNS)
        rows = (Row(f"{options.repo}, row {number}", number, cells) for number, cells in enumerate(found, start=1))
    else:
        files = find_tables(find_raw_dir(options.raw_dir, "raw_dir", f"the files of {TSQA_REPO}"))
        num_rows, rows = sum(1 for _ in _read_tables(files)), _read_tables(files)
    splits = draw_opentslm_splits(num_rows)
    numbers = iter(range(num_rows))
    return write_published(
        "tsqa",
        rows,
        lambda row: (splits[next(numbers)], build_tsqa_sample(row)),
        out_dir,
        how_split=f"80/10/10 by row as in OpenTSLM (seed {_TSQA_SEED})",
    )


def prepare_timeseriesexam(
    options: TimeSeriesExamOptions, out_dir: Path, _workers: Workers | None = None
) -> list[Path]:
    """Prepare TimeSeriesExam, questions about one or two series.

    Raises:
        FileNotFoundError: `raw_dir` holds no JSON file.
        ValueError: a file is not a list of questions, or no question can be used.
    """
    folder = find_raw_dir(options.raw_dir, "raw_dir", _EXAM_SOURCE)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no JSON file; expected {_EXAM_SOURCE}")
    return write_published(
        "timeseriesexam",
        chain.from_iterable(map(read_json_rows, files)),
        lambda row: (draw_split(row.where, options.split, options.seed), build_exam_sample(row)),
        out_dir,
        how_split=f"{options.split} by question",
    )


def build_tsqa_sample(row: Row) -> CorpusSample:
    """Question, options and answer of a row. UnusableRowError if it is not multiple choice or its series no list."""
    question, options = split_question(row.text("Question"))
    if len(options) < 2:
        raise row.unusable("Question", "offers no lettered options")
    letter = _LETTER.fullmatch(row.text("Answer").lower())
    answer = next((option for option in options if letter and option.startswith(f"({letter[1]})")), None)
    if answer is None:
        raise row.unusable("Answer", "is none of the options", row.text("Answer")[:40])
    series = {"The series": row.series("Series")}
    return _build_sample(f"tsqa:{row.where}", question, options, series, answer)


def build_exam_sample(row: Row) -> CorpusSample:
    """Question with its options lettered in their order. UnusableRowError if a part is missing."""
    texts = row.cells.get("options")
    if not isinstance(texts, list) or len(texts) < 2 or len({str(text) for text in texts}) != len(texts):
        raise row.unusable("options", "is not a list of two or more different ones")
    answer, texts = row.text("answer"), [str(text).strip() for text in texts]
    if answer not in texts:
        raise row.unusable("answer", "is none of the options", answer[:40])
    options = tuple(f"({letter}) {text}" for letter, text in zip(ascii_lowercase, texts, strict=False))
    series = {name: row.series(column) for column, name in _EXAM_SERIES.items() if row.cells.get(column) is not None}
    if not series:
        raise row.unusable("ts", "is empty")
    sample_id, question = f"timeseriesexam:{row.where}", row.text("question")
    return _build_sample(sample_id, question, options, series, options[texts.index(answer)])


def split_question(question: str) -> tuple[str, tuple[str, ...]]:
    """(question, lettered options) of a text that has one option a line."""
    stem, options = [], []
    for line in question.splitlines():
        if match := _OPTION.match(line):
            options.append(f"({match[1]}) {match[2]}")
        elif not line.strip().startswith(_OPTIONS_END):
            stem.append(line.strip())
    return "\n".join(line for line in stem if line), tuple(options)


def draw_opentslm_splits(num_rows: int) -> Sequence[str]:
    """Split of each row, as OpenTSLM's TSQADataset draws it with `datasets.Dataset.train_test_split`.

    First a tenth of all rows becomes test, then a tenth of all rows becomes val, each by a permutation of seed 42.
    """
    splits = np.full(num_rows, "train", dtype=object)
    rest, test = _permute(np.arange(num_rows), 0.1)
    _, val = _permute(rest, 0.1 / 0.9)
    splits[test], splits[val] = "test", "val"
    return splits.tolist()


def find_tables(folder: Path) -> list[Path]:
    """CSV and parquet files below a folder, sorted. FileNotFoundError if there is none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".csv", ".parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no CSV or parquet file; leave raw_dir out to take them from the hub")
    return files


def _build_sample(
    sample_id: str, question: str, options: tuple[str, ...], series: dict[str, np.ndarray], answer: str
) -> CorpusSample:
    return CorpusSample(sample_id, question, options, tuple(series.values()), tuple(series), "", "", answer)


def _permute(indices: np.ndarray, test_share: float) -> tuple[np.ndarray, np.ndarray]:
    permutation = np.random.default_rng(_TSQA_SEED).permutation(len(indices))
    num_test = math.ceil(test_share * len(indices))
    return indices[permutation[num_test:]], indices[permutation[:num_test]]


def _read_tables(files: Sequence[Path]) -> Iterator[Row]:
    for path in files:
        yield from (read_csv_rows if path.suffix == ".csv" else read_parquet_rows)(path, _TSQA_COLUMNS)
