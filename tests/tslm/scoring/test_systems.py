import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import log_loss

from tests.factories.rows import OPTIONS, classify, make_row, of_system
from tslm.predictions.calibration import scale_scores
from tslm.predictions.rows import CLASSIFIER, LANGUAGE_MODEL
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_systems, write_metrics


def score(rows: list[Any], **more: int) -> dict[str, Any]:
    return score_systems(parse_scorings(rows), **more)


def score_one(rows: list[Any], **more: int) -> dict[str, Any]:
    """Metrics of the only system of some rows."""
    (metrics,) = score(rows, **more)["systems"].values()
    return metrics


def test_score_counts_parse_failures_as_wrong():
    rows = [make_row(0), make_row(1, generated="It is late."), make_row(2, truth="REM sleep")]
    metrics = score_one(rows, num_resamples=10)
    assert metrics["num_samples"] == 3
    assert metrics["num_correct"] == 1
    assert metrics["num_parse_failures"] == 1
    assert metrics["labels"] == OPTIONS
    assert metrics["intervals"]["num_resamples"] == 10
    assert "per_recording" not in metrics


@pytest.mark.parametrize("options", [("yes", "no"), ("a", "b")])
def test_texts_about_measured_ecgs_have_their_claims_scored(options):
    evidence = {"rate_bpm": 72.4, "rr_variation": 0.02, "beat_count": 12.0}
    texts = ("Regular, about 70 bpm. Answer: yes", "12 beats. 90 bpm. Answer: no")
    rows = [
        make_row(idx, "yes" if idx == 0 else options[0], text, options=[*(("yes", "no") if idx == 0 else options)])
        | {"evidence": evidence}
        for idx, text in enumerate(texts)
    ]
    scores = score_one(rows, num_resamples=10)["ecg_claims"]
    assert (scores["num_checkable"], scores["precision"]) == (4, 0.75)
    assert scores["rate_and_regularity"] == {"num_checkable": 3, "precision": pytest.approx(2 / 3)}
    assert set(scores["intervals"]) >= {"precision", "rate_and_regularity"}
    assert "ecg_claims" not in score_one([row | {"evidence": {"rms_uv": 9.0}} for row in rows], num_resamples=0)


def test_every_system_is_scored_on_its_own_rows():
    rows = [make_row(0), make_row(1), make_row(2)]
    rows += [classify(rows[0], [0.1, 0.1, 0.6, 0.1, 0.1]), classify(rows[1], [1.0, 0, 0, 0, 0], "yasa")]
    rows.append(classify(rows[2], [1.0, 0, 0, 0, 0]) | {"answer": None, "probabilities": None})
    metrics = score(rows, num_resamples=0)
    assert list(metrics["systems"]) == [LANGUAGE_MODEL, CLASSIFIER, "yasa"]
    assert metrics["num_samples"] == 3
    right = {name: (part["num_correct"], part["num_samples"]) for name, part in metrics["systems"].items()}
    assert right == {LANGUAGE_MODEL: (3, 3), CLASSIFIER: (0, 2), "yasa": (1, 1)}
    assert metrics["systems"][CLASSIFIER]["num_parse_failures"] == 1
    assert "intervals" not in metrics["systems"]["yasa"]


def make_cohort(num_recordings=4, epochs_each=15, seed=0):
    """Nights of two people each of whom slept twice, by a language model and then by a classifier."""
    rng = np.random.default_rng(seed)
    rows, classified = [], []
    for idx in range(num_recordings * epochs_each):
        label_scores = rng.normal(0, 2, 5)
        of_label, of_classifier = (scale_scores(values, 1.5) for values in (label_scores, rng.normal(0, 1, 5)))
        rows.append(
            make_row(
                idx % epochs_each,
                OPTIONS[rng.integers(4)],
                f"Answer: {OPTIONS[int(of_label.argmax())]}",
                f"n{idx // epochs_each}",
                subject=f"s{idx // epochs_each // 2}",
                log_likelihoods=label_scores.tolist(),
                probabilities=of_label.tolist(),
                temperature=1.5,
            )
        )
        classified.append(classify(rows[-1], of_classifier.tolist()))
    return rows + classified


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_metrics_of_nights_do_not_depend_on_the_order_of_rows(random):
    for rows in (make_cohort(), make_cohort(num_recordings=1, epochs_each=60)):
        shuffled = rows.copy()
        random.shuffle(shuffled)
        assert score(shuffled, num_resamples=20) == score(rows, num_resamples=20)


