import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tslm.signals.gaps import bridge_gaps, find_whole_epochs

LINE = np.arange(2, 22, dtype=np.float32)


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


def test_an_epoch_of_which_more_than_a_tenth_is_missing_is_not_whole():
    epochs = np.zeros((3, 100), dtype=np.float32)
    epochs[1, :10] = epochs[2, :11] = np.nan
    assert find_whole_epochs(epochs).tolist() == [True, True, False]
