"""Nights that a preparation finished before it was stopped: the same call keeps them.

participants.partial.jsonl   beside the nights: one line a finished night, its key and its row of participants.tsv
"""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tslm import __version__
from tslm.data.cohorts.cohort import CohortConfig, RecordingFiles
from tslm.data.prepared.recordings import Participant
from tslm.data.splits.split import parse_split
from tslm.files import hash_file

KEPT_FILE = "participants.partial.jsonl"


class KeptNights:
    """The finished nights of a cohort's folder, by what each was made of.

    Attributes:
        path: where they are listed; deleting it prepares all nights again.
    """

    def __init__(self, cohort_dir: Path) -> None:
        self.path = cohort_dir / KEPT_FILE
        self._rows = dict(self._read())

    def find(self, key: str) -> Participant | None:
        """The row of a night whose file is still the one that was written."""
        row = self._rows.get(key)
        path = self.path.with_name(f"{row.recording}.parquet") if row else None
        return row if row and path and path.is_file() and hash_file(path) == row.sha256 else None

    def add(self, key: str, participant: Participant) -> None:
        """Note a night that is on disk."""
        row = asdict(participant) | {"split": participant.split.text}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "row": row}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Delete the list; called when participants.tsv is written."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, Participant]]:
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
                row = Participant(**entry["row"] | {"split": parse_split(entry["row"]["split"])})
            except (ValueError, TypeError, KeyError):  # cut off when the call was killed, or of another version
                continue
            yield entry["key"], row


def make_key(*parts: Any) -> str:
    """SHA-256 of everything that a night's file depends on; parts by their repr."""
    return hashlib.sha256(repr((__version__, *parts)).encode()).hexdigest()


def describe_source(config: CohortConfig, files: RecordingFiles, about: Any) -> str:
    """What a night of files is read from: settings, tables, and size and time of its files and their siblings."""
    found = set[Path]()
    for path in filter(None, (files.signal_path, files.hypnogram_path)):
        found |= {path, *path.parent.glob(f"{glob.escape(path.stem)}.*")}  # a header's data, such as .vhdr and .eeg
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(found)]
    return make_key(config, files, about, facts)
