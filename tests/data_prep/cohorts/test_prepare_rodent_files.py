"""Animals from files: EDF and MATLAB with labels beside them and a table of animals."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from data_prep.prepare import main
from data_prep.simulators.rodent.day import simulate_rodent_day
from tslm.data.prepared.recordings import read_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.labels import SleepStage

FS_HZ = 100
SPELLINGS = ({"W": "W", "NREM": "NR", "R": "R"}, {"W": "Wake", "NREM": "SWS", "R": "REM"}, {"W": 1, "NREM": 2, "R": 3})


@pytest.fixture(scope="module")
def days():
    return [simulate_rodent_day(8, idx, hours=0.5, fs_hz=FS_HZ) for idx in range(len(SPELLINGS))]


def write_labels(path: Path, day, spelling) -> None:
    labels = [str(spelling.get(stage.value, "?")) for stage in day.sleep_stages]
    if path.suffix == ".txt":
        path.write_text("\n".join(labels) + "\n")
    else:
        path.write_text("epoch,stage\n" + "".join(f"{idx},{label}\n" for idx, label in enumerate(labels)))


def write_animals(folder: Path, days) -> None:
    rows = "".join(f"{day.recording},mouse,{day.strain},{day.age},{day.start},07:00,19:00\n" for day in days)
    (folder / "animals.csv").write_text("animal_id,species,strain,age,start_utc,lights_on,lights_off\n" + rows)


def write_edf_day(folder: Path, day) -> None:
    bare = type(day)(day.recording, day.subject, day.signals, (), day.epoch_s)
    write_edf(bare, folder / f"{day.recording}.edf", folder / "nothing")


def write_mat_day(folder: Path, day) -> None:
    vectors = {name: signal.values for name, signal in day.signals.items()}  # at 100 Hz the three have one rate
    scipy.io.savemat(folder / f"{day.recording}.mat", vectors | {"fs": float(FS_HZ)})


@pytest.mark.parametrize(("cohort", "write_day"), [("rodent_edf", write_edf_day), ("rodent_mat", write_mat_day)])
def test_animals_of_any_file_come_with_labels_light_and_metadata(cohort, write_day, days, tmp_path):
    raw_dir = tmp_path / "raw"
    raw_dir.mkdir()
    for day, spelling, ending in zip(days, SPELLINGS, (".csv", ".txt", ".csv"), strict=True):
        write_day(raw_dir, day)
        write_labels(raw_dir / f"{day.recording}{ending}", day, spelling)
    write_animals(raw_dir, days)
    options = [
        f"raw_dir={raw_dir}",
        f"fs_hz={FS_HZ}",
        f"signals.fs_hz={FS_HZ}",
        "wake_margin_min=10000",
        "hypnogram.digits=sirenia",
    ]
    assert main([cohort, "--out", str(tmp_path / "out"), *options]) == 0
    for day in days:
        prepared = read_recording(tmp_path / "out" / f"{day.recording}.parquet")
        assert prepared.sleep_stages == day.sleep_stages
        assert set(prepared.sleep_stages) <= {SleepStage(code) for code in ("W", "NREM", "R", "UNSCORED")}
        assert (prepared.species, prepared.strain, prepared.age) == (day.species, day.strain, day.age)
        assert (prepared.start, prepared.lights_on, prepared.lights_off) == (day.start, "07:00", "19:00")
        assert prepared.units == {"ACC": "g"}
        assert "light" in prepared.columns
        assert prepared.source == cohort
        wanted = day.signals["EEG"].values.reshape(prepared.channels["EEG"].shape)
        assert np.abs(prepared.channels["EEG"] - wanted).max() < 0.2


def test_an_animal_that_the_table_does_not_know_is_named(days, tmp_path, capsys):
    write_mat_day(tmp_path, days[0])
    write_labels(tmp_path / f"{days[0].recording}.txt", days[0], SPELLINGS[0])
    write_animals(tmp_path, days[1:])
    options = [f"raw_dir={tmp_path}", f"fs_hz={FS_HZ}"]
    assert main(["rodent_mat", "--out", str(tmp_path / "out"), *options]) == 2
    assert "no row of MOUSE0000" in capsys.readouterr().err
