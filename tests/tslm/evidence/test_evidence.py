import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sawtooth
from scipy.special import expit

from data_prep.simulators.human.night import simulate_human_night
from tslm.evidence.measure import BANDS_HZ, EVIDENCE_COLUMNS, measure_evidence

FS_HZ = 100.0
TIME_S = np.arange(3000) / FS_HZ


def _noise(num_epochs: int, exponent: float, rms_uv: float, seed: int = 0) -> np.ndarray:
    """Noise of power 1/f^exponent, flat below 0.5 Hz."""
    rng = np.random.default_rng(seed)
    freqs_hz = np.fft.rfftfreq(3000, 1 / FS_HZ)
    gain = np.maximum(freqs_hz, 0.5) ** (-exponent / 2)
    spectrum = gain * (rng.normal(size=(num_epochs, 1501)) + 1j * rng.normal(size=(num_epochs, 1501)))
    epochs = np.fft.irfft(spectrum, 3000)
    return rms_uv * epochs / epochs.std(axis=1, keepdims=True)


def _burst(centre_s: float, width_s: float, amplitude_uv: float) -> np.ndarray:
    return amplitude_uv * np.exp(-(((TIME_S - centre_s) / width_s) ** 2))


def test_every_column_has_one_finite_value_an_epoch():
    evidence = measure_evidence(_noise(5, 1.5, 20), FS_HZ)
    assert tuple(evidence) == EVIDENCE_COLUMNS
    for name, values in evidence.items():
        assert values.shape == (5,)
        assert values.dtype == (np.int16 if name.endswith("_count") else np.float32)
        assert np.isfinite(values).all()


def test_rms_and_peak_to_peak_are_those_of_a_sine():
    evidence = measure_evidence(10 + 30 * np.sin(2 * np.pi * 5 * TIME_S)[None], FS_HZ)
    assert evidence["rms_uv"][0] == pytest.approx(30 / np.sqrt(2), rel=1e-3)
    assert evidence["peak_to_peak_uv"][0] == pytest.approx(60, rel=1e-2)


@pytest.mark.parametrize(("band", "freq_hz"), [("delta", 2), ("theta", 6), ("alpha", 10), ("sigma", 14), ("beta", 22)])
def test_a_sine_puts_its_power_in_its_band(band, freq_hz):
    evidence = measure_evidence(20 * np.sin(2 * np.pi * freq_hz * TIME_S)[None], FS_HZ)
    assert evidence[f"{band}_share"][0] > 0.99
    assert evidence["dominant_hz"][0] == pytest.approx(freq_hz, abs=0.25)


def test_band_shares_add_up_to_one():
    evidence = measure_evidence(_noise(20, 1.0, 20), FS_HZ)
    np.testing.assert_allclose(sum(evidence[f"{band}_share"] for band in BANDS_HZ), 1.0, atol=1e-5)


@pytest.mark.parametrize("num_spindles", [1, 3, 5])
def test_injected_spindles_are_counted(num_spindles):
    epochs = _noise(100, 1.8, 18)
    for centre_s in np.linspace(4, 26, num_spindles):
        epochs += np.sin(2 * np.pi * 13.2 * TIME_S) * _burst(centre_s, 0.45, 16)
    assert measure_evidence(epochs, FS_HZ)["spindle_count"].mean() == pytest.approx(num_spindles, abs=0.4)


@pytest.mark.parametrize("duration_s", [0.7, 1.0, 1.5])
def test_the_duration_of_spindles_is_measured_and_zero_without_any(duration_s):
    epochs = _noise(60, 1.8, 18)
    epochs[:50] += 16 * np.sin(2 * np.pi * 13.2 * TIME_S) * (np.abs((TIME_S % 7) - 3) < duration_s / 2)
    evidence = measure_evidence(epochs, FS_HZ)
    found = evidence["spindle_count"] > 0
    assert found[:50].all()
    assert duration_s - 0.1 < evidence["spindle_duration_s"][found].mean() < duration_s + 0.35
    assert (evidence["spindle_duration_s"][~found] == 0).all()


def test_spindle_density_is_the_count_over_the_time():
    epochs = _noise(20, 1.8, 18) + np.sin(2 * np.pi * 13.2 * TIME_S) * _burst(5, 0.45, 16)
    for part, minutes in ((epochs, 0.5), (epochs[:, :1000], 1 / 6)):
        evidence = measure_evidence(part, FS_HZ)
        np.testing.assert_allclose(evidence["spindle_density_per_min"], evidence["spindle_count"] / minutes, rtol=1e-6)


@pytest.mark.parametrize(("freq_hz", "amplitude_uv", "found"), [(2.6, 20, 1), (4.5, 20, 1), (2.6, 5, 0), (1.2, 20, 0)])
def test_a_train_of_sawtooth_waves_counts_once(freq_hz, amplitude_uv, found):
    inside = (TIME_S > 12) & (TIME_S < 18)
    epochs = _noise(50, 1.2, 8) + amplitude_uv * sawtooth(2 * np.pi * freq_hz * TIME_S) * inside
    assert measure_evidence(epochs, FS_HZ)["sawtooth_count"].mean() == pytest.approx(found, abs=0.25)


