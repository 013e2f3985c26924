import errno
import hashlib
import subprocess
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tslm import fetch
from tslm.fetch import ChecksumError, FetchError, NoSpaceError, fetch_file, fetch_pypi, find_on_index

CONTENT = bytes(range(256)) * 2000  # 512 kB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(fetch.time, "sleep", taken.append)
    return taken


def fetch_night(server: Any, folder: Path, **options: Any) -> Path:
    return fetch_file(f"{server.url}/night.edf", folder / "night.edf", SHA256, show_progress=False, **options)


def test_a_file_arrives_under_its_name_with_nothing_beside_it(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = CONTENT
    path = fetch_night(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_not_asked_for_again(server: Any, tmp_path: Path) -> None:
    (tmp_path / "night.edf").write_bytes(CONTENT)
    fetch_night(server, tmp_path)
    assert server.requests == []


def test_a_damaged_file_under_the_final_name_is_replaced(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = CONTENT
    (tmp_path / "night.edf").write_bytes(CONTENT[:-1])
    assert fetch_night(server, tmp_path).read_bytes() == CONTENT


def test_a_dropped_connection_continues_where_it_stopped(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = CONTENT
    server.num_bytes_before_drop = [100_000, 150_000]
    assert fetch_night(server, tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["", "bytes=100000-", "bytes=250000-"]


def test_progress_resets_the_count_of_failed_tries(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = CONTENT
    server.num_bytes_before_drop = [50_000] * 9
    assert fetch_night(server, tmp_path, num_tries=2).read_bytes() == CONTENT


def test_an_interrupted_run_is_continued_by_the_next(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = CONTENT
    server.num_bytes_before_drop = [200_000, 0]
    with pytest.raises(FetchError, match="200000 bytes are kept, run again"):
        fetch_night(server, tmp_path, num_tries=2)
    assert [path.name for path in tmp_path.iterdir()] == ["night.edf.partial"]
    assert fetch_night(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=200000-"


def test_a_server_that_cannot_resume_sends_the_whole_file_again(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"], server.can_resume = CONTENT, False
    server.num_bytes_before_drop = [300_000]
    assert fetch_night(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"more than there is"])
def test_a_partial_file_of_full_length_or_more_ends_well(server: Any, tmp_path: Path, kept: bytes) -> None:
    server.files["/night.edf"] = CONTENT
    (tmp_path / "night.edf.partial").write_bytes(kept)
    assert fetch_night(server, tmp_path).read_bytes() == CONTENT


def test_a_corrupt_file_is_removed_with_a_checksum_error(server: Any, tmp_path: Path) -> None:
    server.files["/night.edf"] = b"x" + CONTENT[1:]
    with pytest.raises(ChecksumError, match=r"checksum error: night\.edf .* was removed") as caught:
        fetch_night(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again_with_growing_pauses(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.files["/night.edf"] = CONTENT
    server.status_codes = [503, 429, 500]
    assert fetch_night(server, tmp_path, backoff_s=0.5).read_bytes() == CONTENT
    assert pauses == [0.5, 1, 2]


def test_a_missing_file_is_refused_at_once(server: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="404"):
        fetch_night(server, tmp_path)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_out_of_reach_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"could not be fetched") as caught:
        fetch_file("http://127.0.0.1:9/x", tmp_path / "x", num_tries=2)
    assert "\n" not in str(caught.value)


def test_an_address_that_is_none_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an http or https address"):
        fetch_file("physionet.org/x", tmp_path / "x")


def test_too_small_a_disk_is_noticed_before_the_download(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/night.edf"] = CONTENT
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage(0, 0, 100_000))
    with pytest.raises(NoSpaceError, match=r"no space left for night\.edf\.partial: 1 MB are needed, 0 MB are free"):
        fetch_night(server, tmp_path)


def test_a_disk_that_fills_up_on_the_way_is_named(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/night.edf"] = CONTENT

    class FullDisk:
        def __enter__(self) -> "FullDisk":
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def write(self, block: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.Path, "open", lambda path, mode: FullDisk())
    with pytest.raises(NoSpaceError, match="no space left on the disk"):
        fetch_night(server, tmp_path)
    assert len(server.requests) == 1


def add_release(server: Any) -> None:
    server.files["/files/tool-1.0.tar.gz"] = CONTENT
    server.files["/simple/tool/"] = (
        b'<html><a href="../../files/tool-0.9.tar.gz#sha256=00">tool-0.9.tar.gz</a>'
        b'<a href="../../files/tool-1.0.tar.gz#sha256=11" data-yanked="">tool-1.0.tar.gz</a></html>'
    )


def test_a_release_file_is_found_on_the_index(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_release(server)
    assert find_on_index(f"{server.url}/simple", "tool", "tool-1.0.tar.gz") == f"{server.url}/files/tool-1.0.tar.gz"
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    path = fetch_pypi("tool", "1.0", "tool-1.0.tar.gz", SHA256, tmp_path)
    assert path == tmp_path / "tool-1.0.tar.gz"
    assert path.read_bytes() == CONTENT


def test_a_corrupt_release_file_is_never_asked_of_pip(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_release(server)
    server.files["/files/tool-1.0.tar.gz"] = CONTENT[:-1]
    monkeypatch.setattr(fetch.subprocess, "run", lambda *args, **options: pytest.fail("pip was asked"))
    with pytest.raises(ChecksumError):
        fetch_pypi("tool", "1.0", "tool-1.0.tar.gz", SHA256, tmp_path, index_url=f"{server.url}/simple")


@pytest.mark.parametrize("arrives", [True, False])
def test_pip_is_asked_where_the_index_cannot_be_read(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    def run_pip(command: list[str], **options: Any) -> subprocess.CompletedProcess:
        assert "--require-hashes" in command
        requirement = Path(command[command.index("--requirement") + 1]).read_text()
        assert requirement == f"tool==1.0 --hash=sha256:{SHA256}\n"
        if arrives:
            (Path(command[command.index("--dest") + 1]) / "tool-1.0.tar.gz").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0 if arrives else 1)

    monkeypatch.setattr(fetch.subprocess, "run", run_pip)
    call = ("tool", "1.0", "tool-1.0.tar.gz", SHA256, tmp_path)
    if arrives:
        assert fetch_pypi(*call, index_url=server.url).read_bytes() == CONTENT
    else:
        with pytest.raises(FetchError, match=r"put tool-1\.0\.tar\.gz into .* yourself"):
            fetch_pypi(*call, index_url=server.url)
    assert [path.name for path in tmp_path.iterdir()] == ["tool-1.0.tar.gz"] * arrives
