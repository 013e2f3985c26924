"""Download nights of Sleep-EDF Expanded with the tables of subjects.

Source: Kemp et al. 2000, https://physionet.org/content/sleep-edfx/1.0.0/ (ODC-By 1.0). Most subjects have two
nights; SC13, SC36 and SC52 have one, and SC39, SC68, SC69, SC78 and SC79 were not published. A package of the Python
Package Index also contains the night SC4001, for machines that cannot reach PhysioNet.
"""

import hashlib
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_prep.fetch.files import ChecksumError, FetchError, fetch_file, fetch_pypi
from tslm.files import hash_file
from tslm.progress_bar import progress_bar

PHYSIONET_URL = "https://physionet.org/files/sleep-edfx/1.0.0"
FOLDERS: dict[str, str] = {"sc4001": "sleep-cassette", "cassette": "sleep-cassette", "telemetry": "sleep-telemetry"}
SC4001_SHA256: dict[str, str] = {
    "SC4001E0-PSG.edf": "2b40a18adf76af69a42d6db1f30f31d26b369f6d27ca0050ef30147ef892b131",
    "SC4001EC-Hypnogram.edf": "a4cf67694ade1b52a0ddd06d5817fd45d2d3e8bac5302f640f3e9cfbbf12a996",
}
SUBJECT_TABLES = ("SC-subjects.xls", "ST-subjects.xls")
DEFAULT_JOBS = 4
BACKOFF_S = 1.0  # pause after a file's first failed try; it doubles with each one
_SDIST = "sleepless-2.0.1.tar.gz"
_SDIST_SHA256 = "cb1494a469823c167c848bc738524b57d8765b116de5f904d9bfd509e30325c5"
_NIGHT_SUFFIXES = ("-PSG.edf", "-Hypnogram.edf")
_CONNECT_TIMEOUT_S = 10
_TRIES_WITH_FALLBACK = 2


@dataclass(frozen=True)
class Download:
    """One file to fetch."""

    url: str
    path: Path
    sha256: str


