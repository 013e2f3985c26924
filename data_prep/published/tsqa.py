"""Curriculum stage 1: TSQA, multiple choice about one series, from the hub or local files (ChengsenWang/TSQA)."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.published.rows import Row, find_raw_dir, read_csv_rows, read_parquet_rows, write_published
from tslm.data.prepared.corpora import CorpusSample

TSQA_REPO = "ChengsenWang/TSQA"
_COLUMNS = ("Task", "Question", "Answer", "Series")
_OPTION = re.compile(r"^\s*\(([a-z])\)\s*(.*\S)\s*$")
_LETTER = re.compile(r"\(?([a-z])\)?[.:]?(?:\s.*)?", re.DOTALL)
_SPLIT_SEED = 42  # of OpenTSLM's TSQADataset
_OPTIONS_END = "Only answer"  # the question's last line, which the prompt says in its own words


@dataclass(frozen=True)
class TsqaOptions:
    """TSQA: CSV or parquet files in `raw_dir`, or the hub's where none is given."""

    raw_dir: Path | None = None
    repo: str = TSQA_REPO
    revision: str = "main"


def prepare_tsqa(options: TsqaOptions, out_dir: Path, _workers: int = 1) -> list[Path]:
    """Prepare TSQA with the rows in the splits that OpenTSLM draws from them.

    Raises:
        FileNotFoundError: `raw_dir` holds no CSV or parquet file.
        OSError: the hub cannot be reached.
        ValueError: a file is damaged, or no row is a multiple-choice question.
    """
    raw_dir = options.raw_dir or _download(options.repo, options.revision)
    files = find_tables(find_raw_dir(raw_dir, "raw_dir", f"the files of {TSQA_REPO}"))
    splits = draw_opentslm_splits(sum(1 for _ in _read(files)))
    numbers = iter(range(len(splits)))
    return write_published(
        "tsqa",
        _read(files),
        lambda row: (splits[next(numbers)], build_sample(row)),
        out_dir,
        how_split=f"80/10/10 by row as in OpenTSLM (seed {_SPLIT_SEED})",
    )


def build_sample(row: Row) -> CorpusSample:
    """Question, options and answer of a row. UnusableRowError when it is no multiple choice, or its series no list."""
    stem, options = split_question(row.text("Question"))
    if len(options) < 2:
        raise row.unusable("Question", "offers no lettered options")
    letter = _LETTER.fullmatch(row.text("Answer").lower())
    answer = next((option for option in options if letter and option.startswith(f"({letter[1]})")), None)
    if answer is None:
        raise row.unusable("Answer", "is none of the options", row.text("Answer")[:40])
    return CorpusSample(
        sample_id=f"tsqa:{row.where}",
        question=stem,
        options=options,
        series=(row.series("Series"),),
        series_names=("The series",),
        unit="",
        rationale="",
        answer=answer,
    )


def split_question(question: str) -> tuple[str, tuple[str, ...]]:
    """(question, lettered options) out of one text with an option a line."""
    stem, options = [], []
    for line in question.splitlines():
        if match := _OPTION.match(line):
            options.append(f"({match[1]}) {match[2]}")
        elif not line.strip().startswith(_OPTIONS_END):
            stem.append(line.strip())
    return "\n".join(line for line in stem if line), tuple(options)


def draw_opentslm_splits(num_rows: int) -> Sequence[str]:
    """Split of each row, as OpenTSLM's TSQADataset draws them with `datasets.Dataset.train_test_split`.

    A tenth of the rows is test, a tenth of all is val out of the rest, each by a permutation of seed 42.
    """
    splits = np.full(num_rows, "train", dtype=object)
    rest, test = _permute(np.arange(num_rows), 0.1)
    _, val = _permute(rest, 0.1 / 0.9)
    splits[test], splits[val] = "test", "val"
    return splits.tolist()


def find_tables(folder: Path) -> list[Path]:
    """CSV or parquet files below a folder, in order; FileNotFoundError when there is none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".csv", ".parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no CSV or parquet file; leave raw_dir out to take them from the hub")
    return files


def _permute(indices: np.ndarray, test_share: float) -> tuple[np.ndarray, np.ndarray]:
    permutation = np.random.default_rng(_SPLIT_SEED).permutation(len(indices))
    num_test = math.ceil(test_share * len(indices))
    return indices[permutation[num_test:]], indices[permutation[:num_test]]


def _read(files: Sequence[Path]) -> Iterator[Row]:
    for path in files:
        yield from read_csv_rows(path, _COLUMNS) if path.suffix == ".csv" else read_parquet_rows(path, _COLUMNS)


def _download(repo: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=["*.csv", "*.parquet"])
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{repo} cannot be fetched from the hub ({reason}); give raw_dir=DIR with its files") from error
    return Path(folder)
