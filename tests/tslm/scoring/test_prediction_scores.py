import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import log_loss

from tests.factories.prediction_rows import OPTIONS, make_row
from tslm.predictions.calibration import scale_scores
from tslm.predictions.rows import parse_predictions, pick_classifier_answers, read_predictions, write_predictions
from tslm.scoring.prediction_scores import score_predictions, write_metrics


def test_score_counts_parse_failures_as_wrong():
    rows = [make_row(0), make_row(1, generated="It is late."), make_row(2, truth="REM sleep")]
    metrics = score_predictions(rows, num_resamples=10)
    assert parse_predictions(rows) == ["Wake", None, "Wake"]
    assert metrics["num_samples"] == 3
    assert metrics["num_correct"] == 1
    assert metrics["num_parse_failures"] == 1
    assert metrics["labels"] == OPTIONS
    assert metrics["intervals"]["num_resamples"] == 10
    assert "classifier" not in metrics
    assert "per_recording" not in metrics


def test_classifier_is_scored_from_the_most_probable_option():
    rows = [
        make_row(0, classifier_probabilities=[0.1, 0.1, 0.6, 0.1, 0.1]),
        make_row(1, classifier_probabilities=[0.9, 0.1, 0.0, 0.0, 0.0]),
        make_row(2),
    ]
    assert pick_classifier_answers(rows) == ["Non-REM stage 2", "Wake", None]
    assert pick_classifier_answers(rows[2:]) is None
    metrics = score_predictions(rows, num_resamples=0)["classifier"]
    assert metrics["num_correct"] == 1
    assert metrics["num_parse_failures"] == 1
    assert "intervals" not in metrics


def make_cohort(num_recordings=4, epochs_each=15, seed=0):
    """Nights of two people each of whom slept twice, with the probabilities of both systems."""
    rng = np.random.default_rng(seed)
    rows = []
    for idx in range(num_recordings * epochs_each):
        label_scores = rng.normal(0, 2, 5)
        of_label, of_classifier = (scale_scores(values, 1.5) for values in (label_scores, rng.normal(0, 1, 5)))
        rows.append(
            make_row(
                idx % epochs_each,
                truth=OPTIONS[rng.integers(4)],
                generated=f"Answer: {OPTIONS[int(of_label.argmax())]}",
                sample_id=f"n{idx // epochs_each}:{idx % epochs_each}",
                recording=f"n{idx // epochs_each}",
                subject=f"s{idx // epochs_each // 2}",
                classifier_probabilities=of_classifier.tolist(),
                classifier_temperature=None,
                label_log_likelihoods=label_scores.tolist(),
                label_probabilities=of_label.tolist(),
                label_temperature=1.5,
            )
        )
    return rows


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_metrics_of_nights_do_not_depend_on_the_order_of_rows(random):
    for rows in (make_cohort(), make_cohort(num_recordings=1, epochs_each=60)):
        shuffled = rows.copy()
        random.shuffle(shuffled)
        assert score_predictions(shuffled, num_resamples=20) == score_predictions(rows, num_resamples=20)


def test_probabilities_of_both_systems_are_scored_before_and_after_calibration():
    rows = make_cohort()
    metrics = score_predictions(rows, num_resamples=20)
    truth = [OPTIONS.index(row["truth"]) for row in rows]
    found, of_classifier = metrics["probabilities"], metrics["classifier"]["probabilities"]
    assert found["log_loss"] == pytest.approx(
        log_loss(truth, [row["label_probabilities"] for row in rows], labels=range(5))
    )
    before = scale_scores([row["label_log_likelihoods"] for row in rows], None)
    assert found["uncalibrated"]["log_loss"] == pytest.approx(log_loss(truth, before, labels=range(5)))
    assert found["temperatures"] == [1.5]
    of_truth = [row["label_log_likelihoods"][idx] for row, idx in zip(rows, truth, strict=True)]
    assert found["answer_perplexity"] == pytest.approx(np.exp(-np.mean(of_truth)))
    assert of_classifier["temperatures"] == []
    assert "uncalibrated" not in of_classifier and "answer_perplexity" not in of_classifier
    for part in (found, of_classifier):
        assert (part["num_samples"], part["num_without"], part["absent_labels"]) == (60, 0, ["REM sleep"])
        assert part["intervals"]["unit"] == "subjects"
        assert part["intervals"]["num_units"] == 2
    for name in ("entropy", "margin"):
        assert found["selection"][name]["accuracy"][0] == pytest.approx(metrics["accuracy"])


def test_rows_without_probabilities_are_left_out_of_their_scores_and_counted():
    rows = make_cohort()
    for row in rows[:7]:
        row["classifier_probabilities"] = None
        del row["label_probabilities"]
    metrics = score_predictions(rows, num_resamples=0)
    alone = score_predictions(rows[7:], num_resamples=0)
    for whole, part in ((metrics, alone), (metrics["classifier"], alone["classifier"])):
        assert whole["num_samples"] == 60
        assert whole["probabilities"] == part["probabilities"] | {"num_without": 7}


