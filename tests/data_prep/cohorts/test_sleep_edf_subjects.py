from pathlib import Path

import numpy as np
import pytest
import xlwt

from data_prep.cohorts.cohort import CohortOptions, prepare_cohort
from data_prep.cohorts.sleep_edf_subjects import SubjectNight, apply_table, read_subject_tables
from tslm.data.cohorts.cohort import load_cohort
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import SleepStage

CASSETTE_HEAD = ["subject", "night", "age", "sex (F=1)", "LightsOff"]
CASSETTE = [
    CASSETTE_HEAD,
    [0, 1, 33, 1, (0 * 60 + 38) / 1440],
    [0, 2, 33, 1, (21 * 60 + 57) / 1440],
    [13, 1, 27, 2, (23 * 60 + 59.9) / 1440],
    [82, 2, 56, 2, ""],
]
TELEMETRY = [
    ["Subject - age - sex", "", "", "Placebo night", "", "Temazepam night", ""],
    ["Nr", "Age", "M1/F2", "night nr", "lights off", "night nr", "lights off"],
    [1, 60, 1, 1, 23.25 / 24, 2, 23.5 / 24],
    [24, 20, 2, 2, 0.5 / 24, 1, 22.5 / 24],
]


def write_table(path: Path, rows: list[list[object]]) -> Path:
    """A workbook of Excel 97, with times of day as Excel keeps them: fractions of a day."""
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("table")
    style = xlwt.easyxf(num_format_str="h:mm")
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            sheet.write(row, column, cell, *([style] if isinstance(cell, float) else []))
    workbook.save(str(path))
    return path


def make_night(recording: str, age: str = "", sex: str = "") -> RawRecording:
    stages = (SleepStage.WAKE, *[SleepStage.N2] * 8, SleepStage.WAKE)
    values = np.random.default_rng(len(recording)).normal(0, 30, 30_000).astype(np.float32)
    return RawRecording(recording, "", {"EEG Fpz-Cz": RawSignal(values, 100.0)}, stages, 30.0, age=age, sex=sex)


def test_both_tables_give_every_night_with_their_own_codes_of_sex(tmp_path: Path) -> None:
    write_table(tmp_path / "SC-subjects.xls", CASSETTE)
    write_table(tmp_path / "ST-subjects.xls", TELEMETRY)
    assert read_subject_tables(tmp_path) == {
        "SC4001": SubjectNight("33", "F", "00:38"),
        "SC4002": SubjectNight("33", "F", "21:57"),
        "SC4131": SubjectNight("27", "M", "00:00"),
        "SC4822": SubjectNight("56", "M", ""),
        "ST7011": SubjectNight("60", "M", "23:15"),
        "ST7012": SubjectNight("60", "M", "23:30"),
        "ST7242": SubjectNight("20", "F", "00:30"),
        "ST7241": SubjectNight("20", "F", "22:30"),
    }


@pytest.mark.parametrize("where", [".", "below", "below/deep"])
def test_a_table_is_found_in_and_below_the_folder_and_just_above_it(where: str, tmp_path: Path) -> None:
    assert read_subject_tables(tmp_path) == {}
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    write_table(tmp_path / where / "SC-subjects.xls", CASSETTE)
    assert "SC4001" in read_subject_tables(tmp_path)
    (tmp_path / where / "sleep-cassette").mkdir()
    assert "SC4001" in read_subject_tables(tmp_path / where / "sleep-cassette")


def test_the_table_goes_before_the_header_and_says_where_they_differ() -> None:
    table = {"SC4001": SubjectNight("33", "F", "00:38")}
    for age, sex, num_notes in (("33", "F", 0), ("", "", 0), ("34", "F", 1), ("34", "M", 2)):
        night = apply_table(make_night("SC4001E0", age, sex), table)
        assert (night.age, night.sex, night.lights_off) == ("33", "F", "00:38")
        assert len(night.notes) == num_notes
    assert "age is 34 in the header, 33 in the table of subjects" in night.notes[0]
    unknown = make_night("SC4012E0", "50", "M")
    assert apply_table(unknown, table) is unknown


def test_prepared_nights_have_the_age_and_sex_of_the_table(tmp_path: Path) -> None:
    for name, scorer in (("SC4001E", "C"), ("SC4831E", "C")):
        write_edf(
            make_night(f"{name}0", "34", "M"), tmp_path / f"{name}0-PSG.edf", tmp_path / f"{name}{scorer}-Hypnogram.edf"
        )
    write_table(tmp_path / "SC-subjects.xls", CASSETTE)
    rows = prepare_cohort(load_cohort("sleep_edf"), CohortOptions(raw_dir=tmp_path), tmp_path / "out")
    said = [(row.recording, row.subject, row.age, row.sex, row.lights_off) for row in rows]
    assert said == [("SC4001E0", "SC400", "33", "F", "00:38"), ("SC4831E0", "SC483", "34", "M", "")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["subject", "night", "age", "sex (M=1)"]], r"no column is headed 'sex \(F=1\)'"),
        ([CASSETTE_HEAD, [0, 1, 33, 3, 0.5]], "row 2 is"),
        ([CASSETTE_HEAD, [0, 1, "young", 1, 0.5]], "row 2 is .*young"),
        ([CASSETTE_HEAD, [0.5, 1, 33, 1, 0.5]], "row 2 is"),
        ([CASSETTE_HEAD, [0, 1]], "row 2 is"),
        ([], "headed"),
    ],
)
def test_another_table_under_the_name_is_an_error_that_shows_the_row(
    rows: list[list[object]], said: str, tmp_path: Path
) -> None:
    write_table(tmp_path / "SC-subjects.xls", rows)
    with pytest.raises(ValueError, match=rf"SC-subjects\.xls is not PhysioNet's table of subjects: .*{said}"):
        read_subject_tables(tmp_path)


@pytest.mark.parametrize("cut", [0, 100, 600, 3000, -50])
def test_a_damaged_table_is_named(cut: int, tmp_path: Path) -> None:
    path = write_table(tmp_path / "SC-subjects.xls", CASSETTE)
    path.write_bytes(path.read_bytes()[:cut] if cut >= 0 else b"<html>" + path.read_bytes())
    with pytest.raises(ValueError, match=r"SC-subjects\.xls is not PhysioNet's table of subjects"):
        read_subject_tables(tmp_path)
