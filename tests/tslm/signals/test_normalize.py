import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal

from tslm.batch import Reference
from tslm.signals.normalize import (
    NUM_KNOTS,
    build_reference,
    count_views,
    find_typical,
    measure_reference,
    measure_spectra,
    normalize_series,
    render_digits,
)

SERIES = hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(-500, 500, width=32))


def draw_night(num_epochs: int = 40, seed: int = 0) -> np.ndarray:
    """Noise with a slope like that of EEG, louder every fourth epoch."""
    noise = np.random.default_rng(seed).normal(size=num_epochs * 3000)
    night_EL = (30 * signal.lfilter([1], [1, -0.95], noise)).reshape(num_epochs, 3000)
    night_EL[::4] *= 3
    return night_EL.astype(np.float32)


def log_spectra(epochs_EL: np.ndarray) -> np.ndarray:
    """(epochs, frequencies from 1 to 40 Hz) ln power, smoothed."""
    freqs_hz, psd_EF = signal.welch(epochs_EL, 100, nperseg=400, axis=-1)
    return np.log(psd_EF[:, (freqs_hz >= 1) & (freqs_hz <= 40)])


@given(SERIES)
@settings(max_examples=50, deadline=None)
def test_zscore_is_the_guides_formula(series: np.ndarray) -> None:
    wanted = (series - series.mean(dtype=np.float64)) / max(series.std(dtype=np.float64), 1e-6)
    assert np.allclose(normalize_series(series, "zscore", Reference()), wanted, atol=1e-5)


@pytest.mark.parametrize("normalization", ["recording", "whitened"])
def test_normalising_by_the_recording_keeps_loud_and_quiet_apart_and_ignores_the_unit(normalization: str) -> None:
    in_uv = normalize_series(draw_night(), normalization, measure_reference(draw_night()))
    in_mv = normalize_series(draw_night() / 1000, normalization, measure_reference(draw_night() / 1000))
    assert np.allclose(in_uv, in_mv, atol=1e-3)
    assert in_uv[4].std() > 2 * in_uv[5].std()
    assert np.median(in_uv.std(axis=1)) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("normalization", ["recording", "whitened"])
def test_a_dead_electrode_for_most_of_the_night_does_not_blow_up_the_rest(normalization: str) -> None:
    night_EL = draw_night()
    night_EL[:30] = 0
    normalized = normalize_series(night_EL, normalization, measure_reference(night_EL))
    assert np.isfinite(normalized).all()
    assert 0.3 < normalized[30:].std() < 3


@pytest.mark.parametrize("night_EL", [np.zeros((4, 3000)), np.zeros((0, 3000)), np.full((3, 3000), 7.0)])
def test_a_recording_of_nothing_has_a_neutral_reference(night_EL: np.ndarray) -> None:
    assert measure_reference(night_EL) == Reference()


def test_whitening_flattens_the_typical_spectrum_of_the_night() -> None:
    night_EL = draw_night()
    whitened = normalize_series(night_EL, "whitened", measure_reference(night_EL))
    assert np.ptp(np.median(log_spectra(night_EL), axis=0)) > 4
    assert np.ptp(np.median(log_spectra(whitened), axis=0)) < 0.5


def test_whitening_undoes_what_an_amplifier_does_to_all_epochs_alike() -> None:
    night_EL = draw_night()
    night_EL[7] += 40 * np.sin(2 * np.pi * 10 * np.arange(3000) / 100)
    other_EL = signal.lfilter([1, -0.6], [1], night_EL, axis=-1)  # takes slow power away
    pair = [normalize_series(one, "whitened", measure_reference(one)) for one in (night_EL, other_EL)]
    before = np.abs(log_spectra(night_EL) - log_spectra(other_EL)).mean()
    after = np.abs(log_spectra(pair[0]) - log_spectra(pair[1])).mean()
    assert before > 0.6
    assert after < 0.1


def test_a_normalisation_of_two_views_stacks_them_before_the_samples() -> None:
    night_EL = draw_night(6)
    reference = measure_reference(night_EL)
    both_EVL = normalize_series(night_EL, "zscore_whitened", reference)
    assert both_EVL.shape == (6, count_views("zscore_whitened"), 3000)
    for view, name in enumerate(("zscore", "whitened")):
        assert np.array_equal(both_EVL[:, view], normalize_series(night_EL, name, reference))
    assert normalize_series(night_EL[0], "zscore_whitened", reference).shape == (2, 3000)


def test_the_spectrum_of_white_noise_is_its_standard_deviation() -> None:
    noise_EL = 3 * np.random.default_rng(0).normal(size=(200, 3000))
    noise_EL[50:60] = 7.0
    spectra_EK = measure_spectra(noise_EL)
    assert np.isnan(spectra_EK[50:60]).all()
    typical_K = find_typical(spectra_EK)
    assert typical_K == pytest.approx(np.log(3), abs=0.15)  # the lowest knots lie below the first frequency
    reference = build_reference(spectra_EK, None, 60)
    assert reference.scale == pytest.approx(3, rel=0.05)
    assert reference.log_amplitude_K + np.log(reference.scale) == pytest.approx(typical_K, abs=1e-9)


