import numpy as np
import pytest

from tslm.data.cohorts.subject_table import describe_subject, find_lit_epochs, find_row, read_subject_table
from tslm.data.readers.raw import RawRecording

DAY = np.arange(0, 24 * 3600, 10.0)
HEAD = "animal_id,species,strain,age,start_utc,lights_on,lights_off,weight\n"


def test_a_row_becomes_the_metadata_of_its_recording(tmp_path):
    path = tmp_path / "animals.csv"
    path.write_text(HEAD + "m1,mouse,C57BL/6J,12 weeks,2024-05-01 07:00,07:00,19:00,25\n")
    raw = RawRecording("day", "m1", {}, (), 10.0, sex="F")
    row = find_row(read_subject_table(path), "day", "m1", path)
    described = describe_subject(raw, row)
    assert (described.species, described.strain, described.age, described.sex) == ("mouse", "C57BL/6J", "12 weeks", "F")
    assert (described.start, described.lights_off) == ("2024-05-01T07:00:00+00:00", "19:00")


def test_a_start_with_an_offset_is_brought_to_utc(tmp_path):
    path = tmp_path / "animals.tsv"
    path.write_text("recording\tstart_utc\nday\t2024-05-01T09:00:00+02:00\n")
    assert read_subject_table(path)["day"] == {"start": "2024-05-01T07:00:00+00:00"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "m1,newt,,,,,,\n", "m1: unknown species"),
        (HEAD + "m1,,,,yesterday,,,\n", "row of m1"),
        (HEAD + "m1,,,,2024-05-01,7 am,19:00,\n", "lights_on"),
        (HEAD + "m1,,,,,,,\nm1,,,,,,,\n", "two rows of m1"),
        ("name,strain\nm1,x\n", "no column recording or animal_id"),
    ],
)
def test_what_cannot_be_is_named_with_its_row(text, message, tmp_path):
    path = tmp_path / "animals.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_subject_table(path)


def test_a_missing_table_or_row_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"subjects\.table=''"):
        read_subject_table(tmp_path / "animals.csv")
    with pytest.raises(ValueError, match="no row of day or m2; it has: m1"):
        find_row({"m1": {}}, "day", "m2", tmp_path)


def test_half_of_a_day_is_lit_between_seven_and_seven():
    lit = find_lit_epochs("2024-05-01T07:00:00+00:00", "07:00", "19:00", DAY, 10.0)
    assert lit[:4320].all()
    assert not lit[4320:].any()


def test_a_recording_may_start_at_any_time_of_day():
    lit = find_lit_epochs("2024-05-01T18:59:50", "07:00", "19:00", DAY[:3], 10.0)
    assert lit.tolist() == [True, False, False]


def test_the_light_may_last_over_midnight():
    lit = find_lit_epochs("2024-05-01T00:00:00", "21:00", "09:00:00", 3600.0 * np.arange(24), 10.0)
    assert np.flatnonzero(lit).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 21, 22, 23]


def test_an_epoch_is_what_its_middle_is():
    before, after = find_lit_epochs("2024-05-01T06:59:54", "07:00", "19:00", np.array([0.0, 2.0]), 10.0)
    assert not before
    assert after


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_without_a_clock_or_a_light_nothing_is_claimed(missing):
    texts = ["2024-05-01T00:00:00", "07:00", "19:00"]
    texts[missing] = ""
    assert find_lit_epochs(*texts, DAY, 10.0) is None


@pytest.mark.parametrize(
    ("start", "on", "off", "message"),
    [
        ("yesterday", "07:00", "19:00", "start"),
        ("2024-05-01", "7 am", "19:00", "lights_on"),
        ("2024-05-01", "07:00", "25:00", "lights_off"),
        ("2024-05-01", "07:00", "07:00", "constant"),
    ],
)
def test_what_is_no_time_is_refused(start, on, off, message):
    with pytest.raises(ValueError, match=message):
        find_lit_epochs(start, on, off, DAY, 10.0)
