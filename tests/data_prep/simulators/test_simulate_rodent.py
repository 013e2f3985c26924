from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from scipy import fft
from scipy.signal import welch

from data_prep.simulators.rodent.bouts import NREM, REM, WAKE, SleepHabits, draw_course, score_epochs
from data_prep.simulators.rodent.day import ACC_CHANNEL, EEG_CHANNEL, EMG_CHANNEL, simulate_rodent_day
from data_prep.simulators.synthesis import (
    FrameGrid,
    add_many_waves,
    add_waves,
    combine,
    draw_mixed_noise,
    draw_noise,
    join_frames,
    split_frames,
)
from tslm.labels import SleepStage

STAGES = (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def days():
    return [simulate_rodent_day(4, idx, hours=4, fs_hz=200) for idx in range(4)]


@pytest.fixture(scope="module")
def courses():
    return [draw_course(np.random.default_rng(number), DAY_S, 7 * 3600, SleepHabits()) for number in range(16)]


def _epochs(day, channel):
    return day.signals[channel].values.reshape(len(day.sleep_stages), -1)


def _of(day, channel, stage):
    return _epochs(day, channel)[[label == stage for label in day.sleep_stages]]


def _bouts(states):
    return [(state, len(list(run))) for state, run in groupby(states.tolist())]


def test_the_human_grid_draws_the_noise_that_plain_frames_of_4_s_every_2_s_give():
    log_psd = np.random.default_rng(1).normal(0, 1, (20, 201)).astype(np.float32)
    window = np.sin(np.pi * (np.arange(400) + 0.5) / 400).astype(np.float32)
    normal = np.random.default_rng(2).standard_normal((20, 201, 2), dtype=np.float32).view(np.complex64)[..., 0]
    frames = fft.irfft(normal * np.exp(0.5 * log_psd) * np.float32(100), n=400, axis=1) * window
    wanted = (frames[:-1, 200:] + frames[1:, :200]).reshape(-1)
    assert np.allclose(draw_noise(np.random.default_rng(2), log_psd), wanted, rtol=1e-5, atol=1e-5)


def test_the_same_arguments_give_the_same_recording_bit_for_bit(days):
    again = simulate_rodent_day(4, 2, hours=4, fs_hz=200)
    assert all(np.array_equal(again.signals[name].values, days[2].signals[name].values) for name in again.signals)
    assert replace(again, signals={}) == replace(days[2], signals={})


def test_a_recording_is_complete_and_says_what_it_holds(days):
    for idx, day in enumerate(days):
        assert day.recording == day.subject == f"MOUSE{idx:04d}-S4"
        assert day.start.endswith("+00:00")
        assert (day.species, day.lights_on, day.lights_off) == ("mouse", "07:00", "19:00")
        assert day.strain
        assert day.age.endswith(" weeks")
        assert set(day.sleep_stages) <= {*STAGES, SleepStage.UNSCORED}
        assert len(day.sleep_stages) == 1440
        assert {name: (signal.unit, signal.fs_hz) for name, signal in day.signals.items()} == {
            EEG_CHANNEL: ("uV", 200.0),
            EMG_CHANNEL: ("uV", 200.0),
            ACC_CHANNEL: ("g", 100.0),
        }
        for signal in day.signals.values():
            assert signal.values.dtype == np.float32
            assert signal.values.size == 4 * 3600 * signal.fs_hz
            assert np.isfinite(signal.values).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "negative"),
        ({"species": "hamster"}, "mouse, rat"),
        ({"hours": 0.001}, "hours"),
        ({"fs_hz": 20}, "64 Hz"),
    ],
)
def test_a_bad_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_rodent_day(**{"seed": 0, "animal_idx": 0, "hours": 1, "fs_hz": 100} | arguments)


