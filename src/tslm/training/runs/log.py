"""The log of a run: JSON lines, one a logged step, pass or event, in the order in which they happened."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tslm.files import write_beside


class RunLog:
    """A file of JSON lines, each whole on disk before the next is begun.

    A process may die at any moment: `truncate` brings the file back to where a checkpoint stands.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._num_records: int | None = None  # not counted yet

    def clear(self) -> None:
        """Begin a new log."""
        with write_beside(self.path) as partial:
            partial.write_text("", encoding="utf-8")
        self._num_records = 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; numbers that are not finite become null, which JSON has for them."""
        line = json.dumps(_finite(record), allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        if self._num_records is not None:
            self._num_records += 1

    def count(self) -> int:
        """How many records there are: what `truncate` wants to bring the log back to this moment."""
        if self._num_records is None:
            self._num_records = len(read_log(self.path))
        return self._num_records

    def truncate(self, num_records: int) -> int:
        """Keep the first records, drop what was logged after them, and a last line that was cut off.

        Returns:
            How many lines were dropped.

        Raises:
            ValueError: a line before the last is damaged.
        """
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.is_file() else []
        self._num_records = num_kept = min(num_records, len(read_log(self.path)))
        with write_beside(self.path) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines[:num_kept]), encoding="utf-8")
        return len(lines) - num_kept


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a log, without a last line that was cut off; none where there is no log.

    Raises:
        ValueError: a line before the last is damaged.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = text.splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        record = _parse_line(line)
        if record is None and number < len(lines):
            raise ValueError(f"{path} is damaged in line {number}: {line[:60]!r} is no JSON object")
        if record is not None and (number < len(lines) or text.endswith("\n")):
            records.append(record)
    return records


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
