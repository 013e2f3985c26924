import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch

import data_prep
from data_prep.simulators.human.body import EMG_CHANNEL, EOG_CHANNEL
from data_prep.simulators.human.calibration import draw_targets, impose_targets, load_table, measure_features
from data_prep.simulators.human.hypnogram import HUMAN_STAGES, N2, WAKE, simulate_hypnogram
from data_prep.simulators.human.night import CHANNEL, NightExtras, name_subject, simulate_human_night
from data_prep.simulators.synthesis import FRAMES_PER_EPOCH, FREQS_HZ, draw_noise, join_frames, read_psd, split_frames
from tslm.evidence.muscle import measure_emg
from tslm.labels import SleepStage

NUM_NIGHTS = 6


@pytest.fixture(scope="module")
def nights():
    return [simulate_human_night(3, subject_idx) for subject_idx in range(NUM_NIGHTS)]


def _epochs(night):
    return night.signals[CHANNEL].values.reshape(len(night.sleep_stages), -1)


def test_the_same_arguments_give_the_same_night_bit_for_bit(nights):
    again = simulate_human_night(3, 1)
    assert again.sleep_stages == nights[1].sleep_stages
    assert np.array_equal(again.signals[CHANNEL].values, nights[1].signals[CHANNEL].values)
    assert (again.start, again.age, again.sex) == (nights[1].start, nights[1].age, nights[1].sex)


@pytest.mark.parametrize(("seed", "subject_idx"), [(3, 2), (4, 1)])
def test_other_subjects_and_seeds_give_other_nights(nights, seed, subject_idx):
    other = simulate_human_night(seed, subject_idx)
    num = 100_000
    assert not np.array_equal(other.signals[CHANNEL].values[:num], nights[1].signals[CHANNEL].values[:num])


def test_a_night_is_a_complete_recording(nights):
    for subject_idx, night in enumerate(nights):
        signal = night.signals[CHANNEL]
        assert night.recording == night.subject == name_subject(3, subject_idx) == f"SIM{subject_idx:04d}-S3"
        assert night.source == "sim_human"
        assert night.epoch_s == 30
        assert signal.fs_hz == 100
        assert signal.values.dtype == np.float32
        assert signal.values.size == len(night.sleep_stages) * 3000
        assert np.isfinite(signal.values).all()
        assert np.abs(signal.values).max() <= 250
        assert 18 <= int(night.age) <= 65


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="negative"):
        simulate_human_night(-1, 0)


def test_hypnograms_have_the_stage_shares_of_real_nights():
    hypnograms = [simulate_hypnogram(np.random.default_rng(number)) for number in range(100)]
    shares = np.array([np.bincount(hypnogram, minlength=5) / hypnogram.size for hypnogram in hypnograms])
    assert np.abs(shares.mean(axis=0) - (0.20, 0.07, 0.43, 0.13, 0.18)).max() < 0.04
    lengths = [hypnogram.size for hypnogram in hypnograms]
    assert 750 <= np.percentile(lengths, 10) < 900 < 1150 < np.percentile(lengths, 90) <= 1370
    spread = shares.std(axis=0)  # 37 real nights: .078 .040 .092 .069 .045
    assert (spread > (0.045, 0.02, 0.055, 0.05, 0.03)).all() and (spread < (0.1, 0.06, 0.12, 0.095, 0.075)).all()


def test_every_night_has_all_stages_and_half_an_hour_of_wake_on_either_side():
    for number in range(20):
        hypnogram = simulate_hypnogram(np.random.default_rng(number))
        asleep = np.flatnonzero(hypnogram != WAKE)
        assert asleep[0] == 60
        assert hypnogram.size - 1 - asleep[-1] == 60
        assert set(hypnogram.tolist()) == set(range(5))


def test_splitting_and_joining_frames_is_the_identity():
    signal = np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    assert np.allclose(join_frames(split_frames(signal)), signal, atol=1e-4)


