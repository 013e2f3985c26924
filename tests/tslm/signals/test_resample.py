import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.signals.filters import find_ratio, resample_polyphase

RATES = [(500, 100), (512, 100), (256, 100), (200, 100), (100, 500), (128, 100), (100, 100)]


def wave(freq_hz: float, fs_hz: float, duration_s: float = 60.0) -> np.ndarray:
    return np.sin(2 * np.pi * freq_hz * np.arange(round(duration_s * fs_hz)) / fs_hz + 0.4)


@pytest.mark.parametrize(("fs_in_hz", "fs_out_hz"), RATES)
@pytest.mark.parametrize("freq_hz", [0.5, 10.0, 40.0])
def test_sample_k_of_the_output_is_the_signal_at_k_over_its_rate(fs_in_hz, fs_out_hz, freq_hz):
    resampled = resample_polyphase(wave(freq_hz, fs_in_hz), fs_in_hz, fs_out_hz)
    wanted = wave(freq_hz, fs_out_hz)
    assert resampled.dtype == np.float32
    assert resampled.shape == wanted.shape
    inner = slice(fs_out_hz, -fs_out_hz)
    assert np.abs(resampled - wanted)[inner].max() < 1e-3


@pytest.mark.parametrize(("fs_in_hz", "fs_out_hz"), [(500, 100), (512, 100), (256, 100), (1017.25, 100)])
@pytest.mark.parametrize("freq_hz", [50.5, 55.0, 60.0, 90.0, 110.0, 120.0])
def test_nothing_above_the_nyquist_frequency_folds_back(fs_in_hz, fs_out_hz, freq_hz):
    left = resample_polyphase(wave(freq_hz, fs_in_hz, 20), fs_in_hz, fs_out_hz)[fs_out_hz:-fs_out_hz]
    assert 20 * np.log10(np.abs(left).max()) < -65


def test_upsampling_adds_no_mirror_images():
    spectrum = np.abs(np.fft.rfft(resample_polyphase(wave(30, 100, 20), 100, 500)[500:-500] * np.hanning(9000)))
    freqs_hz = np.fft.rfftfreq(9000, 1 / 500)
    assert 20 * np.log10(spectrum[freqs_hz > 50].max() / spectrum.max()) < -65


@given(num_samples=st.integers(1, 3000), rates=st.sampled_from(RATES))
@settings(max_examples=30, deadline=None)
def test_the_output_holds_every_sample_that_lies_inside_the_signal(num_samples, rates):
    fs_in_hz, fs_out_hz = rates
    resampled = resample_polyphase(np.full(num_samples, 7.0), fs_in_hz, fs_out_hz)
    assert len(resampled) == -(-num_samples * fs_out_hz // fs_in_hz)
    assert np.allclose(resampled, 7.0, rtol=2e-4)


@pytest.mark.parametrize("fs_in_hz", [500, 512, 256])
def test_epochs_stay_where_they_were(fs_in_hz):
    epochs_EL = np.random.default_rng(0).normal(0, 30, (4, 30 * fs_in_hz))
    whole = resample_polyphase(epochs_EL.ravel(), fs_in_hz, 100).reshape(4, 3000)
    for epoch in range(4):
        alone = resample_polyphase(epochs_EL[epoch], fs_in_hz, 100)
        assert np.abs(alone - whole[epoch])[60:-60].max() < 1e-3


def test_channels_are_resampled_each_by_itself():
    signal_CL = np.random.default_rng(0).normal(0, 30, (2, 3, 5000))
    together = resample_polyphase(signal_CL, 500, 100)
    assert together.shape == (2, 3, 1000)
    assert np.array_equal(together[1, 2], resample_polyphase(signal_CL[1, 2], 500, 100))


def test_missing_samples_spread_over_less_than_half_a_second():
    signal = wave(10, 500)
    signal[15000] = np.nan
    missing = np.flatnonzero(np.isnan(resample_polyphase(signal, 500, 100)))
    assert len(missing)
    assert np.abs(missing - 3000).max() <= 44


@pytest.mark.parametrize("fs_in_hz", [199.98, 24414.0625 / 24, 99.5, 250.0])
def test_any_rate_keeps_time_over_a_day(fs_in_hz):
    ratio = find_ratio(fs_in_hz, 100, 86_400)
    assert abs(float(ratio) * fs_in_hz / 100 - 1) * 86_400 < 1e-4
    half_a_minute = resample_polyphase(wave(10, fs_in_hz, 30), fs_in_hz, 100)
    assert np.abs(half_a_minute - wave(10, 100, len(half_a_minute) / 100))[100:-100].max() < 0.01


@pytest.mark.parametrize(
    ("rates", "said"), [((0, 100), "positive"), ((np.nan, 100), "positive"), ((100, -1), "positive")]
)
def test_rates_that_are_none_are_refused(rates, said):
    with pytest.raises(ValueError, match=said):
        resample_polyphase(np.zeros(100), *rates)


def test_a_rate_too_near_to_another_for_a_fraction_is_refused():
    with pytest.raises(ValueError, match="simpler ratio"):
        find_ratio(99.9999, 100, 86_400)
