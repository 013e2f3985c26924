"""What a text must claim after an edit: texts that do, and texts that do not."""

import pytest

from tslm.evidence.criteria import Feature
from tslm.explain.claims.read import read_claims
from tslm.explain.claims.stated import Stated, read_stated
from tslm.explain.interventions.effects import (
    ALPHA,
    FEW_SLOW_WAVES,
    MANY_SLOW_WAVES,
    MORE_SPINDLES,
    NO_SPINDLES,
    OTHER_EPOCH,
    Expectation,
)
from tslm.labels import SleepStage

BEFORE = {
    "rms_uv": 16.0,
    "delta_share": 0.7,
    "theta_share": 0.12,
    "alpha_share": 0.08,
    "sigma_share": 0.06,
    "beta_share": 0.04,
    "alpha_fraction": 0.1,
    "slow_wave_fraction": 0.08,
    "spindle_count": 2.0,
    "k_complex_count": 1.0,
}
AFTER = BEFORE | {"rms_uv": 31.0, "delta_share": 0.9, "slow_wave_fraction": 0.4, "spindle_count": 0.0}


@pytest.mark.parametrize(
    ("effect", "text", "is_claimed"),
    [
        (NO_SPINDLES, "One K-complex, few slow waves.", True),
        (NO_SPINDLES, "No spindles or K-complexes.", True),
        (NO_SPINDLES, "Recent spindles or K-complexes.", True),
        (NO_SPINDLES, "Two spindles, one K-complex.", False),
        (NO_SPINDLES, "No spindles. Decisive: spindles.", False),
        (MORE_SPINDLES, "Three spindles.", True),
        (MORE_SPINDLES, "Over ten spindles.", True),
        (MORE_SPINDLES, "Two spindles.", False),
        (MORE_SPINDLES, "Spindles are seen.", False),
        (MORE_SPINDLES, "One K-complex.", False),
        (FEW_SLOW_WAVES, "Few slow waves.", True),
        (FEW_SLOW_WAVES, "Slow waves in 6%. Decisive: slow waves under a fifth.", True),
        (FEW_SLOW_WAVES, "Slow waves in 6%. Decisive: slow waves past a fifth.", False),
        (FEW_SLOW_WAVES, "Slow waves in 34%.", False),
        (FEW_SLOW_WAVES, "Leading delta 80%.", False),
        (MANY_SLOW_WAVES, "Slow waves in 34%.", True),
        (MANY_SLOW_WAVES, "Decisive: slow waves past a fifth and leading delta.", True),
        (MANY_SLOW_WAVES, "Slow waves in 8%.", False),
        (MANY_SLOW_WAVES, "Slow waves are present.", False),
        (ALPHA, "Alpha over half of the time.", True),
        (ALPHA, "Alpha at times.", True),
        (ALPHA, "Scarce alpha.", False),
        (ALPHA, "Leading theta 40%, then alpha 20%.", False),
        (OTHER_EPOCH, "High amplitude, RMS 31 uV, leading delta 90%.", True),
        (OTHER_EPOCH, "High amplitude, RMS 31 uV, two spindles, slow waves in 8%.", False),
        (OTHER_EPOCH, "Leading delta, one K-complex.", False),  # true of both
    ],
)
def test_a_text_claims_what_is_true_after_the_edit_or_it_does_not(effect, text, is_claimed) -> None:
    assert effect.is_claimed(read_claims(text), BEFORE, AFTER) is is_claimed


@pytest.mark.parametrize(
    ("text", "feature", "stated"),
    [
        ("Two to three spindles.", Feature.SPINDLES, Stated(2, 3)),
        ("Two spindles lasting about 0.9 s.", Feature.SPINDLES, Stated(2, 2)),
        ("Few K-complexes.", Feature.K_COMPLEXES, Stated(float("-inf"), 2)),
        ("Slow waves in more than 20% of the epoch.", Feature.SLOW_WAVES, Stated(0.2, float("inf"))),
        ("Alpha 12% of the power.", Feature.ALPHA, None),
        ("Leading delta 61%.", Feature.SLOW_WAVES, None),
    ],
)
def test_claims_on_a_feature_state_a_range(text, feature, stated) -> None:
    assert read_stated(read_claims(text), feature) == stated


def test_claims_that_exclude_each_other_are_not_consistent() -> None:
    stated = read_stated(read_claims("Slow waves in 6%. Decisive: slow waves past a fifth."), Feature.SLOW_WAVES)
    assert stated is not None
    assert not stated.is_consistent


def test_an_answer_that_does_not_parse_meets_no_expectation() -> None:
    for is_answered in (True, False):
        expectation = Expectation(SleepStage.N3, is_answered)
        assert not expectation.is_met(None)
        assert expectation.is_met(SleepStage.N3) is is_answered
        assert expectation.is_met(SleepStage.N2) is not is_answered
        assert expectation.measure({SleepStage.N3: 0.3}) == pytest.approx(0.3 if is_answered else 0.7)
