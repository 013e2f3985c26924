import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories.small import CHANNEL, small_config, small_recording
from tslm.data.novelty import (
    LEAST_SUBJECTS,
    NOVELTY_FILE,
    ChannelNovelty,
    find_novel_channels,
    fit_novelty,
    fit_run_novelty,
    load_novelty,
    measure_spectral_features,
    save_novelty,
)
from tslm.data.prepared.recordings import Recording, write_participants, write_recording

CHANNELS = (CHANNEL, "EMG")


def scale(recording: Recording, factor: float) -> Recording:
    return replace(recording, channels={name: factor * each for name, each in recording.channels.items()})


def draw_nights(num_nights: int, first: int = 0) -> list[Recording]:
    """Nights whose amplifiers differ in gain by some 10 %."""
    gains = np.random.default_rng(first).lognormal(0, 0.1, num_nights)
    return [scale(small_recording(f"n{first + idx}", 20, first + idx), gain) for idx, gain in enumerate(gains)]


@pytest.fixture(scope="module")
def novelty() -> dict[str, ChannelNovelty]:
    return fit_novelty(draw_nights(40), CHANNELS)


def test_features_are_median_and_interquartile_range_of_the_epochs_spectra() -> None:
    epochs_EL = np.random.default_rng(0).normal(0, 1, (40, 3000)).astype(np.float32)
    quiet, loud = measure_spectral_features(epochs_EL), measure_spectral_features(np.e * epochs_EL)
    assert quiet is not None and loud is not None
    np.testing.assert_allclose(loud[:32] - quiet[:32], 1, atol=1e-4)  # a gain of e is 1 in ln amplitude
    np.testing.assert_allclose(loud[32:], quiet[32:], atol=1e-4)
    np.testing.assert_allclose(quiet[16:32], 0, atol=0.1)  # white noise of standard deviation 1
    loud_half = epochs_EL * np.repeat([1, np.e], 20)[:, None]
    assert (measure_spectral_features(loud_half)[32:] > 0.7).all()  # type: ignore[index]
    assert measure_spectral_features(np.zeros((40, 3000), np.float32)) is None
    assert measure_spectral_features(epochs_EL[:4]) is None


def test_about_one_in_twenty_recordings_of_the_training_kind_is_noted(novelty: dict[str, ChannelNovelty]) -> None:
    noted = [night.recording for night in draw_nights(100, first=1000) if find_novel_channels(novelty, night)]
    assert len(noted) <= 15


@pytest.mark.parametrize("factor", [10.0, 0.1, 1e-6])
def test_another_gain_is_noted_by_its_channel_and_figure(novelty: dict[str, ChannelNovelty], factor: float) -> None:
    found = find_novel_channels(novelty, scale(small_recording(num_epochs=20, seed=999), factor))
    assert list(found) == [CHANNEL]
    measured, typical = found[CHANNEL]
    assert measured > typical.limit and typical.num_recordings == 40


def test_white_noise_is_noted(novelty: dict[str, ChannelNovelty]) -> None:
    night = small_recording(num_epochs=20, seed=999)
    noise = np.random.default_rng(0).normal(0, night.channels[CHANNEL].std(), night.channels[CHANNEL].shape)
    assert find_novel_channels(novelty, replace(night, channels={CHANNEL: noise.astype(np.float32)}))


def test_an_emg_a_missing_and_a_flat_channel_are_not_measured(novelty: dict[str, ChannelNovelty]) -> None:
    assert list(novelty) == [CHANNEL]
    night = small_recording(num_epochs=20)
    assert find_novel_channels(novelty, replace(night, channels={"EMG": night.channels["EMG"]})) == {}
    assert find_novel_channels(novelty, scale(night, 0.0)) == {}


def test_the_limit_is_of_other_subjects() -> None:
    nights = [replace(night, subject=f"s{idx // 2}") for idx, night in enumerate(draw_nights(40))]
    of_subjects = fit_novelty(nights, CHANNELS)[CHANNEL].limit
    assert of_subjects != fit_novelty(draw_nights(40), CHANNELS)[CHANNEL].limit


def test_few_subjects_say_nothing() -> None:
    assert fit_novelty(draw_nights(LEAST_SUBJECTS - 1), CHANNELS) == {}
    alike = [replace(night, subject="one") for night in draw_nights(20)]
    assert fit_novelty(alike, CHANNELS) == {}


def test_a_run_is_fitted_on_its_training_and_validation_recordings(tmp_path: Path) -> None:
    nights = draw_nights(15)
    splits = ["train"] * 9 + ["val"] * 3 + ["test"] * 3
    write_participants(
        [write_recording(night, tmp_path, split) for night, split in zip(nights, splits, strict=True)], tmp_path
    )
    config = small_config(
        stage__train_dir=str(tmp_path), stage__channel=CHANNEL, stage__extra_channels=("EMG",), stage__task="night"
    )
    found = fit_run_novelty(config)
    assert found.keys() == {CHANNEL} and found[CHANNEL].num_recordings == 12


def test_what_is_saved_is_read_back_and_gives_the_same(novelty: dict[str, ChannelNovelty], tmp_path: Path) -> None:
    assert load_novelty(tmp_path) == {}
    save_novelty(novelty, tmp_path)
    night = scale(small_recording(num_epochs=20, seed=999), 10.0)
    before, after = (find_novel_channels(each, night)[CHANNEL][0] for each in (novelty, load_novelty(tmp_path)))
    assert after == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: [],
        lambda plain: {CHANNEL: 3},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"mean_F": [0.0] * 3}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"mean_F": [float("nan")] * 64}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"spread_F": [0.0] * 64}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"limit": -1}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"limit": None}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"num_recordings": 0}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"share_below": 95}},
        lambda plain: {CHANNEL: plain[CHANNEL] | {"more": 1}},
        lambda plain: {CHANNEL: {}},
    ],
)
def test_a_damaged_file_is_refused(novelty: dict[str, ChannelNovelty], tmp_path: Path, spoil: Any) -> None:
    save_novelty(novelty, tmp_path)
    plain = json.loads((tmp_path / NOVELTY_FILE).read_text())
    (tmp_path / NOVELTY_FILE).write_text(json.dumps(spoil(plain)))
    with pytest.raises(ValueError, match=f"{NOVELTY_FILE} is damaged"):
        load_novelty(tmp_path)


def test_a_cut_file_is_refused(novelty: dict[str, ChannelNovelty], tmp_path: Path) -> None:
    save_novelty(novelty, tmp_path)
    path = tmp_path / NOVELTY_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=NOVELTY_FILE):
        load_novelty(tmp_path)
