from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import main
from data_prep.simulators.rodent.day import simulate_rodent_day
from tslm.data.prepared.recordings import read_participants, read_recording

OPTIONS = ("num_subjects=2", "hours=0.5", "fs_hz=100", "seed=5")


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rodents")
    assert main(["sim_rodent", "--out", str(folder), *OPTIONS]) == 0
    return folder


def test_a_prepared_animal_has_its_channels_units_and_metadata(cohort_dir):
    day = simulate_rodent_day(5, 0, hours=0.5, fs_hz=100)
    prepared = read_recording(cohort_dir / "MOUSE0000-S5.parquet")
    assert prepared.sleep_stages == day.sleep_stages
    assert (prepared.fs_hz, prepared.epoch_s, prepared.units) == (100.0, 10.0, {"ACC": "g"})
    assert {name: epochs.shape for name, epochs in prepared.channels.items()} == dict.fromkeys(day.signals, (180, 1000))
    for name in ("species", "strain", "age", "sex", "start", "lights_on", "lights_off", "source"):
        assert getattr(prepared, name) == getattr(day, name) != ""
    rows = {row.recording: row for row in read_participants(cohort_dir)}
    assert (rows["MOUSE0000-S5"].strain, rows["MOUSE0000-S5"].lights_off) == (day.strain, "19:00")


def test_light_muscle_tone_and_theta_of_rodents_stand_beside_each_epoch(cohort_dir):
    prepared = read_recording(cohort_dir / "MOUSE0001-S5.parquet")
    hour = int(prepared.start[11:13])
    if 7 <= hour < 18:
        assert prepared.columns["light"].tolist() == [1] * 180
    assert set(prepared.columns["light"]) <= {0, 1}
    awake = np.array([stage == "W" for stage in prepared.sleep_stages])
    asleep = np.array([stage == "NREM" for stage in prepared.sleep_stages])
    tone = prepared.columns["emg_tone"]
    assert np.median(tone[awake]) > 1.5 * np.median(tone[asleep])
    assert np.median(prepared.columns["delta_share"][asleep]) > np.median(prepared.columns["delta_share"][awake])
    assert not prepared.columns["saturation_flag"].any()


def test_the_way_through_edf_files_changes_nothing_but_the_last_bits(cohort_dir, tmp_path):
    assert main(["sim_rodent", "--out", str(tmp_path), "edf=true", *OPTIONS]) == 0
    assert (tmp_path / "edf" / "MOUSE0000-S5.edf").is_file()
    for name in ("MOUSE0000-S5", "MOUSE0001-S5"):
        direct, read = (read_recording(folder / f"{name}.parquet") for folder in (cohort_dir, tmp_path))
        assert read.sleep_stages == direct.sleep_stages
        assert read.units == direct.units
        assert (read.start, read.strain, read.age, read.lights_on) == (
            direct.start,
            direct.strain,
            direct.age,
            direct.lights_on,
        )
        for channel, epochs in direct.channels.items():
            step = 2 * (np.abs(epochs).max() + 1) / 32767
            assert np.abs(read.channels[channel] - epochs).max() <= step


@pytest.mark.parametrize("option", ["species=newt", "num_subjects=0", "hours=0", "fs_hz=10", "sex=f"])
def test_a_bad_option_is_one_line_and_exit_code_2(option, tmp_path, capsys):
    assert main(["sim_rodent", "--out", str(tmp_path), "num_subjects=1", option]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()[-1]) < 300
