import pytest

from tslm.evidence.criteria import (
    CRITERIA,
    RODENT_CRITERIA,
    Feature,
    find_criteria,
    list_deciding_features,
    weigh_feature,
)
from tslm.evidence.measure import EVIDENCE_COLUMNS
from tslm.labels import ANSWER_NAMES, SleepStage


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("is_human", [True, False], ids=["human", "rodent"])
def test_some_criterion_of_every_sleep_stage_holds_whatever_is_measured(value, is_human):
    facts = {name: float(round(value)) if name.endswith("_count") else value for name in EVIDENCE_COLUMNS}
    facts["artefact_fraction"] = min(value, 0.5)  # beyond, nothing else is measured
    for sleep_stage in ANSWER_NAMES if is_human else RODENT_CRITERIA:
        assert any(find_criteria(sleep_stage, facts, is_human)), sleep_stage


def test_presence_for_a_stage_weighs_as_absence_against_it():
    assert weigh_feature(Feature.SPINDLES, SleepStage.N2) == 1
    assert weigh_feature(Feature.SPINDLES, SleepStage.REM) == -1
    assert weigh_feature(Feature.MUSCLE_TONE, SleepStage.REM) == -1  # cited only where it is low
    assert weigh_feature(Feature.ALPHA, SleepStage.N1) == 0  # only its threshold speaks


def test_no_feature_speaks_both_ways():
    for sleep_stage, rows in CRITERIA.items():
        for row in rows:
            if row.is_weighed:
                sign = 1 if row.is_for == row.finding.is_present else -1
                assert {weigh_feature(feature, sleep_stage) for feature in row.finding.features} == {sign}


def test_what_decides_is_named_by_the_manual():
    assert set(list_deciding_features(SleepStage.N3)) == {Feature.SLOW_WAVES, Feature.DELTA}
    assert set(list_deciding_features(SleepStage.N2)) == {Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SLOW_WAVES}
    assert list_deciding_features(SleepStage.UNSCORED) == ()
