from dataclasses import replace

import numpy as np
import pytest

from tslm.baselines.yasa import build_yasa_hypnogram
from tslm.export.night import NightResult
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage


def test_the_hypnogram_covers_the_span_and_is_unscored_where_the_signal_is_missing(night: NightResult) -> None:
    assert night.hypnogram.num_epochs == len(night.span) == 2 + 25 + 20 + 15 + 2
    by_epoch = dict(zip(night.span, night.hypnogram.sleep_stages, strict=True))
    assert [by_epoch.pop(epoch) for epoch in night.epoch_idx] == list(night.sleep_stages)
    assert set(by_epoch.values()) == {SleepStage.UNSCORED}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sleep_stages": (SleepStage.WAKE,)}, "sleep_stages has 1 epochs, the recording 40"),
        ({"events": []}, "events has 0 epochs"),
        ({"probabilities_EK": np.ones((40, 3))}, "wanted 40 epochs and 5 sleep stages"),
        ({"span": range(20, 80)}, "epoch 10 of SC4001E0.edf is outside"),
    ],
)
def test_parts_that_do_not_fit_the_recording_are_refused(change: dict, said: str, night: NightResult) -> None:
    with pytest.raises(ValueError, match=said):
        replace(night, **change)


def test_without_identity_the_time_of_day_stays(night: NightResult) -> None:
    anonymous = night.remove_identity()
    assert anonymous.start is not None
    assert anonymous.start.isoformat() == "1985-01-01T22:15:30"
    assert (anonymous.recording.subject, anonymous.recording.age, anonymous.recording.sex) == ("", "", "")
    assert anonymous.file == night.file
    assert anonymous.hypnogram.sleep_stages == night.hypnogram.sleep_stages
    unknown = replace(night, recording=replace(night.recording, start=""))
    assert unknown.remove_identity().start is None


def test_yasa_takes_the_night_with_its_clock(night: NightResult) -> None:
    pytest.importorskip("yasa", reason="needs the extra peers")
    hypnogram = night.to_yasa()
    names = {"WAKE": "W", "REM": "R", "UNS": "UNSCORED"}
    assert tuple(names.get(name, name) for name in hypnogram.hypno) == tuple(night.hypnogram.sleep_stages)
    assert hypnogram.hypno.index[0].isoformat() == "2019-04-23T22:19:30"  # the span begins with epoch 8 of the file


def test_a_hypnogram_that_yasa_cannot_hold_is_refused() -> None:
    pytest.importorskip("yasa", reason="needs the extra peers")
    for stages in ((), (SleepStage.NREM, SleepStage.N1)):
        with pytest.raises(ValueError, match="NREM or N1 to N3"):
            build_yasa_hypnogram(Hypnogram(stages))