def test_drawn_noise_has_the_density_asked_for():
    log_psd = np.broadcast_to(1 - 0.5 * np.log(FREQS_HZ + 1), (60 * FRAMES_PER_EPOCH + 1, FREQS_HZ.size))
    noise = draw_noise(np.random.default_rng(0), log_psd.astype(np.float32))
    freqs_hz, density = welch(noise, 100, nperseg=400)
    inside = (freqs_hz > 1) & (freqs_hz < 49)
    assert np.abs(np.log(density) - log_psd[0])[inside].mean() < 0.1
    own_density = read_psd(split_frames(noise)).mean(axis=0)
    assert np.abs(np.log(own_density) - log_psd[0])[inside].mean() < 0.1


def test_calibration_moves_band_powers_to_their_targets():
    rng = np.random.default_rng(0)
    sleep_stage_E = np.repeat([0, 2, 3, 4], 20)
    noise = draw_noise(rng, np.zeros((sleep_stage_E.size * FRAMES_PER_EPOCH + 1, FREQS_HZ.size), dtype=np.float32))
    targets = draw_targets(rng, sleep_stage_E)
    before = np.abs(measure_features(noise) - targets).mean()
    after = np.abs(measure_features(impose_targets(noise, targets)) - targets).mean()
    assert after < 0.4 * before


def test_targets_of_many_subjects_average_to_the_table():
    rng = np.random.default_rng(0)
    sleep_stage_E = np.repeat(np.arange(5), 50)
    mean = np.mean([draw_targets(rng, sleep_stage_E) for _ in range(60)], axis=0).reshape(5, 50, -1).mean(axis=1)
    assert np.abs(mean - load_table()["mu"]).max() < 0.4


def test_slow_power_and_fast_power_order_the_stages(nights):
    powers = {}
    for stage in HUMAN_STAGES:
        epochs = np.concatenate([_epochs(night)[[s == stage for s in night.sleep_stages]] for night in nights])
        freqs_hz, density = welch(epochs, 100, nperseg=256)
        powers[stage] = {
            "delta": np.median(np.log(density[:, (freqs_hz >= 0.5) & (freqs_hz < 4)].mean(axis=1))),
            "gamma": np.median(np.log(density[:, freqs_hz >= 30].mean(axis=1))),
        }
    delta, gamma = ({stage: power[band] for stage, power in powers.items()} for band in ("delta", "gamma"))
    assert delta[SleepStage.N3] > delta[SleepStage.N2] + 0.8
    assert delta[SleepStage.N2] > max(delta[SleepStage.N1], delta[SleepStage.REM]) + 0.5
    assert gamma[SleepStage.WAKE] > max(power for stage, power in gamma.items() if stage != SleepStage.WAKE) + 0.5


def test_n2_has_more_spindle_power_than_its_neighbours_in_frequency_suggest(nights):
    excess = {stage: [] for stage in (SleepStage.N2, SleepStage.REM)}
    for night in nights:
        freqs_hz, density = welch(_epochs(night), 100, nperseg=256)
        log_density = np.log(density + 1e-9)
        sigma = log_density[:, (freqs_hz >= 12) & (freqs_hz <= 14.5)].mean(axis=1)
        beside = log_density[:, ((freqs_hz >= 8) & (freqs_hz < 10)) | ((freqs_hz >= 17) & (freqs_hz < 20))].mean(axis=1)
        for stage, values in excess.items():
            values.append(np.median((sigma - beside)[[s == stage for s in night.sleep_stages]]))
    assert np.mean(excess[SleepStage.N2]) > np.mean(excess[SleepStage.REM]) + 0.3


def test_labels_come_from_the_hypnogram_codes():
    assert HUMAN_STAGES[WAKE] == SleepStage.WAKE
    assert HUMAN_STAGES[N2] == SleepStage.N2


@pytest.fixture(scope="module")
def full_night():
    return simulate_human_night(3, 1, NightExtras(eog=True, emg=True))


def test_further_channels_leave_the_eeg_as_it_is(nights, full_night):
    assert list(full_night.signals) == [CHANNEL, EOG_CHANNEL, EMG_CHANNEL]
    assert np.array_equal(full_night.signals[CHANNEL].values, nights[1].signals[CHANNEL].values)
    assert full_night.sleep_stages == nights[1].sleep_stages
    for signal in full_night.signals.values():
        assert signal.values.shape == nights[1].signals[CHANNEL].values.shape
        assert signal.values.dtype == np.float32
        assert np.isfinite(signal.values).all()


