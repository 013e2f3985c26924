from pathlib import Path

import numpy as np
import pytest

from data_prep.cohorts.night import prepare_night
from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig, SignalsConfig
from tslm.data.cohorts.montage import read_montage
from tslm.data.cohorts.single_night import read_single_night
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import SleepStage

NUM_EPOCHS = 6
RATES_HZ = {"EEG": 256.0, "EOG": 100.0, "EMG chin": 1.0}  # the last one an envelope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    signals = {
        name: RawSignal(rng.uniform(-50, 50, round(NUM_EPOCHS * 30 * fs_hz)).astype(np.float32), fs_hz)
        for name, fs_hz in RATES_HZ.items()
    }
    write_edf(RawRecording("n", "", signals, (), 30.0), tmp_path / "n.edf", tmp_path / "n.hyp")
    return tmp_path / "n.edf"


def test_a_night_read_alone_has_the_samples_of_the_same_night_prepared(path: Path) -> None:
    file = open_signals(path, SignalsConfig())
    night = read_single_night(file, {name: name for name in RATES_HZ}, 100.0, 30.0, "human")
    channels = {name: ChannelConfig((DerivationConfig(name),)) for name in RATES_HZ}
    signals, _ = read_montage(file, channels, 100.0)
    prepared = prepare_night(RawRecording("n", "s", signals, (SleepStage.N2,) * NUM_EPOCHS, 30.0))
    assert night.span == range(NUM_EPOCHS)
    np.testing.assert_array_equal(night.recording.onset_s, prepared.onset_s)
    for name in RATES_HZ:
        np.testing.assert_array_equal(night.recording.channels[name], prepared.channels[name])
    for name, flags in night.recording.columns.items():
        np.testing.assert_array_equal(flags, prepared.columns[name])


def test_rates_that_were_changed_are_noted(path: Path) -> None:
    night = read_single_night(
        open_signals(path, SignalsConfig()), {"the EEG": "EEG", "the EOG": "EOG"}, 100.0, 30.0, "human"
    )
    assert night.recording.notes == ("the EEG: resampled from 256 Hz to 100 Hz",)
    assert list(night.recording.channels) == ["the EEG", "the EOG"]


def test_epochs_of_no_whole_number_of_samples_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="no whole number of samples"):
        read_single_night(open_signals(path, SignalsConfig()), {"EEG": "EEG"}, 100.0, 0.333, "human")