@pytest.mark.parametrize("num_trains", [0, 1, 2])
def test_trains_apart_count_apart(num_trains):
    epochs = _noise(50, 1.2, 8)
    for start_s in (3, 17)[:num_trains]:
        epochs += 20 * sawtooth(2 * np.pi * 2.8 * TIME_S) * ((start_s < TIME_S) & (start_s + 5 > TIME_S))
    assert measure_evidence(epochs, FS_HZ)["sawtooth_count"].mean() == pytest.approx(num_trains, abs=0.25)


def test_slow_waves_and_alpha_are_no_sawtooth():
    slow = _noise(50, 1.2, 8) + 50 * np.sin(2 * np.pi * 0.9 * TIME_S)
    alpha = _noise(50, 1.2, 8) + 20 * np.sin(2 * np.pi * 10 * TIME_S)
    assert measure_evidence(slow, FS_HZ)["sawtooth_count"].mean() < 0.1
    assert measure_evidence(alpha, FS_HZ)["sawtooth_count"].mean() < 0.1


def test_an_alpha_rhythm_is_no_spindle():
    epochs = _noise(50, 1.5, 12) + np.sin(2 * np.pi * 9.5 * TIME_S) * _burst(15, 1, 25)
    assert measure_evidence(epochs, FS_HZ)["spindle_count"].mean() < 0.2


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_slow_waves_fill_the_share_they_were_given(share):
    epochs = _noise(50, 2.5, 8) + 50 * np.sin(2 * np.pi * 0.9 * TIME_S) * (30 * share > TIME_S)
    assert measure_evidence(epochs, FS_HZ)["slow_wave_fraction"].mean() == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(("amplitude_uv", "found"), [(30, False), (45, True)])
def test_slow_waves_count_from_75_microvolt_peak_to_peak(amplitude_uv, found):
    epoch = amplitude_uv * np.sin(2 * np.pi * 1.0 * TIME_S)[None]
    assert (measure_evidence(epoch, FS_HZ)["slow_wave_fraction"][0] > 0.9) == found


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_alpha_fraction_follows_the_time_in_alpha(share):
    epochs = _noise(50, 1.5, 10) + 20 * np.sin(2 * np.pi * 10 * TIME_S) * (30 * share > TIME_S)
    assert measure_evidence(epochs, FS_HZ)["alpha_fraction"].mean() == pytest.approx(share, abs=0.1)


def test_isolated_k_complexes_are_counted_and_a_train_of_slow_waves_is_not():
    lone = _noise(50, 2.5, 10)
    for centre_s in (8, 20):
        lone += _burst(centre_s + 0.5, 0.25, 55) - _burst(centre_s, 0.2, 95)
    train = _noise(50, 2.5, 10) + 60 * np.sin(2 * np.pi * 0.9 * TIME_S)
    assert measure_evidence(lone, FS_HZ)["k_complex_count"].mean() == pytest.approx(2, abs=0.3)
    assert measure_evidence(train, FS_HZ)["k_complex_count"].mean() < 0.1


def test_blinks_count_as_eye_movements_and_not_as_slow_waves():
    epochs = _noise(50, 1.0, 10)
    for centre_s in (3, 9, 15, 21, 27):
        epochs += _burst(centre_s, 0.12, 100)
    evidence = measure_evidence(epochs, FS_HZ)
    assert evidence["eye_movement_count"].mean() == pytest.approx(5, abs=0.5)
    assert evidence["slow_wave_fraction"].mean() < 0.05
    assert evidence["k_complex_count"].mean() < 0.2


@pytest.mark.parametrize("sign", [-1, 1])
def test_steps_that_decay_count_as_saccades_whichever_way_they_point(sign):
    epochs = _noise(50, 1.0, 10)
    for onset_s in (5, 12, 19, 26):
        later_s = np.maximum(TIME_S - onset_s, 0)
        epochs += sign * 70 * np.exp(-later_s / 0.6) * expit((TIME_S - onset_s) / 0.018)
    assert 2.4 < measure_evidence(epochs, FS_HZ)["eye_movement_count"].mean() <= 4


def test_slow_rises_k_complexes_and_slow_waves_are_no_eye_movements():
    rolling = _noise(50, 1.2, 10) + 45 * np.sin(2 * np.pi * 0.4 * TIME_S)
    lone = _noise(50, 2.5, 10)
    for centre_s in (5, 12, 19, 26):
        lone += _burst(centre_s + 0.5, 0.25, 55) - _burst(centre_s, 0.14, 95)
    train = _noise(50, 2.5, 10) + 60 * np.sin(2 * np.pi * 0.9 * TIME_S)
    for epochs in (rolling, lone, train):
        assert measure_evidence(epochs, FS_HZ)["eye_movement_count"].mean() < 0.1


