import json

import numpy as np
import pytest

from tslm.labels import LABEL_SETS
from tslm.scoring.predictions import (
    parse_predictions,
    pick_classifier_answers,
    read_intact_predictions,
    read_predictions,
    score_predictions,
    write_metrics,
    write_predictions,
)

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


def test_rows_come_back_as_written(tmp_path):
    rows = [make_row(0), make_row(1, classifier_probabilities=[0.2] * 5, evidence={"delta": 0.5, "note": "µV"})]
    path = tmp_path / "run" / "test_predictions.jsonl"
    write_predictions(rows, path)
    assert read_predictions(path) == rows
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_numpy_values_and_nan_become_plain_json(tmp_path):
    path = tmp_path / "p.jsonl"
    row = make_row(
        np.int64(3), classifier_probabilities=np.full(5, 0.2), evidence={"a": np.float32("nan"), "b": np.bool_(True)}
    )
    write_predictions([row], path)
    (back,) = read_predictions(path)
    assert back["evidence"] == {"a": None, "b": True}
    assert back["epoch_idx"] == 3
    assert back["classifier_probabilities"] == [0.2] * 5


def test_a_refused_row_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "p.jsonl"
    write_predictions([make_row(0)], path)
    with pytest.raises(ValueError, match=r"row 2 repeats sample_id 'SC4001:0'"):
        write_predictions([make_row(0), make_row(0)], path)
    with pytest.raises(ValueError, match="none of its options"):
        write_predictions([make_row(0, truth="Coma")], path)
    assert len(read_predictions(path)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"sample_id": "b", "truth": "Wa', "line 2 is not whole JSON"),
        ("[1, 2]", "line 2 is not a JSON object"),
        (json.dumps({"sample_id": "b"}), "line 2 has no 'truth'"),
        (json.dumps(make_row(1, options=["Wake", "Coma"], truth="REM sleep")), "truth 'REM sleep' is none"),
        (json.dumps(make_row(1, classifier_probabilities=[0.5])), "must be 5 finite numbers"),
        (json.dumps(make_row(1, classifier_probabilities=[0.5, 0.5, 0, 0, None])), "must be 5 finite numbers"),
    ],
)
def test_a_bad_line_is_named_or_left_out_on_request(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(make_row(0)) + "\n" + line + "\n" + json.dumps(make_row(2)) + "\n")
    with pytest.raises(ValueError, match=message):
        read_predictions(path)
    rows, bad_lines = read_intact_predictions(path)
    assert [row["epoch_idx"] for row in rows] == [0, 2]
    assert bad_lines == [2]


def test_a_file_cut_inside_a_letter_is_a_bad_last_line(tmp_path):
    path = tmp_path / "p.jsonl"
    line = json.dumps(make_row(1, generated="10 µV"), ensure_ascii=False).encode()
    path.write_bytes(json.dumps(make_row(0)).encode() + b"\n" + line[: line.index("µ".encode()) + 1])
    with pytest.raises(ValueError, match="line 2 is not whole JSON"):
        read_predictions(path)


def test_missing_empty_duplicate_and_hopeless_files_are_errors(tmp_path):
    path = tmp_path / "p.jsonl"
    with pytest.raises(FileNotFoundError, match=r"evaluation\.generate"):
        read_predictions(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_predictions(path)
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match="none of 1 lines"):
        read_intact_predictions(path)
    path.write_text((json.dumps(make_row(0)) + "\n") * 2)
    for read in (read_predictions, read_intact_predictions):
        with pytest.raises(ValueError, match="line 2 repeats sample_id 'SC4001:0' of line 1"):
            read(path)


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
        make_row(1, options=["(a) red", "(b) blue"], truth="(b) blue", generated="Answer: blue"),
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
