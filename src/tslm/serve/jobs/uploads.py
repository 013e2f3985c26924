"""Uploads: the parts of a form, written to disk while they come, under names that are safe.

Nothing is unpacked: an archive is refused by its name, and one that is called as a recording is no recording to its
reader. A reader may still be made to need much memory, which the worker's limit ends.
"""

import os
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from tslm.staging.sources import NIGHT_FILES

_PACKED = (".gz", ".mff")  # .mff is a folder
RECORDINGS = tuple(suffix for suffix in NIGHT_FILES if not suffix.endswith(_PACKED))
COMPANIONS = (".eeg", ".vmrk", ".fdt")  # a recording of several files: the samples and markers beside its header
_MAX_FILES = 3
_MAX_NAME_LENGTH = 100
_MAX_HEADER_BYTES = 4096
_UNSAFE = re.compile(r"[^\w.+() -]")
_FIELD = "file"


class TooLongError(Exception):
    """More bytes than may be uploaded."""


class UnknownFormatError(Exception):
    """A file that no reader of recordings knows by its name."""


def clean_name(name: str) -> str:
    """The last part of a file's name with letters, digits, spaces and `.+()_-` alone, no longer than 100 characters.

    Raises:
        UnknownFormatError: it does not end as a recording does.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    path = Path(_UNSAFE.sub("_", last).strip(" ."))
    stem, suffix = path.stem.strip(" ."), path.suffix
    if suffix.lower() not in (*RECORDINGS, *COMPANIONS) or not stem:
        raise UnknownFormatError(
            f"{last[:80]!r} is no name of a recording; wanted one that ends in {', '.join(RECORDINGS)}"
        )
    while len(f"{stem}{suffix}".encode()) > _MAX_NAME_LENGTH:
        stem = stem[:-1]
    return f"{stem}{suffix}"


async def receive_form(stream: AsyncIterator[bytes], content_type: str, folder: Path, max_bytes: int) -> str:
    """Write the files of a form into a folder.

    Args:
        stream: the body as it comes.
        content_type: of the request: multipart/form-data with its boundary.
        folder: of this upload alone; it is made.
        max_bytes: of all files together.

    Returns:
        The name of the recording's main file.

    Raises:
        TooLongError: more bytes than `max_bytes`.
        UnknownFormatError: as `clean_name`.
        ValueError: no form, no file, an empty one, two recordings, two files of one name, or it ended too early.
        OSError: it cannot be written.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    folder.mkdir(parents=True)
    with ExitStack() as files:
        writer = _FormWriter(folder, files, max_bytes)
        try:
            with PushMultipartParser(
                boundary, max_segment_count=_MAX_FILES, max_header_size=_MAX_HEADER_BYTES
            ) as parser:
                num_bytes = 0
                async for chunk in stream:
                    num_bytes += len(chunk)
                    if num_bytes > max_bytes + _MAX_FILES * _MAX_HEADER_BYTES:
                        raise TooLongError
                    if chunk:
                        events = list(parser.parse(chunk))
                        await run_in_threadpool(writer.write, events)
        except (MultipartError, UnicodeError) as error:
            why = f"this is no complete multipart/form-data ({error}); send it as `curl -F file=@NIGHT` does"
            raise ValueError(why) from error
        await run_in_threadpool(writer.close)
    return writer.find_main()


class _FormWriter:
    """Writes what the parser gives: of each file its head, its bytes, and None at its end."""

    def __init__(self, folder: Path, files: ExitStack, max_bytes: int) -> None:
        self._folder, self._files, self._max_bytes = folder, files, max_bytes
        self._num_bytes: dict[str, int] = {}
        self._file: BinaryIO | None = None
        self._name = ""

    def write(self, events: list[MultipartSegment | bytes | bytearray | None]) -> None:
        for event in events:
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event is None:
                self.close()
            else:
                assert self._file is not None
                self._num_bytes[self._name] += self._file.write(event)
        if sum(self._num_bytes.values()) > self._max_bytes:
            raise TooLongError

    def _begin(self, segment: MultipartSegment) -> None:
        if segment.name != _FIELD or not segment.filename:
            raise ValueError(f"the form has a part {segment.name!r}; wanted files called {_FIELD!r}")
        self._name = clean_name(segment.filename)
        if self._name in self._num_bytes:
            raise ValueError(f"two files are called {self._name}")
        self._num_bytes[self._name] = 0
        self._file = self._files.enter_context((self._folder / self._name).open("xb"))

    def close(self) -> None:
        """Close the file that was written last; what it holds is on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def find_main(self) -> str:
        """The recording among the files, of which none may be empty."""
        for name, num_bytes in self._num_bytes.items():
            if not num_bytes:
                raise ValueError(f"{name} is empty; send a recording")
        mains = [name for name in self._num_bytes if Path(name).suffix.lower() in RECORDINGS]
        if len(mains) != 1:
            raise ValueError(
                f"the form holds {len(mains)} recordings; send one a request, with the files that belong to it"
            )
        return mains[0]
