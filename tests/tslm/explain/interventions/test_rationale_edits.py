"""Replaced rationales argue for what is expected, by the reader of claims."""

import numpy as np
import pytest

from tslm.explain.claims.arguments import weigh_rationale
from tslm.explain.claims.read import read_claims
from tslm.explain.interventions.rationale_edits import RATIONALE_EDITS, Written, negate_rationale
from tslm.labels import SleepStage

N3 = Written("High amplitude, RMS 30 uV, leading delta 90%. Slow waves in 36%. Decisive: leading delta.", SleepStage.N3)
N2 = Written("Moderate amplitude, RMS 16 uV. Two spindles, one K-complex. Decisive: spindles.", SleepStage.N2)
N2_WITHOUT_REASON = Written("Moderate amplitude, RMS 16 uV. No spindles or K-complexes.", SleepStage.N2)
EDITS = {edit.name: edit.change for edit in RATIONALE_EDITS}


def weigh(text: str, sleep_stage: SleepStage) -> float:
    return weigh_rationale(text, read_claims(text), sleep_stage)


@pytest.mark.parametrize("written", [N3, N2])
def test_a_negated_rationale_speaks_against_its_answer(written) -> None:
    replaced = EDITS["rationale_negated"](written, [], np.random.default_rng(0))
    assert weigh(written.rationale, written.sleep_stage) > 0 > weigh(replaced.rationale, written.sleep_stage)
    assert not replaced.expectation.is_met(written.sleep_stage)


def test_the_opposite_of_a_denial_is_a_finding() -> None:
    assert negate_rationale("No spindles or K-complexes, few slow waves.") == (
        "Two spindles, two K-complexes, slow waves past a fifth."
    )


def test_a_rationale_that_does_not_argue_for_its_answer_is_not_negated() -> None:
    assert EDITS["rationale_negated"](N2_WITHOUT_REASON, [], np.random.default_rng(0)) is None


def test_the_rationale_of_another_answer_argues_for_the_answer_expected() -> None:
    for seed in range(5):
        others = [N2, N2_WITHOUT_REASON, N3]
        replaced = EDITS["rationale_of_other_answer"](N3, others, np.random.default_rng(seed))
        assert replaced.rationale == N2.rationale
        assert replaced.expectation.is_met(SleepStage.N2)
    assert EDITS["rationale_of_other_answer"](N3, [N3, N2_WITHOUT_REASON], np.random.default_rng(0)) is None


def test_a_rationale_is_cut_after_its_first_sentence_or_left_out() -> None:
    cut = EDITS["rationale_cut"](N2, [], np.random.default_rng(0))
    assert cut.rationale == "Moderate amplitude, RMS 16 uV."
    assert EDITS["rationale_cut"](Written(cut.rationale, N2.sleep_stage), [], np.random.default_rng(0)) is None
    assert EDITS["rationale_left_out"](N2, [], np.random.default_rng(0)).rationale == ""
