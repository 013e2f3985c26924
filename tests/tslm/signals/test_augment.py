import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.signals.augment import NUM_DRAWS, add_noise, cut_notch, drop_electrode, jitter_spectrum, shift_time


@pytest.fixture
def window():
    return np.random.default_rng(0).standard_normal((5, 3000)).astype(np.float32)


def test_without_jitter_the_window_stays_as_it_is(window):
    assert np.allclose(jitter_spectrum(window, np.zeros(NUM_DRAWS)), window, atol=1e-5)


def test_gain_jitter_scales_every_epoch_alike(window):
    assert np.allclose(jitter_spectrum(window, 0.3 * np.eye(NUM_DRAWS)[0]), window * np.exp(0.3), atol=1e-5)


@pytest.mark.parametrize(("knot", "cycles_a_sample"), [(1, 0.002), (4, 0.057), (5, 0.1), (7, 0.4)])
def test_band_jitter_scales_a_rhythm_at_its_knot_by_the_drawn_gain(knot, cycles_a_sample):
    rhythm = np.sin(2 * np.pi * cycles_a_sample * np.arange(3000))[None].astype(np.float32)
    changed = jitter_spectrum(rhythm, 0.5 * np.eye(NUM_DRAWS)[knot])
    assert changed.std() / rhythm.std() == pytest.approx(np.exp(0.5), rel=0.01)
    assert changed.dtype == np.float32


@given(draw=st.floats(0, 1, exclude_max=True), max_shift=st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_a_shift_moves_all_epochs_alike_and_by_no_more_than_allowed(draw, max_shift):
    ramp = np.arange(600, dtype=np.float32).reshape(3, 200)
    shifted = shift_time(ramp, max_shift, draw)
    assert shifted.shape == ramp.shape
    inner = (shifted - ramp).ravel()[60:-60]
    assert np.ptp(inner) == 0
    assert abs(inner[0]) <= max_shift


def test_shifts_reach_both_ends_of_their_range_evenly():
    ramp = np.arange(600, dtype=np.float32).reshape(3, 200)
    moved = [shift_time(ramp, 2, draw)[1, 100] - ramp[1, 100] for draw in np.linspace(0, 0.999, 500)]
    assert np.unique(moved, return_counts=True)[1].tolist() == [100, 100, 100, 100, 100]
    assert sorted(set(moved)) == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_noise_of_a_tenth_leaves_every_epoch_20_db_above_it(window, draw):
    loud_and_quiet = window * np.array([[50], [5], [20], [0], [1]], dtype=np.float32) + 7
    noisy = add_noise(loud_and_quiet, 0.1, draw, np.random.default_rng(1).standard_normal(window.shape))
    noise_std, signal_std = (noisy - loud_and_quiet).std(axis=1), loud_and_quiet.std(axis=1)
    assert noisy.dtype == np.float32
    assert noise_std == pytest.approx(0.1 * draw * signal_std, rel=0.1, abs=1e-5)


def test_a_notch_takes_out_the_band_that_was_drawn_and_no_other():
    time = np.arange(6000)
    inside, outside = (np.sin(2 * np.pi * rate * time) for rate in (0.24, 0.10))
    draws = np.array([0.5, 1.0])  # halfway between 0.03 and 0.45, at full width
    cut = cut_notch((inside + outside)[None].astype(np.float32), 0.02, draws)
    assert np.abs(cut - outside)[0, 1000:-1000].max() < 0.05
    assert cut.dtype == np.float32


@given(draws=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2), width=st.floats(0.0001, 0.5))
@settings(max_examples=50, deadline=None)
def test_any_notch_that_can_be_drawn_is_one(draws, width):
    series = np.random.default_rng(0).standard_normal((2, 500)).astype(np.float32)
    cut = cut_notch(series, width, np.array(draws))
    assert np.isfinite(cut).all()
    assert cut.std() <= series.std()


@given(draws=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3))
@settings(max_examples=50, deadline=None)
def test_a_lost_electrode_is_flat_for_one_stretch_and_untouched_elsewhere(draws):
    series = 1 + np.random.default_rng(0).random((3, 100)).astype(np.float32)
    before = series.copy()
    lost = drop_electrode(series, 0.4, np.array(draws))
    flat = np.flatnonzero(lost.ravel() == 0)
    assert np.array_equal(series, before)
    assert np.array_equal(lost[lost != 0], series[lost != 0])
    assert len(flat) == 0 or flat[-1] - flat[0] == len(flat) - 1
    assert len(flat) == (0 if draws[0] >= 0.4 else abs(round(300 * draws[1]) - round(300 * draws[2])))