def test_a_day_has_the_stage_shares_of_real_mice(courses):
    light = np.mean([[(course.state_T[: DAY_S // 2] == state).mean() for state in range(3)] for course in courses], 0)
    dark = np.mean([[(course.state_T[DAY_S // 2 :] == state).mean() for state in range(3)] for course in courses], 0)
    assert np.abs(light - (0.33, 0.55, 0.12)).max() < 0.05
    assert np.abs(dark - (0.62, 0.34, 0.04)).max() < 0.05


def test_bouts_last_as_long_as_those_of_real_mice(courses):
    scored = [score_epochs(np.random.default_rng(0), course.state_T, 10) for course in courses]
    for half, wanted_s in ((slice(0, 4320), (101, 161, 64)), (slice(4320, 8640), (211, 131, 61))):
        for stage, wanted in zip(STAGES, wanted_s, strict=True):
            lengths_s = [
                10 * len(list(run)) for labels in scored for label, run in groupby(labels[half]) if label == stage
            ]
            assert np.mean(lengths_s) == pytest.approx(wanted, rel=0.2)


def test_rem_follows_nrem_and_nothing_else(courses):
    for course in courses:
        pairs = {(before[0], after[0]) for before, after in pairwise(_bouts(course.state_T))}
        assert (WAKE, REM) not in pairs
        assert (NREM, REM) in pairs


def test_sleep_pressure_falls_in_nrem_and_rises_otherwise(courses):
    steps = np.diff(courses[0].pressure_T)
    asleep = courses[0].state_T[1:] == NREM
    assert (steps[asleep] < 0).all()
    assert (steps[~asleep] > 0).all()


def test_an_epoch_has_the_label_of_the_state_that_fills_most_of_it():
    state_T = np.array([WAKE] * 10 + [WAKE] * 3 + [NREM] * 7 + [NREM] * 2 + [REM] * 8 + [REM] * 4)
    labels = score_epochs(np.random.default_rng(0), state_T, 10)
    assert labels == (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)


def test_unclear_epochs_are_left_unscored_now_and_then():
    state_T = np.tile([WAKE] * 5 + [NREM] * 5, 2000)
    labels = score_epochs(np.random.default_rng(0), state_T, 10)
    assert 0.2 < np.mean([label == SleepStage.UNSCORED for label in labels]) < 0.3


def test_the_stages_differ_as_a_scorer_expects(days):
    for day in days:
        power = {}
        for stage in STAGES:
            freqs_hz, density = welch(_of(day, EEG_CHANNEL, stage), 200, nperseg=400)
            median = np.median(density, axis=0)
            in_theta = (freqs_hz >= 5.5) & (freqs_hz <= 10)
            power[stage] = {
                "delta": median[(freqs_hz >= 1) & (freqs_hz < 4)].mean(),
                "theta": median[(freqs_hz >= 6) & (freqs_hz < 9)].mean(),
                "sigma": median[(freqs_hz >= 10) & (freqs_hz < 15)].mean(),
                "gamma": median[(freqs_hz >= 55) & (freqs_hz < 80)].mean(),
                "peak_hz": freqs_hz[in_theta][median[in_theta].argmax()],
            }
        wake, nrem, rem = (power[stage] for stage in STAGES)
        assert nrem["delta"] > 4 * max(wake["delta"], rem["delta"])
        assert nrem["sigma"] > 2 * max(wake["sigma"], rem["sigma"])
        assert rem["theta"] / rem["delta"] > 3 * nrem["theta"] / nrem["delta"]
        assert wake["gamma"] > 1.2 * nrem["gamma"]
        assert 6 <= rem["peak_hz"] <= 9


def test_muscle_is_tense_in_wake_low_in_nrem_and_lowest_in_rem(days):
    for day in days:
        wake, nrem, rem = (np.median(_of(day, EMG_CHANNEL, stage).std(axis=1)) for stage in STAGES)
        assert wake > 2 * nrem
        assert rem < nrem


def test_the_accelerometer_reads_gravity_and_moves_in_wake(days):
    for day in days:
        assert day.signals[ACC_CHANNEL].values.mean() == pytest.approx(1, abs=0.02)
        wake, nrem = (np.median(_of(day, ACC_CHANNEL, stage).std(axis=1)) for stage in STAGES[:2])
        assert wake > 2 * nrem


def test_animals_differ_in_theta_amplitude_and_muscle():
    days = [simulate_rodent_day(9, idx, hours=1, fs_hz=100) for idx in range(6)]
    for channel in (EEG_CHANNEL, EMG_CHANNEL):
        spread = np.log([np.median(_of(day, channel, SleepStage.NREM).std(axis=1)) for day in days]).std()
        assert spread > 0.1
    assert len({day.strain for day in days}) > 1


def test_rats_are_another_species_with_their_own_strains():
    rat = simulate_rodent_day(0, 3, hours=0.5, fs_hz=100, species="rat")
    assert (rat.recording, rat.species) == ("RAT0003", "rat")
    assert rat.strain in ("Sprague-Dawley", "Wistar", "Long-Evans")


@pytest.mark.parametrize(("fs_hz", "hop_s"), [(500, 1.0), (100, 2.0), (128, 0.5)])
def test_any_grid_splits_and_joins_without_loss(fs_hz, hop_s):
    grid = FrameGrid(fs_hz, hop_s)
    signal = np.random.default_rng(0).standard_normal(20 * grid.hop_samples).astype(np.float32)
    assert np.allclose(join_frames(split_frames(signal, grid), grid), signal, atol=1e-4)


def test_a_hop_of_half_a_sample_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        FrameGrid(125, 0.5)


def test_noise_drawn_in_parts_is_the_noise_drawn_at_once(monkeypatch):
    monkeypatch.setattr("data_prep.simulators.synthesis._FRAMES_AT_ONCE", 7)
    grid = FrameGrid(64, 1.0)
    rng = np.random.default_rng(1)
    weights, basis = rng.random((30, 3)), rng.random((3, grid.freqs_hz.size))
    whole = draw_noise(np.random.default_rng(2), combine(weights, basis), grid)
    assert np.allclose(draw_mixed_noise(np.random.default_rng(2), weights, basis, grid), whole, rtol=1e-5, atol=1e-6)


def test_waves_added_some_at_a_time_equal_those_added_at_once(monkeypatch):
    monkeypatch.setattr("data_prep.simulators.synthesis._WAVES_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    onsets, waves = np.sort(rng.integers(-5, 100, 20)), rng.random((20, 10))
    parts, whole = np.zeros(100, dtype=np.float32), np.zeros(100, dtype=np.float32)
    add_many_waves(parts, onsets, 10, lambda some: waves[some])
    add_waves(whole, onsets, waves)
    assert np.allclose(parts, whole, atol=1e-5)
