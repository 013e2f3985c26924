"""Prepared corpora: a parquet file of samples per split, and beside it the series they speak of.

`<split>.parquet` has one row per sample: question, options and the parts of the response; prompt
text is rendered when a sample is read, so its wording is a matter of configuration, not of
preparation. `<split>.series.arrow` has each distinct series once (a dozen questions may ask about
one ECG). It is memory-mapped, and both are written as the samples come, so a corpus may be larger
than memory.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tslm.command import advise
from tslm.data.splits.split import SPLITS
from tslm.files import read_json, write_beside


@dataclass(frozen=True)
class CorpusSample:
    """One question, caption or reasoning task about one or several series."""

    sample_id: str
    question: str  # empty for captions
    options: tuple[str, ...]  # empty for captions
    series: tuple[np.ndarray, ...]  # float32 each, in `unit`
    series_names: tuple[str, ...]  # one a series, e.g. "Lead II, 100 Hz"
    unit: str
    rationale: str  # reasoning, or the caption itself; may be empty for multiple choice
    answer: str  # one of `options`; empty for captions
    fs_hz: float = 0.0  # sampling rate of the series; 0 where they have none (yearly values) or several


CORPUS_FILE = "corpus.json"  # beside the splits of a published corpus: what came of it, and whether its splits leak
_ROWS = pa.schema(
    {
        "sample_id": pa.string(),
        "question": pa.string(),
        "options": pa.list_(pa.string()),
        "series_idx": pa.list_(pa.int32()),  # rows of the series file
        "series_names": pa.list_(pa.string()),
        "unit": pa.string(),
        "rationale": pa.string(),
        "answer": pa.string(),
        "fs_hz": pa.float64(),
    }
)
_WITHOUT_RATE = [name for name in _ROWS.names if name != "fs_hz"]  # columns before corpora stated the rate
_LEAD_NAME = re.compile(r"(?:(?P<record>.+), l|L)ead (?P<lead>[^,]+), [\d.]+ Hz")
_SERIES = pa.schema({"values": pa.list_(pa.float32())})
_ROWS_AT_ONCE = 1000
_VALUES_AT_ONCE = 1 << 20  # 4 MB of series are held before they are written


def render_lead(lead: str, fs_hz: float, record: str = "") -> str:
    """Name of an ECG lead's series, "Lead II, 100 Hz"; "First ECG, lead II, 100 Hz" where a sample has several."""
    return f"{record}, lead {lead}, {fs_hz:g} Hz" if record else f"Lead {lead}, {fs_hz:g} Hz"


def parse_lead(series_name: str) -> tuple[str, str]:
    """(record, lead) of a series named by `render_lead`; any other name is that of a lead of the only record."""
    match = _LEAD_NAME.fullmatch(series_name)
    return (match["record"] or "", match["lead"]) if match else ("", series_name)


