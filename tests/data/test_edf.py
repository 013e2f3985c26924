import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslm.data.edf import (
    read_edf_header,
    read_hypnogram,
    read_psg,
    read_scored_night,
    read_sleep_edf,
    write_edf,
)
from tslm.data.raw import RawRecording, RawSignal
from tslm.labels import RK_ANNOTATIONS, SleepStage

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
STAGES = (W, W, N1, N2, N2, N3, R, SleepStage.MOVEMENT, SleepStage.UNSCORED, W)


def make_night(sleep_stages: tuple[SleepStage, ...] = STAGES, num_epochs: int | None = None) -> RawRecording:
    num_samples = 3000 * (len(sleep_stages) if num_epochs is None else num_epochs)
    generator = np.random.default_rng(0)
    return RawRecording(
        recording="SC4991E0",
        subject="S-7",
        signals={
            "EEG Fpz-Cz": RawSignal(generator.normal(0, 40, num_samples).astype(np.float32), 100.0),
            "EEG Pz-Oz": RawSignal(generator.normal(0, 20, num_samples).astype(np.float32), 100.0),
            "EMG submental": RawSignal(np.ones(num_samples // 100, dtype=np.float32), 1.0),
        },
        sleep_stages=sleep_stages,
        epoch_s=30.0,
        start="2001-02-03T22:10:05",
        age="41",
        sex="F",
    )


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    psg_path, hypnogram_path = tmp_path / "SC4991E0-PSG.edf", tmp_path / "SC4991EC-Hypnogram.edf"
    write_edf(make_night(), psg_path, hypnogram_path)
    return psg_path, hypnogram_path


def patch(path: Path, offset: int, field: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(field)] = field
    path.write_bytes(bytes(content))


def test_a_night_written_as_edf_reads_back(paths: tuple[Path, Path]) -> None:
    night, back = make_night(), read_scored_night(*paths, ["EEG Fpz-Cz", "EEG Pz-Oz"])
    assert (back.sleep_stages, back.epoch_s) == (night.sleep_stages, 30)
    assert (back.subject, back.age, back.sex, back.start) == ("S-7", "41", "F", "2001-02-03T22:10:05")
    for name, signal in back.signals.items():
        written = night.signals[name].values
        step_uv = 2 * np.ceil(np.abs(written).max()) / 65535
        assert signal.fs_hz == 100
        assert signal.values.dtype == np.float32
        np.testing.assert_allclose(signal.values, written, atol=step_uv)


def test_an_independent_reader_agrees(paths: tuple[Path, Path]) -> None:
    mne = pytest.importorskip("mne", reason="MNE is not installed")
    raw = mne.io.read_raw_edf(paths[0], verbose="error")
    np.testing.assert_allclose(
        raw.get_data(["EEG Pz-Oz"])[0] * 1e6, read_psg(paths[0], ["EEG Pz-Oz"])["EEG Pz-Oz"].values, atol=1e-3
    )
    annotations = mne.read_annotations(paths[1])
    assert list(annotations.description[:3]) == ["Sleep stage W", "Sleep stage 1", "Sleep stage 2"]


def test_writing_is_the_same_bytes_each_time_and_leaves_nothing_half(paths: tuple[Path, Path], tmp_path: Path) -> None:
    before = [path.read_bytes() for path in paths]
    write_edf(make_night(), *paths)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    with pytest.raises(ValueError, match="no annotation text"):
        write_edf(make_night((SleepStage.NREM,)), tmp_path / "a.edf", tmp_path / "b.edf")
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_header_gives_channels_rates_and_person(paths: tuple[Path, Path]) -> None:
    header = read_edf_header(paths[0])
    assert [(channel.name, channel.unit, channel.fs_hz) for channel in header.channels] == [
        ("EEG Fpz-Cz", "uV", 100),
        ("EEG Pz-Oz", "uV", 100),
        ("EMG submental", "uV", 1),
    ]
    assert header.eeg_channels == ("EEG Fpz-Cz", "EEG Pz-Oz")
    assert (header.duration_s, header.age, header.sex) == (300, "41", "F")


@pytest.mark.parametrize(
    ("field", "age", "sex"),
    [
        (b"X F X Female_33yr", "33", "F"),
        (b"X M 03-FEB-1971 X", "30", "M"),
        (b"MCH-0234567 F 02-MAY-1951 Haagse_Harry", "49", "F"),
        (b"X X X X", "", ""),
        (b"", "", ""),
    ],
)
def test_age_and_sex_come_from_the_patient_field(paths: tuple[Path, Path], field: bytes, age: str, sex: str) -> None:
    patch(paths[0], 8, field.ljust(80))
    header = read_edf_header(paths[0])
    assert (header.age, header.sex) == (age, sex)


@pytest.mark.parametrize(("unit", "factor"), [(b"mV", 1e3), (b"V", 1e6), (b"nV", 1e-3)])
def test_units_become_microvolt(paths: tuple[Path, Path], unit: bytes, factor: float) -> None:
    written = make_night().signals["EEG Fpz-Cz"].values
    num_signals = 4  # three and the annotation channel
    patch(paths[0], 256 + num_signals * 96, unit.ljust(8))
    read = read_psg(paths[0], ["EEG Fpz-Cz"])["EEG Fpz-Cz"].values
    np.testing.assert_allclose(read, written * factor, atol=0.01 * factor)


def test_a_unit_that_is_no_voltage_is_refused(paths: tuple[Path, Path]) -> None:
    patch(paths[0], 256 + 4 * 96, b"DegC    ")
    with pytest.raises(ValueError, match="'DegC'; wanted uV, mV or V"):
        read_psg(paths[0], ["EEG Fpz-Cz"])


def test_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.edf"):
        read_edf_header(tmp_path / "absent.edf")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file" * 40, b"0       " + b"x" * 600])
def test_a_file_that_is_no_edf_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.edf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"wrong\.edf is not a.* EDF file") as caught:
        read_edf_header(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [-1, -5000])
def test_a_truncated_file_is_named(paths: tuple[Path, Path], cut: int) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:cut])
    with pytest.raises(ValueError, match="truncated"):
        read_psg(paths[0], ["EEG Fpz-Cz"])


