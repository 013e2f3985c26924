from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories.recordings import build_night
from tslm.config.schema import ModelConfig
from tslm.data.cohorts.suitability import (
    check_channels,
    check_rate,
    check_recordings,
    check_species,
    find_other_species,
)
from tslm.data.readers.raw import ChannelInfo, SignalFile
from tslm.labels import SleepStage

NIGHT = build_night("n", [SleepStage.N2] * 3)


def open_file(name: str = "night.edf", subject: str = "", **rates_hz: float) -> SignalFile:
    channels = tuple(ChannelInfo(channel, "uV", fs_hz) for channel, fs_hz in rates_hz.items())
    return SignalFile(Path(name), channels, 60.0, lambda _: NIGHT.channels["EMG chin"], subject=subject)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (ModelConfig(), {}, ""),
        (ModelConfig(fs_hz=NIGHT.fs_hz, epoch_s=NIGHT.epoch_s), {}, ""),
        (ModelConfig(fs_hz=100.0), {}, "has fs_hz=64 Hz, the model reads 100 Hz; prepare"),
        (ModelConfig(epoch_s=20.0), {}, "has epoch_s=30 s, the model reads 20 s; prepare"),
        (ModelConfig(), {"species": "mouse"}, "n is of a mouse, and the model gives the sleep stages of a human"),
        (ModelConfig(label_set="rodent"), {}, "n is of a human, and the model gives the sleep stages of a rodent"),
        (ModelConfig(label_set="rodent"), {"species": "rat"}, ""),
    ],
)
def test_a_recording_that_does_not_suit_the_model_is_refused(model: ModelConfig, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_recordings([replace(NIGHT, **changes)], model)


def test_an_unknown_species_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown species 'cat'; one of: human, mouse"):
        check_species("n", "cat", ModelConfig())


@pytest.mark.parametrize(
    ("channels", "warnings"),
    [
        ({"EEG Fpz-Cz": "EEG Fpz-Cz", "EOG horizontal": "E1 - E2", "EMG chin": "Chin1 - Chin2"}, []),
        ({"EEG Fpz-Cz": "F4 - M1 + M2"}, []),
        ({"EEG": "EEG", "EMG": "EMG#2"}, []),
        ({"EEG Fpz-Cz": "C4-M1"}, ["'C4-M1' is a central EEG"]),
        ({"EEG Fpz-Cz": "EMG"}, ["'EMG' is read as 'EEG Fpz-Cz', but is EMG, muscle not stated by its name"]),
        ({"EOG": "SpO2"}, ["'SpO2' is read as 'EOG', but is oxygen saturation by its name"]),
        ({"EEG": "channel 7", "acc": "SpO2"}, []),
    ],
)
def test_channels_of_another_kind_than_the_trained_ones_are_warned_of(channels: dict, warnings: list[str]) -> None:
    found = check_channels("n", channels)
    assert [warning.startswith(start) for warning, start in zip(found, warnings, strict=True)] == [True] * len(warnings)


@pytest.mark.parametrize("again", ["EMG", "emg", " EMG"])
def test_one_channel_read_as_two_is_refused(again: str) -> None:
    with pytest.raises(ValueError, match="is given as 'EOG horizontal' and as 'EMG submental'"):
        check_channels("m.edf", {"EEG Fpz-Cz": "EEG", "EOG horizontal": "EMG", "EMG submental": again})


@pytest.mark.parametrize(
    ("name", "subject", "label_set", "is_warned"),
    [
        ("mouse_3.edf", "", "aasm", True),
        ("night.edf", "Mus musculus 7", "aasm", True),
        ("WT-rat-07.edf", "", "aasm", True),
        ("mouse_3.edf", "", "rodent", False),
        ("moratorium.edf", "Ratner", "aasm", False),
    ],
)
def test_a_file_that_names_an_animal_is_warned_of_by_a_model_of_people(
    name: str, subject: str, label_set: str, is_warned: bool
) -> None:
    assert bool(find_other_species(open_file(name, subject), ModelConfig(label_set=label_set))) == is_warned


@pytest.mark.parametrize(("source", "is_warned"), [("C4", True), ("C3 - M2", True), ("C3", False), ("Cz", False)])
def test_an_eeg_that_is_slower_than_the_model_reads_is_warned_of(source: str, is_warned: bool) -> None:
    file = open_file(C4=64.0, C3=200.0, M2=64.0, Cz=100.0)
    assert bool(check_rate(file, source, ModelConfig(fs_hz=100.0))) == is_warned
