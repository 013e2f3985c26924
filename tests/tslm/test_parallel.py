import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.prepare import main as prepare
from tests.factories.recordings import make_noise
from tslm.cli import main as tslm_main
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording
from tslm.labels import SleepStage
from tslm.parallel import Done, Workers, list_failures, map_nights, map_parts

LOCAL = Workers()


def work(night: int) -> tuple[int, str]:
    if night == 2:
        raise ValueError("bad\nhypnogram")
    if night == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return night * 10, str(Path.cwd())


@pytest.fixture(scope="module")
def dask_address() -> Iterator[str]:
    """The address of a cluster of two worker processes."""
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("workers", [LOCAL, Workers(2)])
def test_a_night_that_fails_stops_no_other(workers: Workers) -> None:
    done = list(map_nights(work, [0, 1, 2, 3], workers))
    assert [night.item for night in done] == [0, 1, 2, 3]
    assert [night.result and night.result[0] for night in done] == [0, 10, None, 30]
    assert [night.error for night in done] == ["", "", "bad hypnogram", ""]


def test_a_night_that_ends_its_process_is_found_and_stops_no_other() -> None:
    done = list(map_nights(work, [3, 4, 5, 6], Workers(2)))
    assert [night.item for night in done if night.error] == [4]
    assert "its process ended" in done[1].error and "memory" in done[1].error
    assert [night.result[0] for night in done if night.result] == [30, 50, 60]


def test_a_part_that_fails_ends_the_whole() -> None:
    assert list(map_parts(work, [0, 1], LOCAL))[1][0] == 10
    with pytest.raises(ValueError, match="bad hypnogram"):
        list(map_parts(work, [0, 2], LOCAL))


def test_failures_are_one_line() -> None:
    assert list_failures([], 3) == ""
    assert list_failures([("a.edf", "empty"), ("b.edf", "cut")], 3) == "2 of 3 nights failed: a.edf: empty; b.edf: cut"
    assert list_failures([("a", "x"), ("b", "y")], 3, listed=1).endswith("a: x; ...")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num": 0}, "--workers 0"),
        ({"backend": "spark", "address": "a:1"}, "--backend spark"),
        ({"backend": "dask"}, "give --address of the dask cluster"),
        ({"address": "tcp://a:1"}, "give --backend dask or ray"),
    ],
)
def test_workers_that_cannot_be_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Workers(**given)


@pytest.mark.server
def test_a_dask_cluster_works_in_the_commands_folder_and_shares_the_nights(
    dask_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = list(map_nights(work, [0, 1, 2, 3], Workers(1, "dask", dask_address)))
    assert done[3] == Done(3, (30, str(tmp_path)))
    assert [night.error for night in done] == ["", "", "bad hypnogram", ""]
    (tmp_path / "scheduler.json").write_text(f'{{"address": "{dask_address}"}}')
    pids = list(map_parts(name_process, range(8), Workers(1, "dask", "scheduler.json")))
    assert len(set(pids)) == 2 and os.getpid() not in pids


def name_process(_night: int) -> int:
    time.sleep(0.05)  # so that one worker does not take them all
    return os.getpid()


@pytest.mark.server
def test_score_and_stage_run_on_a_dask_cluster_and_resume(
    dask_address: str,
    unlabelled_night: Path,
    staging_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("a.edf", "c.edf"):
        (raw / name).write_bytes(unlabelled_night.read_bytes())
    (raw / "b.edf").write_bytes(b"0" * 300)
    call = [str(raw), "--model", str(staging_models), "--out", str(tmp_path / "out")]
    cluster = ["--backend", "dask", "--address", dask_address]
    assert tslm_main(["score", *call, *cluster]) == 2
    assert "1 of 3 nights failed" in (error := capsys.readouterr().err) and "b.edf" in error
    names = ["a_hypnogram.csv", "a_hypnogram.json", "c_hypnogram.csv", "c_hypnogram.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    caplog.clear()
    assert tslm_main(["score", *call]) == 2  # the same call, here
    assert caplog.text.count("already scored") == 2
    (raw / "b.edf").unlink()
    assert tslm_main(["stage", *call, "--explain", "none", "--device", "cpu", *cluster]) == 0
    assert (tmp_path / "out" / "a" / "statistics.json").is_file()


@pytest.mark.server
def test_nights_are_prepared_on_a_dask_cluster_as_they_are_here(
    dask_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for idx in range(2):
        name = tmp_path / "raw" / f"SC49{idx}1E"
        name.parent.mkdir(exist_ok=True)
        stages = (SleepStage.WAKE, *[SleepStage.N2] * 4, SleepStage.REM, SleepStage.WAKE)
        signals = {"EEG Fpz-Cz": make_noise(30.0 * len(stages), 100.0, seed=idx)}
        night = RawRecording(name.name, name.name, signals, stages, 30.0, start="2001-02-03T22:00:00")
        write_edf(night, Path(f"{name}0-PSG.edf"), Path(f"{name}C-Hypnogram.edf"))
    call = ["sleep_edf", f"raw_dir={tmp_path / 'raw'}", "split=train"]
    assert prepare([*call, "--out", str(tmp_path / "here")]) == 0
    assert prepare([*call, "--out", str(tmp_path / "there"), "--backend", "dask", "--address", dask_address]) == 0
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there and len(here) == 3


def test_a_cluster_that_does_not_answer_is_one_line_within_seconds(
    unlabelled_night: Path, staging_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        call = ["score", str(unlabelled_night), "--model", str(staging_models), "--out", str(tmp_path / "out")]
        assert tslm_main([*call, "--backend", "dask", "--address", address]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: nothing answers at {address}")
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        list(map_nights(work, [1], Workers(1, "dask", "nonsense")))


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named(backend: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"--backend {backend} needs .* pip install 'tslm-sleep\[cluster\]'"):
        list(map_nights(work, [1], Workers(1, backend, "127.0.0.1:1")))
