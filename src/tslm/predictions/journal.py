"""Rows that are on disk as soon as they are made, and a call that goes on where an earlier one stopped.

<file>.partial        rows, one line of JSON each, in the order in which they were made; whole lines up to `num_bytes`
<file>.partial.json   what the rows depend on (`request`), the number of finished blocks and of their bytes

A block is what is answered at once: a batch, or a night. When all blocks are done, the rows are written to <file> in
their final order, and the two others are deleted.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tslm.files import read_json, write_json
from tslm.predictions.rows import PredictionRow, check_row, read_predictions, render_row, write_predictions

_MAX_NAMED = 4  # settings in a message


class Journal:
    """Rows of any kind for one file, appended block by block.

    Args:
        path: the file that is written at the end.
        request: what the rows depend on, as JSON; by name.
        resume: go on with the blocks of an earlier call.

    Attributes:
        num_blocks: blocks that are on disk.

    Raises:
        ValueError: an earlier call left blocks, and `resume` is not given, or its request was another one, or its rows
            are damaged; or `path` is a folder.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, request: Mapping[str, Any], resume: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._request = path, json.loads(json.dumps(request))
        self.partial = path.with_name(f"{path.name}.partial")
        self._state_path = path.with_name(f"{path.name}.partial.json")
        state = read_json(self._state_path) if self.partial.is_file() else {}
        self.num_blocks, self._num_bytes = int(state.get("num_blocks", 0)), int(state.get("num_bytes", 0))
        if self.num_blocks:
            self._check_resumable(state["request"], resume)
        with self.partial.open("ab") as file:
            file.truncate(self._num_bytes)

    @property
    def has_rows(self) -> bool:
        """Whether any row is on disk."""
        return self._num_bytes > 0

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append the rows of a block."""
        text = "".join(map(self._render, rows)).encode()
        with self.partial.open("ab") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._num_bytes += len(text)
        self.num_blocks += 1
        state = {"num_blocks": self.num_blocks, "num_bytes": self._num_bytes}
        write_json({"request": self._request, **state}, self._state_path)

    def read_json_rows(self) -> list[dict[str, Any]]:
        """Rows as they were appended; ValueError where the file is damaged."""
        try:
            lines = self.partial.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"{self.partial} is damaged: {error}; delete it to start again") from error

    def discard(self) -> None:
        """Delete what is unfinished."""
        self._state_path.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)

    def _render(self, row: Any) -> str:
        return json.dumps(row) + "\n"

    def _check_resumable(self, before: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise ValueError(
                f"{self.partial} holds the rows of a call that was stopped: --resume goes on with them; delete "
                "it to start again"
            )
        names = [name for name in {**before, **self._request} if before.get(name) != self._request.get(name)]
        if names:
            listed = "; ".join(_describe_change(name, before, self._request) for name in names[:_MAX_NAMED])
            raise ValueError(
                f"{self.partial} was begun with something else ({listed}): --resume needs the same call; give that, or "
                "delete the file to start again"
            )
        if self.partial.stat().st_size < self._num_bytes:
            raise ValueError(f"{self.partial} is damaged: it is shorter than it was; delete it to start again")


class PredictionJournal(Journal):
    """Rows of predictions for one file, checked as `read_predictions` checks them; arguments as `Journal`."""

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append the rows of a block; ValueError for a row that `read_predictions` would refuse."""
        super().append(
            [check_row(row, f"row {number} of block {self.num_blocks}") for number, row in enumerate(rows, 1)]
        )

    def _render(self, row: Any) -> str:
        return render_row(row)

    def read_rows(self) -> list[PredictionRow]:
        """Rows in the order in which they were appended; errors as `read_predictions`."""
        return read_predictions(self.partial) if self.has_rows else []

    def finish(self, order: Sequence[int] = ()) -> list[PredictionRow]:
        """Write the file and return its rows; errors as `read_predictions` and `write_predictions`.

        Args:
            order: one number a row; rows are sorted by it. Empty: they stay in the order in which they were appended.
        """
        rows = self.read_rows()
        if order:
            rows = [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]
        whole = self.path.with_name(f"{self.path.name}.whole")
        write_predictions(rows, whole)
        os.replace(whole, self.path)
        self.discard()
        return rows


def _describe_change(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    values = [before.get(name), now.get(name)]
    if any(isinstance(value, dict) for value in values):  # checksums, which nobody compares by eye
        return f"{name} changed"
    return f"{name}: {values[0]} -> {values[1]}"
