"""Download nights of Sleep-EDF Expanded with the tables of subjects.

Source: Kemp et al. 2000, https://physionet.org/content/sleep-edfx/1.0.0/ (ODC-By 1.0). Most subjects have two
nights; SC13, SC36 and SC52 have one, and SC39, SC68, SC69, SC78 and SC79 were not published. A package of the Python
Package Index also contains the night SC4001, for machines that cannot reach PhysioNet.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from data_prep.fetch.parallel import DEFAULT_JOBS, Download, fetch_many, fetch_sha256sums
from tslm.fetch import ChecksumError, FetchError, fetch_file, fetch_pypi
from tslm.files import hash_file

PHYSIONET_URL = "https://physionet.org/files/sleep-edfx/1.0.0"
FOLDERS: dict[str, str] = {"sc4001": "sleep-cassette", "cassette": "sleep-cassette", "telemetry": "sleep-telemetry"}
SC4001_SHA256: dict[str, str] = {
    "SC4001E0-PSG.edf": "2b40a18adf76af69a42d6db1f30f31d26b369f6d27ca0050ef30147ef892b131",
    "SC4001EC-Hypnogram.edf": "a4cf67694ade1b52a0ddd06d5817fd45d2d3e8bac5302f640f3e9cfbbf12a996",
}
SUBJECT_TABLES = ("SC-subjects.xls", "ST-subjects.xls")
_SDIST = "sleepless-2.0.1.tar.gz"
_SDIST_SHA256 = "cb1494a469823c167c848bc738524b57d8765b116de5f904d9bfd509e30325c5"
_NIGHT_SUFFIXES = ("-PSG.edf", "-Hypnogram.edf")
_CONNECT_TIMEOUT_S = 10
_TRIES_WITH_FALLBACK = 2


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
    fetch_many(downloads, num_jobs, subset)
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
    sha256_of = fetch_sha256sums(base_url, out_dir)
    nights = sorted(path for path in sha256_of if re.fullmatch(rf"{folder}/[^/]+\.edf", path))
    try:
        num_nights = count_nights(path.rpartition("/")[2] for path in nights)
    except ValueError as error:
        raise FetchError(f"{base_url}/SHA256SUMS.txt: {error}; is the base address right?") from error
    if not num_nights:
        raise FetchError(f"{base_url}/SHA256SUMS.txt lists no EDF file in {folder}; is the base address right?")
    return [
        Download(f"{base_url}/{path}", out_dir / path.rpartition("/")[2], sha256_of[path])
        for path in (*filter(sha256_of.__contains__, SUBJECT_TABLES), *nights)
    ]
