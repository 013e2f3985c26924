import random
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig

VALUES = np.random.default_rng(0).normal(0, 30, (2, 1000))


def write_csv(path: Path, times_s: np.ndarray | None = None, delimiter: str = ",", blank: int = -1) -> Path:
    rows = []
    for idx in range(VALUES.shape[1] if times_s is None else len(times_s)):
        cells = [f"{VALUES[0, idx]:.9g}", "" if idx == blank else f"{VALUES[1, idx]:.9g}"]
        rows.append(delimiter.join(cells if times_s is None else [f"{times_s[idx]:.6f}", *cells]))
    names = ["C4", "EMG chin"] if times_s is None else ["time", "C4", "EMG chin"]
    path.write_text("\n".join([delimiter.join(names), *rows]) + "\n")
    return path


def test_csv_columns_are_channels_at_the_stated_rate(tmp_path: Path) -> None:
    file = open_signals(write_csv(tmp_path / "a.csv", blank=7), SignalsConfig(fs_hz=100, unit="mV"))
    assert [(channel.name, channel.unit, channel.fs_hz) for channel in file.channels] == [
        ("C4", "mV", 100),
        ("EMG chin", "mV", 100),
    ]
    assert file.duration_s == 10
    np.testing.assert_allclose(file.read_values(0), VALUES[0], rtol=1e-6)
    assert np.flatnonzero(np.isnan(file.read_values(1))).tolist() == [7]
    with pytest.raises(ValueError, match="holds no annotations"):
        file.read_annotations()


def test_csv_rows_stand_where_their_times_say(tmp_path: Path) -> None:
    times_s = 5 + np.delete(np.arange(1003), [100, 101, 102]) / 128
    file = open_signals(write_csv(tmp_path / "a.tsv", times_s, "\t"), SignalsConfig(time_column="time"))
    values = file.read_values(0)
    assert file.channels[0].fs_hz == 128
    assert len(values) == 1003
    assert np.flatnonzero(np.isnan(values)).tolist() == [100, 101, 102]
    np.testing.assert_allclose(np.delete(values, [100, 101, 102]), VALUES[0], rtol=1e-6)
    assert "have no row" in file.notes[0]


@pytest.mark.parametrize(
    ("content", "settings_of", "said"),
    [
        ("C4\n1\n2\n", {}, "give signals.time_column or signals.fs_hz"),
        ("C4\n1\nlots\n", {"fs_hz": 100}, "column 'C4' cannot be read"),
        ("C4,C4\n1,2\n", {"fs_hz": 100}, "several columns named 'C4'"),
        ("C4,O1\n1\n", {"fs_hz": 100}, "is no table|cannot be read"),
        ("", {"fs_hz": 100}, "is no table"),
        ("C4\n", {"fs_hz": 100}, "holds no row"),
        ("C4\n1\n", {"time_column": "t"}, "has no column 't'; it has: C4"),
        ("t,C4\n0,1\n0,1\n", {"time_column": "t"}, "must rise from row to row"),
        ("t,C4\n0,1\n,1\n", {"time_column": "t"}, "must rise from row to row"),
        ("t,C4\n0,1\n1,1\n2.4,1\n3,1\n4,1\n", {"time_column": "t"}, "not that of even sampling"),
        ("t,C4\n0,1\n1,1\n2,1\n1e9,1\n", {"time_column": "t"}, "cover too little"),
        ("t,C4\n0,1\n1,1\n2,1\n1e300,1\n", {"time_column": "t"}, "cover too little"),
    ],
)
def test_a_csv_that_cannot_be_samples_is_one_line(
    tmp_path: Path, content: str, settings_of: dict[str, object], said: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        open_signals(path, SignalsConfig(**settings_of)).read_values(0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_mat_vectors_and_fields_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"C4": VALUES[0], "rec": {"emg": VALUES[1][:, None], "fs": 200.0}, "who": "me"})
    file = open_signals(path, SignalsConfig(fs_variable="rec.fs"))
    assert [(channel.name, channel.fs_hz, channel.unit) for channel in file.channels] == [
        ("C4", 200, "uV"),
        ("rec.emg", 200, "uV"),
    ]
    assert file.duration_s == 5
    np.testing.assert_allclose(file.read_values(1), VALUES[1], rtol=1e-6)


