"""Waves of sleep against what looks like them: eyes, lids, movement and rhythms."""

import numpy as np
import pytest
from scipy.signal import sawtooth
from scipy.special import expit

from tslm.evidence.measure import measure_evidence
from tslm.evidence.waveforms import find_slow_waves, keep_waves_of_sleep

FS_HZ = 100.0
TIME_S = np.arange(3000) / FS_HZ
WAKE, SLEEP = 1.0, 2.5  # exponents of the power of the background: awake and in NREM sleep


def _noise(exponent: float, rms_uv: float, num_epochs: int = 40) -> np.ndarray:
    """Noise of power 1/f^exponent, flat below 1 Hz."""
    rng = np.random.default_rng(0)
    gain = np.maximum(np.fft.rfftfreq(3000, 1 / FS_HZ), 1.0) ** (-exponent / 2)
    epochs = np.fft.irfft(gain * (rng.normal(size=(num_epochs, 1501)) + 1j * rng.normal(size=(num_epochs, 1501))), 3000)
    return rms_uv * epochs / epochs.std(axis=1, keepdims=True)


def _bumps(centres_s: np.ndarray, width_s: float, amplitude_uv: float) -> np.ndarray:
    return amplitude_uv * np.exp(-(((TIME_S - centres_s[:, None]) / width_s) ** 2)).sum(axis=0)


def _blinks(amplitude_uv: float) -> np.ndarray:
    """Closing lids and the rebound of each, every 1.3 s."""
    at_s = np.arange(1.0, 29.0, 1.3)
    return _bumps(at_s, 0.13, amplitude_uv) - _bumps(at_s + 0.35, 0.2, 0.3 * amplitude_uv)


def _looking_around() -> np.ndarray:
    """Gaze to one side and back, .8 s each."""
    onsets_s = np.arange(0.5, 29.5, 0.8)
    signs = np.where(np.arange(len(onsets_s)) % 2, -1.0, 1.0)
    return 120 * (signs[:, None] * expit((TIME_S - onsets_s[:, None]) / 0.02)).sum(axis=0) - 60


def _k_complexes(trough_s: float, at_s: tuple[float, ...] = (8.0, 20.0)) -> np.ndarray:
    return _bumps(np.array(at_s) + 0.5, 0.25, 55) - _bumps(np.array(at_s), trough_s, 95)


def _sway() -> np.ndarray:
    return 260 * np.sin(2 * np.pi * 0.8 * TIME_S) * np.exp(-(((TIME_S - 15) / 3) ** 2))


@pytest.mark.parametrize(
    "epochs_EL",
    [
        pytest.param(_noise(WAKE, 10) + _blinks(120), id="blinks awake"),
        pytest.param(_noise(WAKE, 10) + _blinks(220), id="large blinks awake"),
        pytest.param(_noise(WAKE, 10) + _looking_around(), id="looking around"),
        pytest.param(_noise(WAKE, 10) + 55 * np.sin(2 * np.pi * 0.6 * TIME_S), id="rolling eyes awake"),
        pytest.param(_noise(WAKE, 10) + _k_complexes(0.2), id="lone waves awake"),
        pytest.param(_noise(SLEEP, 5) + _bumps(np.arange(1.0, 29.0, 3.1), 0.13, 300), id="blinks over a quiet EEG"),
        pytest.param(_noise(SLEEP, 10) + _sway(), id="movement"),
    ],
)
def test_eyes_lids_and_movement_are_no_slow_waves_and_no_k_complexes(epochs_EL):
    evidence = measure_evidence(epochs_EL, FS_HZ)
    assert evidence["slow_wave_fraction"].mean() < 0.03
    assert evidence["k_complex_count"].mean() < 0.1


