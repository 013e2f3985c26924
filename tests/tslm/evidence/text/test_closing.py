import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.evidence import words
from tslm.evidence.text.closing import CLOSING_PREFIX, choose_reasons, render_closing
from tslm.explain.claims.arguments import find_misused, read_arguments
from tslm.explain.claims.checks import Verdict
from tslm.explain.claims.read import read_claims
from tslm.explain.faithfulness import check_rationale
from tslm.labels import LABEL_SETS, SleepStage

STAGES = LABEL_SETS["aasm"].sleep_stages
SHARES = ("delta", "theta", "alpha", "sigma", "beta")


@st.composite
def measured(draw: st.DrawFn) -> dict[str, float]:
    """Evidence of an epoch in any combination."""
    weights = np.array([draw(st.floats(0.01, 1.0)) for _ in SHARES])
    share = {f"{band}_share": float(value) for band, value in zip(SHARES, weights / weights.sum(), strict=True)}
    small = st.integers(0, 4)
    spindles, k_complexes = draw(small), draw(small)
    return words.round_facts(
        share
        | {
            "rms_uv": draw(st.floats(2, 90)),
            "peak_to_peak_uv": 80.0,
            "dominant_hz": 3.0,
            "high_frequency_ratio": draw(st.floats(0, 1)),
            "alpha_fraction": draw(st.floats(0, 1)),
            "slow_wave_fraction": draw(st.floats(0, 1)),
            "spindle_count": float(spindles),
            "spindle_duration_s": 0.8 if spindles else 0.0,
            "spindle_density_per_min": 2.0 * spindles,
            "k_complex_count": float(k_complexes),
            "sawtooth_count": float(draw(small)),
            "eye_movement_count": float(draw(small)),
            "recent_wave_count": float(draw(small)),
            "artefact_fraction": draw(st.sampled_from([0.0, 0.2])),
            "emg_tone": draw(st.sampled_from([0.0, 0.4, 1.0, 2.2])),
        }
    )


@settings(max_examples=200, deadline=None)
@given(facts=measured(), sleep_stage=st.sampled_from(STAGES))
def test_a_closing_is_true_and_no_argument_of_it_is_misused(facts: dict[str, float], sleep_stage: SleepStage) -> None:
    closing = render_closing(facts, sleep_stage)
    assert closing.startswith(CLOSING_PREFIX) and closing.endswith(".")
    checked = check_rationale(closing, facts)
    assert not [item for item in checked.claims if item.verdict is Verdict.CONTRADICTED]
    assert find_misused(read_arguments(closing, read_claims(closing)), sleep_stage) == []


@settings(max_examples=100, deadline=None)
@given(facts=measured())
def test_closings_of_different_stages_differ(facts: dict[str, float]) -> None:
    assert len({render_closing(facts, sleep_stage) for sleep_stage in STAGES}) == len(STAGES)


@pytest.mark.parametrize("sleep_stage", [SleepStage.WAKE, SleepStage.NREM, SleepStage.REM])
def test_rodents_have_rules_of_their_own(sleep_stage: SleepStage) -> None:
    facts = {"rms_uv": 40.0, "delta_share": 0.5, "theta_share": 0.3, "alpha_share": 0.1, "sigma_share": 0.05}
    facts |= {"beta_share": 0.05, "high_frequency_ratio": 0.0, "artefact_fraction": 0.0, "emg_tone": 0.4}
    assert "(rodent" in render_closing(facts, sleep_stage, is_human=False)


def test_without_any_reason_for_a_stage_only_the_doubt_is_said() -> None:
    facts = {"slow_wave_fraction": 0.1, "theta_share": 0.5, "delta_share": 0.3, "alpha_share": 0.1, "sigma_share": 0.05}
    facts |= {"beta_share": 0.05, "high_frequency_ratio": 0.0}
    assert choose_reasons(facts, SleepStage.N3)[0] == []
    assert render_closing(facts, SleepStage.N3) == "Decisive for N3: nothing; doubt (6.B): slow waves under a fifth."


def test_an_unmeasurable_epoch_has_no_closing() -> None:
    assert render_closing(words.round_facts({"artefact_fraction": 0.9}), SleepStage.N2) == ""