def download_sleep_edf(
    subset: str,
    out_dir: Path,
    base_url: str = PHYSIONET_URL,
    *,
    num_jobs: int = DEFAULT_JOBS,
    index_url: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> list[Path]:
    """Download a subset of Sleep-EDF Expanded into one folder; complete files are not downloaded again.

    Args:
        subset: `sc4001` (one night, 48 MB), `cassette` (153 nights, 7.4 GB) or `telemetry` (44 nights, 1.1 GB).
        out_dir: Folder for the EDF files.
        base_url: PhysioNet's folder of the data set, or a mirror of it.
        num_jobs: Files downloaded at the same time.
        index_url: Package index for the fallback of `sc4001`; None: the configured one.
        announce: Called with one line of text when the fallback is used.

    Returns:
        The files, sorted by name.

    Raises:
        ValueError: The subset is unknown, or `num_jobs` is below 1.
        ChecksumError: A file of `sc4001` was corrupt; it has been removed.
        FetchError: Some downloads failed; the next run continues them.
    """
    if subset not in FOLDERS:
        raise ValueError(f"unknown subset {subset!r}; one of: {', '.join(FOLDERS)}")
    folder_url = f"{base_url.rstrip('/')}/{FOLDERS[subset]}"
    if subset == "sc4001":
        return _download_sc4001(out_dir, folder_url, index_url, announce)
    downloads = _list_downloads(base_url, out_dir, FOLDERS[subset])
    failures = fetch_many(downloads, num_jobs, subset)
    if failures:
        name, error = next(iter(failures.items()))
        others = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise FetchError(
            f"{len(failures)} of {len(downloads)} files failed: {name}{others} ({error}); "
            "the others are complete, run the same command again"
        )
    return sorted(download.path for download in downloads)


def count_nights(names: Iterable[str]) -> int:
    """Count the nights among file names; a night and its hypnogram share the first six characters.

    Raises:
        ValueError: A night does not have exactly one hypnogram, or a hypnogram no night.
    """
    nights: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(_NIGHT_SUFFIXES):
            nights.setdefault(name[:6], []).append(name)
    for members in nights.values():
        if sorted(name.rsplit("-")[-1] for name in members) != ["Hypnogram.edf", "PSG.edf"]:
            raise ValueError(f"{', '.join(members)} is not a pair of a night and its hypnogram")
    return len(nights)


def _download_sc4001(
    out_dir: Path, folder_url: str, index_url: str | None, announce: Callable[[str], None] | None
) -> list[Path]:
    paths = [out_dir / name for name in sorted(SC4001_SHA256)]
    try:
        for path in paths:
            fetch_file(
                f"{folder_url}/{path.name}",
                path,
                SC4001_SHA256[path.name],
                timeout_s=_CONNECT_TIMEOUT_S,
                num_tries=_TRIES_WITH_FALLBACK,
            )
    except ChecksumError:
        raise
    except FetchError as error:
        if announce is not None:
            announce(f"{error}; downloading the same night in the package sleepless 2.0.1")
        _extract_sc4001(out_dir, index_url)
    return paths


def _extract_sc4001(out_dir: Path, index_url: str | None) -> None:
    sdist = fetch_pypi("sleepless", "2.0.1", _SDIST, _SDIST_SHA256, out_dir, index_url=index_url)
    with tarfile.open(sdist) as archive:
        for name, sha256 in SC4001_SHA256.items():
            path = out_dir / name
            if path.is_file() and hash_file(path) == sha256:
                continue
            member = archive.extractfile(f"sleepless-2.0.1/tests/data/{name}")
            assert member is not None, f"{_SDIST} has a pinned checksum and holds {name}"
            partial = path.with_name(f"{name}.partial")
            partial.write_bytes(clean_copy(member.read(), sha256, name))
            os.replace(partial, path)
    sdist.unlink()


def clean_copy(content: bytes, sha256: str, name: str) -> bytes:
    """`content`, without an appended newline, if its SHA-256 is the expected one; ChecksumError otherwise."""
    for candidate in (content, content.removesuffix(b"\n")):
        if hashlib.sha256(candidate).hexdigest() == sha256:
            return candidate
    raise ChecksumError(f"checksum error: {name} has SHA-256 {hashlib.sha256(content).hexdigest()}, not {sha256}")


def _list_downloads(base_url: str, out_dir: Path, folder: str) -> list[Download]:
    """The EDF files of one folder and the tables of subjects, as PhysioNet's SHA256SUMS.txt lists them."""
    base_url = base_url.rstrip("/")
    listing = fetch_file(f"{base_url}/SHA256SUMS.txt", out_dir / "SHA256SUMS.txt", show_progress=False)
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    listing.unlink()
    matches = [re.fullmatch(r"([0-9a-f]{64})\s+\*?(?:([^/]+)/)?([^/]+)", line.strip()) for line in lines]
    listed = [(match[1], match[2] or "", match[3]) for match in matches if match]
    tables = [row for row in listed if row[1] == "" and row[2] in SUBJECT_TABLES]
    nights = sorted((row for row in listed if row[1] == folder and row[2].endswith(".edf")), key=lambda row: row[2])
    try:
        num_nights = count_nights(name for _, _, name in nights)
    except ValueError as error:
        raise FetchError(f"{base_url}/SHA256SUMS.txt: {error}; is the base address right?") from error
    if not num_nights:
        raise FetchError(f"{base_url}/SHA256SUMS.txt lists no EDF file in {folder}; is the base address right?")
    return [
        Download("/".join(filter(None, (base_url, subfolder, name))), out_dir / name, sha256)
        for sha256, subfolder, name in (*tables, *nights)
    ]


def fetch_many(downloads: Sequence[Download], num_jobs: int, description: str) -> dict[str, FetchError]:
    """Download files, `num_jobs` at the same time; complete files are not downloaded again.

    A corrupt file is downloaded once more from its first byte. After an interrupt (Ctrl-C) the next run continues.

    Args:
        downloads: Files, in the order in which they start.
        num_jobs: Number of threads, each with its own connection.
        description: Text before the progress bar.

    Returns:
        The error of each file that failed, by name, in the order of `downloads`.

    Raises:
        NoSpaceError: The disk is full; the other downloads stop too.
        ValueError: An address is invalid, or `num_jobs` is below 1.
    """
    if num_jobs < 1:
        raise ValueError(f"{num_jobs} jobs: expected 1 or more")
    progress = _SharedProgress(len(downloads), description)
    failures: dict[str, FetchError] = {}
    with progress.bar, ThreadPoolExecutor(num_jobs) as pool:
        name_of = {pool.submit(progress.fetch, download): download.path.name for download in downloads}
        try:
            for future in as_completed(name_of):
                try:
                    future.result()
                except FetchError as error:
                    failures[name_of[future]] = error
        finally:  # stop the threads, also after a full disk or an interrupt
            progress.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return {
        download.path.name: failures[download.path.name] for download in downloads if download.path.name in failures
    }


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
