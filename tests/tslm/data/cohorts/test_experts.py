from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import make_noise, write_night
from tslm.data.cohorts.cohort import CohortConfig, parse_reading
from tslm.data.cohorts.experts import Expert, find_expert, read_expert
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig
from tslm.labels import SleepStage

W, N1, N2, N3, R = (SleepStage(code) for code in ("W", "N1", "N2", "N3", "R"))
UNSCORED = SleepStage.UNSCORED
ANY = CohortConfig()


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return write_night(tmp_path / "P01.edf", {"EEG": make_noise(120, 100.0)}, [N2, N2, R, W])


def read(night: Path, path: Path, *settings: str) -> Expert:
    return read_expert(open_signals(night, SignalsConfig()), path, parse_reading(settings))


@pytest.mark.parametrize(
    ("signals", "hypnogram"),
    [
        ("SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"),
        ("shhs1-200001.edf", "annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml"),
        ("sub-01_task-sleep_eeg.edf", "sub-01/eeg/sub-01_task-sleep_events.tsv"),
        ("P01.edf", "P01_hypnogram.txt"),
        ("P01.edf", "P01.csv"),
    ],
)
def test_a_folder_is_searched_by_the_rules_of_the_cohorts(signals: str, hypnogram: str, tmp_path: Path) -> None:
    night = tmp_path / "nights" / signals
    wanted, other = tmp_path / "scored" / hypnogram, tmp_path / "scored" / "SC4011EH-Hypnogram.edf"
    for path in (wanted, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_expert(night, tmp_path / "scored", ANY) == wanted
    assert find_expert(night.with_name("another.edf"), tmp_path / "scored", ANY) is None


def test_a_pattern_of_ones_own_replaces_those_rules_and_two_that_fit_are_refused(tmp_path: Path) -> None:
    for name in ("P01.txt", "P01.csv", "P01_anna.csv"):
        (tmp_path / name).touch()
    mine = parse_reading(["hypnogram.files={stem}_*.csv"])
    assert find_expert(Path("P01.edf"), tmp_path, mine) == tmp_path / "P01_anna.csv"
    with pytest.raises(ValueError, match=r"2 hypnograms below .* fit P01.edf: .*P01.csv, .*P01.txt"):
        find_expert(Path("P01.edf"), tmp_path, ANY)
    with pytest.raises(FileNotFoundError, match="there is no hypnogram"):
        find_expert(Path("P01.edf"), tmp_path / "P02.txt", ANY)


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ("N2 N2 REM Wake", ()),
        ("stage 2|NREM2|R|W", ()),
        ("2 2 5 0", ("hypnogram.digits=rk",)),
        ("light light R W", ("labels.light=N2",)),
    ],
)
def test_stages_in_plain_words_are_known_and_others_are_named(lines: str, settings: tuple, night: Path) -> None:
    path = night.with_suffix(".txt")
    path.write_text("\n".join(lines.split("|" if "|" in lines else " ")), encoding="utf-8")
    assert read(night, path, *settings).sleep_stages == (N2, N2, R, W)


def test_annotations_of_a_file_of_their_own_are_read(night: Path) -> None:
    hypnogram = night.with_suffix(".hyp").rename(night.with_name("P01-Hypnogram.edf"))
    assert read(night, hypnogram).sleep_stages == (N2, N2, R, W)


@pytest.mark.parametrize(
    ("text", "message"),
    [("?\n?\n?\n?", "scores no epoch"), ("0\n1\n2\n5", "hypnogram.digits="), ("light\n" * 4, "unknown label")],
)
def test_a_hypnogram_that_cannot_be_an_experts_is_refused(text: str, message: str, night: Path) -> None:
    path = night.with_suffix(".txt")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read(night, path)


@pytest.mark.parametrize(
    ("grid_s", "expected"), [(0.0, (N1, N2, N3)), (12.0, (N1, N2, N3)), (18.0, (UNSCORED, N1, N2))]
)
def test_a_staged_epoch_has_the_experts_stage_of_most_of_its_time(grid_s: float, expected: tuple) -> None:
    assert Expert(Path("x"), (N1, N2, N3), 30.0, grid_s).stage_at(np.array([0.0, 30.0, 60.0])) == expected


def test_epochs_that_the_expert_did_not_reach_or_that_were_left_out_stay_in_place() -> None:
    stages = Expert(Path("x"), (N1, N2, N3), 30.0).stage_at(np.array([30.0, 90.0, 300.0]))
    assert stages == (N2, UNSCORED, UNSCORED)
