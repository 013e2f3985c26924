from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import make_noise, write_night
from tslm.data.cohorts.nights import MARGIN_S, find_night, read_single_night
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig

FS_HZ, EPOCH_S = 100.0, 30.0
MARGIN = round(MARGIN_S / EPOCH_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_night(tmp_path / "n.edf", {"EEG": make_noise(180, 256.0), "EOG": make_noise(180, 100.0)})


def test_channels_get_the_models_names_and_changed_rates_are_noted(path: Path) -> None:
    night = read_single_night(
        open_signals(path, SignalsConfig()), {"the EEG": "EEG", "the EOG": "EOG"}, FS_HZ, EPOCH_S, "human"
    )
    assert night.span == range(6)
    assert night.recording.notes == ("the EEG: resampled from 256 Hz to 100 Hz",)
    assert list(night.recording.channels) == ["the EEG", "the EOG"]


def test_epochs_of_no_whole_number_of_samples_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="no whole number of samples"):
        read_single_night(open_signals(path, SignalsConfig()), {"EEG": "EEG"}, FS_HZ, 0.333, "human")


def make_day(num_epochs: int, asleep: range, restless: tuple[int, ...] = ()) -> np.ndarray:
    """Slow background throughout; muscles by day and in the restless epochs of the night."""
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.normal(0, 1, (num_epochs, round(FS_HZ * EPOCH_S))), axis=1) * 3
    tense = np.full(num_epochs, 8.0)
    tense[asleep.start : asleep.stop] = 1.0
    tense[list(restless)] = 8.0
    tense *= rng.uniform(0.7, 1.4, num_epochs)
    return (slow + rng.normal(0, 1, slow.shape) * tense[:, None]).astype(np.float32)


def test_the_quiet_stretch_of_a_day_is_its_night_with_half_an_hour_around_it() -> None:
    night = find_night(make_day(2400, range(900, 1800)), FS_HZ, EPOCH_S)
    assert abs(night.start - (900 - MARGIN)) <= 16
    assert abs(night.stop - (1800 + MARGIN)) <= 16


def test_getting_up_at_night_does_not_end_it() -> None:
    restless = (*range(1200, 1230), *range(1500, 1510))
    night = find_night(make_day(2400, range(900, 1800), restless), FS_HZ, EPOCH_S)
    assert abs(night.start - (900 - MARGIN)) <= 16
    assert abs(night.stop - (1800 + MARGIN)) <= 16


@pytest.mark.parametrize("asleep", [range(0, 900), range(1500, 2400)])
def test_a_night_at_an_end_of_the_recording_is_cut_there(asleep: range) -> None:
    night = find_night(make_day(2400, asleep), FS_HZ, EPOCH_S)
    assert night.start == max(0, night.start)
    assert (night.start == 0) == (asleep.start == 0)
    assert (night.stop == 2400) == (asleep.stop == 2400)


def test_gain_does_not_move_it() -> None:
    day = make_day(1600, range(500, 1200))
    assert find_night(day * np.float32(0.01), FS_HZ, EPOCH_S) == find_night(day, FS_HZ, EPOCH_S)


@pytest.mark.parametrize(
    ("num_epochs", "fs_hz"), [(1440, FS_HZ), (0, FS_HZ), (1600, 64.0)], ids=["12 hours", "empty", "slow"]
)
def test_what_is_no_longer_than_a_night_or_too_slow_to_see_muscles_is_kept_whole(num_epochs: int, fs_hz: float) -> None:
    epochs = np.random.default_rng(0).normal(size=(num_epochs, round(fs_hz * EPOCH_S))).astype(np.float32)
    assert find_night(epochs, fs_hz, EPOCH_S) == range(num_epochs)


def test_a_day_of_silence_is_kept_whole() -> None:
    assert find_night(np.zeros((1600, 3000), dtype=np.float32), FS_HZ, EPOCH_S) == range(1600)