def test_probabilities_of_both_systems_are_scored_before_and_after_calibration():
    systems = score(make_cohort(), num_resamples=20)["systems"]
    rows = of_system(make_cohort())
    truth = [OPTIONS.index(row["truth"]) for row in rows]
    found, of_classifier = systems[LANGUAGE_MODEL]["probabilities"], systems[CLASSIFIER]["probabilities"]
    assert found["log_loss"] == pytest.approx(log_loss(truth, [row["probabilities"] for row in rows], labels=range(5)))
    before = scale_scores([row["log_likelihoods"] for row in rows], None)
    assert found["uncalibrated"]["log_loss"] == pytest.approx(log_loss(truth, before, labels=range(5)))
    assert found["temperatures"] == [1.5]
    of_truth = [row["log_likelihoods"][idx] for row, idx in zip(rows, truth, strict=True)]
    assert found["answer_perplexity"] == pytest.approx(np.exp(-np.mean(of_truth)))
    assert of_classifier["temperatures"] == []
    assert "uncalibrated" not in of_classifier and "answer_perplexity" not in of_classifier
    for part in (found, of_classifier):
        assert (part["num_samples"], part["num_without"], part["absent_labels"]) == (60, 0, ["REM sleep"])
        assert part["intervals"]["unit"] == "subjects"
        assert part["intervals"]["num_units"] == 2
    for name in ("entropy", "margin"):
        assert found["selection"][name]["accuracy"][0] == pytest.approx(systems[LANGUAGE_MODEL]["accuracy"])


def test_rows_without_probabilities_are_left_out_of_their_scores_and_counted():
    rows = make_cohort()
    first = {row["sample_id"] for row in rows[:7]}
    for row in rows:
        if row["sample_id"] in first:
            row["probabilities"] = None
    whole = score(rows, num_resamples=0)["systems"]
    alone = score([row for row in rows if row["sample_id"] not in first], num_resamples=0)["systems"]
    for name in (LANGUAGE_MODEL, CLASSIFIER):
        assert whole[name]["num_samples"] == 60
        assert whole[name]["probabilities"] == alone[name]["probabilities"] | {"num_without": 7}


def test_probabilities_follow_the_order_of_each_rows_own_options():
    rows = make_cohort()
    listed = ("options", "probabilities", "log_likelihoods")
    turned = [
        row | {name: row[name][::-1] for name in listed if name in row} if row["sample_id"] != "n0:0" else row
        for row in rows
    ]
    assert score(turned, num_resamples=5) == score(rows, num_resamples=5)


def test_folds_may_have_temperatures_of_their_own():
    rows = of_system(make_cohort())
    for row in rows[:30]:
        row |= {"temperature": 3.0, "probabilities": scale_scores(row["log_likelihoods"], 3).tolist()}
    found = score_one(rows, num_resamples=0)["probabilities"]
    assert found["temperatures"] == [1.5, 3.0]
    before = score_one(of_system(make_cohort()), num_resamples=0)["probabilities"]["uncalibrated"]
    assert found["uncalibrated"]["brier"] == pytest.approx(before["brier"], abs=1e-12)


def test_recordings_are_also_scored_apart():
    rows = [make_row(0), make_row(1), make_row(2, sample_id="x", recording="n2", truth="REM sleep")]
    per_recording = score_one(rows, num_resamples=0)["per_recording"]
    assert {name: part["accuracy"] for name, part in per_recording.items()} == {"n1": 1.0, "n2": 0.0}


def test_questions_with_their_own_options_have_accuracy_only():
    rows = [
        make_row(0, options=["(a) up", "(b) down"], truth="(a) up", generated="Answer: (a)"),
        make_row(1, options=["(a) red", "(b) blue"], truth="(b) blue", generated="Answer: bluish"),
    ]
    assert score_one(rows, num_resamples=0) == {
        "num_samples": 2,
        "num_correct": 1,
        "num_parse_failures": 1,
        "accuracy": 0.5,
        "num_unscored": 0,
    }


def test_the_interval_of_independent_questions_is_that_of_the_binomial_distribution():
    rows = [
        make_row(idx, options=[f"yes {idx}", "no"], truth="no", generated="Answer: no" if idx < 60 else "Unsure.")
        for idx in range(100)
    ]
    for row in rows:
        del row["recording"]  # a corpus of series, not nights
    intervals = score_one(rows, num_resamples=5000)["intervals"]
    assert intervals["unit"] == "questions"
    assert intervals["num_units"] == 100
    np.testing.assert_allclose(intervals["accuracy"], binom.ppf([0.025, 0.975], 100, 0.6) / 100, rtol=0, atol=0.011)


def test_questions_of_few_people_are_drawn_by_person():
    rows = [make_row(idx, options=["yes", f"no {idx}"], truth="yes", recording=f"p{idx % 3}") for idx in range(9)]
    assert score_one(rows)["intervals"]["num_units"] == 3


def test_captions_are_counted_and_not_scored():
    rows = [make_row(0, options=[], truth="", generated="A rising line.")]
    of_model = {"num_samples": 1, "num_unscored": 1}
    assert score(rows) == {"num_samples": 1, "leaky": False, "systems": {LANGUAGE_MODEL: of_model}}


def test_scoring_nothing_or_a_sample_twice_is_an_error():
    with pytest.raises(ValueError, match="no predictions"):
        score([])
    with pytest.raises(ValueError, match="several rows of language_model"):
        score([make_row(0), make_row(0)])


def test_metrics_are_written_whole_and_readable(tmp_path):
    path = tmp_path / "metrics.json"
    metrics = score(make_cohort()) | {"notes": ["a [list\n\n]", "of words"]}
    write_metrics(metrics, path)
    assert json.loads(path.read_text()) == metrics
    assert '"count": [0, ' in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]
