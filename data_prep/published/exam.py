"""Curriculum stage 1: TimeSeriesExam, multiple choice about one or two series (JSON of its authors)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from data_prep.published.rows import Row, draw_split, find_raw_dir, read_json_rows, write_published
from tslm.data.prepared.corpora import CorpusSample
from tslm.data.splits.rules import parse_shares

_SOURCE = "qa_dataset.json of github.com/moment-timeseries-foundation-model/TimeSeriesExam"
_NAMES = {"ts": "The series", "ts1": "Time series 1", "ts2": "Time series 2"}


@dataclass(frozen=True)
class TimeSeriesExamOptions:
    """TimeSeriesExam: JSON files in `raw_dir`. It was made as an exam, so all of it is test unless said otherwise."""

    raw_dir: Path | None = None
    split: str = "test"  # or percent of questions train/val/test
    seed: int = 0

    def __post_init__(self) -> None:
        parse_shares(self.split)


def prepare_timeseriesexam(options: TimeSeriesExamOptions, out_dir: Path, _workers: int = 1) -> list[Path]:
    """Prepare TimeSeriesExam.

    Raises:
        FileNotFoundError: `raw_dir` holds no JSON file.
        ValueError: a file is no list of questions, or none can be used.
    """
    folder = find_raw_dir(options.raw_dir, "raw_dir", _SOURCE)
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no JSON file; wanted {_SOURCE}")
    return write_published(
        "timeseriesexam",
        _read(files),
        lambda row: (draw_split(f"{row.where}", options.split, options.seed), build_sample(row)),
        out_dir,
        how_split=f"{options.split} by question",
    )


def build_sample(row: Row) -> CorpusSample:
    """Question with its options lettered in their order. UnusableRowError when a part of it is missing."""
    texts = row.cells.get("options")
    if not isinstance(texts, list) or len(texts) < 2 or len({str(text) for text in texts}) != len(texts):
        raise row.unusable("options", "is not a list of two or more different ones")
    answer = row.text("answer")
    shown = [str(text).strip() for text in texts]
    if answer not in shown:
        raise row.unusable("answer", "is none of the options", answer[:40])
    options = tuple(f"({letter}) {text}" for letter, text in zip(ascii_lowercase, shown, strict=False))
    series = _read_series(row)
    return CorpusSample(
        sample_id=f"timeseriesexam:{row.where}",
        question=row.text("question"),
        options=options,
        series=tuple(series.values()),
        series_names=tuple(series),
        unit="",
        rationale="",
        answer=options[shown.index(answer)],
    )


def _read_series(row: Row) -> dict[str, np.ndarray]:
    present = [column for column in _NAMES if row.cells.get(column) is not None]
    if not present:
        raise row.unusable("ts", "is empty")
    return {_NAMES[column]: row.series(column) for column in present}


def _read(files: list[Path]) -> Iterator[Row]:
    for path in files:
        yield from read_json_rows(path)