@pytest.mark.parametrize("rms_uv", [5, 10, 20])
def test_slow_waves_over_the_background_of_sleep_are_kept(rms_uv):
    epochs_EL = _noise(SLEEP, rms_uv) + 60 * np.sin(2 * np.pi * 0.9 * TIME_S)
    assert measure_evidence(epochs_EL, FS_HZ)["slow_wave_fraction"].mean() > 0.9


@pytest.mark.parametrize("trough_s", [0.12, 0.2])
def test_k_complexes_over_the_background_of_sleep_are_kept_however_steep(trough_s):
    evidence = measure_evidence(_noise(SLEEP, 8) + _k_complexes(trough_s), FS_HZ)
    assert evidence["k_complex_count"].mean() == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize(("fast_uv", "is_kept"), [(3.5, True), (4.5, False)])
def test_a_wave_with_an_eye_movement_in_it_counts_only_over_the_quietest_background(fast_uv, is_kept):
    slow_EL = 60 * np.sin(2 * np.pi * 0.9 * TIME_S)[None]
    waves_of = {"slow": slow_EL, "trace": slow_EL, "eyes": slow_EL}
    bands = waves_of | {"sigma": np.full((1, 3000), 5.0), "fast": np.full((1, 3000), fast_uv)}
    waves = find_slow_waves(bands, FS_HZ)
    eye = waves.start_samples[3] + 10
    kept, possible = keep_waves_of_sleep(waves, bands, np.array([eye]), FS_HZ)
    num_holding = ((waves.start_samples <= eye) & (waves.stop_samples > eye)).sum()
    assert num_holding > 0
    assert len(possible.start_samples) == len(waves.start_samples)
    assert len(kept.start_samples) == len(waves.start_samples) - (0 if is_kept else num_holding)


@pytest.mark.parametrize(
    "rhythm_L",
    [
        pytest.param(20 * np.sin(2 * np.pi * 2.6 * TIME_S), id="even waves"),
        pytest.param(20 * np.sin(2 * np.pi * 5.9 * TIME_S), id="drowsy theta"),
        pytest.param(
            np.sin(2 * np.pi * 9.3 * TIME_S) * (12 + 12 * np.sin(2 * np.pi * 2.4 * TIME_S)),
            id="waxing and waning alpha",
        ),
        pytest.param(
            14 * np.sin(2 * np.pi * 3.1 * TIME_S) + 10 * np.sin(2 * np.pi * 9.3 * TIME_S), id="alpha on delta"
        ),
    ],
)
def test_rhythms_whose_flanks_are_alike_are_no_sawtooth_waves(rhythm_L):
    inside = (TIME_S > 10) & (TIME_S < 17)
    evidence = measure_evidence(_noise(WAKE, 8) + rhythm_L * inside, FS_HZ)
    assert evidence["sawtooth_count"].mean() < 0.1


@pytest.mark.parametrize("sign", [-1, 1])
def test_sawtooth_waves_count_whichever_flank_is_steep(sign):
    inside = (TIME_S > 10) & (TIME_S < 17)
    train_L = sign * 20 * sawtooth(2 * np.pi * 2.6 * TIME_S) * inside
    assert measure_evidence(_noise(WAKE, 8) + train_L, FS_HZ)["sawtooth_count"].mean() == pytest.approx(1, abs=0.2)


def _bursts() -> np.ndarray:
    """Sigma of 1 s at 8 and 20 s, as of spindles."""
    return 7 * np.sin(2 * np.pi * 13 * TIME_S) * _bumps(np.array([8.0, 20.0]), 0.4, 1.0)


def test_a_burst_of_sigma_is_a_spindle_in_the_eeg_of_sleep_and_none_amid_fast_activity() -> None:
    asleep = measure_evidence(_noise(SLEEP, 8) + _bursts(), FS_HZ)["spindle_count"]
    awake = measure_evidence(_noise(SLEEP, 8) + _bursts() + _noise(0.0, 8), FS_HZ)["spindle_count"]
    assert asleep.mean() > 1.5
    assert awake.mean() < 0.1
