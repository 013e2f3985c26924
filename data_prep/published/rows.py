"""Rows of published files: reading, parsing of series, and writing of the corpus.

A reader turns each row into one sample of one split. An unusable row is left out: it is counted by its reason, and
the first ten of each reason are named. A file that cannot be read is an error.
"""

import csv
import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tslm.answers.grammar import parse_answer, split_response
from tslm.data.prepared.corpora import CORPUS_FILE, CorpusSample, write_splits
from tslm.data.splits.rules import parse_shares
from tslm.files import write_beside
from tslm.progress_bar import progress_bar
from tslm.seeds import hash_seed

ROW_SPLIT = "80/10/10"  # the share of rows that OpenTSLM's loaders give to each split
_LARGEST_CELL = 1 << 27  # characters; the csv module's own limit is 131,072
_LISTED = 10  # rows named of each reason
_logger = logging.getLogger(__name__)


class UnusableRowError(ValueError):
    """A row that gives no sample; rows are counted by `reason`."""

    def __init__(self, where: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{where}: {reason}{f' ({detail})' if detail else ''}")
        self.where, self.reason = where, reason


@dataclass(frozen=True)
class Row:
    """One row (or JSON object) of a published file."""

    where: str  # "file.csv, row 12"
    number: int  # from 1, the header not counted
    cells: Mapping[str, Any]

    def text(self, column: str) -> str:
        """The cell's text without white space around it. UnusableRowError if it is empty."""
        value = self.cells.get(column)
        text = "" if value is None else str(value).strip()
        if not text or text.lower() == "nan":
            raise self.unusable(column, "empty")
        return text

    def series(self, column: str) -> np.ndarray:
        """The cell as a series, (num_samples,) float32. UnusableRowError if it is not one."""
        try:
            return parse_series(self.cells.get(column))
        except ValueError as error:
            raise self.unusable(column, str(error)) from error

    def rationale(self, column: str, answer: str, answers: Sequence[str]) -> str:
        """The reasoning in a cell, without its closing answer. UnusableRowError if none, or if it closes otherwise."""
        rationale, closing = split_response(self.text(column))
        if closing and parse_answer(self.text(column), answers) != answer:
            raise self.unusable(column, "ends in another answer than the row's", closing[:40])
        if not rationale:
            raise self.unusable(column, "gives no reason")
        return rationale

    def unusable(self, column: str, reason: str, detail: str = "") -> UnusableRowError:
        """The error that names a cell and what is wrong with it."""
        return UnusableRowError(self.where, f"column {column} {reason}", detail)


def write_published(
    name: str,
    rows: Iterable[Row],
    build: Callable[[Row], tuple[str, CorpusSample]],
    out_dir: Path,
    *,
    how_split: str,
    leaky: bool = False,
) -> list[Path]:
    """Write a published corpus, one file a split, and `corpus.json` with its counts.

    Args:
        name: Name of the corpus, for messages.
        rows: Read one by one; they are never all in memory.
        build: Returns (split, sample) of a row, or raises UnusableRowError.
        out_dir: Folder of the corpus.
        how_split: How rows were assigned to splits, in words.
        leaky: Whether one recording or person may be in several splits.

    Returns:
        The files of train, val and test.

    Raises:
        ValueError: no row is usable.
    """
    num_of, num_left_out = Counter[str](), Counter[str]()  # by split, by reason
    left_out_rows, splits_of_series = defaultdict[str, list[str]](list), defaultdict[bytes, set[str]](set)

    def build_all() -> Iterator[tuple[str, CorpusSample]]:
        first_error: UnusableRowError | None = None
        for row in progress_bar(rows, desc=name, unit="row"):
            try:
                split, sample = build(row)
            except UnusableRowError as error:
                first_error = first_error or error
                num_left_out[error.reason] += 1
                if num_left_out[error.reason] <= _LISTED:
                    left_out_rows[error.reason].append(error.where)
                continue
            num_of[split] += 1
            for values_L in sample.series:
                splits_of_series[hashlib.blake2b(values_L.tobytes(), digest_size=8).digest()].add(split)
            yield split, sample
        if not num_of:
            num_rows = num_left_out.total()
            raise ValueError(f"{name}: none of {num_rows} rows can be used; {first_error or 'the files are empty'}")

    paths = write_splits(build_all(), out_dir)
    num_shared = sum(len(splits) > 1 for splits in splits_of_series.values())
    report = {
        "corpus": name,
        "num_samples": dict(num_of),
        "num_left_out": dict(num_left_out),
        "split": how_split,
        "leaky": leaky or num_shared > 0,
        "num_series_in_several_splits": num_shared,
    }
    with write_beside(out_dir / CORPUS_FILE) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    num_rows = num_of.total() + num_left_out.total()
    for reason, count in num_left_out.most_common():
        places = f"{'; '.join(left_out_rows[reason])}{'; ...' if count > _LISTED else ''}"
        _logger.warning("%s: left out %d of %d rows: %s (%s)", name, count, num_rows, reason, places)
    if report["leaky"]:
        leak = f"{how_split}; {num_shared} series are in several splits"
        _logger.warning("%s: the splits leak (%s): scores on them are too high", name, leak)
    return paths


def draw_split(unit: str, split: str, seed: int) -> str:
    """Split of a unit (a series, a patient) from its name alone, so that rows can be read one by one.

    Args:
        unit: Name of what must not be in two splits.
        split: "80/10/10" (train/val/test in percent), or one split's name for all units.
        seed: Seed of the draw.
    """
    position = hash_seed(seed, unit) / 2**64
    shares = parse_shares(split)
    for name, share in shares.items():
        if position < share:
            return name
        position -= share
    return max(shares, key=lambda name: shares[name])


def parse_series(value: Any) -> np.ndarray:
    """Parse a series from the text "[1.0, 2.5]" or "[[1.0, 2.5]]", or from a sequence of numbers.

    pyarrow converts the text; `ast.literal_eval` takes 40 times as long.

    Returns:
        (num_samples,) float32.

    Raises:
        ValueError: not a list of numbers, several series, or numbers that are not finite.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError("is empty")
    try:
        values_L = _split_numbers(value) if isinstance(value, str) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("is not a list of numbers") from error
    if values_L.ndim == 2 and len(values_L) == 1:
        values_L = values_L[0]
    if values_L.ndim != 1:
        raise ValueError("holds several series, not one")
    if not len(values_L):
        raise ValueError("holds no number")
    if not np.isfinite(values_L).all():
        raise ValueError("holds NaN or infinite values")
    return values_L.astype(np.float32)


def read_csv_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV with a header, one by one; cells may span lines and be large.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or the file is damaged (the row before it is named).
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a CSV with the columns {', '.join(columns)}")
    csv.field_size_limit(_LARGEST_CELL)
    number = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or (), columns)
            for number, cells in enumerate(reader, start=1):
                yield Row(f"{path.name}, row {number}", number, cells)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged after row {number}: {error}") from error


def read_parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a parquet file, a batch at a time. ValueError when a column is missing or the file is none."""
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=list(columns)):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name}, row {number}", number, cells)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a parquet file: {error}") from error