@pytest.mark.parametrize("matrix", [VALUES, VALUES.T])
def test_a_mat_matrix_has_its_channels_along_the_shorter_side(tmp_path: Path, matrix: np.ndarray) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"data": matrix})
    config = SignalsConfig(variable="data", fs_hz=100, channel_names=("C4", "EMG"))
    file = open_signals(path, config)
    np.testing.assert_allclose(file.read_values(1), VALUES[1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"data holds 2 channels, signals\.channel_names names 1"):
        open_signals(path, SignalsConfig(variable="data", fs_hz=100, channel_names=("C4",)))
    with pytest.raises(ValueError, match="no matrix 'x'; it has: data"):
        open_signals(path, SignalsConfig(variable="x", fs_hz=100))


def test_mat_7_3_is_read_through_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install tslm-sleep[mat]")
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["EEG/data"] = VALUES.T  # MATLAB's columns are HDF5's rows
        file["EEG/srate"] = np.array([[250.0]])
    config = SignalsConfig(variable="EEG.data", fs_variable="EEG.srate", channel_names=("C4", "EMG"))
    signals = open_signals(path, config)
    assert signals.channels[0].fs_hz == 250
    np.testing.assert_allclose(signals.read_values(0), VALUES[0], rtol=1e-6)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"tslm-sleep\[mat\]"):
        open_signals(path, SignalsConfig(fs_hz=100))


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0" * 30, b"\x89HDF\r\n\x1a\n" + b"\0" * 600])
def test_a_damaged_mat_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install tslm-sleep[mat]")
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.mat") as caught:
        open_signals(path, SignalsConfig(fs_hz=100))
    assert "\n" not in str(caught.value)


def test_mat_without_a_rate_says_how_to_give_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"C4": VALUES[0]})
    with pytest.raises(ValueError, match=r"give signals\.fs_hz or signals\.fs_variable"):
        open_signals(path, SignalsConfig())
    with pytest.raises(ValueError, match="no number 'fs'; it has: C4"):
        open_signals(path, SignalsConfig(fs_variable="fs"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        open_signals(tmp_path / "absent.csv", SignalsConfig())


def test_a_unit_for_a_file_that_states_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "night.edf"
    path.write_bytes(b"0")
    with pytest.raises(ValueError, match=r"night\.edf: unit=mV is for CSV and \.mat files"):
        open_signals(path, SignalsConfig(unit="mV"))


def test_a_time_column_in_milliseconds_is_asked_for_and_read(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("t,EEG\n" + "".join(f"{10 * idx},{idx % 7}\n" for idx in range(300)))
    with pytest.raises(ValueError, match=r"rises by 10 s a row, 0\.1 Hz; .*signals\.time_unit=ms"):
        open_signals(path, SignalsConfig(time_column="t"))
    file = open_signals(path, SignalsConfig(time_column="t", time_unit="ms"))
    assert (file.duration_s, file.channels[0].fs_hz) == (3.0, 100.0)


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_damaged_mat_file_is_read_or_refused_in_one_line(tmp_path: Path, version: str) -> None:
    whole, path, rng = tmp_path / "whole.mat", tmp_path / "a.mat", random.Random(int(version))
    scipy.io.savemat(whole, {"C4": VALUES[0], "EMG": VALUES[1]}, format=version)
    refusals = []
    for _ in range(150):
        content = bytearray(whole.read_bytes())
        for _ in range(rng.choice((1, 2, 4))):
            content[rng.randrange(rng.choice((40, 300)))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            file = open_signals(path, SignalsConfig(fs_hz=100))
            assert all(file.read_values(idx).ndim == 1 for idx in range(len(file.channels)))
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert all("a.mat" in refusal and "\n" not in refusal for refusal in refusals)
