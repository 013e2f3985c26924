import numpy as np
import pytest

from tslm.data.splits.subsample import METHODS, Neighbours, build_neighbour_table, choose_subsample, count_neighbours
from tslm.labels import SleepStage

W, NREM, REM, NONE = SleepStage.WAKE, SleepStage.NREM, SleepStage.REM, SleepStage.UNSCORED
DAY = ((W,) * 30 + (NREM,) * 20 + (REM,) * 4 + (NREM,) * 6) * 8


@pytest.mark.parametrize("method", METHODS)
def test_every_stage_keeps_as_many_epochs_as_the_rarest(method: str) -> None:
    kept_E = choose_subsample(DAY, method, seed=1)
    for stage in (W, NREM, REM):
        assert sum(kept and each == stage for kept, each in zip(kept_E, DAY, strict=True)) == 32
    assert np.array_equal(kept_E, choose_subsample(DAY, method, seed=1))
    assert not np.array_equal(kept_E, choose_subsample(DAY, method, seed=2))


def test_single_epochs_lose_their_neighbours_and_only_rem_keeps_them() -> None:
    before = {each.sleep_stage: each for each in count_neighbours([DAY])}
    after = {
        method: {each.sleep_stage: each for each in count_neighbours([DAY], [choose_subsample(DAY, method, 0)])}
        for method in METHODS
    }
    assert (before[REM].num_same, before[W].num_same) == (24, 8 * 29)
    assert after["balanced"][REM].num_same == 24
    assert after["balanced"][W].num_same < 0.35 * after["balanced"][W].num_epochs
    assert after["bouts"][W].num_same >= 30
    assert "0.750" in build_neighbour_table({"all": count_neighbours([DAY])}).text()


def test_gaps_and_the_end_of_a_night_have_no_neighbour() -> None:
    assert count_neighbours([(W, NONE, W), (W, NREM)]) == [Neighbours(W, 3, 1, 0), Neighbours(NREM, 1, 0, 0)]


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="wanted one of: balanced, bouts"):
        choose_subsample(DAY, "thirds", 0)
    with pytest.raises(ValueError, match="no epoch is scored"):
        choose_subsample((NONE,), "bouts", 0)
