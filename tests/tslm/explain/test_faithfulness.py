import numpy as np
import pytest

from tslm.explain.claims.checks import Verdict
from tslm.explain.faithfulness import check_rationale, score_faithfulness
from tslm.labels import SleepStage

EPOCH = {
    "rms_uv": 18.2,
    "peak_to_peak_uv": 140.0,
    "delta_share": 0.62,
    "theta_share": 0.2,
    "alpha_share": 0.08,
    "sigma_share": 0.06,
    "beta_share": 0.04,
    "high_frequency_ratio": 0.01,
    "dominant_hz": 12.5,
    "alpha_fraction": 0.1,
    "slow_wave_fraction": 0.12,
    "spindle_count": 2.0,
    "k_complex_count": 1.0,
    "eye_movement_count": 0.0,
    "artefact_fraction": 0.0,
}


def verdicts(text, row=EPOCH):
    return [str(checked.verdict) for checked in check_rationale(text, row).claims]


@pytest.mark.parametrize(
    "text",
    [
        "Moderate amplitude, RMS 18 uV, peak-to-peak 140 µV.",
        "Delta leads with 62%, theta comes second.",
        "Theta and delta dominate.",
        "Two spindles and a K-complex.",
        "Slow waves are present in 12% of the epoch and stay under a fifth.",
        "No eye movements, no alpha, no artefacts.",
        "Several spindles, few K-complexes.",
        "The dominant frequency is 12.5 Hz.",
        "The amplitude lies around 60 uV.",
        "Sigma activity suggests spindles.",
        "Slow waves are present, but not dominant.",
    ],
)
def test_true_claims_are_supported(text):
    assert set(verdicts(text)) == {"supported"}


@pytest.mark.parametrize(
    "text",
    [
        "High amplitude, RMS 40 uV, peak-to-peak 300 µV.",
        "Theta leads with 62%, delta comes second.",
        "Alpha and beta dominate.",
        "Three spindles and two K-complexes.",
        "No spindles or K-complexes.",
        "Slow waves fill 30% of the epoch and pass a fifth.",
        "Repeated eye movements, alpha over half the time, artefacts.",
        "The dominant frequency is 9 Hz.",
        "The amplitude exceeds 200 uV.",
        "High-frequency oscillations may be present.",
    ],
)
def test_false_claims_are_contradicted(text):
    assert set(verdicts(text)) == {"contradicted"}


@pytest.mark.parametrize("text", ["Sawtooth waves.", "Muscle tone is low.", "Mixed frequencies.", "Vertex waves."])
def test_what_was_not_measured_is_not_checkable(text):
    assert verdicts(text) == ["not checkable"]


def test_a_checked_claim_carries_the_measured_value_and_its_words():
    text = "Moderate amplitude; three spindles. Answer: Non-REM stage 2"
    amplitude, spindles = check_rationale(text, EPOCH).claims
    assert (amplitude.column, amplitude.measured) == ("rms_uv", 18)
    assert (spindles.verdict, spindles.column, spindles.measured) == (Verdict.CONTRADICTED, "spindle_count", 2)
    assert text[spindles.claim.start : spindles.claim.stop] == "three spindles"


def test_a_missing_value_is_not_taken_for_zero():
    assert verdicts("No spindles.", EPOCH | {"spindle_count": None}) == ["not checkable"]
    assert verdicts("No spindles.", {}) == ["not checkable"]


def test_the_answer_is_no_claim():
    assert verdicts("Answer: REM sleep with spindles") == []


def test_denying_a_sentence_turns_its_verdict():
    pairs = [("There are spindles.", "There are no spindles."), ("Delta leads.", "Delta does not lead.")]
    for plain, denied in pairs:
        assert {*verdicts(plain), *verdicts(denied)} == {"supported", "contradicted"}


def _cohort(num=40):
    rng = np.random.default_rng(0)
    rows, texts = [], []
    for _ in range(num):
        count, share = int(rng.integers(0, 4)), float(rng.uniform(0.3, 0.9))
        rows.append(EPOCH | {"spindle_count": count, "delta_share": share, "theta_share": 1 - share})
        leading = "delta" if share > 0.5 else "theta"
        texts.append(f"{count} spindles, {leading} leads." if count else f"No spindles, {leading} leads.")
    return texts, rows


def test_shuffled_rationales_score_lower_than_true_ones():
    texts, rows = _cohort()
    stages = [SleepStage.N2] * len(texts)
    scores = score_faithfulness(texts, rows, stages, stages)
    assert scores["precision"] == 1.0
    assert scores["num_claims"] == 2 * len(texts)
    assert scores["shuffled"]["precision"] < 0.8
    assert scores["shuffled"]["coverage"] < scores["coverage"] == pytest.approx(1 / 3)


def test_the_same_text_for_every_epoch_gains_nothing_over_its_shuffle():
    _, rows = _cohort()
    texts = ["Two spindles, delta leads."] * len(rows)
    scores = score_faithfulness(texts, rows, [SleepStage.N2] * len(rows), [None] * len(rows))
    assert scores["shuffled"]["precision"] == scores["precision"] < 1
    assert scores["consistency"] is None


def test_a_rationale_that_speaks_against_its_answer_is_inconsistent():
    texts = ["Two spindles and a K-complex.", "Slow waves fill 60% of the epoch.", "Two spindles."]
    answers = [SleepStage.N2, SleepStage.N2, SleepStage.REM]
    assert score_faithfulness(texts, [EPOCH] * 3, answers, answers)["consistency"] == pytest.approx(1 / 3)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="1 rationales, 2 rows"):
        score_faithfulness(["No spindles."], [EPOCH, EPOCH], [None], [None])


def test_evidence_with_holes_is_checked_as_far_as_it_goes():
    row = {"delta_share": 0.6, "rms_uv": float("nan")}
    assert verdicts("Delta leads with 60%, low amplitude.", row) == ["supported", "not checkable", "not checkable"]
