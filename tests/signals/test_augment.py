import numpy as np
import pytest

from tslm.signals.augment import NUM_DRAWS, jitter_spectrum


@pytest.fixture
def window():
    return np.random.default_rng(0).standard_normal((5, 3000)).astype(np.float32)


def test_without_jitter_the_window_stays_as_it_is(window):
    assert np.allclose(jitter_spectrum(window, 0.0, 0.0, np.ones(NUM_DRAWS)), window, atol=1e-5)


def test_gain_jitter_scales_every_epoch_alike(window):
    draws = np.eye(NUM_DRAWS)[0]
    assert np.allclose(jitter_spectrum(window, 0.3, 0.0, draws), window * np.exp(0.3), atol=1e-5)


@pytest.mark.parametrize(("knot", "cycles_a_sample"), [(1, 0.002), (4, 0.057), (5, 0.1), (7, 0.4)])
def test_band_jitter_scales_a_rhythm_at_its_knot_by_the_drawn_gain(knot, cycles_a_sample):
    rhythm = np.sin(2 * np.pi * cycles_a_sample * np.arange(3000))[None].astype(np.float32)
    changed = jitter_spectrum(rhythm, 0.0, 0.5, np.eye(NUM_DRAWS)[knot])
    assert changed.std() / rhythm.std() == pytest.approx(np.exp(0.5), rel=0.01)
    assert changed.dtype == np.float32
