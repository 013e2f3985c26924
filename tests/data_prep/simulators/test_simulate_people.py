"""Simulated people of every kind: derivations, recorders, health and lengths."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch

from data_prep.cohorts.simulated import SimHumanOptions, SimPeopleOptions, prepare_sim_human
from data_prep.simulators.human.amplifier import Amplifier, draw_amplifier
from data_prep.simulators.human.calibration import load_table
from data_prep.simulators.human.hypnogram import WAKE, mix_lengths, simulate_hypnogram
from data_prep.simulators.human.night import (
    ANY_CHANNEL,
    CHANNEL,
    HUMAN_STAGES,
    MIXED,
    NightExtras,
    simulate_human_night,
)
from data_prep.simulators.human.scalp import COMPONENTS, DERIVATIONS, Scalp
from data_prep.simulators.human.sleepers import EYES_CLOSED, HEALTH, STATE_N2, STATE_REM, draw_sleeper
from tslm.data.prepared.recordings import read_recording

EVERYTHING = NightExtras(eog=True, emg=True, derivation=MIXED, amplifier=MIXED, health=MIXED)
PLAIN = Amplifier(128, 0.0, 100.0, 2, 24, 1000.0, 50, 0.0, 0.0, False)


@pytest.fixture(autouse=True)
def short_nights(monkeypatch):
    """Nights of 60 epochs with all stages."""
    night = np.repeat([0, 1, 2, 3, 2, 4, 0], [6, 6, 15, 12, 6, 12, 3]).astype(np.int8)
    monkeypatch.setattr("data_prep.simulators.human.night.simulate_hypnogram", lambda *_: night)


def _scalp(derivation):
    return Scalp(derivation, np.random.default_rng(0))


def _band(night, stage, low_hz, high_hz):
    signal = night.signals[ANY_CHANNEL]
    epochs = signal.values.reshape(len(night.sleep_stages), -1)[[s == stage for s in night.sleep_stages]]
    freqs_hz, density = welch(epochs, signal.fs_hz, nperseg=256)
    return np.log(density[:, (freqs_hz >= low_hz) & (freqs_hz < high_hz)].mean())


def test_the_night_of_before_has_not_changed_by_one_bit():
    night = simulate_human_night(3, 1, NightExtras(eog=True, emg=True, movement_epochs=2))
    content = b"".join(signal.values.tobytes() for signal in night.signals.values())
    assert hashlib.sha256(content).hexdigest()[:16] == "675044ab18c67129"
    assert list(night.signals)[0] == CHANNEL
    assert night.notes == ()


def test_one_knob_leaves_the_others_as_they_are_drawn():
    plain = simulate_human_night(3, 2)
    recorded = simulate_human_night(3, 2, NightExtras(amplifier=MIXED))
    central = simulate_human_night(3, 2, NightExtras(derivation="C3-A2"))
    assert plain.sleep_stages == recorded.sleep_stages == central.sleep_stages
    assert (plain.start, plain.age, plain.sex) == (central.start, central.age, central.sex)
    assert recorded.signals[CHANNEL].fs_hz != 100 or not np.array_equal(
        recorded.signals[CHANNEL].values, plain.signals[CHANNEL].values
    )


def test_people_of_every_kind_are_complete_recordings_and_repeat_themselves():
    for subject_idx in range(4):
        night = simulate_human_night(5, subject_idx, EVERYTHING)
        for signal in night.signals.values():
            assert signal.values.size == len(night.sleep_stages) * 30 * signal.fs_hz
            assert signal.values.dtype == np.float32
            assert np.isfinite(signal.values).all()
            assert signal.values.std() > 0.5
        again = simulate_human_night(5, subject_idx, EVERYTHING)
        assert again.notes == night.notes
        assert np.array_equal(again.signals[ANY_CHANNEL].values, night.signals[ANY_CHANNEL].values)


@pytest.mark.parametrize("name", ["derivation", "amplifier", "health", "length"])
def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(name):
    with pytest.raises(ValueError, match=f"{name}=none: expected one of: .*mixed"):
        SimHumanOptions(**{name: "none"})


def test_every_derivation_is_a_difference():
    for derivation in DERIVATIONS.values():
        assert sum(derivation.weights.values()) == pytest.approx(0)
        assert all(component.power(derivation.weights) > 0 for component in COMPONENTS.values())


def test_the_two_derivations_with_real_band_powers_keep_them():
    assert _scalp("Fpz-Cz").table is load_table()
    for name, values in load_table("posterior").items():
        np.testing.assert_allclose(_scalp("Pz-Oz").table[name], values, atol=1e-9)


def test_the_maps_alone_come_near_the_real_powers_of_pz_oz():
    real = load_table("posterior")["mu"] - load_table()["mu"]
    shifts = _scalp("Pz-Oz").state_shifts[1:]  # wake with eyes closed, N1, N2, N3, REM
    missed = (shifts - real)[1:, :5]
    assert np.sqrt((missed**2).mean()) < 0.4  # 18 recordings differ from one another by .7 to 1


def test_the_mean_square_of_event_gains_is_the_power_of_the_derivation():
    for derivation in ("F4-M1", "Cz-linked", "Fz-Cz", "Pz-Oz"):
        for name, component in COMPONENTS.items():
            gains = _scalp(derivation).draw_gains(name, 20_000)
            wanted = component.power(DERIVATIONS[derivation].weights) / component.power(DERIVATIONS["Fpz-Cz"].weights)
            assert np.mean(gains**2) == pytest.approx(wanted, rel=0.1, abs=0.002), (derivation, name)


def _gain(derivation, name):
    return float(np.sqrt(np.mean(np.square(_scalp(derivation).draw_gains(name, 5_000)))))


@pytest.mark.parametrize(
    ("name", "falling"),
    [
        ("slow", ("F4-M1", "C4-A1", "O2-M1")),
        ("k_complex", ("F4-M1", "C4-A1", "O2-M1")),
        ("spindle_slow", ("F4-M1", "C4-A1", "O2-M1")),
        ("spindle_fast", ("C4-A1", "F4-M1", "O2-M1")),
        ("vertex", ("C4-A1", "F4-M1", "O2-M1")),
        ("sawtooth", ("C4-A1", "F4-M1", "O2-M1")),
        ("alpha_back", ("O2-M1", "C4-A1", "F4-M1")),
        ("blink", ("Fpz-Cz", "F4-M1", "C4-A1", "O2-M1")),
        ("saccade", ("Fpz-Cz", "F4-M1", "C4-A1", "O2-M1")),
    ],
)
def test_each_component_is_largest_where_textbooks_have_it(name, falling):
    gains = [_gain(derivation, name) for derivation in falling]
    assert gains == sorted(gains, reverse=True)


def test_waves_that_neighbours_share_come_with_either_polarity():
    assert (_scalp("Fz-Cz").draw_gains("slow", 1000) < 0).mean() > 0.2
    assert (_scalp("F4-M1").draw_gains("slow", 1000) < 0).mean() < 0.05
    assert (_scalp("O2-M1").draw_gains("saccade", 1000) < 0).mean() > 0.1


def test_alpha_of_wake_grows_and_delta_of_sleep_shrinks_towards_the_back():
    nights = {
        name: [simulate_human_night(8, idx, NightExtras(derivation=name)) for idx in range(6)]
        for name in ("F4-M1", "O2-M1")
    }
    alpha, delta = (
        {name: np.mean([_band(night, HUMAN_STAGES[stage], *band) for night in some]) for name, some in nights.items()}
        for stage, band in ((WAKE, (8, 12)), (3, (0.5, 4)))
    )
    assert alpha["O2-M1"] > alpha["F4-M1"] + 0.3
    assert delta["F4-M1"] > delta["O2-M1"] + 0.6


def test_a_recorder_filters_rounds_and_turns_over():
    rng = np.random.default_rng(0)
    signal = (20 * rng.standard_normal(60_000)).astype(np.float32)
    coarse = replace(PLAIN, num_bits=8, range_uv=250.0).record(rng, signal)
    assert coarse.fs_hz == 128
    assert coarse.values.size == 76_800
    steps = coarse.values / (500 / 256)
    assert np.array_equal(steps, np.rint(steps))
    slow = replace(PLAIN, fs_hz=100, low_pass_hz=25.0, low_pass_order=4).record(rng, signal)
    freqs_hz, density = welch(slow.values, 100, nperseg=512)
    assert density[freqs_hz > 40].mean() < 0.05 * density[(freqs_hz > 2) & (freqs_hz < 15)].mean()
    seeds = np.random.default_rng(1)
    turned = sum(draw_amplifier(seeds).is_inverted for _ in range(400))
    assert 0.08 < turned / 400 < 0.25


def test_mains_come_back_at_their_alias_where_the_rate_is_too_low():
    rng = np.random.default_rng(0)
    signal = np.zeros(60_000, dtype=np.float32)
    for fs_hz, at_hz in ((256, 50), (64, 14)):
        recorded = replace(PLAIN, fs_hz=fs_hz, mains_uv=5.0).record(rng, signal)
        freqs_hz, density = welch(recorded.values, fs_hz, nperseg=8 * fs_hz)
        assert freqs_hz[density.argmax()] == pytest.approx(at_hz, abs=0.2)


def test_lengths_run_from_ten_minutes_to_a_day_and_all_hold_sleep():
    rng = np.random.default_rng(0)
    nights = [mix_lengths(rng, simulate_hypnogram(rng)) for _ in range(300)]
    lengths = np.array([night.size for night in nights])
    assert lengths.min() == pytest.approx(20, abs=5)
    assert 2300 < lengths.max() <= 2880
    assert (lengths < 120).mean() > 0.1
    assert all((night != WAKE).any() for night in nights)
    one_sided = [np.bincount(night).max() / night.size > 0.7 for night in nights]
    assert 0.1 < np.mean(one_sided) < 0.5
    assert {int(night[0]) for night in nights} == set(range(5))


def test_age_and_illness_change_what_they_are_known_for():
    rng = np.random.default_rng(0)
    means = {
        health: {
            name: np.mean([getattr(sleeper, name) for sleeper in sleepers])
            for name in ("n3_factor", "restlessness", "arousals_per_minute", "spindle_rate_factor", "apnoea_share")
        }
        for health in ("healthy", *HEALTH)
        for sleepers in [[draw_sleeper(rng, health) for _ in range(100)]]
    }
    healthy = means["healthy"]
    assert means["fragmented"]["arousals_per_minute"] > healthy["arousals_per_minute"] + 0.15
    assert means["apnoea"]["apnoea_share"] > 0.2 > healthy["apnoea_share"] == 0
    assert means["benzodiazepine"]["spindle_rate_factor"] > 1.3 * healthy["spindle_rate_factor"]
    assert means["aged"]["restlessness"] > healthy["restlessness"]
    assert all(means[health]["n3_factor"] < healthy["n3_factor"] for health in HEALTH)
    kinds = {draw_sleeper(rng, MIXED).health for _ in range(100)}
    assert kinds == {"healthy", *HEALTH}


def test_apnoea_wakes_the_sleeper_periodically_and_the_healthy_draw_nothing():
    rng = np.random.default_rng(0)
    state_F = np.full(6000, STATE_N2)
    state_F[3000:] = STATE_REM
    sleeper = replace(draw_sleeper(rng, "healthy"), age=30, arousals_per_minute=0.0)
    untouched = np.random.default_rng(1)
    assert sleeper.arouse(untouched, state_F) is state_F
    assert untouched.random() == np.random.default_rng(1).random()
    ill = replace(sleeper, apnoea_share=0.8, apnoea_period_s=40.0)
    woken_F = ill.arouse(rng, state_F) == EYES_CLOSED
    onsets = np.flatnonzero(np.diff(woken_F.astype(int)) == 1)
    assert 60 < onsets.size < 320
    assert 30 < 2 * np.median(np.diff(onsets)) < 50


def test_a_prepared_cohort_has_one_channel_name_one_rate_and_says_what_each_recording_is(tmp_path):
    options = SimPeopleOptions(num_subjects=3, split="100/0/0", length="night", seed=9)
    participants = prepare_sim_human(options, tmp_path)
    for row in participants:
        assert row.notes.startswith("simulated as ")
        assert any(name in row.notes for name in DERIVATIONS)
        recording = read_recording(tmp_path / f"{row.recording}.parquet")
        assert recording.fs_hz == 100
        assert next(iter(recording.channels)) == ANY_CHANNEL