def read_json_rows(path: Path) -> Iterator[Row]:
    """Objects of a JSON file that holds one list of them. ValueError when it is something else."""
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(objects, list) or not all(isinstance(cells, dict) for cells in objects):
        raise ValueError(f"{path} holds no list of objects")
    for number, cells in enumerate(objects, start=1):
        yield Row(f"{path.name}, item {number}", number, cells)


def find_raw_dir(raw_dir: Path | None, option: str, contents: str) -> Path:
    """The folder that an option names. FileNotFoundError, which says what it should hold, if there is none."""
    if raw_dir is None or not raw_dir.is_dir():
        raise FileNotFoundError(f"{option}={raw_dir or ''} is not a folder; give {option}=DIR with {contents}")
    return raw_dir


def _split_numbers(text: str) -> np.ndarray:
    inside = "".join(text.split())
    depth = len(inside) - len(inside.lstrip("["))
    if not 1 <= depth <= 2 or inside[-depth:] != "]" * depth:
        raise ValueError("no list")
    inside = inside[depth:-depth]
    numbers = pc.split_pattern(pa.array([inside]), ",").flatten() if inside else pa.array([], pa.string())
    return pc.cast(numbers, pa.float64()).to_numpy()


def _check_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has: {', '.join(found) or 'none'}")