def test_a_file_cut_inside_its_header_is_named(paths: tuple[Path, Path]) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    with pytest.raises(ValueError, match="ends inside the header"):
        read_edf_header(paths[0])


def test_a_discontinuous_file_is_refused(paths: tuple[Path, Path]) -> None:
    patch(paths[0], 192, b"EDF+D")
    with pytest.raises(ValueError, match="discontinuous"):
        read_edf_header(paths[0])


def test_an_unknown_channel_lists_what_is_there(paths: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="no channel 'EEG C3-M2'; it has: EEG Fpz-Cz, EEG Pz-Oz, EMG submental"):
        read_psg(paths[0], ["EEG C3-M2"])
    assert list(read_psg(paths[0], ["eeg fpz-CZ"])) == ["EEG Fpz-Cz"]


def test_a_file_without_eeg_says_so(tmp_path: Path) -> None:
    night = make_night()
    no_eeg = replace(night, signals={"EMG submental": night.signals["EMG submental"]})
    write_edf(no_eeg, tmp_path / "p.edf", tmp_path / "h.edf")
    with pytest.raises(ValueError, match="no EEG channel; it has: EMG submental"):
        read_psg(tmp_path / "p.edf", ["EEG Fpz-Cz"])


def test_eeg_is_known_by_site_as_well(tmp_path: Path) -> None:
    signal = make_night().signals["EEG Fpz-Cz"]
    names = ("C3-M2", "Fpz", "O1:A2", "ECG", "Chin", "Temp rectal", "Pos", "EEG2")
    write_edf(replace(make_night(), signals=dict.fromkeys(names, signal)), tmp_path / "p.edf", tmp_path / "h.edf")
    assert read_edf_header(tmp_path / "p.edf").eeg_channels == ("C3-M2", "Fpz", "O1:A2", "EEG2")


def test_a_hypnogram_of_another_night_is_refused(paths: tuple[Path, Path]) -> None:
    patch(paths[1], 168, b"04.02.01")
    patch(paths[1], 98, b"04-FEB-2001")
    with pytest.raises(ValueError, match=r"does not match SC4991E0-PSG\.edf: it starts at 2001-02-04"):
        read_sleep_edf(*paths)


def test_a_hypnogram_that_scores_sleep_after_the_end_is_refused(paths: tuple[Path, Path], tmp_path: Path) -> None:
    write_edf(make_night(STAGES + (N2,) * 5), tmp_path / "other.edf", paths[1])
    with pytest.raises(ValueError, match="does not match.*scores sleep up to 450 s"):
        read_sleep_edf(*paths)


def test_a_hypnogram_that_ends_long_before_the_night_is_refused(paths: tuple[Path, Path], tmp_path: Path) -> None:
    write_edf(make_night((W, N1, N2)), tmp_path / "other.edf", paths[1])
    with pytest.raises(ValueError, match="annotations end at 90 s, the night at 300 s"):
        read_sleep_edf(*paths)


def test_unscored_and_wake_after_the_end_are_allowed(paths: tuple[Path, Path], tmp_path: Path) -> None:
    write_edf(make_night(STAGES + (W,) * 5 + (SleepStage.UNSCORED,) * 9), tmp_path / "other.edf", paths[1])
    assert len(read_sleep_edf(*paths).sleep_stages) == len(STAGES) + 14


def test_the_signal_file_is_no_hypnogram(paths: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="is not a hypnogram"):
        read_hypnogram(paths[0])


def test_a_stage_that_the_map_does_not_know_is_an_error(paths: tuple[Path, Path]) -> None:
    without = {text: stage for text, stage in RK_ANNOTATIONS.items() if stage is not R}
    with pytest.raises(ValueError, match="unknown stage 'Sleep stage R'"):
        read_hypnogram(paths[1], without)


def test_sleep_edf_subject_is_the_first_five_characters(paths: tuple[Path, Path]) -> None:
    night = read_sleep_edf(*paths)
    assert (night.recording, night.subject, night.source) == ("SC4991E0", "SC499", "sleep_edf")
    assert list(night.signals) == ["EEG Fpz-Cz"]


def test_the_real_night_has_its_published_stages() -> None:
    raw_dir = os.environ.get("TSLM_RAW_DIR")
    psg_path = Path(raw_dir or ".") / "SC4001E0-PSG.edf"
    if not psg_path.is_file():
        pytest.skip("TSLM_RAW_DIR does not hold SC4001E0-PSG.edf: python -m data_prep.download sleep-edf")
    night = read_sleep_edf(psg_path, psg_path.with_name("SC4001EC-Hypnogram.edf"))
    assert (night.start, night.age, night.sex) == ("1989-04-24T16:13:00", "33", "F")
    counts = {stage: night.sleep_stages.count(stage) for stage in (N1, N2, N3, R)}
    assert counts == {N1: 58, N2: 250, N3: 220, R: 125}
    assert len(night.signals["EEG Fpz-Cz"].values) == 7_950_000
