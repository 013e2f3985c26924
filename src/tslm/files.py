"""Files on disk: written beside and renamed, so nobody finds half of one, and known by their checksum."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """A path to write to in place of `path`.

    Renamed to `path` when the block ends well; removed when it does not, and what stood at `path`
    stays as it was. The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def swap_in(new: Path, path: Path) -> None:
    """Put a folder where another may stand; that one is gone when the new one is in place.

    A process that ends in between leaves the old one as `<name>.old`: `restore_swapped` brings it back.
    """
    old = path.with_name(f"{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def restore_swapped(path: Path) -> None:
    """Bring back the folder that an interrupted `swap_in` left aside."""
    old = path.with_name(f"{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; empty where there is no file. ValueError when it is damaged."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def to_plain(value: Any) -> Any:
    """What JSON can hold of a value: numpy becomes plain Python, a number that is not finite None."""
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
