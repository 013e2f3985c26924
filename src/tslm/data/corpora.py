"""Prepared corpora of stages 1 to 3: one parquet file per split, one row per sample.

Rows keep question, options, series and the parts of the response; prompt text is rendered when a
sample is read, so its wording is a matter of configuration, not of preparation.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tslm.data.recordings import SPLITS
from tslm.files import write_beside


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


_SCHEMA = pa.schema(
    {
        "sample_id": pa.string(),
        "question": pa.string(),
        "options": pa.list_(pa.string()),
        "series": pa.list_(pa.list_(pa.float32())),
        "series_names": pa.list_(pa.string()),
        "unit": pa.string(),
        "rationale": pa.string(),
        "answer": pa.string(),
    }
)


def write_corpus(samples: Iterable[CorpusSample], corpus_dir: Path, split: str) -> Path:
    """Write one split (beside, then renamed). ValueError when an answer is none of its options."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of: {', '.join(SPLITS)}")
    rows = []
    for sample in samples:
        if sample.answer and sample.answer not in sample.options:
            raise ValueError(f"{sample.sample_id}: answer {sample.answer!r} is none of its options {sample.options}")
        if len(sample.series) != len(sample.series_names):
            raise ValueError(f"{sample.sample_id}: {len(sample.series)} series but {len(sample.series_names)} names")
        rows.append(asdict(sample))
    path = corpus_dir / f"{split}.parquet"
    with write_beside(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), partial, compression="zstd")
    return path


def read_corpus(corpus_dir: Path, split: str) -> list[CorpusSample]:
    """Samples of one split in file order."""
    path = corpus_dir / f"{split}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; make it with: python -m data_prep.prepare CORPUS --out {corpus_dir}"
        )
    table = pq.read_table(path)
    if table.schema.names != _SCHEMA.names:
        raise ValueError(f"{path} is not a prepared corpus: columns {table.schema.names}, wanted {_SCHEMA.names}")
    return [
        CorpusSample(
            sample_id=row["sample_id"],
            question=row["question"],
            options=tuple(row["options"]),
            series=tuple(np.asarray(values, dtype=np.float32) for values in row["series"]),
            series_names=tuple(row["series_names"]),
            unit=row["unit"],
            rationale=row["rationale"],
            answer=row["answer"],
        )
        for row in table.to_pylist()
    ]
