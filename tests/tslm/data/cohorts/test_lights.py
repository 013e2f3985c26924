import numpy as np
import pytest

from tslm.data.cohorts.lights import find_lit_epochs

DAY = np.arange(0, 24 * 3600, 10.0)


def test_half_of_a_day_is_lit_between_seven_and_seven():
    lit = find_lit_epochs("2024-05-01T07:00:00+00:00", "07:00", "19:00", DAY, 10.0)
    assert lit[:4320].all()
    assert not lit[4320:].any()


def test_a_recording_may_start_at_any_time_of_day():
    lit = find_lit_epochs("2024-05-01T18:59:50", "07:00", "19:00", DAY[:3], 10.0)
    assert lit.tolist() == [True, False, False]


def test_the_light_may_last_over_midnight():
    lit = find_lit_epochs("2024-05-01T00:00:00", "21:00", "09:00:00", 3600.0 * np.arange(24), 10.0)
    assert np.flatnonzero(lit).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 21, 22, 23]


def test_an_epoch_is_what_its_middle_is():
    before, after = find_lit_epochs("2024-05-01T06:59:54", "07:00", "19:00", np.array([0.0, 2.0]), 10.0)
    assert not before
    assert after


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_without_a_clock_or_a_light_nothing_is_claimed(missing):
    texts = ["2024-05-01T00:00:00", "07:00", "19:00"]
    texts[missing] = ""
    assert find_lit_epochs(*texts, DAY, 10.0) is None


@pytest.mark.parametrize(
    ("start", "on", "off", "message"),
    [
        ("yesterday", "07:00", "19:00", "start"),
        ("2024-05-01", "7 am", "19:00", "lights_on"),
        ("2024-05-01", "07:00", "25:00", "lights_off"),
        ("2024-05-01", "07:00", "07:00", "constant"),
    ],
)
def test_what_is_no_time_is_refused(start, on, off, message):
    with pytest.raises(ValueError, match=message):
        find_lit_epochs(start, on, off, DAY, 10.0)