@pytest.fixture(scope="module")
def full_nights(full_night):
    return [full_night, *(simulate_human_night(3, subject, NightExtras(eog=True, emg=True)) for subject in range(2, 7))]


def test_chin_tone_falls_from_wake_to_sleep_and_is_lowest_in_rem_each_night_more_or_less(full_nights):
    log_tone = {stage: [] for stage in HUMAN_STAGES}
    for night in full_nights:
        emg = night.signals[EMG_CHANNEL]
        tone = np.log(measure_emg(emg.values.reshape(-1, 3000), emg.fs_hz)["emg_tone"])
        for stage, values in log_tone.items():
            values.append(np.median(tone[[s == stage for s in night.sleep_stages]]))
    typical = {stage: np.mean(values) for stage, values in log_tone.items()}
    assert typical[SleepStage.WAKE] > typical[SleepStage.N1] > typical[SleepStage.REM]
    assert typical[SleepStage.REM] < typical[SleepStage.N2] - 0.2
    contrasts = np.array(log_tone[SleepStage.WAKE]) - np.array(log_tone[SleepStage.REM])
    assert np.ptp(contrasts) > 0.8


def test_eyes_move_in_the_eog_when_their_trace_is_in_the_eeg(full_nights):
    ratios, lifts = [], []
    for night in full_nights:
        eeg, eog = (_filter(night.signals[name].values, 0.5, 5) for name in (CHANNEL, EOG_CHANNEL))
        rem, n2 = (
            np.repeat([s == stage for s in night.sleep_stages], 3000) for stage in (SleepStage.REM, SleepStage.N2)
        )
        ratios.append(np.percentile(np.abs(eog[rem]), 99) / np.percentile(np.abs(eog[n2]), 99))
        moving = np.abs(eog[rem]) > 6 * np.median(np.abs(eog[rem]))
        lifts.append(np.abs(eeg[rem])[moving].mean() / np.abs(eeg[rem])[~moving].mean())
    assert np.median(ratios) > 1.5
    assert np.median(lifts) > 1.5


def test_movement_epochs_hide_the_brain_and_change_no_other_epoch(nights):
    moved = simulate_human_night(3, 1, NightExtras(movement_epochs=6))
    is_moved = np.array([stage == SleepStage.MOVEMENT for stage in moved.sleep_stages])
    assert 1 <= is_moved.sum() <= 20
    changed = (_epochs(moved) != _epochs(nights[1])).any(axis=1)
    assert np.array_equal(changed, is_moved)
    assert np.median(_epochs(moved)[is_moved].std(axis=1)) > 25
    kept = [stage for stage, hidden in zip(moved.sleep_stages, is_moved, strict=True) if not hidden]
    assert kept == [stage for stage, hidden in zip(nights[1].sleep_stages, is_moved, strict=True) if not hidden]


def _filter(values, low_hz, high_hz):
    return sosfiltfilt(butter(3, (low_hz, high_hz), "bandpass", fs=100, output="sos"), values)


def test_about_four_nights_in_five_are_calibrated_and_one_in_five_is_varied(monkeypatch):
    calls = []
    monkeypatch.setattr("data_prep.simulators.human.night.simulate_hypnogram", lambda *_: np.array([0, 1, 2, 3, 4, 0]))
    monkeypatch.setattr(
        "data_prep.simulators.human.night.impose_targets", lambda signal, _: calls.append("cal") or signal
    )
    monkeypatch.setattr(
        "data_prep.simulators.human.night._vary", lambda _rng, signal, _: calls.append("vary") or signal
    )
    for subject_idx in range(120):
        simulate_human_night(0, subject_idx)
    assert 0.7 < calls.count("cal") / 120 < 0.9
    assert 0.1 < calls.count("vary") / 120 < 0.3


def test_night_does_not_depend_on_the_process_or_its_threads(nights):
    code = (
        "import hashlib; from data_prep.simulators.human.night import CHANNEL, simulate_human_night; "
        "print(hashlib.sha256(simulate_human_night(3, 1).signals[CHANNEL].values.tobytes()).hexdigest())"
    )
    own = hashlib.sha256(nights[1].signals[CHANNEL].values.tobytes()).hexdigest()
    root = Path(data_prep.__file__).parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "3", "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == own
