import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tslm.signals.digits import render_digits


def read_digits(text: str) -> np.ndarray:
    return np.array([int(number) for number in text.split(": ")[1].split(",")]) / 10


@given(arrays(np.float64, st.integers(2, 50), elements=st.floats(-1e3, 1e3)).filter(lambda values: values.std() > 1e-3))
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
