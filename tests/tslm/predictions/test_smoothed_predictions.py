from typing import Any

import numpy as np
import pytest

from tslm.answers.grammar import render_answer
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import parse_predictions, pick_classifier_answers
from tslm.predictions.smoothed import count_changed, smooth_predictions
from tslm.predictions.smoothing import Smoothing, smooth_stages
from tslm.predictions.transitions import Transitions
from tslm.scoring.prediction_scores import score_predictions

OPTIONS = list(LABEL_SETS["rodent"].answers)
WAKE, NREM, REM = OPTIONS
SHARES = np.array([0.4, 0.5, 0.1])
CHAIN = Transitions(
    LABEL_SETS["rodent"].sleep_stages,
    10.0,
    SHARES,
    np.array([[0.95, 0.05, 0], [0.04, 0.95, 0.01], [0.05, 0.05, 0.9]]),
    SHARES,
)


def make_rows(kind: str, num_epochs: int = 30, recording: str = "m1", odd: int = 12) -> list[Any]:
    """NREM all along, but one epoch that is taken for REM."""
    rows = []
    for epoch in range(num_epochs):
        likely = REM if epoch == odd else NREM
        probabilities = [0.1, 0.3, 0.6] if epoch == odd else [0.05, 0.9, 0.05]
        text = "" if kind == "classifier" else "Slow waves. "
        rows.append(
            {
                "sample_id": f"{recording}:{epoch}",
                "recording": recording,
                "epoch_idx": epoch,
                "onset_s": 10.0 * epoch,
                "truth": NREM,
                "options": OPTIONS,
                "generated": text + render_answer(likely),
                f"{kind}_probabilities": probabilities,
            }
        )
    return rows


@pytest.mark.parametrize("method", ["median", "hmm", "posterior"])
def test_the_answer_of_a_classifier_changes_and_what_it_said_stays(method: str) -> None:
    rows = make_rows("classifier")
    smoothed = smooth_predictions(rows, Smoothing(method), CHAIN)
    assert parse_predictions(smoothed)[12] == pick_classifier_answers(smoothed)[12] == NREM  # type: ignore[index]
    assert parse_predictions(rows)[12] == REM
    assert smoothed[12]["generated"] == rows[12]["generated"]
    assert smoothed[12]["classifier_probabilities"] == [0.1, 0.3, 0.6]
    assert all(row["smoothing"]["method"] == method for row in smoothed)
    assert count_changed(smoothed) == 1


def test_a_language_models_answer_is_smoothed_by_its_own_probabilities() -> None:
    rows = make_rows("label")
    smoothed = smooth_predictions(rows, Smoothing("hmm"), CHAIN)
    assert parse_predictions(smoothed)[12] == NREM
    assert pick_classifier_answers(smoothed) is None
    both = [row | {"classifier_probabilities": [0.9, 0.05, 0.05]} for row in make_rows("label")]
    smoothed = smooth_predictions(both, Smoothing("hmm"), CHAIN)
    assert parse_predictions(smoothed) == [NREM] * 30
    assert pick_classifier_answers(smoothed) == [WAKE] * 30


@pytest.mark.parametrize("method", ["median", "posterior"])
def test_probabilities_of_a_method_that_gives_some_stand_beside_its_answers(method: str) -> None:
    rows = [row | {"classifier_probabilities": row["label_probabilities"]} for row in make_rows("label")]
    for row in smooth_predictions(rows, Smoothing(method), CHAIN):
        assert sum(row["smoothed_probabilities"]) == pytest.approx(1, abs=1e-5)
        assert row["options"][int(np.argmax(row["smoothed_probabilities"]))] == row["smoothed_answer"]
        assert row["classifier_smoothed_probabilities"] == row["smoothed_probabilities"]


def test_viterbi_gives_stages_and_takes_older_probabilities_away() -> None:
    posterior = smooth_predictions(make_rows("label"), Smoothing("posterior"), CHAIN)
    path = smooth_predictions(posterior, Smoothing("hmm"), CHAIN)
    assert not any("smoothed_probabilities" in row for row in path)