def test_eye_movements_are_found_where_the_simulator_placed_them_and_rarely_in_nrem_sleep():
    sleep_stages, counts = [], []
    for subject_idx in range(4):
        night = simulate_human_night(23, subject_idx)
        (signal,) = night.signals.values()
        epochs = signal.values.reshape(len(night.sleep_stages), -1)
        counts.append(measure_evidence(epochs, signal.fs_hz)["eye_movement_count"])
        sleep_stages += [stage.value for stage in night.sleep_stages]
    mean = {stage: np.concatenate(counts)[np.array(sleep_stages) == stage].mean() for stage in set(sleep_stages)}
    assert mean["N3"] < mean["N2"] < min(0.2, mean["R"])  # few saccades of REM rise above its own background
    assert mean["W"] > 5 * mean["N2"]


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_pure_noise_holds_few_waveforms(exponent):
    evidence = measure_evidence(_noise(200, exponent, 15), FS_HZ)
    assert evidence["spindle_count"].mean() < 0.3
    assert evidence["k_complex_count"].mean() < 0.1
    assert evidence["eye_movement_count"].mean() < 0.2
    assert evidence["sawtooth_count"].mean() < 0.3
    assert evidence["slow_wave_fraction"].mean() < 0.02


def test_flat_and_clipped_seconds_are_artefacts():
    epochs = _noise(2, 1.5, 20)
    epochs[0, 500:1500] = 3.0
    epochs[1, 700:900] = 300.0
    np.testing.assert_allclose(measure_evidence(epochs, FS_HZ)["artefact_fraction"], [10 / 30, 2 / 30], atol=1e-6)


@given(gain=st.floats(0.2, 5.0))
@settings(max_examples=10, deadline=None)
def test_scaling_the_signal_scales_amplitudes_and_leaves_shares(gain):
    epochs = _noise(3, 1.5, 15)
    plain, scaled = measure_evidence(epochs, FS_HZ), measure_evidence(gain * epochs, FS_HZ)
    for name in EVIDENCE_COLUMNS:
        if name.endswith("_uv"):
            np.testing.assert_allclose(scaled[name], gain * plain[name], rtol=1e-4)
        elif name.endswith("_share") or name in ("spindle_count", "alpha_fraction", "dominant_hz"):
            np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-3, atol=1e-5)


@given(seed=st.integers(0, 50), subject_idx=st.integers(0, 50), species=st.sampled_from(("human", "mouse")))
@settings(max_examples=3, deadline=None)
def test_a_recording_upside_down_gives_the_same_evidence(seed, subject_idx, species):
    night = simulate_human_night(seed, subject_idx)
    (signal,) = night.signals.values()
    epochs = signal.values.reshape(len(night.sleep_stages), -1)[::3]
    upright, turned = (measure_evidence(sign * epochs, signal.fs_hz, species) for sign in (1, -1))
    assert (upright["k_complex_count"].sum() > 0) and (upright["eye_movement_count"].sum() > 0)
    for name in EVIDENCE_COLUMNS:
        np.testing.assert_allclose(turned[name], upright[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("sign", [-1, 1])
def test_waves_of_either_polarity_are_found(sign):
    lone, blinks = _noise(50, 2.5, 10), _noise(50, 1.0, 10)
    for centre_s in (8, 20):
        lone += sign * (_burst(centre_s + 0.5, 0.25, 55) - _burst(centre_s, 0.2, 95))
        blinks += sign * _burst(centre_s, 0.12, 100)
    assert measure_evidence(lone, FS_HZ)["k_complex_count"].mean() == pytest.approx(2, abs=0.3)
    assert measure_evidence(blinks, FS_HZ)["eye_movement_count"].mean() == pytest.approx(2, abs=0.3)


def test_an_epoch_alone_gives_what_it_gives_in_the_night():
    epochs = np.concatenate([_noise(70, 2.0, 40), _noise(3, 1.0, 10)])
    night = measure_evidence(epochs, FS_HZ)
    alone = measure_evidence(epochs[68:69], FS_HZ)
    for name in EVIDENCE_COLUMNS:
        np.testing.assert_allclose(alone[name][0], night[name][68], rtol=1e-4, atol=1e-6)


def test_a_flat_epoch_and_an_empty_night_give_values():
    flat = measure_evidence(np.zeros((1, 3000)), FS_HZ)
    assert flat["artefact_fraction"][0] == 1.0
    assert all(np.isfinite(values).all() for values in flat.values())
    assert len(measure_evidence(np.zeros((0, 3000)), FS_HZ)["rms_uv"]) == 0


def test_rodents_have_their_own_bands_and_a_higher_ceiling():
    time_s = np.arange(5000) / 500
    theta = (50 * np.sin(2 * np.pi * 8.5 * time_s))[None]
    human, mouse = (measure_evidence(theta, 500.0, species) for species in ("human", "mouse"))
    assert human["alpha_share"][0] > 0.9
    assert mouse["theta_share"][0] > 0.9
    large = (400 * np.sin(2 * np.pi * 2 * time_s))[None]
    assert measure_evidence(large, 500.0)["artefact_fraction"][0] == 1
    assert measure_evidence(large, 500.0, "rat")["artefact_fraction"][0] == 0
