from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyedflib
import pytest

from tslm.data.readers.edf.header import read_edf_header
from tslm.data.readers.edf.read import open_edf, read_edf_values
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import Annotation, RawRecording, RawSignal, SignalsConfig
from tslm.labels import SleepStage

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
STAGES = (W, W, N1, N2, N2, N3, R, SleepStage.MOVEMENT, SleepStage.UNSCORED, W)


def make_night(sleep_stages: tuple[SleepStage, ...] = STAGES) -> RawRecording:
    num_samples = 3000 * len(sleep_stages)
    generator = np.random.default_rng(0)
    return RawRecording(
        recording="SC4991E0",
        subject="S-7",
        signals={
            "EEG Fpz-Cz": RawSignal(generator.normal(0, 40, num_samples).astype(np.float32), 100.0),
            "EEG Pz-Oz": RawSignal(generator.normal(0, 20, num_samples).astype(np.float32), 100.0),
            "EMG submental": RawSignal(np.arange(num_samples // 100, dtype=np.float32), 1.0),
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


NUM_SIGNALS = 4  # of the file: three and the annotation channel
UNIT, PHYSICAL_MIN, PHYSICAL_MAX, DIGITAL_MIN, DIGITAL_MAX, NUM_SAMPLES = 96, 104, 112, 120, 128, 216


def patch_channel(path: Path, start: int, field: bytes, channel_idx: int = 0) -> None:
    """Overwrite a field of 8 bytes of one channel; `start` is its place in the standard's table."""
    patch(path, 256 + NUM_SIGNALS * start + 8 * channel_idx, field.ljust(8))


def test_samples_equal_those_of_pyedflib(paths: tuple[Path, Path]) -> None:
    file = open_edf(paths[0], SignalsConfig())
    with pyedflib.EdfReader(str(paths[0])) as reader:
        for idx, channel in enumerate(file.channels):
            values = file.read_values(idx)
            assert values.dtype == np.float32
            assert channel.fs_hz == reader.getSampleFrequency(idx)
            np.testing.assert_array_equal(values, reader.readSignal(idx).astype(np.float32))


def test_annotations_equal_those_of_pyedflib(paths: tuple[Path, Path]) -> None:
    with pyedflib.EdfReader(str(paths[1])) as reader:
        expected = [
            Annotation(float(onset_s), float(duration_s), str(text))
            for onset_s, duration_s, text in zip(*reader.readAnnotations(), strict=True)
        ]
    assert open_edf(paths[1], SignalsConfig()).read_annotations() == expected
    assert [note.text for note in expected[:3]] == ["Sleep stage W", "Sleep stage 1", "Sleep stage 2"]


def test_a_night_written_as_edf_reads_back(paths: tuple[Path, Path]) -> None:
    file = open_edf(paths[0], SignalsConfig())
    assert (file.subject, file.age, file.sex) == ("S-7", "41", "F")
    assert file.start is not None
    assert file.start.isoformat() == "2001-02-03T22:10:05"
    assert file.notes == ()
    for idx, signal in enumerate(make_night().signals.values()):
        step_uv = 2 * np.ceil(np.abs(signal.values).max()) / 65535
        np.testing.assert_allclose(file.read_values(idx), signal.values, atol=step_uv)


def test_bdf_samples_of_24_bits_equal_those_of_pyedflib(tmp_path: Path) -> None:
    path = tmp_path / "night.bdf"
    values = np.random.default_rng(1).normal(0, 40, 2560)
    with pyedflib.EdfWriter(str(path), 1, file_type=pyedflib.FILETYPE_BDFPLUS) as writer:
        header = {"label": "Cz", "dimension": "uV", "sample_frequency": 256, "physical_min": -300, "physical_max": 300}
        writer.setSignalHeader(
            0, header | {"digital_min": -8388608, "digital_max": 8388607, "transducer": "", "prefilter": ""}
        )
        writer.writeSamples([values])
        writer.writeAnnotation(2.5, 30, "Sleep stage 2")
    file = open_edf(path, SignalsConfig())
    with pyedflib.EdfReader(str(path)) as reader:
        np.testing.assert_array_equal(file.read_values(0), reader.readSignal(0).astype(np.float32))
    np.testing.assert_allclose(file.read_values(0), values, atol=1e-4)
    assert file.read_annotations() == [Annotation(2.5, 30, "Sleep stage 2")]
    assert file.duration_s == 10


def test_an_independent_reader_agrees(paths: tuple[Path, Path]) -> None:
    mne = pytest.importorskip("mne", reason="MNE is not installed")
    raw = mne.io.read_raw_edf(paths[0], verbose="error")
    np.testing.assert_allclose(
        raw.get_data(["EEG Pz-Oz"])[0] * 1e6, open_edf(paths[0], SignalsConfig()).read_values(1), atol=1e-3
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


@pytest.mark.parametrize(
    ("field", "age", "sex"),
    [
        (b"X F X Female_33yr", "33", "F"),
        (b"X M 03-FEB-1971 X", "30", "M"),
        (b"X M 31-FEB-1971 X", "", "M"),
        (b"X M 03-XYZ-1971 X", "", "M"),
        (b"MCH-0234567 F 02-MAY-1951 Haagse_Harry", "49", "F"),
        (b"X F X Ren\xe9_33yr", "33", "F"),
        (b"X X X X", "", ""),
        (b"", "", ""),
    ],
)
def test_age_and_sex_come_from_the_patient_field(paths: tuple[Path, Path], field: bytes, age: str, sex: str) -> None:
    patch(paths[0], 8, field.ljust(80))
    header = read_edf_header(paths[0])
    assert (header.age, header.sex) == (age, sex)


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


@pytest.mark.parametrize(("cut", "num_whole"), [(-1, 299), (-5000, 290)])
def test_a_truncated_file_is_named_and_read_only_when_asked(paths: tuple[Path, Path], cut: int, num_whole: int) -> None:
    whole = open_edf(paths[0], SignalsConfig()).read_values(0)
    paths[0].write_bytes(paths[0].read_bytes()[:cut])
    with pytest.raises(ValueError, match=f"truncated: it holds {num_whole} whole data records, its header says 300"):
        open_edf(paths[0], SignalsConfig())
    file = open_edf(paths[0], SignalsConfig(allow_truncated=True))
    assert file.duration_s == num_whole
    np.testing.assert_array_equal(file.read_values(0), whole[: 100 * num_whole])
    assert f"the {num_whole} were read" in file.notes[0]


def test_a_header_that_says_too_few_records_is_no_reason_to_drop_the_rest(paths: tuple[Path, Path]) -> None:
    patch(paths[0], 236, b"12      ")
    with pytest.raises(ValueError, match="longer than its header says: it holds 300 whole data records, its header"):
        open_edf(paths[0], SignalsConfig())
    assert open_edf(paths[0], SignalsConfig(allow_truncated=True)).duration_s == 300


def test_a_recording_that_was_never_closed_is_as_long_as_its_file(paths: tuple[Path, Path]) -> None:
    patch(paths[0], 236, b"-1      ")
    paths[0].write_bytes(paths[0].read_bytes()[:-7])
    file = open_edf(paths[0], SignalsConfig())
    assert file.duration_s == 299
    assert "never closed" in file.notes[0]


def test_bytes_behind_the_last_record_are_left_out_and_said(paths: tuple[Path, Path]) -> None:
    paths[0].write_bytes(paths[0].read_bytes() + b"\n")
    file = open_edf(paths[0], SignalsConfig())
    assert (file.duration_s, file.notes) == (300, ("1 bytes behind the last data record left out",))


def test_a_file_cut_inside_its_header_is_named(paths: tuple[Path, Path]) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:700])
    with pytest.raises(ValueError, match="ends inside the header"):
        read_edf_header(paths[0])


@pytest.mark.parametrize(
    ("start", "field", "said"),
    [
        (PHYSICAL_MAX, b"0", "physical range"),  # and the minimum, see below
        (DIGITAL_MAX, b"-32768", "digital range -32768 to -32768"),
        (PHYSICAL_MIN, b"lots", "physical range nan"),
        (NUM_SAMPLES, b"0", "0 Hz"),
    ],
)
def test_a_channel_that_cannot_be_scaled_is_refused_and_the_others_are_read(
    paths: tuple[Path, Path], start: int, field: bytes, said: str
) -> None:
    if start == PHYSICAL_MAX:
        patch_channel(paths[0], PHYSICAL_MIN, b"0")
    patch_channel(paths[0], start, field)
    file = open_edf(paths[0], SignalsConfig(allow_truncated=True))
    with pytest.raises(ValueError, match=f"channel 'EEG Fpz-Cz' of .*{said}"):
        file.read_values(0)
    assert len(file.read_values(1))


@pytest.mark.parametrize("written", [b"\xb5V", b"\xc2\xb5V", b"\xce\xbcV"])
def test_a_header_that_is_not_ascii_is_read(paths: tuple[Path, Path], written: bytes) -> None:
    patch_channel(paths[0], UNIT, written)
    patch(paths[0], 256 + 16, b"Br\xfccke".ljust(16))
    channels = open_edf(paths[0], SignalsConfig()).channels
    assert channels[0].unit in ("\u00b5V", "\u03bcV")
    assert channels[1].name == "Brücke"


def test_a_date_of_single_digits_is_read_and_a_code_of_nobody_is_none(paths: tuple[Path, Path]) -> None:
    patch(paths[0], 168, b"2.8.10  22.00.00")
    patch(paths[0], 8, b"Anonymous X X X".ljust(80))
    file = open_edf(paths[0], SignalsConfig())
    assert file.start == datetime(2010, 8, 2, 22)
    assert file.subject == ""


@pytest.mark.parametrize("start", [b"00.00.0000.00.00", b"xx.xx.xx22.10.05", b"31.02.0122.10.05"])
def test_a_start_that_is_no_date_is_unknown_and_said(paths: tuple[Path, Path], start: bytes) -> None:
    patch(paths[0], 168, start)
    file = open_edf(paths[0], SignalsConfig())
    assert file.start is None
    assert "is no date" in file.notes[0]


def make_discontinuous(path: Path, onsets_s: list[str], record_s: int = 2) -> np.ndarray:
    """An EDF+D file of one channel at 100 Hz; returns its samples."""
    write_edf(make_night((W,)), path, path.with_name("h.edf"))
    header = bytearray(path.read_bytes()[: 256 * (NUM_SIGNALS + 1)])
    num_samples, num_bytes = 100 * record_s, 40
    columns = [bytes(header[256 + NUM_SIGNALS * at : 256 + NUM_SIGNALS * (at + size)]) for at, size in TABLE]
    kept = (0, NUM_SIGNALS - 1)
    table = b"".join(
        column[idx * size : (idx + 1) * size] for column, (_, size) in zip(columns, TABLE, strict=True) for idx in kept
    )
    table = table[: 216 * 2] + f"{num_samples:<8}{num_bytes // 2:<8}".encode() + table[232 * 2 - 16 :]
    fixed = header[:184] + b"768     " + b"EDF+D".ljust(44)
    fixed += f"{len(onsets_s):<8}{record_s:<8}".encode() + b"2   "
    digital = np.arange(len(onsets_s) * num_samples, dtype="<i2").reshape(len(onsets_s), num_samples)
    records = b""
    for onset_s, samples in zip(onsets_s, digital, strict=True):
        records += samples.tobytes() + f"{onset_s}\x14\x14\0{onset_s}\x1530\x14Sleep stage 2\x14\0".encode().ljust(
            num_bytes, b"\0"
        )
    path.write_bytes(bytes(fixed) + table + records)
    return digital


TABLE = ((0, 16), (16, 80), (96, 8), (104, 8), (112, 8), (120, 8), (128, 8), (136, 80), (216, 8), (224, 32))


def test_records_of_a_discontinuous_file_stand_where_their_time_stamps_say(tmp_path: Path) -> None:
    path = tmp_path / "gaps.edf"
    make_discontinuous(path, ["+0", "+2", "+10", "+12.5"])
    file = open_edf(path, SignalsConfig())
    values = file.read_values(0)
    assert file.duration_s == 14.5
    assert "6.5 s of 14.5 s were not recorded" in file.notes[0]
    recorded = np.zeros(1450, dtype=bool)
    for start in (0, 200, 1000, 1250):
        recorded[start : start + 200] = True
    np.testing.assert_array_equal(np.isfinite(values), recorded)
    steps = np.diff(values[recorded])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)  # the samples count up, in order
    assert [note.onset_s for note in file.read_annotations()] == [0, 2, 10, 12.5]


def test_a_fraction_of_a_second_before_the_first_sample_moves_everything_alike(tmp_path: Path) -> None:
    path = tmp_path / "gaps.edf"
    make_discontinuous(path, ["+0.25", "+2.25", "+10.25"])
    file = open_edf(path, SignalsConfig())
    assert file.duration_s == 12
    assert np.isfinite(file.read_values(0)[:400]).all()
    assert [note.onset_s for note in file.read_annotations()] == [0, 2, 10]


def test_a_file_that_calls_itself_continuous_but_runs_late_is_placed_too(tmp_path: Path) -> None:
    path = tmp_path / "gaps.edf"
    make_discontinuous(path, ["+0", "+2", "+10", "+12"])
    placed = open_edf(path, SignalsConfig()).read_values(0)
    patch(path, 192, b"EDF+C")
    np.testing.assert_array_equal(open_edf(path, SignalsConfig()).read_values(0), placed)
    assert open_edf(path, SignalsConfig()).notes == ("time stamps jump: 6 s of 14 s were not recorded",)


def test_stamps_that_are_off_by_less_than_a_sample_are_no_overlap(tmp_path: Path) -> None:
    path = tmp_path / "gaps.edf"
    make_discontinuous(path, ["+0", "+1.993", "+3.995", "+6"])
    file = open_edf(path, SignalsConfig())
    assert np.isfinite(file.read_values(0)).mean() > 0.99
    assert abs(file.duration_s - 8) < 0.01


@pytest.mark.parametrize("kind", [b"EDF+C", b"EDF+D"])
@pytest.mark.parametrize(("drift", "word"), [(0.01, "late"), (-0.01, "early")])
def test_a_clock_that_drifts_is_read_by_its_stamps(tmp_path: Path, kind: bytes, drift: float, word: str) -> None:
    path = tmp_path / "gaps.edf"
    num_records = 150
    make_discontinuous(path, [f"+{2 * idx * (1 + drift):.4f}" for idx in range(num_records)])
    patch(path, 192, kind)
    file = open_edf(path, SignalsConfig())
    assert file.notes == (f"clock runs {word} by 1.00%; samples interpolated by the records' time stamps",)
    assert file.duration_s == pytest.approx(2 * num_records * (1 + drift))
    values = file.read_values(0)
    header = read_edf_header(path)
    as_stored = read_edf_values(header, header.channels[0])
    for second in (30, 250):  # a ramp shows where a sample has come to lie
        at = second * 100
        assert values[at] == pytest.approx(np.interp(at / (1 + drift), np.arange(len(as_stored)), as_stored), abs=0.05)


def test_a_first_record_that_begins_late_moves_the_start_as_mne_counts(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne", reason="MNE is not installed: pip install tslm-sleep[mne]")
    path = tmp_path / "late.edf"
    make_discontinuous(path, ["+300", "+302", "+304"])
    patch(path, 192, b"EDF+C")
    file = open_edf(path, SignalsConfig())
    onsets_s = [note.onset_s for note in file.read_annotations()]
    assert onsets_s == mne.io.read_raw_edf(path, verbose="error").annotations.onset.tolist() == [0, 2, 4]
    start = read_edf_header(path).start
    assert start is not None
    assert file.start == start + timedelta(seconds=300)


def test_a_file_of_annotations_alone_needs_no_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "h.edf"
    write_edf(make_night((W, N2)), tmp_path / "n.edf", path)
    wanted = open_edf(path, SignalsConfig()).read_annotations()
    patch(path, 192, b"EDF+D")
    assert open_edf(path, SignalsConfig()).read_annotations() == wanted
    content = path.read_bytes()
    stamp = content.index(b"+0\x14\x14\0")
    path.write_bytes(content[:stamp] + content[stamp + 5 :] + bytes(5))
    assert open_edf(path, SignalsConfig()).read_annotations() == wanted


@pytest.mark.parametrize(
    ("onsets_s", "said"),
    [
        (["+0", "+1"], "data record 1 begins at 1 s, before the one before it ends"),
        (["+4", "+0"], "data record 1 begins at 0 s"),
        (["+0", "+99999999"], "they are damaged"),
        (["+0", "+2", f"+{69 * 86400}"], "they are damaged"),
        (["+0", "x"], "no time-stamped annotation list"),
        (["+0", "+1e9"], "no time-stamped annotation list"),
    ],
)
def test_time_stamps_that_cannot_be_are_refused(tmp_path: Path, onsets_s: list[str], said: str) -> None:
    path = tmp_path / "gaps.edf"
    make_discontinuous(path, onsets_s)
    with pytest.raises(ValueError, match=said) as caught:
        open_edf(path, SignalsConfig())
    assert "\n" not in str(caught.value)


def test_no_signals_can_be_written_at_a_rate_that_edf_does_not_know(tmp_path: Path) -> None:
    night = make_night()
    odd = replace(night, signals={"EEG": RawSignal(np.ones(3000, dtype=np.float32), 100.5)})
    with pytest.raises(ValueError, match=r"100\.5 Hz; EDF needs whole Hz"):
        write_edf(odd, tmp_path / "p.edf", tmp_path / "h.edf")
