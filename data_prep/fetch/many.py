"""Fetch many files at once, with one progress bar; a file that fails does not stop the others."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_prep.fetch.files import ChecksumError, FetchError, fetch_file

BACKOFF_S = 1.0  # pause after a file's first failed try; it doubles with each one


@dataclass(frozen=True)
class Download:
    """One file to fetch."""

    url: str
    path: Path
    sha256: str


def fetch_many(downloads: Sequence[Download], num_jobs: int, description: str) -> dict[str, FetchError]:
    """Fetch files, `num_jobs` at a time; those that are there and whole stay.

    A file that arrives corrupt is fetched once more, from its first byte. Interrupted (Ctrl-C), what
    arrived of every file is kept for the next run.

    Args:
        downloads: what to fetch, in the order of starting.
        num_jobs: threads, each with a connection of its own.
        description: stands before the progress bar.

    Returns:
        The error of each file that failed, by name, in the order of `downloads`.

    Raises:
        NoSpaceError: the disk is full; the other files are stopped too.
        ValueError: an address is none, or `num_jobs` is not 1 or more.
    """
    if num_jobs < 1:
        raise ValueError(f"{num_jobs} jobs: wanted 1 or more")
    crew = _Crew(len(downloads), description)
    failures: dict[str, FetchError] = {}
    with crew.bar, ThreadPoolExecutor(num_jobs) as pool:
        name_of = {pool.submit(crew.fetch, download): download.path.name for download in downloads}
        try:
            for future in as_completed(name_of):
                try:
                    future.result()
                except FetchError as error:
                    failures[name_of[future]] = error
        finally:  # of a full disk or an interruption too: the pool waits for its threads, so tell them to stop
            crew.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return {
        download.path.name: failures[download.path.name] for download in downloads if download.path.name in failures
    }


class _Stopped(Exception):  # noqa: N818 - no error: another file ended the run
    pass


class _Crew:
    """What the threads share: the bar, the count of bytes and the word to stop."""

    def __init__(self, num_files: int, description: str) -> None:
        self.stopped = threading.Event()
        self.bar = tqdm(total=num_files, desc=description, unit="file", miniters=0)
        self._lock = threading.Lock()
        self._num_bytes = 0

    def fetch(self, download: Download) -> None:
        try:
            self._fetch(download)
        except ChecksumError:  # removed by now
            self._fetch(download)
        self._count(num_files=1)

    def _fetch(self, download: Download) -> None:
        fetch_file(
            download.url,
            download.path,
            download.sha256,
            backoff_s=BACKOFF_S,
            show_progress=False,
            on_block=self._count,
            pause=self._pause,
        )

    def _count(self, num_bytes: int = 0, num_files: int = 0) -> None:
        if self.stopped.is_set():
            raise _Stopped
        with self._lock:
            self._num_bytes += num_bytes
            elapsed_s = max(self.bar.format_dict["elapsed"], 1e-3)
            rate = tqdm.format_sizeof(self._num_bytes / elapsed_s, "B/s")
            self.bar.set_postfix_str(f"{tqdm.format_sizeof(self._num_bytes, 'B')}, {rate}", refresh=False)
            self.bar.update(num_files)

    def _pause(self, pause_s: float) -> None:
        if self.stopped.wait(pause_s):
            raise _Stopped
