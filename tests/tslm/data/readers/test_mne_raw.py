import io
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import scipy

from tslm.data.readers.mne import build_mne_raw, hold_mne_raw
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import RawRecording, RawSignal, SignalsConfig

mne = pytest.importorskip("mne", reason="MNE is not installed: pip install tslm-sleep[mne]")

RNG = np.random.default_rng(0)
NIGHT = RawRecording(
    recording="N1",
    subject="N1",
    signals={
        "EEG Fpz-Cz": RawSignal(RNG.normal(0, 20, 3000).astype(np.float32), 100.0),
        "EOG horizontal": RawSignal(RNG.normal(0, 20, 2900).astype(np.float32), 100.0),
        "EMG submental": RawSignal(RNG.normal(0, 20, 3000).astype(np.float32), 100.0),
    },
    sleep_stages=(),
    epoch_s=30,
)


def test_microvolts_become_volts_and_kinds_come_from_the_names():
    raw = build_mne_raw(NIGHT)
    assert raw.get_channel_types() == ["eeg", "eog", "emg"]
    assert raw.info["sfreq"] == 100
    np.testing.assert_allclose(1e6 * raw.get_data()[0], NIGHT.signals["EEG Fpz-Cz"].values[:2900], rtol=1e-6)


def test_channels_of_two_rates_are_refused():
    slow = NIGHT.signals | {"EMG submental": RawSignal(np.zeros(30, np.float32), 1.0)}
    with pytest.raises(ValueError, match="2 rates"):
        build_mne_raw(replace(NIGHT, signals=slow))


def test_a_file_of_another_format_is_read_with_its_stages_and_gaps(tmp_path: Path) -> None:
    raw = build_mne_raw(NIGHT)
    raw.set_meas_date(datetime(2001, 2, 3, 22, 10, 5, tzinfo=UTC))
    raw.set_annotations(mne.Annotations([0, 10, 20], [10, 10, 2], ["N2", "R", "BAD_ACQ_SKIP"], raw.info["meas_date"]))
    path = tmp_path / "night_raw.fif"
    raw.crop(1).save(path, verbose="error")  # the first sample is no longer at 0 s
    file = open_signals(path, SignalsConfig())
    assert [(channel.name, channel.unit, channel.fs_hz) for channel in file.channels][1] == (
        "EOG horizontal",
        "uV",
        100,
    )
    assert file.start is not None
    assert file.duration_s == 28
    notes = file.read_annotations()
    assert {(note.onset_s, note.duration_s, note.text) for note in notes} == {
        (0, 9, "N2"),
        (9, 10, "R"),
        (19, 2, "BAD_ACQ_SKIP"),
    }
    values = file.read_values(0)
    expected = NIGHT.signals["EEG Fpz-Cz"].values[100:2900].copy()
    expected[1900:2100] = np.nan
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("is_dated", [False, True])
@pytest.mark.parametrize("crop_s", [0, 7])
@pytest.mark.parametrize("is_anonymous", [False, True])
def test_time_zero_is_that_of_mne(tmp_path: Path, is_dated: bool, crop_s: int, is_anonymous: bool) -> None:
    raw = build_mne_raw(NIGHT)
    raw.set_meas_date(datetime(2001, 2, 3, 22, 10, 5, tzinfo=UTC) if is_dated else None)
    raw.set_annotations(mne.Annotations([10, 20], [5, 5], ["N2", "R"], raw.info["meas_date"]))
    raw.crop(crop_s)
    if is_anonymous:
        raw.anonymize(verbose="error")
    raw.save(tmp_path / "night_raw.fif", verbose="error")
    for file in (hold_mne_raw(raw, tmp_path / "night"), open_signals(tmp_path / "night_raw.fif", SignalsConfig())):
        events, _ = mne.events_from_annotations(raw, verbose="error")
        onsets_s = (events[:, 0] - raw.first_samp) / raw.info["sfreq"]
        assert (
            [note.onset_s for note in file.read_annotations()] == pytest.approx(onsets_s) == [10 - crop_s, 20 - crop_s]
        )
        is_known = is_dated and not is_anonymous
        assert file.start == (datetime(2001, 2, 3, 22, 10, 5 + crop_s) if is_known else None)


def test_what_mne_cannot_read_is_one_line(tmp_path: Path) -> None:
    packed = io.BytesIO()
    scipy.io.savemat(packed, {"EEG": np.arange(99.0)}, do_compression=True)
    spoilt = packed.getvalue()[:-4] + b"\0\0\0\0"
    for name, content in (
        *(("a.xyz", b"?"), ("a.vhdr", b"?"), ("a.set", b"?"), ("a_raw.fif", b"\0" * 99)),
        ("b.set", spoilt),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read by MNE") as caught:
            open_signals(tmp_path / name, SignalsConfig())
        assert "\n" not in str(caught.value)


def test_without_mne_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.vhdr").touch()
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ImportError, match=r"tslm-sleep\[mne\]"):
        open_signals(tmp_path / "a.vhdr", SignalsConfig())


_HEADER = (
    "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=n.eeg\n"
    "DataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=1\nSamplingInterval=10000\n"
    "[Binary Infos]\nBinaryFormat=INT_16\n[Channel Infos]\nCh1=C4,,0.1,uV\n"
)


@pytest.mark.parametrize(
    "broken", [("Codepage=UTF-8", "Codepage=UTFinf"), ("SamplingInterval=10000", "SamplingInterval=0")]
)
def test_a_damaged_brainvision_header_is_one_line(tmp_path: Path, broken: tuple[str, str]) -> None:
    path = tmp_path / "n.vhdr"
    np.zeros(100, "<i2").tofile(tmp_path / "n.eeg")
    path.write_text(_HEADER)
    assert open_signals(path, SignalsConfig()).channels[0].name == "C4"
    path.write_text(_HEADER.replace(*broken))
    with pytest.raises(ValueError, match="n.vhdr cannot be read by MNE") as caught:
        open_signals(path, SignalsConfig())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", ["../elsewhere/n.eeg", "{folder}/elsewhere/n.eeg"])
def test_samples_are_taken_from_the_headers_folder_alone(tmp_path: Path, named: str) -> None:
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    path = tmp_path / "here" / "n.vhdr"
    np.zeros(100, "<i2").tofile(tmp_path / "elsewhere" / "n.eeg")
    path.write_text(_HEADER.replace("n.eeg", named.format(folder=tmp_path)))
    with pytest.raises(ValueError, match="outside its folder"):
        open_signals(path, SignalsConfig())
    (tmp_path / "here" / "n.eeg").symlink_to(tmp_path / "elsewhere" / "n.eeg")  # as an annexed data set has it
    path.write_text(_HEADER)
    assert open_signals(path, SignalsConfig()).duration_s == 1
