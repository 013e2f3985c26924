"""Download many files, several at a time; PhysioNet's list of checksums."""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tslm.fetch import ChecksumError, FetchError, fetch_file
from tslm.progress_bar import progress_bar

DEFAULT_JOBS = 4
BACKOFF_S = 1.0  # pause after a file's first failed try; it doubles with each one
MOST_FAILURES = 20  # then no further file is tried: the connection or the address is at fault
_SUMS_FILE = "SHA256SUMS.txt"
_SUMS_LINE = re.compile(r"([0-9a-f]{64})\s+\*?(\S.*)")


@dataclass(frozen=True)
class Download:
    """One file to fetch."""

    url: str
    path: Path
    sha256: str | None = None  # None: none is published


def fetch_sha256sums(base_url: str, out_dir: Path) -> dict[str, str]:
    """SHA-256 of each file in the SHA256SUMS.txt of a folder on PhysioNet, by its path below that folder.

    Raises:
        FetchError: There is no connection, or the server refuses.
        ValueError: `base_url` is not an address.
    """
    listing = fetch_file(f"{base_url}/{_SUMS_FILE}", out_dir / _SUMS_FILE, show_progress=False)
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    listing.unlink()
    return {match[2]: match[1] for line in lines if (match := _SUMS_LINE.fullmatch(line.strip()))}


def fetch_many(downloads: Sequence[Download], num_jobs: int, description: str) -> None:
    """Download files, `num_jobs` at the same time; complete files are not downloaded again.

    A corrupt file is downloaded once more from its first byte. After an interrupt (Ctrl-C) the next run continues.

    Args:
        downloads: Files, in the order in which they start.
        num_jobs: Number of threads, each with its own connection.
        description: Text before the progress bar.

    Raises:
        FetchError: Some files failed, the first of which is named. The others are complete, unless 20 have failed.
        NoSpaceError: The disk is full; the other downloads stop too.
        ValueError: An address is invalid, or `num_jobs` is below 1.
    """
    if num_jobs < 1:
        raise ValueError(f"{num_jobs} jobs: expected 1 or more")
    progress = _SharedProgress(len(downloads), description)
    failures: dict[Path, FetchError] = {}
    with progress.bar, ThreadPoolExecutor(num_jobs) as pool:
        path_of = {pool.submit(progress.fetch, download): download.path for download in downloads}
        try:
            for future in as_completed(path_of):
                try:
                    future.result()
                except FetchError as error:
                    failures[path_of[future]] = error
                    if len(failures) >= MOST_FAILURES:
                        break
        finally:  # stop the threads, also after many failures, a full disk or an interrupt
            progress.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    if failures:
        first = next(download.path for download in downloads if download.path in failures)
        others = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise FetchError(
            f"{len(failures)} of {len(downloads)} files failed: {first.name}{others} ({failures[first]}); "
            "what arrived is kept, run the same command again"
        )


class _Stopped(Exception):  # noqa: N818 - not an error: another file ended the run
    pass


class _SharedProgress:
    """Progress bar, byte count and stop flag of all threads."""

    def __init__(self, num_files: int, description: str) -> None:
        self.stopped = threading.Event()
        self.bar = progress_bar(total=num_files, desc=description, unit="file", miniters=0)
        self._lock = threading.Lock()
        self._num_bytes = 0

    def fetch(self, download: Download) -> None:
        if download.sha256 is not None or not download.path.is_file():  # a file has its name only when complete
            try:
                self._fetch(download)
            except ChecksumError:  # the file has been removed
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
