import numpy as np
import pytest

from tslm.evidence.muscle import EMG_COLUMNS, find_emg_channel, measure_emg

FS_HZ = 200.0


def _emg(rms_uv: np.ndarray, seed: int = 0) -> np.ndarray:
    """Epochs of 30 s of white noise between 10 Hz and 100 Hz of the given RMS."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=(len(rms_uv), 6000)))
    spectrum[:, np.fft.rfftfreq(6000, 1 / FS_HZ) < 12] = 0
    epochs = np.fft.irfft(spectrum, 6000)
    return epochs / epochs.std(axis=1, keepdims=True) * rms_uv[:, None]


def test_rms_is_that_of_the_muscle_and_tone_is_relative_to_the_median():
    rms_uv = np.array([2.0, 4.0, 4.0, 4.0, 20.0])
    columns = measure_emg(_emg(rms_uv), FS_HZ)
    assert tuple(columns) == EMG_COLUMNS
    np.testing.assert_allclose(columns["emg_rms_uv"], rms_uv, rtol=0.02)
    np.testing.assert_allclose(columns["emg_tone"], rms_uv / 4, rtol=0.03)


def test_offset_drift_and_slow_waves_do_not_count_as_muscle():
    time_s = np.arange(6000) / FS_HZ
    epochs = _emg(np.full(3, 5.0))
    disturbed = epochs + 300 + 4 * time_s + 100 * np.sin(2 * np.pi * time_s)
    np.testing.assert_allclose(
        measure_emg(disturbed, FS_HZ)["emg_rms_uv"], measure_emg(epochs, FS_HZ)["emg_rms_uv"], rtol=0.05
    )


def test_tone_does_not_depend_on_the_gain_of_the_electrodes():
    epochs = _emg(np.array([1.0, 2.0, 3.0, 7.0]))
    np.testing.assert_allclose(
        measure_emg(9 * epochs, FS_HZ)["emg_tone"], measure_emg(epochs, FS_HZ)["emg_tone"], rtol=1e-5
    )


def test_an_envelope_at_one_hertz_is_taken_as_it_is():
    envelope = np.repeat([[1.0], [3.0], [6.0]], 30, axis=1)
    columns = measure_emg(envelope, 1.0)
    np.testing.assert_allclose(columns["emg_rms_uv"], [1, 3, 6])
    np.testing.assert_allclose(columns["emg_tone"], [1 / 3, 1, 2], rtol=1e-6)


def test_an_envelope_that_was_resampled_is_still_one():
    slow = np.abs(np.random.default_rng(1).normal(4, 1, (6, 30))) * np.arange(1, 7)[:, None]
    epochs = np.array([np.interp(np.arange(3000) / 100, np.arange(30) + 0.5, row) for row in slow])
    np.testing.assert_allclose(
        measure_emg(epochs, 100.0)["emg_rms_uv"], measure_emg(slow, 1.0)["emg_rms_uv"], rtol=0.05
    )


def test_an_offset_does_not_make_an_emg_an_envelope():
    epochs = _emg(np.array([2.0, 4.0, 8.0]))
    np.testing.assert_allclose(measure_emg(epochs + 500, FS_HZ)["emg_rms_uv"], [2, 4, 8], rtol=0.02)


def test_a_dead_channel_and_no_epochs_give_finite_values():
    assert measure_emg(np.zeros((3, 6000)), FS_HZ)["emg_tone"].tolist() == [0, 0, 0]
    assert measure_emg(np.zeros((0, 6000)), FS_HZ)["emg_tone"].shape == (0,)


def test_a_single_series_is_refused():
    with pytest.raises(ValueError, match="shape"):
        measure_emg(np.zeros(6000), FS_HZ)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["EEG Fpz-Cz", "EOG horizontal", "EMG submental"], "EMG submental"),
        (["EMG LegL", "EMG Chin1-Chin2"], "EMG Chin1-Chin2"),
        (["EMG", "CHIN"], "CHIN"),
        (["emg nuchal"], "emg nuchal"),
        (["Leg/L EMG", "EMG TIB"], None),
        (["EEG C3", "Machine"], None),
        ([], None),
    ],
)
def test_the_channel_of_muscle_tone_is_found_by_its_name(names, found):
    assert find_emg_channel(names) == found
