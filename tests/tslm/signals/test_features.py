import numpy as np
import pytest
import scipy.signal

from tslm.signals.features import FEATURE_COLUMNS, measure_features
from tslm.signals.spectrum import FEATURE_BANDS_HZ

BANDS = [(species, band) for species, bands in FEATURE_BANDS_HZ.items() for band in bands]


def noise(num_epochs: int = 6, fs_hz: float = 250.0, epoch_s: float = 30.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (num_epochs, round(epoch_s * fs_hz)))


def sine(freq_hz: float, amplitude_uv: float = 30.0, fs_hz: float = 250.0, epoch_s: float = 30.0) -> np.ndarray:
    return amplitude_uv * np.sin(2 * np.pi * freq_hz * np.arange(round(epoch_s * fs_hz)) / fs_hz)[None]


@pytest.mark.parametrize(("species", "band"), BANDS)
def test_band_power_equals_the_sum_of_scipys_welch_spectrum(species, band):
    epochs_EL = noise(70)
    features = measure_features(epochs_EL, 250.0, species)
    low_hz, high_hz = FEATURE_BANDS_HZ[species][band]
    for epoch in (0, 63, 64, 69):
        freqs_hz, psd_F = scipy.signal.welch(epochs_EL[epoch], 250.0, nperseg=1000)
        power = psd_F[(freqs_hz >= low_hz) & (freqs_hz < high_hz)].sum() * 0.25
        assert features[f"{band}_log_power"][epoch] == pytest.approx(np.log10(power), abs=1e-5)


@pytest.mark.parametrize(("species", "band"), BANDS)
def test_a_sine_has_the_power_of_a_sine_in_its_band(species, band):
    low_hz, high_hz = FEATURE_BANDS_HZ[species][band]
    features = measure_features(sine((low_hz + high_hz) / 2), 250.0, species)
    assert 10 ** features[f"{band}_log_power"][0] == pytest.approx(30**2 / 2, rel=0.01)


def test_the_theta_delta_ratio_is_that_of_the_powers():
    epochs_EL = sine(2, 40.0) + sine(7, 20.0)
    assert measure_features(epochs_EL, 250.0)["theta_delta_ratio"][0] == pytest.approx(0.25, rel=0.02)


def test_rodent_theta_reaches_to_9_hz_and_human_theta_does_not():
    human, rodent = (measure_features(sine(8.5), 250.0, species) for species in ("human", "rodent"))
    assert human["theta_log_power"][0] < 0 < rodent["theta_log_power"][0]


def test_entropy_is_one_for_a_flat_spectrum_and_low_for_a_rhythm():
    flat = measure_features(noise(), 250.0)["spectral_entropy"]
    assert (flat > 0.97).all()
    assert (flat <= 1).all()
    assert measure_features(sine(10), 250.0)["spectral_entropy"][0] < 0.3


@pytest.mark.parametrize("line_hz", [50, 60])
def test_the_line_noise_ratio_is_one_without_mains_and_grows_with_them(line_hz):
    assert measure_features(noise(), 250.0)["line_noise_ratio"] == pytest.approx(1.1, abs=0.25)
    ratios = [measure_features(noise() + sine(line_hz, size), 250.0)["line_noise_ratio"].min() for size in (5, 20)]
    assert 2 < ratios[0] < ratios[1] / 5


def test_what_lies_above_the_nyquist_frequency_is_nan():
    at_100_hz = measure_features(noise(fs_hz=100.0), 100.0, "rodent")
    assert np.isnan(at_100_hz["gamma_log_power"]).all()
    assert np.isnan(at_100_hz["line_noise_ratio"]).all()
    assert np.isfinite(measure_features(noise(fs_hz=100.0), 100.0, "human")["gamma_log_power"]).all()
    assert np.isfinite(measure_features(noise(fs_hz=500.0), 500.0, "rodent")["gamma_log_power"]).all()


def test_the_columns_are_the_same_for_any_input():
    for fs_hz, species, emg in ((100.0, "human", None), (500.0, "rodent", noise(2, 250.0)), (64.0, "rodent", None)):
        features = measure_features(noise(2, fs_hz), fs_hz, species, emg, 250.0)
        assert tuple(features) == FEATURE_COLUMNS
        assert all(values_E.shape == (2,) and values_E.dtype == np.float32 for values_E in features.values())
    assert all(values_E.shape == (0,) for values_E in measure_features(np.zeros((0, 3000)), 100.0).values())


def test_an_epoch_with_a_missing_sample_is_nan_and_its_neighbours_are_not():
    epochs_EL, emg_EL = noise(3), noise(3, seed=1)
    epochs_EL[1, 7], emg_EL[2, 9] = np.nan, np.nan
    features = measure_features(epochs_EL, 250.0, emg_EL=emg_EL)
    whole = measure_features(noise(3), 250.0, emg_EL=noise(3, seed=1))
    for name, values_E in features.items():
        lost = 2 if name == "emg_rms_uv" else 1
        assert np.isnan(values_E).tolist() == [idx == lost for idx in range(3)]
        assert np.array_equal(np.delete(values_E, lost), np.delete(whole[name], lost))


def test_a_dead_channel_has_finite_features():
    features = measure_features(np.zeros((1, 7500)), 250.0)
    assert features["delta_log_power"][0] == pytest.approx(-6)
    assert features["spectral_entropy"][0] == 0
    assert features["theta_delta_ratio"][0] == 0


@pytest.mark.parametrize(("freq_hz", "rms"), [(1, 0.0), (3, 0.0), (40, 30 / np.sqrt(2)), (90, 30 / np.sqrt(2))])
def test_emg_rms_looks_above_10_hz_only(freq_hz, rms):
    features = measure_features(noise(1), 250.0, emg_EL=sine(freq_hz))
    assert features["emg_rms_uv"][0] == pytest.approx(rms, abs=0.5)


def test_emg_may_have_its_own_rate():
    features = measure_features(noise(2, 100.0), 100.0, emg_EL=sine(60, fs_hz=500.0).repeat(2, axis=0), emg_fs_hz=500.0)
    assert features["emg_rms_uv"] == pytest.approx(30 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"species": "newt"}, "human, mouse, rat"),
        ({"epochs_EL": np.zeros(3000)}, "num_epochs, samples"),
        ({"epochs_EL": np.zeros((2, 300))}, "4 s or more"),
        ({"fs_hz": 50.0}, "64 Hz or more"),
        ({"emg_EL": np.zeros((3, 3000))}, "3 epochs of EMG for 2 of EEG"),
        ({"emg_EL": np.zeros(3000)}, "wanted .num_epochs, samples"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        measure_features(**{"epochs_EL": np.zeros((2, 3000)), "fs_hz": 100.0, **options})
