"""What readers of published corpora share: rows that know their place, rows left out by reason, series out of text.

A reader turns each row into one sample of one split. A row that cannot be used is left out, counted
by its reason, and the first of each reason is named; a file that cannot be read at all is an error.
"""

import csv
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from tslm.data.prepared.corpora import CORPUS_FILE, CorpusSample, write_splits
from tslm.data.splits.rules import parse_shares
from tslm.files import write_beside
from tslm.seeds import hash_seed

ROW_SPLIT = "80/10/10"  # the share of rows that OpenTSLM's loaders give to each split
_LARGEST_CELL = 1 << 27  # characters; the csv module's own limit is 131,072
_LISTED = 10  # rows named of each reason
_logger = logging.getLogger(__name__)


class UnusableRowError(ValueError):
    """A row that gives no sample; `reason` is what is counted."""

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
        """The cell's text without white space around it. UnusableRowError when there is none."""
        value = self.cells.get(column)
        text = "" if value is None else str(value).strip()
        if not text or text.lower() == "nan":
            raise self.unusable(column, "empty")
        return text

    def series(self, column: str) -> np.ndarray:
        """The cell as a series, (num_samples,) float32. UnusableRowError when it is none."""
        try:
            return parse_series(self.cells.get(column))
        except ValueError as error:
            raise self.unusable(column, str(error)) from error

    def unusable(self, column: str, reason: str, detail: str = "") -> UnusableRowError:
        """The error that says what is wrong with a cell."""
        return UnusableRowError(self.where, f"column {column} {reason}", detail)


@dataclass
class LeftOut:
    """Rows left out of a corpus, by reason."""

    num_rows: int = 0
    places: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, error: UnusableRowError) -> None:
        """Count one row."""
        self.counts[error.reason] += 1
        listed = self.places.setdefault(error.reason, [])
        if len(listed) < _LISTED:
            listed.append(error.where)

    def render(self) -> list[str]:
        """One line a reason, most frequent first: how many rows, and which."""
        return [
            f"left out {count} of {self.num_rows} rows: {reason} ({'; '.join(self.places[reason])}"
            f"{'; ...' if count > _LISTED else ''})"
            for reason, count in self.counts.most_common()
        ]


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
        name: Of the corpus, for messages.
        rows: Read one by one; the whole is never held.
        build: (split, sample) of a row; raises UnusableRowError for one that gives none.
        out_dir: Folder of the corpus.
        how_split: How rows came into their splits, in words.
        leaky: Whether one recording or person may stand in several splits.

    Returns:
        The files of train, val and test.

    Raises:
        ValueError: no row is usable.
    """
    left_out, series_splits, num_of = LeftOut(), dict[bytes, set[str]](), Counter[str]()

    def build_all() -> Iterator[tuple[str, CorpusSample]]:
        first_error: UnusableRowError | None = None
        for row in tqdm(rows, desc=name, unit="row"):
            left_out.num_rows += 1
            try:
                split, sample = build(row)
            except UnusableRowError as error:
                first_error = first_error or error
                left_out.add(error)
                continue
            num_of[split] += 1
            for values_L in sample.series:
                series_splits.setdefault(hashlib.blake2b(values_L.tobytes(), digest_size=8).digest(), set()).add(split)
            yield split, sample
        if not num_of:
            raise ValueError(f"{name}: none of {left_out.num_rows} rows can be used; {first_error or 'there is none'}")

    paths = write_splits(build_all(), out_dir)
    num_shared = sum(len(splits) > 1 for splits in series_splits.values())
    report = {
        "corpus": name,
        "num_samples": dict(num_of),
        "num_left_out": dict(left_out.counts),
        "split": how_split,
        "leaky": leaky or num_shared > 0,
        "num_series_in_several_splits": num_shared,
    }
    with write_beside(out_dir / CORPUS_FILE) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for line in left_out.render():
        _logger.warning("%s: %s", name, line)
    if report["leaky"]:
        _logger.warning(
            "%s: the splits leak (%s; %d series stand in several splits): scores on them flatter",
            name,
            how_split,
            num_shared,
        )
    return paths


def draw_split(unit: str, split: str, seed: int) -> str:
    """Split of a unit (a series, a patient) by its name alone, so that rows can be read one by one.

    Args:
        unit: What must not stand in two splits.
        split: "80/10/10" (train/val/test in percent) or one split's name for all.
        seed: another seed draws other splits.
    """
    position = hash_seed(seed, unit) / 2**64
    shares = parse_shares(split)
    for name, share in shares.items():
        if position < share:
            return name
        position -= share
    return max(shares, key=lambda name: shares[name])


def parse_series(value: Any) -> np.ndarray:
    """A series out of text, "[1.0, 2.5]" or the same with one more bracket around, or out of a sequence of numbers.

    Text is cut and converted by pyarrow, without Python's parser: `ast.literal_eval` takes 40 times as long.

    Returns:
        (num_samples,) float32.

    Raises:
        ValueError: no list of numbers, several series at once, or numbers that are not finite.
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
        raise ValueError("holds several series; one is wanted")
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
        raise FileNotFoundError(f"{path} is missing; wanted a CSV with the columns {', '.join(columns)}")
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


def find_raw_dir(raw_dir: Path | None, option: str, wanted: str) -> Path:
    """The folder that an option names. FileNotFoundError, saying what it should hold, when there is none."""
    if raw_dir is None or not raw_dir.is_dir():
        raise FileNotFoundError(f"{option}={raw_dir or ''} is no folder; give {option}=DIR with {wanted}")
    return raw_dir


def _split_numbers(text: str) -> np.ndarray:
    inside = "".join(text.split())
    depth = len(inside) - len(inside.lstrip("["))
    if not 1 <= depth <= 2 or inside[-depth:] != "]" * depth:
        raise ValueError("no list")
    inside = inside[depth:-depth]
    numbers = pc.split_pattern(pa.array([inside]), ",").flatten() if inside else pa.array([], pa.string())
    return pc.cast(numbers, pa.float64()).to_numpy()


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; it has: {', '.join(found) or 'none'}")