def is_leaky_corpus(corpus_dir: Path) -> bool:
    """Whether one person or one series may stand in several splits of a corpus, as its `corpus.json` says.

    Raises:
        ValueError: the file is damaged.
    """
    path = corpus_dir / CORPUS_FILE
    try:
        return path.is_file() and bool(read_json(path)["leaky"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged; prepare the corpus again") from error


def list_corpus_files(corpus_dir: Path, split: str) -> tuple[Path, Path]:
    """The two files of a split, whether there or not: its samples and their series."""
    return corpus_dir / f"{split}.parquet", corpus_dir / f"{split}.series.arrow"


class Corpus(Sequence[CorpusSample]):
    """Samples of one split in file order, built when asked for; the series stay on disk."""

    def __init__(self, rows: pa.Table, series: pa.ChunkedArray) -> None:
        self._rows, self._series = rows, series

    def __len__(self) -> int:
        return self._rows.num_rows

    @overload
    def __getitem__(self, idx: int) -> CorpusSample: ...

    @overload
    def __getitem__(self, idx: slice) -> list[CorpusSample]: ...

    def __getitem__(self, idx: int | slice) -> CorpusSample | list[CorpusSample]:
        """One sample, or those of a slice."""
        if isinstance(idx, slice):
            return [self[number] for number in range(*idx.indices(len(self)))]
        row = self._rows.slice(range(len(self))[idx], 1).to_pylist()[0]
        return CorpusSample(
            sample_id=row["sample_id"],
            question=row["question"],
            options=tuple(row["options"]),
            series=tuple(np.array(self._series[number].values) for number in row["series_idx"]),
            series_names=tuple(row["series_names"]),
            unit=row["unit"],
            rationale=row["rationale"],
            answer=row["answer"],
            fs_hz=row.get("fs_hz", 0.0),
        )

    @property
    def states_rate(self) -> bool:
        """Whether `fs_hz` is known; in a corpus of an earlier version it is 0 throughout."""
        return "fs_hz" in self._rows.schema.names

    @property
    def answers(self) -> list[str]:
        """The answer of every sample, without reading any series."""
        return self._rows["answer"].to_pylist()

    def take(self, indices: Sequence[int]) -> "Corpus":
        """Only the samples at these indices, in this order."""
        return Corpus(self._rows.take(pa.array(indices, pa.int64())), self._series)


def write_corpus(samples: Iterable[CorpusSample], corpus_dir: Path, split: str) -> Path:
    """Write one split (beside, then renamed). ValueError when an answer is none of its options."""
    return write_splits(((split, sample) for sample in samples), corpus_dir, (split,))[0]


def write_splits(
    samples: Iterable[tuple[str, CorpusSample]], corpus_dir: Path, splits: Sequence[str] = SPLITS
) -> list[Path]:
    """Write several splits in one pass over (split, sample) pairs; nothing is left where it fails.

    Returns:
        The parquet file of each of `splits`, in their order.

    Raises:
        ValueError: an unknown split, an answer that is none of its options, or series without names.
    """
    for split in splits:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; one of: {', '.join(SPLITS)}")
    with ExitStack() as stack:
        writers = {split: stack.enter_context(_open_writer(corpus_dir, split)) for split in splits}
        for split, sample in samples:
            writers[split].add(sample)
    return [list_corpus_files(corpus_dir, split)[0] for split in splits]


def read_corpus(corpus_dir: Path, split: str) -> Corpus:
    """Samples of one split in file order.

    Raises:
        FileNotFoundError: the split was not prepared.
        ValueError: the files are no corpus, or not of one another.
    """
    rows_path, series_path = list_corpus_files(corpus_dir, split)
    if not rows_path.is_file():
        raise FileNotFoundError(
            f"{rows_path} is missing; {advise('make it', f'data_prep.prepare CORPUS --out {corpus_dir}')}"
        )
    rows = pq.read_table(rows_path)
    if rows.schema.names not in (_ROWS.names, _WITHOUT_RATE) or not series_path.is_file():
        raise ValueError(
            f"{rows_path} is not a prepared corpus with its {series_path.name} beside it: columns "
            f"{', '.join(rows.schema.names)}, wanted {', '.join(_ROWS.names)}; prepare it again"
        )
    try:
        series = pa.ipc.open_file(pa.memory_map(str(series_path))).read_all()["values"]
    except pa.ArrowInvalid as error:
        raise ValueError(f"{series_path} is damaged ({error}); prepare the corpus again") from error
    last_idx = pc.max(pc.list_flatten(rows["series_idx"])).as_py()
    if (-1 if last_idx is None else last_idx) + 1 != len(series):
        raise ValueError(f"{rows_path.name} and {series_path.name} are not of one corpus; prepare it again")
    return Corpus(rows, series)


class _SplitWriter:
    """Rows and distinct series of one split, written as they come."""

    def __init__(self, rows_file: pq.ParquetWriter, series_file: pa.ipc.RecordBatchFileWriter) -> None:
        self._rows_file, self._series_file = rows_file, series_file
        self._rows: list[dict[str, Any]] = []
        self._series: list[np.ndarray] = []
        self._idx_of: dict[bytes, int] = {}
        self._num_values = 0

    def add(self, sample: CorpusSample) -> None:
        if sample.answer and sample.answer not in sample.options:
            raise ValueError(f"{sample.sample_id}: answer {sample.answer!r} is none of its options {sample.options}")
        if len(sample.series) != len(sample.series_names):
            raise ValueError(f"{sample.sample_id}: {len(sample.series)} series but {len(sample.series_names)} names")
        row = {item.name: getattr(sample, item.name) for item in fields(sample) if item.name in _ROWS.names}
        self._rows.append(row | {"series_idx": [self._add_series(values_L) for values_L in sample.series]})
        if len(self._rows) >= _ROWS_AT_ONCE or self._num_values >= _VALUES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self._series:
            self._series_file.write_batch(pa.record_batch([pa.array(self._series, _SERIES.types[0])], schema=_SERIES))
        if self._rows:
            self._rows_file.write_table(pa.Table.from_pylist(self._rows, schema=_ROWS))
        self._rows, self._series, self._num_values = [], [], 0

    def _add_series(self, values_L: np.ndarray) -> int:
        values_L = np.ascontiguousarray(values_L, dtype=np.float32)
        digest = hashlib.blake2b(values_L.tobytes(), digest_size=16).digest()
        if digest not in self._idx_of:
            self._idx_of[digest] = len(self._idx_of)
            self._series.append(values_L)
            self._num_values += len(values_L)
        return self._idx_of[digest]


@contextmanager
def _open_writer(corpus_dir: Path, split: str) -> Iterator[_SplitWriter]:
    final_rows_path, final_series_path = list_corpus_files(corpus_dir, split)
    with (
        write_beside(final_rows_path) as rows_path,
        write_beside(final_series_path) as series_path,
        pq.ParquetWriter(rows_path, _ROWS, compression="zstd") as rows_file,
        pa.ipc.new_file(str(series_path), _SERIES) as series_file,
    ):
        writer = _SplitWriter(rows_file, series_file)
        yield writer
        writer.flush()