def test_smoothed_probabilities_are_scored_beside_the_others():
    rows = [
        row | {"smoothed_probabilities": row["classifier_probabilities"], "smoothed_answer": OPTIONS[0]}
        for row in make_cohort()
    ]
    metrics = score_predictions(rows, num_resamples=0)
    found, of_classifier = metrics["smoothed_probabilities"], metrics["classifier"]["probabilities"]
    assert {name: found[name] for name in ("log_loss", "brier", "macro_auroc")} == {
        name: of_classifier[name] for name in ("log_loss", "brier", "macro_auroc")
    }
    assert found["selection"]["margin"]["accuracy"][0] == pytest.approx(metrics["accuracy"])
    assert "smoothed_probabilities" not in metrics["classifier"]


def test_probabilities_follow_the_order_of_each_rows_own_options():
    rows = make_cohort()
    turned = [
        row
        | {
            name: row[name][::-1]
            for name in ("options", "label_probabilities", "classifier_probabilities", "label_log_likelihoods")
        }
        if idx
        else row
        for idx, row in enumerate(rows)
    ]
    assert score_predictions(turned, num_resamples=5) == score_predictions(rows, num_resamples=5)


def test_folds_may_have_temperatures_of_their_own():
    rows = make_cohort()
    for row in rows[:30]:
        row |= {"label_temperature": 3.0, "label_probabilities": scale_scores(row["label_log_likelihoods"], 3).tolist()}
    found = score_predictions(rows, num_resamples=0)["probabilities"]
    assert found["temperatures"] == [1.5, 3.0]
    before = score_predictions(make_cohort(), num_resamples=0)["probabilities"]["uncalibrated"]
    assert found["uncalibrated"]["brier"] == pytest.approx(before["brier"], abs=1e-12)


def test_recordings_are_also_scored_apart():
    rows = [make_row(0), make_row(1), make_row(2, sample_id="x", recording="SC4002", truth="REM sleep")]
    per_recording = score_predictions(rows, num_resamples=0)["per_recording"]
    assert {name: part["accuracy"] for name, part in per_recording.items()} == {"SC4001": 1.0, "SC4002": 0.0}


def test_questions_with_their_own_options_have_accuracy_only():
    rows = [
        make_row(0, options=["(a) up", "(b) down"], truth="(a) up", generated="Answer: (a)"),
        make_row(1, options=["(a) red", "(b) blue"], truth="(b) blue", generated="Answer: bluish"),
    ]
    metrics = score_predictions(rows, num_resamples=0)
    assert metrics == {
        "num_samples": 2,
        "num_correct": 1,
        "num_parse_failures": 1,
        "accuracy": 0.5,
        "num_unscored": 0,
        "leaky": False,
    }


def test_the_interval_of_independent_questions_is_that_of_the_binomial_distribution():
    rows = [
        make_row(idx, options=[f"yes {idx}", "no"], truth="no", generated="Answer: no" if idx < 60 else "Unsure.")
        for idx in range(100)
    ]
    for row in rows:
        del row["recording"]  # a corpus of series, not nights
    intervals = score_predictions(rows, num_resamples=5000)["intervals"]
    assert intervals["unit"] == "questions"
    assert intervals["num_units"] == 100
    np.testing.assert_allclose(intervals["accuracy"], binom.ppf([0.025, 0.975], 100, 0.6) / 100, rtol=0, atol=0.011)


def test_questions_of_few_people_are_drawn_by_person():
    rows = [make_row(idx, options=["yes", f"no {idx}"], truth="yes", recording=f"p{idx % 3}") for idx in range(9)]
    assert score_predictions(rows)["intervals"]["num_units"] == 3


def test_captions_are_counted_and_not_scored():
    rows = [make_row(0, options=[], truth="", generated="A rising line.")]
    assert score_predictions(rows) == {"num_samples": 1, "num_unscored": 1, "leaky": False}


def test_scoring_nothing_or_a_sample_twice_is_an_error():
    with pytest.raises(ValueError, match="no predictions"):
        score_predictions([])
    with pytest.raises(ValueError, match="several rows"):
        score_predictions([make_row(0), make_row(0)])


def test_metrics_are_written_whole_and_readable(tmp_path):
    path = tmp_path / "metrics.json"
    metrics = score_predictions(make_cohort()) | {"notes": ["a [list\n\n]", "of words"]}
    write_metrics(metrics, path)
    assert json.loads(path.read_text()) == metrics
    assert '"count": [0, ' in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_questions_with_several_answers_are_right_only_when_all_are_named(tmp_path):
    options = ["none", "lead I", "lead II"]
    truths = ["lead I; lead II", "lead I", "lead I; lead II"]
    generated = ["Answer: lead II; lead I", "Answer: lead I; lead II", "Answer: lead I and more"]
    rows = [
        make_row(idx, truth, text, options=options)
        for idx, (truth, text) in enumerate(zip(truths, generated, strict=True))
    ]
    write_predictions(rows, tmp_path / "p.jsonl")
    rows = read_predictions(tmp_path / "p.jsonl")
    assert parse_predictions(rows) == ["lead I; lead II", "lead I; lead II", None]
    assert score_predictions(rows, num_resamples=0) == {
        "num_samples": 3,
        "num_correct": 1,
        "num_parse_failures": 1,
        "accuracy": 1 / 3,
        "num_unscored": 0,
        "leaky": False,
    }
    with pytest.raises(ValueError, match="none of its options"):
        write_predictions([make_row(0, "lead I; lead III", options=options)], tmp_path / "p.jsonl")
