"""What the parquet file of a prepared recording must hold; a damaged or foreign file is refused in one line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tslm.labels import SleepStage

_AGAIN = "prepare the cohort again"
_COLUMN_TYPES = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)


def check_metadata(path: Path, metadata: Any, texts: Sequence[str]) -> None:
    """Check the metadata of the schema.

    Args:
        path: the file, for messages.
        metadata: as parsed from JSON.
        texts: names that hold a text where they are there.

    Raises:
        ValueError: one is missing or cannot be.
    """
    checks = {**dict.fromkeys(texts, _is_text_or_absent), **_METADATA}
    wrong = [name for name, holds in checks.items() if not (isinstance(metadata, dict) and holds(metadata.get(name)))]
    if wrong:
        raise ValueError(f"{path} is damaged: its metadata hold no valid {wrong[0]}; {_AGAIN}")


def check_table(path: Path, table: pa.Table, channels: Sequence[str], metadata: Mapping[str, Any]) -> None:
    """Check the columns of the table.

    Args:
        path: the file, for messages.
        table: all its columns but channels that are not read.
        channels: those that are read.
        metadata: of `check_metadata`.

    Raises:
        ValueError: a column is missing, of another type or length than is written, or holds what cannot be.
    """
    needed = ("epoch_idx", "onset_s", "sleep_stage", *channels)
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} is damaged: it has no column {missing[0]!r}; {_AGAIN}")
    if not table.num_rows:
        return
    samples = pa.list_(pa.int16(), round(metadata["fs_hz"] * metadata["epoch_s"]))
    wanted: dict[str, Callable[[pa.DataType], bool]] = {
        **{"onset_s": pa.types.is_floating, "sleep_stage": pa.types.is_string, "epoch_idx": pa.types.is_integer},
        **dict.fromkeys(channels, lambda kind: kind == samples),
    }
    for name in table.column_names:
        holds = wanted.get(name, lambda kind: any(is_kind(kind) for is_kind in _COLUMN_TYPES))
        num_missing = table[name].null_count
        if not holds(table[name].type) or (name in needed and num_missing):
            found = f"{table[name].type} with {num_missing} missing values"
            raise ValueError(f"{path} is damaged: column {name!r} is {found}; {_AGAIN}")
    unknown = sorted(set(table["sleep_stage"].to_pylist()) - set(SleepStage))
    if unknown or not np.isfinite(table["onset_s"].to_numpy()).all():
        what = f"the sleep stage {unknown[0]!r}" if unknown else "an onset that is no number"
        raise ValueError(f"{path} is damaged: it holds {what}; {_AGAIN}")


def _is_text_or_absent(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_between(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < most


def _is_mapping_of_texts(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))


def _is_list_of_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def _is_scale(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_between(scale, 1e9) for scale in value.values())


_METADATA: dict[str, Callable[[Any], bool]] = {
    "fs_hz": lambda value: _is_between(value, 1e5),
    "epoch_s": lambda value: _is_between(value, 3600),
    "scale_uv": _is_scale,
    "units": _is_mapping_of_texts,
    "signal_sha256": _is_mapping_of_texts,
    "notes": _is_list_of_texts,
}
