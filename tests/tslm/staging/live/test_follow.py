import csv
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories.recordings import write_night
from tests.factories.small import CHANNEL
from tests.factories.staging import EMG, make_live_signals, save_causal
from tests.factories.staging import LIVE_EPOCH_S as EPOCH_S
from tests.factories.staging import LIVE_EPOCHS as NUM_EPOCHS
from tests.factories.staging import LIVE_FS_HZ as FS_HZ
from tslm.cli.main import main
from tslm.data.readers.raw import RawSignal
from tslm.staging.live import edf_file
from tslm.staging.live.scorer import StreamingScorer


def write_edf(
    path: Path, fs_hz: float = FS_HZ, names: tuple[str, str] = (CHANNEL, EMG), num_epochs: int = NUM_EPOCHS
) -> Path:
    stream = make_live_signals(fs_hz, num_epochs)
    return write_night(
        path, {name: RawSignal(values, fs_hz) for name, values in zip(names, stream.values(), strict=True)}
    )


class Recorder:
    """Writes more of a file whenever its reader waits, a part of a data record at a time."""

    def __init__(self, whole: bytes, path: Path, num_header: int, step: int) -> None:
        self.whole, self.path, self.step = whole, path, step
        self.num_written = num_header
        self.sleep(0.0)

    def sleep(self, _duration_s: float) -> None:
        self.num_written += self.step
        unclosed = self.whole[:236] + b"-1      " + self.whole[244 : self.num_written]
        self.path.write_bytes(self.whole if self.num_written >= len(self.whole) else unclosed)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def score(*arguments: Any, idle_s: float = 0.01) -> int:
    return main(["score", "--follow", "--idle_s", str(idle_s), *map(str, arguments)])


def test_a_growing_file_is_staged_as_the_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_causal(tmp_path / "best")
    whole = write_edf(tmp_path / "whole.edf")
    assert score(whole, "--model", folder, "--out", tmp_path / "whole.csv") == 0
    content = whole.read_bytes()
    growing = tmp_path / "growing.edf"
    recorder = Recorder(content, growing, int(content[184:192]), step=10_001)
    monkeypatch.setattr(edf_file.time, "sleep", recorder.sleep)
    assert score(growing, "--model", folder, "--out", tmp_path, idle_s=0.2) == 0
    rows = read_table(tmp_path / "growing_hypnogram.csv")
    assert rows == read_table(tmp_path / "whole.csv")
    assert [float(row["onset_s"]) for row in rows] == [EPOCH_S * idx for idx in range(NUM_EPOCHS)]
    assert main(["score", str(whole), "--model", str(folder), "--out", str(tmp_path / "offline.csv"), "--whole"]) == 0
    offline = read_table(tmp_path / "offline.csv")
    assert [row["stage"] for row in rows] == [row["stage"] for row in offline]
    for name in ("p_W", "p_N2", "p_R"):
        ours, theirs = ([float(row[name]) for row in table] for table in (rows, offline))
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert "epoch 11 at 330 s" in caplog.text


def test_differences_of_channels_are_followed(tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best", stage__extra_channels=())
    path = write_edf(tmp_path / "night.edf", names=("C4", "M1"))
    assert score(path, "--model", folder, "--out", tmp_path / "h.csv", "--channel", "C4 - M1") == 0
    first, second = make_live_signals().values()
    epochs = StreamingScorer(folder, FS_HZ).feed({CHANNEL: first - second})
    found = [float(row["p_W"]) for row in read_table(tmp_path / "h.csv")]
    np.testing.assert_allclose(found, [epoch.probabilities[0] for epoch in epochs], atol=2e-3)


def test_what_cannot_be_followed_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = save_causal(tmp_path / "best")
    night = write_edf(tmp_path / "night.edf")
    short = tmp_path / "short.edf"
    content = night.read_bytes()
    short.write_bytes(content[: int(content[184:192]) + 2000])
    calls = [
        ([night, "--model", save_causal(tmp_path / "both_ways", causal=False)], "looks at later epochs"),
        ([short, "--model", folder], "holds less than 30 s and has not grown for 0.01 s"),
        ([tmp_path / "none.edf", "--model", folder], "there is no file"),
        ([night, "--model", folder, "--smoothing", "median"], "without --smoothing"),
        ([night, night, "--model", folder], "without several recordings"),
    ]
    for arguments, said in calls:
        assert score(*arguments, "--out", tmp_path / "h.csv") != 0
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error


def test_a_file_that_changes_its_rate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    night = write_edf(tmp_path / "night.edf", num_epochs=4)
    faster = write_edf(tmp_path / "faster.edf", fs_hz=2 * FS_HZ).read_bytes()
    monkeypatch.setattr(edf_file.time, "sleep", lambda _: night.write_bytes(faster))
    assert score(night, "--model", save_causal(tmp_path / "best"), "--out", tmp_path, idle_s=0.2) == 2
    assert "changed its rate from 50 to 100 Hz" in capsys.readouterr().err


def test_a_stream_of_lsl_is_staged(tmp_path: Path) -> None:
    pylsl = pytest.importorskip("pylsl")
    folder, stream = save_causal(tmp_path / "best"), make_live_signals()
    info = pylsl.StreamInfo("sleep lab", "EEG", 2, FS_HZ, "float32", "tests of streams")
    channels = info.desc().append_child("channels")
    for name in stream:
        channels.append_child("channel").append_child_value("label", name).append_child_value("unit", "uV")
    outlet = pylsl.StreamOutlet(info, max_buffered=3600)

    def send() -> None:
        if outlet.wait_for_consumers(60):
            for part in np.array_split(np.stack(list(stream.values()), axis=1), 50):
                outlet.push_chunk(part.tolist())
                time.sleep(0.002)

    sender = threading.Thread(target=send)
    sender.start()
    done = score("lsl:sleep lab", "--model", folder, "--out", tmp_path, idle_s=3.0)
    sender.join()
    assert done == 0
    expected = StreamingScorer(folder, FS_HZ).feed(stream)
    rows = read_table(tmp_path / "sleep lab_hypnogram.csv")
    assert [row["stage"] for row in rows] == [epoch.sleep_stage.value for epoch in expected]
    found = [float(row["p_W"]) for row in rows]
    np.testing.assert_allclose(found, [epoch.probabilities[0] for epoch in expected], atol=1e-4)