def test_a_long_recording_is_whitened_by_itself_and_a_short_one_more_and_more_by_the_prior() -> None:
    spectra_EK = measure_spectra(draw_night(120))
    own_K = find_typical(spectra_EK)
    prior_K = own_K + np.linspace(-1, 1, NUM_KNOTS)
    for num_epochs in (1, 30, 120):
        typical_K = find_typical(spectra_EK[:num_epochs])
        reference = build_reference(spectra_EK[:num_epochs], prior_K, 60)
        found_K = reference.log_amplitude_K + np.log(reference.scale)
        weight = num_epochs / (num_epochs + 60)
        assert found_K == pytest.approx(weight * typical_K + (1 - weight) * prior_K, abs=1e-9)
    silent = build_reference(np.full((5, NUM_KNOTS), np.nan), prior_K, 60)
    assert silent.log_amplitude_K + np.log(silent.scale) == pytest.approx(prior_K, abs=1e-9)
    assert build_reference(np.full((5, NUM_KNOTS), np.nan), None, 60) == Reference()


def test_a_recording_of_one_kind_keeps_what_sets_it_apart_where_there_is_a_prior() -> None:
    night_EL = draw_night(200)
    noise_EL = np.random.default_rng(1).normal(size=night_EL.shape)
    alpha_EL = signal.sosfiltfilt(signal.butter(4, (7, 13), "bandpass", fs=100, output="sos"), noise_EL)
    night_EL[::3] += 200 * alpha_EL[::3].astype(np.float32)
    spectra_EK = measure_spectra(night_EL)
    prior_K, part = find_typical(spectra_EK), slice(0, 60, 3)  # ten minutes of alpha

    def contrast(reference: Reference) -> float:
        log_psd_F = log_spectra(normalize_series(night_EL[part], "whitened", reference)).mean(axis=0)
        return float(log_psd_F[36] - log_psd_F[16])  # 10 Hz against 5 Hz

    alone, shrunk = (build_reference(spectra_EK[part], prior, 60) for prior in (None, prior_K))
    assert contrast(shrunk) > contrast(alone) + 1


def test_whitening_treats_every_epoch_by_itself() -> None:
    night_EL = draw_night()
    reference = measure_reference(night_EL)
    together = normalize_series(night_EL, "whitened", reference)
    assert np.array_equal(together[3], normalize_series(night_EL[3], "whitened", reference))


def test_a_drift_leaves_no_spike_at_the_ends_of_an_epoch() -> None:
    night_EL = draw_night()
    reference = measure_reference(night_EL)
    drifting = night_EL[5] + np.linspace(-200, 200, 3000, dtype=np.float32)
    whitened = normalize_series(drifting, "whitened", reference)
    assert np.abs(whitened[:50]).max() < 1.5 * np.abs(whitened[200:-200]).max()


def test_a_lone_series_keeps_its_spectrum() -> None:
    series = draw_night()[0]
    reference = Reference(scale=float(series.std()))
    whitened = normalize_series(series, "whitened", reference)
    assert np.array_equal(whitened, normalize_series(series, "recording", reference))


def test_bands_that_an_amplifier_took_away_are_not_blown_up() -> None:
    night_EL = draw_night()
    low_passed = signal.sosfiltfilt(signal.butter(8, 20, fs=100, output="sos"), night_EL, axis=-1).astype(np.float32)
    whitened = normalize_series(low_passed, "whitened", measure_reference(low_passed))
    freqs_hz, psd_EF = signal.welch(whitened, 100, nperseg=400, axis=-1)
    assert psd_EF[:, freqs_hz > 40].sum() < 0.2 * psd_EF.sum()


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (np.array([1.0, np.nan]), "zscore", "NaN"),
        (np.array([1.0, np.inf]), "recording", "NaN or infinite"),
        (np.array([]), "zscore", "empty"),
        (np.array([1.0, 2.0]), "minmax", "zscore, recording, whitened"),
    ],
)
def test_a_series_that_cannot_be_normalised_is_a_value_error(values: np.ndarray, kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        normalize_series(values, kind, Reference())


def read_digits(text: str) -> np.ndarray:
    return np.array([int(number) for number in text.split(": ")[1].split(",")]) / 10


@given(
    hnp.arrays(np.float64, st.integers(2, 50), elements=st.floats(-1e3, 1e3)).filter(lambda values: values.std() > 1e-3)
)
def test_digits_are_the_series_to_a_twentieth_of_its_std(values: np.ndarray) -> None:
    read = read_digits(render_digits(values, 50))
    assert read * values.std() + values.mean() == pytest.approx(values, abs=0.0501 * values.std())


def test_a_long_series_is_resampled_and_what_the_numbers_cannot_hold_is_cut() -> None:
    time_s = np.arange(3000) / 100
    slow, fast = np.sin(2 * np.pi * time_s), np.sin(2 * np.pi * 20 * time_s)
    read = read_digits(render_digits(slow + fast, 300))
    assert len(read) == 300
    assert read[5:-5] == pytest.approx(np.sin(2 * np.pi * np.arange(300) / 10)[5:-5], abs=0.1)


def test_a_flat_series_is_zeros() -> None:
    assert render_digits(np.full(4, 7.0), 10) == " 4 values in tenths of the std: 0,0,0,0"


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 0.0]])
def test_nothing_and_nan_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be written as digits"):
        render_digits(np.array(values), 10)
