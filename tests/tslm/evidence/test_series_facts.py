import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.evidence import series as words
from tslm.evidence.series import find_spikes, measure_series

TIME = np.arange(1000)


def _noise(scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=1000)


@pytest.mark.parametrize(("slope", "word"), [(0.01, "rising"), (-0.01, "falling"), (0.0, "no clear trend")])
def test_a_line_is_measured_as_trend(slope, word):
    facts = measure_series(slope * TIME + _noise())
    assert words.trend_word(facts) == word
    assert facts.trend_change == pytest.approx(slope * 1000, abs=0.5)


@pytest.mark.parametrize("period", [20, 77, 130, 250])
def test_the_period_of_a_sine_is_found_under_trend_and_noise(period):
    facts = measure_series(2 * np.sin(2 * np.pi * TIME / period) + 0.004 * TIME + _noise(0.3))
    assert facts.period_samples == pytest.approx(period, abs=max(2, 0.03 * period))
    assert words.cycle_word(facts) == "yes"


def test_noise_has_no_cycle():
    assert words.cycle_word(measure_series(_noise())) == "no"


@pytest.mark.parametrize(("step", "word"), [(4, "jumps up"), (-4, "jumps down"), (0, "no jump")])
def test_a_level_shift_is_found_where_it_is(step, word):
    facts = measure_series(step * (TIME >= 420) + _noise())
    assert words.shift_word(facts) == word
    if step:
        assert facts.shift_idx == pytest.approx(420, abs=3)
        assert facts.shift_change == pytest.approx(step, abs=0.3)


def test_a_line_is_no_jump():
    assert words.shift_word(measure_series(0.01 * TIME + _noise(0.3))) not in ("jumps up", "jumps down")


@pytest.mark.parametrize("positions", [[], [100], [100, 600], [50, 300, 900]])
def test_lone_spikes_are_counted_and_placed(positions):
    values = _noise(0.3)
    for height, position in enumerate(positions, start=8):
        values[position] += height
    found, _ = find_spikes(values)
    assert found.tolist() == positions
    assert measure_series(values).largest_spike_idx == (positions[-1] if positions else -1)


@pytest.mark.parametrize(("gain", "word"), [(3, "second half"), (1, "about the same"), (1 / 3, "first half")])
def test_a_change_of_spread_is_heard(gain, word):
    values = _noise()
    values[500:] *= gain
    assert words.spread_word(measure_series(values)) == word


def test_the_highest_and_lowest_quarters_are_those_of_a_bump_and_a_dip():
    bump = np.exp(-(((TIME - 400) / 80) ** 2)) - np.exp(-(((TIME - 850) / 80) ** 2))
    assert words.highest_quarter(bump) == "second quarter"
    assert words.lowest_quarter(bump) == "last quarter"


@given(gain=st.floats(0.01, 100), level=st.floats(-1000, 1000))
@settings(max_examples=20, deadline=None)
def test_words_do_not_depend_on_unit_or_level(gain, level):
    values = 2 * np.sin(2 * np.pi * TIME / 90) + 0.005 * TIME + _noise(0.5)
    plain, other = measure_series(values), measure_series(gain * values + level)
    for word in (words.trend_word, words.cycle_word, words.period_word, words.shift_word, words.spread_word):
        assert word(plain) == word(other)
    assert plain.num_spikes == other.num_spikes


def test_a_constant_series_has_facts_and_short_or_broken_ones_are_refused():
    facts = measure_series(np.ones(500))
    assert (facts.trend_share, facts.period_samples, facts.num_spikes, facts.spread_ratio) == (0.0, 0, 0, 1.0)
    with pytest.raises(ValueError, match="32 samples"):
        measure_series(np.ones(10))
    with pytest.raises(ValueError, match="NaN"):
        measure_series(np.full(100, np.nan))
