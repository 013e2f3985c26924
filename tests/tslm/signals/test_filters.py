import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tslm.signals.filters import bridge_gaps, filter_zero_phase, notch

FS_HZ = 100.0
TIME_S = np.arange(12_000) / FS_HZ
INNER = slice(2000, -2000)
LINE = np.arange(2, 22, dtype=np.float32)


def rhythm(freq_hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * freq_hz * TIME_S)


def response(filtered_impulse: np.ndarray, freq_hz: float) -> complex:
    """Complex gain of a filter at a frequency, from its answer to an impulse in the middle."""
    middle = len(filtered_impulse) // 2
    phases = np.exp(-2j * np.pi * freq_hz / FS_HZ * (np.arange(len(filtered_impulse)) - middle))
    return complex((filtered_impulse * phases).sum())


IMPULSE = np.zeros(20_001)
IMPULSE[10_000] = 1.0


@pytest.mark.parametrize("edges", [(0.3, 35.0), (0.5, 4.0), (10.0, None), (None, 30.0), (12.0, 15.0)])
def test_the_response_is_the_square_of_the_butterworth_filter_and_real(edges):
    low_hz, high_hz = edges
    given_edges = [edge for edge in edges if edge is not None]
    kind = "bandpass" if len(given_edges) == 2 else "lowpass" if low_hz is None else "highpass"
    sos = scipy.signal.butter(4, given_edges if len(given_edges) == 2 else given_edges[0], kind, fs=FS_HZ, output="sos")
    filtered = filter_zero_phase(IMPULSE, FS_HZ, low_hz, high_hz)
    for freq_hz in (0.1, 0.3, 0.5, 1, 2, 4, 8, 10, 13, 15, 20, 30, 35, 45):
        gain = response(filtered, freq_hz)
        wanted = np.abs(scipy.signal.sosfreqz(sos, [freq_hz], fs=FS_HZ)[1][0]) ** 2
        assert gain.real == pytest.approx(wanted, abs=2e-4)
        assert abs(gain.imag) < 2e-4


@pytest.mark.parametrize(
    ("freq_hz", "gain"), [(0.05, 0.0), (0.3, 0.5), (1.0, 1.0), (10.0, 1.0), (25.0, 1.0), (35.0, 0.5)]
)
def test_a_sine_keeps_its_phase_and_its_size_inside_the_band_only(freq_hz, gain):
    filtered = filter_zero_phase(rhythm(freq_hz), FS_HZ, 0.3, 35.0)
    assert filtered.dtype == np.float32
    assert np.abs(filtered - gain * rhythm(freq_hz))[INNER].max() < 0.01


@pytest.mark.parametrize(("low_hz", "high_hz", "freq_hz"), [(10.0, None, 5.0), (None, 10.0, 20.0)])
def test_an_octave_beyond_the_edge_is_48_db_down(low_hz, high_hz, freq_hz):
    left = filter_zero_phase(rhythm(freq_hz), FS_HZ, low_hz, high_hz)[INNER]
    assert 20 * np.log10(np.abs(left).max()) < -48


def test_rows_are_filtered_each_by_itself():
    epochs_EL = np.random.default_rng(0).normal(0, 30, (3, 3000))
    together = filter_zero_phase(epochs_EL, FS_HZ, 0.5, 30.0)
    assert np.array_equal(together[1], filter_zero_phase(epochs_EL[1], FS_HZ, 0.5, 30.0))


def test_a_step_at_the_end_of_an_epoch_is_no_wave():
    filtered = filter_zero_phase(100.0 + TIME_S[:3000], FS_HZ, 0.5, 30.0)
    assert np.abs(filtered).max() < 1.0


@pytest.mark.parametrize("width_hz", [0.5, 2.0, 4.0])
def test_a_notch_takes_the_line_and_leaves_the_rest(width_hz):
    filtered = notch(rhythm(30) + rhythm(10), FS_HZ, 30.0, width_hz)
    assert np.abs(filtered - rhythm(10))[INNER].max() < 0.03
    beside = notch(rhythm(30 + width_hz / 2), FS_HZ, 30.0, width_hz)[INNER]
    assert np.abs(beside - 0.5 * rhythm(30 + width_hz / 2)[INNER]).max() < 0.02


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ((None, None), "low_hz or high_hz"),
        ((0.0, 30.0), "0 < low_hz"),
        ((30.0, 10.0), "low_hz < high_hz"),
        ((0.3, 50.0), "50 Hz"),
    ],
)
def test_edges_that_make_no_filter_are_refused(edges, said):
    with pytest.raises(ValueError, match=said):
        filter_zero_phase(np.zeros(3000), FS_HZ, *edges)


def test_a_notch_at_the_nyquist_frequency_is_refused():
    with pytest.raises(ValueError, match="between 0 and 50 Hz"):
        notch(np.zeros(3000), FS_HZ, 50.0)


@pytest.mark.parametrize(("signal", "said"), [(np.array([1.0, np.nan, 2.0]), "NaN"), (np.zeros(1), "two samples")])
def test_a_signal_that_cannot_be_filtered_is_refused(signal, said):
    with pytest.raises(ValueError, match=said):
        filter_zero_phase(signal, FS_HZ, 0.5, 30.0)


@given(missing=hnp.arrays(bool, 20))
def test_gaps_in_a_straight_line_are_drawn_as_the_line(missing):
    signal = np.where(missing, np.nan, LINE)
    bridged = bridge_gaps(signal)
    known = np.flatnonzero(~missing)
    if known.size:
        inner = slice(known[0], known[-1] + 1)
        assert bridged[inner] == pytest.approx(LINE[inner])
        assert (bridged[: known[0]] == LINE[known[0]]).all()
        assert (bridged[known[-1] :] == LINE[known[-1]]).all()
    else:
        assert (bridged == 0).all()


@given(hnp.arrays(np.float32, (3, 4, 10), elements=st.one_of(st.just(np.nan), st.floats(-100, 100, width=32))))
def test_rows_are_bridged_each_by_itself_and_known_samples_stay(signal):
    before = signal.copy()
    bridged = bridge_gaps(signal)
    assert np.array_equal(signal, before, equal_nan=True)
    assert np.isfinite(bridged).all()
    assert bridged.dtype == signal.dtype
    assert np.array_equal(bridged[~np.isnan(signal)], signal[~np.isnan(signal)])
    assert np.array_equal(bridged[1, 2], bridge_gaps(signal[1, 2]))


def test_a_whole_signal_is_not_copied():
    assert bridge_gaps(LINE) is LINE
