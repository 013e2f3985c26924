import hashlib
import io
import tarfile
import threading
from collections import namedtuple
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pytest

from data_prep.download import main
from data_prep.fetch import sleep_edf as source
from data_prep.fetch.sleep_edf import clean_copy, count_nights, download_sleep_edf
from tslm.fetch import ChecksumError, NoSpaceError

PSG, HYPNOGRAM = b"psg" * 5000, b"hypnogram" * 100


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _small_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned night stands for two small files; no test pauses or reaches the network."""
    names = sorted(source.SC4001_SHA256)
    monkeypatch.setattr(source, "SC4001_SHA256", {names[0]: sha256(PSG), names[1]: sha256(HYPNOGRAM)})
    monkeypatch.setattr("tslm.fetch.time.sleep", lambda pause_s: None)
    monkeypatch.setattr("data_prep.fetch.parallel.BACKOFF_S", 0)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def build_sdist(psg: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("SC4001E0-PSG.edf", psg), ("SC4001EC-Hypnogram.edf", HYPNOGRAM)):
            member = tarfile.TarInfo(f"sleepless-2.0.1/tests/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def add_physionet(server: Any) -> str:
    files = {
        "sleep-cassette/SC4001E0-PSG.edf": PSG,
        "sleep-cassette/SC4001EC-Hypnogram.edf": HYPNOGRAM,
        "sleep-cassette/SC4131E0-PSG.edf": b"one night of this person" * 9000,
        "sleep-cassette/SC4131EC-Hypnogram.edf": b"and its hypnogram" * 90,
        "sleep-telemetry/ST7011J0-PSG.edf": b"telemetry",
        "sleep-telemetry/ST7011JP-Hypnogram.edf": b"its hypnogram",
        "SC-subjects.xls": b"table" * 200,
        "ST-subjects.xls": b"another table" * 200,
        "RECORDS": b"not asked for",
    }
    server.files = {f"/sleep-edfx/{name}": content for name, content in files.items()}
    lines = [f"{sha256(content)} {name}" for name, content in files.items()]
    server.files["/sleep-edfx/SHA256SUMS.txt"] = "\n".join(lines).encode()
    return f"{server.url}/sleep-edfx"


def add_sdist(server: Any, monkeypatch: pytest.MonkeyPatch, psg: bytes) -> str:
    sdist = build_sdist(psg)
    monkeypatch.setattr(source, "_SDIST_SHA256", sha256(sdist))
    server.files["/simple/sleepless/"] = b'<a href="/sleepless-2.0.1.tar.gz">'
    server.files["/sleepless-2.0.1.tar.gz"] = sdist
    return f"{server.url}/simple"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_night_comes_from_physionet(server: Any, tmp_path: Path) -> None:
    announced: list[str] = []
    paths = download_sleep_edf("sc4001", tmp_path, add_physionet(server), announce=announced.append)
    assert [path.read_bytes() for path in paths] == [PSG, HYPNOGRAM]
    assert announced == []
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]


def test_without_physionet_the_night_comes_from_the_package_and_says_so(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    index_url = add_sdist(server, monkeypatch, PSG + b"\n")
    paths = download_sleep_edf("sc4001", tmp_path, "http://127.0.0.1:9", index_url=index_url, announce=announced.append)
    assert [path.read_bytes() for path in paths] == [PSG, HYPNOGRAM]
    assert len(announced) == 1
    assert "sleepless 2.0.1" in announced[0]
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]


def test_another_night_in_the_package_is_a_checksum_error(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_url = add_sdist(server, monkeypatch, b"x" + PSG)
    with pytest.raises(ChecksumError, match=r"SC4001E0-PSG\.edf"):
        download_sleep_edf("sc4001", tmp_path, "http://127.0.0.1:9", index_url=index_url)
    assert "SC4001E0-PSG.edf" not in names_in(tmp_path)


def test_only_one_stray_newline_is_forgiven() -> None:
    assert clean_copy(PSG + b"\n", sha256(PSG), "x") == PSG
    assert clean_copy(PSG, sha256(PSG), "x") == PSG
    with pytest.raises(ChecksumError):
        clean_copy(PSG + b"\n\n", sha256(PSG), "x")


CASSETTE = [
    "SC-subjects.xls",
    "SC4001E0-PSG.edf",
    "SC4001EC-Hypnogram.edf",
    "SC4131E0-PSG.edf",
    "SC4131EC-Hypnogram.edf",
    "ST-subjects.xls",
]


def run_command(subset: str, out_dir: Path, base_url: str, *more: str) -> int:
    return main(["sleep-edf", "--subset", subset, "--out", str(out_dir), "--base_url", base_url, *more])


def check_contents(server: Any, out_dir: Path) -> None:
    contents = {path.rsplit("/", 1)[-1]: content for path, content in server.files.items()}
    assert all(path.read_bytes() == contents[path.name] for path in out_dir.iterdir() if path.suffix != ".partial")


def test_a_subset_comes_with_its_tables_of_subjects(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base_url = add_physionet(server)
    assert run_command("telemetry", tmp_path / "st", base_url) == 0
    assert names_in(tmp_path / "st") == [
        "SC-subjects.xls",
        "ST-subjects.xls",
        "ST7011J0-PSG.edf",
        "ST7011JP-Hypnogram.edf",
    ]
    assert "1 night, 4 files in" in capsys.readouterr().out
    assert run_command("cassette", tmp_path / "sc", base_url) == 0
    assert names_in(tmp_path / "sc") == CASSETTE
    check_contents(server, tmp_path / "sc")
    printed = capsys.readouterr()
    assert "2 nights, 6 files in" in printed.out
    assert "6/6" in printed.err


def test_a_failure_stops_no_other_file_and_the_next_run_fetches_the_rest(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base_url = add_physionet(server)
    server.faults = {"/sleep-edfx/sleep-cassette/SC4001E0-PSG.edf": ["404"], "/sleep-edfx/SC-subjects.xls": ["403"]}
    assert run_command("cassette", tmp_path, base_url) == 1
    assert names_in(tmp_path) == [CASSETTE[idx] for idx in (2, 3, 4, 5)]
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert last_line.startswith("error: 2 of 6 files failed: SC-subjects.xls and 1 more")
    assert "run the same command again" in last_line
    server.requests.clear()
    assert run_command("cassette", tmp_path, base_url) == 0
    assert names_in(tmp_path) == CASSETTE
    asked = sorted(path.rsplit("/")[-1] for path, _ in server.requests)
    assert asked == ["SC-subjects.xls", "SC4001E0-PSG.edf", "SHA256SUMS.txt"]


@pytest.mark.parametrize(
    "faults",
    [
        ["drop"],
        ["drop"] * 9,
        ["503", "drop", "429"],
        ["short"],
        ["long"],
        ["corrupt"],
        ["drop", "corrupt"],
        ["drop", "416"],
    ],
)
@pytest.mark.parametrize("jobs", [1, 4])
def test_an_unruly_server_is_survived_alone_and_under_load(
    server: Any, tmp_path: Path, faults: list[str], jobs: int
) -> None:
    base_url = add_physionet(server)
    server.faults = {path: list(faults) for path in server.files if not path.endswith("SUMS.txt")}
    assert run_command("cassette", tmp_path, base_url, "--jobs", str(jobs)) == 0
    assert names_in(tmp_path) == CASSETTE
    check_contents(server, tmp_path)


def test_jobs_are_connections_at_a_time(server: Any, tmp_path: Path) -> None:
    base_url = add_physionet(server)
    server.meeting = threading.Barrier(4)  # none of the four EDF files is answered before all are asked for
    assert run_command("cassette", tmp_path, base_url, "--jobs", "4") == 0
    assert names_in(tmp_path) == CASSETTE


def test_corrupt_twice_is_a_failure_that_leaves_nothing_behind(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base_url = add_physionet(server)
    server.files["/sleep-edfx/sleep-telemetry/ST7011J0-PSG.edf"] = b"telemetrX"
    assert run_command("telemetry", tmp_path, base_url) == 1
    assert names_in(tmp_path) == ["SC-subjects.xls", "ST-subjects.xls", "ST7011JP-Hypnogram.edf"]
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert last_line.startswith("error: 1 of 4 files failed: ST7011J0-PSG.edf (checksum error: ST7011J0-PSG.edf")


def test_an_interruption_keeps_what_arrived(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base_url = add_physionet(server)
    server.faults = {path: ["drop"] * 3 for path in server.files if path.endswith(".edf")}

    def interrupt(futures: Any) -> Any:
        yield next(iter(as_completed(futures)))
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.fetch.parallel.as_completed", interrupt)
    monkeypatch.setattr("data_prep.fetch.parallel.BACKOFF_S", 60)  # files that dropped are waiting
    assert run_command("cassette", tmp_path, base_url) == 1
    monkeypatch.undo()
    kept = {path.name: path.stat().st_size for path in tmp_path.glob("*.partial")}
    assert kept
    check_contents(server, tmp_path)
    server.faults.clear()
    server.requests.clear()
    assert run_command("cassette", tmp_path, base_url) == 0
    assert names_in(tmp_path) == CASSETTE
    resumed = {path.rsplit("/")[-1]: wanted for path, wanted in server.requests if wanted}
    assert resumed == {name.removesuffix(".partial"): f"bytes={size}-" for name, size in kept.items() if size}


def test_a_full_disk_ends_the_run(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base_url = add_physionet(server)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("tslm.fetch.shutil.disk_usage", lambda path: usage(0, 0, 2000))
    with pytest.raises(NoSpaceError):
        download_sleep_edf("cassette", tmp_path, base_url, num_jobs=2)


@pytest.mark.parametrize(
    ("names", "nights"),
    [
        (["SC4131E0-PSG.edf", "SC4131EC-Hypnogram.edf", "SC-subjects.xls"], 1),
        (["SC4362F0-PSG.edf", "SC4362FC-Hypnogram.edf", "SC4351F0-PSG.edf", "SC4351FV-Hypnogram.edf"], 2),
        ([], 0),
    ],
)
def test_nights_are_pairs_by_name(names: list[str], nights: int) -> None:
    assert count_nights(names) == nights


@pytest.mark.parametrize(
    "names", [["SC4001E0-PSG.edf"], ["SC4001EC-Hypnogram.edf"], ["SC4001E0-PSG.edf", "SC4002EC-Hypnogram.edf"]]
)
def test_a_night_without_its_hypnogram_is_named(names: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{names[0]} is not a pair"):
        count_nights(names)


def test_a_wrong_base_address_is_one_line(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["/SHA256SUMS.txt"] = b"<html>hello</html>"
    assert run_command("cassette", tmp_path, server.url) == 1
    assert "is the base address right?" in capsys.readouterr().err
    assert run_command("cassette", tmp_path, "nowhere") == 2
    assert run_command("cassette", tmp_path, add_physionet(server), "--jobs", "0") == 2


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["sleep-edf"],
        ["sleep-edf", "--out", "x", "--subset", "moon"],
        ["ecg_qa"],
        ["ptbxl", "--out", "x", "--fs_hz", "99"],
        ["llm"],
    ],
)
def test_a_mistake_in_the_call_ends_with_code_2(command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", [["--help"], ["sleep-edf", "--help"], ["ecg_qa", "--help"], ["llm", "--help"]])
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 0
    assert "example: python -m data_prep.download" in capsys.readouterr().out


def test_an_unknown_language_model_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "smolm", "--cache", str(tmp_path)]) == 2
    assert "smollm2-135m" in capsys.readouterr().err


def test_the_tiny_model_needs_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "tiny", "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tiny")
