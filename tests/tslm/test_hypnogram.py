import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.hypnogram import Bout, Hypnogram
from tslm.labels import SleepStage

CODES = {
    "W": SleepStage.WAKE,
    "1": SleepStage.N1,
    "2": SleepStage.N2,
    "3": SleepStage.N3,
    "R": SleepStage.REM,
    "N": SleepStage.NREM,
    "M": SleepStage.MOVEMENT,
    "?": SleepStage.UNSCORED,
}
nights = st.lists(st.sampled_from(list(SleepStage)), max_size=80).map(tuple)


def read_codes(codes, epoch_s=30):
    return Hypnogram(tuple(CODES[code] for code in codes), epoch_s)


def test_a_night_counted_by_hand():
    # 4 W | 1 1 2 2 3 3 W 2 R R | W W : sleep from epoch 4 to 13, wake inside it once
    night = read_codes("WWWW112233W2RRWW")
    assert night.time_in_bed_min == 8
    assert night.sleep_period_min == 5
    assert night.total_sleep_min == 4.5
    assert night.waso_min == 0.5
    assert night.final_wake_min == 1
    assert night.sleep_efficiency_percent == pytest.approx(100 * 9 / 16)
    assert night.sleep_maintenance_percent == 90
    assert night.sleep_onset_latency_min == 2
    assert night.rem_latency_min == 4
    assert night.num_transitions == 7
    assert night.stage_min(SleepStage.N2) == 1.5
    assert night.stage_percent(SleepStage.N2) == pytest.approx(100 / 3)
    assert night.stage_percent(SleepStage.WAKE) == pytest.approx(100 * 7 / 16)
    assert night.bouts[0] == Bout(SleepStage.WAKE, 0, 4)
    assert [bout.num_epochs for bout in night.bouts] == [4, 2, 2, 2, 1, 1, 2, 2]


def test_statistics_by_name_for_a_rodent_with_short_epochs():
    night = read_codes("WNNNRWNN", epoch_s=4)
    statistics = night.statistics()
    assert statistics["total_sleep_min"] == pytest.approx(6 * 4 / 60)
    assert statistics["waso_min"] == pytest.approx(4 / 60)
    assert statistics["NREM_percent"] == pytest.approx(100 * 5 / 6)
    assert statistics["NREM_num_bouts"] == 2
    assert statistics["NREM_mean_bout_min"] == pytest.approx(2.5 * 4 / 60)
    assert statistics["rem_latency_min"] == pytest.approx(3 * 4 / 60)
    assert "N2_min" not in statistics


def test_a_stage_that_is_asked_for_but_does_not_occur_has_zero_minutes_and_no_mean_bout():
    statistics = read_codes("W22W").statistics([SleepStage.REM])
    assert statistics["R_min"] == 0
    assert statistics["R_percent"] == 0
    assert statistics["R_mean_bout_min"] is None
    assert "W_min" not in statistics


def test_movement_and_unscored_epochs_are_neither_sleep_nor_wake_nor_a_transition():
    night = read_codes("W2M2?2W")
    assert night.sleep_period_min == 2.5
    assert night.total_sleep_min == 1.5
    assert night.waso_min == 0
    assert night.num_transitions == 2


@pytest.mark.parametrize("codes", ["", "WWW"])
def test_a_night_without_sleep_has_no_latencies(codes):
    night = read_codes(codes)
    assert night.total_sleep_min == night.sleep_period_min == night.waso_min == night.final_wake_min == 0
    assert night.sleep_onset_latency_min is None
    assert night.rem_latency_min is None
    assert night.sleep_maintenance_percent is None
    assert night.stage_percent(SleepStage.N2) is None
    assert night.sleep_efficiency_percent == (0 if codes else None)


def test_sleep_that_starts_in_rem_has_rem_latency_zero():
    assert read_codes("WRR2").rem_latency_min == 0


@given(nights, st.sampled_from([4, 30]))
def test_durations_add_up(sleep_stages, epoch_s):
    night = Hypnogram(sleep_stages, epoch_s)
    assert sum(night.stage_min(stage) for stage in SleepStage) == pytest.approx(night.time_in_bed_min)
    other = sum(stage in (SleepStage.MOVEMENT, SleepStage.UNSCORED) for stage in sleep_stages) * epoch_s / 60
    assert night.total_sleep_min + night.waso_min <= night.sleep_period_min + 1e-9
    assert night.sleep_period_min <= night.total_sleep_min + night.waso_min + other + 1e-9
    if night.total_sleep_min:
        wake_before = night.stage_min(SleepStage.WAKE) - night.waso_min - night.final_wake_min
        assert -1e-9 <= wake_before <= night.sleep_onset_latency_min + 1e-9


@given(nights)
def test_bouts_spell_out_the_hypnogram(sleep_stages):
    bouts = Hypnogram(sleep_stages).bouts
    assert tuple(stage for bout in bouts for stage in [bout.sleep_stage] * bout.num_epochs) == sleep_stages
    assert all(a.sleep_stage is not b.sleep_stage for a, b in zip(bouts, bouts[1:], strict=False))
    assert all(sleep_stages[bout.start_idx] is bout.sleep_stage for bout in bouts)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="epoch_s is 0"):
        Hypnogram((SleepStage.WAKE,), epoch_s=0)
    with pytest.raises(ValueError, match="'W' is no SleepStage"):
        Hypnogram(("W",))


def test_expert_hypnograms_give_plausible_nights():
    if "TSLM_DATA_DIR" not in os.environ:
        pytest.skip("set TSLM_DATA_DIR to read the 39 expert hypnograms of Sleep-EDF")
    path = Path(os.environ["TSLM_DATA_DIR"]) / "sleep_edf_hypnograms" / "sleep_cassette_30s_stage_strings.json"
    for codes in json.loads(path.read_text()).values():
        night = read_codes(codes.replace("4", "3"))
        assert 3 * 60 < night.total_sleep_min < 12 * 60
        assert 0 < night.rem_latency_min < 20 * 60  # from the first nap of the day
        assert night.stage_percent(SleepStage.N2) > 25
