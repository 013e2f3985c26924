import json

import pytest

from tslm.labels import LABEL_SETS
from tslm.scoring.prediction_scores import score_predictions, write_metrics
from tslm.scoring.predictions import parse_predictions, pick_classifier_answers, read_predictions, write_predictions

OPTIONS = list(LABEL_SETS["aasm"].answers)


def make_row(idx, truth="Wake", generated="Low amplitude. Answer: Wake", **more):
    return {
        "sample_id": f"SC4001:{idx}",
        "recording": "SC4001",
        "epoch_idx": idx,
        "onset_s": 30.0 * idx,
        "truth": truth,
        "generated": generated,
        "options": OPTIONS,
        "target": f"Reference. Answer: {truth}",
    } | more


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


def test_recordings_are_also_scored_apart():
    rows = [make_row(0), make_row(1), make_row(2, sample_id="x", recording="SC4002", truth="REM sleep")]
    per_recording = score_predictions(rows, num_resamples=0)["per_recording"]
    assert {name: part["accuracy"] for name, part in per_recording.items()} == {"SC4001": 1.0, "SC4002": 0.0}


def test_questions_with_their_own_options_have_accuracy_only():
    rows = [
        make_row(0, options=["(a) up", "(b) down"], truth="(a) up", generated="Answer: (a)"),
        make_row(1, options=["(a) red", "(b) blue"], truth="(b) blue", generated="Answer: bluish"),
    ]
    metrics = score_predictions(rows)
    assert metrics == {
        "num_samples": 2,
        "num_correct": 1,
        "num_parse_failures": 1,
        "accuracy": 0.5,
        "num_unscored": 0,
        "leaky": False,
    }


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
    metrics = score_predictions([make_row(0), make_row(1)])
    write_metrics(metrics, path)
    assert json.loads(path.read_text()) == metrics
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
    assert score_predictions(rows) == {
        "num_samples": 3,
        "num_correct": 1,
        "num_parse_failures": 1,
        "accuracy": 1 / 3,
        "num_unscored": 0,
        "leaky": False,
    }
    with pytest.raises(ValueError, match="none of its options"):
        write_predictions([make_row(0, "lead I; lead III", options=options)], tmp_path / "p.jsonl")
