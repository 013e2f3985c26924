from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslm.baselines.yasa import build_yasa_hypnogram
from tslm.data.cohorts.experts import Expert
from tslm.export.night import NightResult
from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.scoring.metrics import compute_metrics


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


def test_an_experts_stages_give_scores_and_change_no_stage(night: NightResult) -> None:
    expert = Expert(Path("anna.txt"), (SleepStage.UNSCORED,) * 12 + (SleepStage.N2,) * 20 + (SleepStage.WAKE,) * 60, 30)
    scored = night.add_expert(expert)
    assert scored.sleep_stages == night.sleep_stages and scored.hypnogram == night.hypnogram
    assert "expert: 2 of 40 epochs have no sleep stage and are not compared" in scored.recording.notes
    answers = [ANSWER_NAMES[sleep_stage] for sleep_stage in night.sleep_stages][2:]
    truth = ["Non-REM stage 2"] * 20 + ["Wake"] * 18
    expected = compute_metrics(truth, answers, night.label_set.answers)
    assert list(scored.scores["systems"]) == ["classifier", "language_model"]
    for metrics in scored.scores["systems"].values():  # the texts of the fixture answer as the classifier does
        assert {key: metrics[key] for key in expected} == expected
    assert night.scores == {} and night.expert_hypnogram is None
    shown = scored.expert_hypnogram
    assert shown is not None and shown.num_epochs == len(night.span)
    assert [shown.sleep_stages[epoch - night.span.start] for epoch in night.epoch_idx] == list(
        scored.recording.sleep_stages
    )


def test_an_expert_of_other_hours_is_refused(night: NightResult) -> None:
    with pytest.raises(ValueError, match=r"anna.txt scores none of the staged epochs of SC4001E0.edf"):
        night.add_expert(Expert(Path("anna.txt"), (SleepStage.N2,) * 5, 30))
