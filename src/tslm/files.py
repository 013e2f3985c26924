"""Atomic writes, checksums and JSON files, and the sentence that every file of results carries."""

import csv
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

DISCLAIMER = "Not a medical device; not for clinical decisions."


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` if the block succeeds.

    If the block fails, the temporary file is removed and `path` stays as it was. A missing folder is created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a text file atomically."""
    with write_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write an indented JSON file atomically."""
    write_text(json.dumps(value, indent=1) + "\n", path)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def swap_in(new: Path, path: Path) -> None:
    """Replace a folder, if there is one, by a new folder, whose files can be read by whom the umask lets.

    A process killed in between leaves the old folder as `<name>.old`; `restore_swapped` restores it.
    """
    share_files(new)
    old = path.with_name(f"{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def share_files(folder: Path) -> None:
    """Give the files of a folder the mode that the folder has by the umask; safetensors writes for the owner alone."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def restore_swapped(path: Path) -> None:
    """Restore the old folder after an interrupted `swap_in`."""
    old = path.with_name(f"{path.name}.old")
    if old.exists() and not path.exists():
        os.replace(old, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty if there is no file. ValueError if it is damaged."""
    if not path.is_file():
        return {}
    found = parse_json(path.read_bytes(), str(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return found


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON that others may have written; numbers that are not finite (NaN, Infinity) become None.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested too deeply; the message begins with `where`.
    """
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged: {error}") from error


def read_table(path: Path, delimiter: str) -> tuple[list[str], list[dict[str, str]]]:
    """Names and rows of a table with a header, in UTF-8 with or without a byte-order mark; lacking cells are empty.

    Raises:
        ValueError: it is no text, or a quote is open so that a cell takes the rest of the file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            rows = list(reader)
            names = list(reader.fieldnames or ())
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table: {error}") from error
    return names, [{name: row.get(name) or "" for name in names} for row in rows]


def to_plain(value: Any) -> Any:
    """Convert a value for JSON: numpy values become plain Python, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