def test_smoothing_twice_is_smoothing_once() -> None:
    once = smooth_predictions(make_rows("classifier"), Smoothing("median", 3))
    assert smooth_predictions(once, Smoothing("median", 3)) == once
    assert smooth_predictions(once, Smoothing("hmm"), CHAIN) == smooth_predictions(
        make_rows("classifier"), Smoothing("hmm"), CHAIN
    )


def test_the_order_of_rows_and_of_their_options_does_not_matter() -> None:
    rows = make_rows("classifier") + make_rows("classifier", recording="m2", odd=3)
    wanted = {row["sample_id"]: row["smoothed_answer"] for row in smooth_predictions(rows, Smoothing("hmm"), CHAIN)}
    turned = [
        row | {"options": row["options"][::-1], "classifier_probabilities": row["classifier_probabilities"][::-1]}
        for row in rows[::-1]
    ]
    smoothed = smooth_predictions(turned, Smoothing("hmm"), CHAIN)
    assert [row["sample_id"] for row in smoothed] == [row["sample_id"] for row in turned]
    assert {row["sample_id"]: row["smoothed_answer"] for row in smoothed} == wanted


def test_epochs_without_row_or_probabilities_divide_what_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    rows = make_rows("classifier")
    for row in rows:
        row["classifier_probabilities"] = rng.dirichlet(np.ones(3)).tolist()
    without_row = smooth_predictions(rows[:10] + rows[13:], Smoothing("hmm"), CHAIN)
    blank = [row | {"classifier_probabilities": None} if 10 <= idx < 13 else row for idx, row in enumerate(rows)]
    without_values = smooth_predictions(blank, Smoothing("hmm"), CHAIN)
    expected = np.concatenate(
        [
            smooth_stages(
                np.array([row["classifier_probabilities"] for row in part]),
                np.array([row["onset_s"] for row in part]),
                10.0,
                Smoothing("hmm"),
                CHAIN,
            )
            for part in (rows[:10], rows[13:])
        ]
    )
    assert [row["classifier_smoothed_answer"] for row in without_row] == [OPTIONS[idx] for idx in expected]
    assert without_values[10].get("classifier_smoothed_answer") is None
    assert [row["classifier_smoothed_answer"] for row in without_values[:10] + without_values[13:]] == [
        OPTIONS[idx] for idx in expected
    ]


def test_metrics_count_smoothed_answers_and_say_so() -> None:
    rows = make_rows("classifier")
    metrics = score_predictions(smooth_predictions(rows, Smoothing("median")), num_resamples=0)
    assert metrics["accuracy"] == metrics["classifier"]["accuracy"] == 1
    assert metrics["smoothing"] == {"method": "median", "window_epochs": 5}
    assert "smoothing" not in score_predictions(rows, num_resamples=0)


def test_a_file_smoothed_in_part_is_not_scored() -> None:
    rows = make_rows("classifier")
    with pytest.raises(ValueError, match="smooth the whole file"):
        score_predictions([*smooth_predictions(rows, Smoothing("median"))[:15], *rows[15:]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"onset_s": None}, "onset_s"),
        ({"options": ["(a) slow", "(b) fast", "(c) none"]}, "no sleep stages"),
        ({"classifier_probabilities": None}, "no row has"),
        ({"classifier_probabilities": [0.2, 0.2, 0.2]}, "m1: epoch 0"),
        ({"options": list(LABEL_SETS["aasm"].answers), "classifier_probabilities": [0.2] * 5}, "transitions know"),
    ],
)
def test_rows_that_are_no_scored_nights_are_refused(change: dict, said: str) -> None:
    rows: Any = [row | change for row in make_rows("classifier")]
    with pytest.raises(ValueError, match=said):
        smooth_predictions(rows, Smoothing("hmm"), CHAIN)


def test_epochs_picked_out_of_a_night_are_refused() -> None:
    with pytest.raises(ValueError, match="no two rows are neighbouring"):
        smooth_predictions(make_rows("classifier")[::4], Smoothing("median"))


def test_epochs_of_another_length_are_refused() -> None:
    rows = [row | {"onset_s": 3 * row["onset_s"]} for row in make_rows("classifier")]
    with pytest.raises(ValueError, match="epochs of 10 s do not fit epochs of 30 s"):
        smooth_predictions(rows, Smoothing("hmm"), CHAIN)
