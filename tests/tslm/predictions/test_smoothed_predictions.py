from typing import Any

import numpy as np
import pytest

from tests.factories.rows import classify, make_row
from tslm.answers.grammar import render_answer
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import CLASSIFIER
from tslm.predictions.scorings import parse_scorings
from tslm.predictions.smoothing import Smoothing, smooth_predictions, smooth_stages
from tslm.predictions.transitions import Transitions
from tslm.scoring.systems import score_systems

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


def make_rows(num_epochs: int = 30, recording: str = "m1", odd: int = 12) -> list[Any]:
    """A classifier's answers: NREM all along, but one epoch that is taken for REM."""
    return [
        classify(
            make_row(epoch, NREM, recording=recording, onset_s=10.0 * epoch, options=OPTIONS),
            [0.1, 0.3, 0.6] if epoch == odd else [0.05, 0.9, 0.05],
        )
        for epoch in range(num_epochs)
    ]


@pytest.mark.parametrize("method", ["median", "hmm", "posterior"])
def test_smoothed_answers_are_a_system_of_their_own(method: str) -> None:
    rows = make_rows()
    smoothed = smooth_predictions(rows, Smoothing(method), CHAIN)
    assert {row["system"] for row in smoothed} == {f"classifier+{method}"}
    assert [row["answer"] for row in smoothed] == [NREM] * 30
    assert all(row["smoothing"]["method"] == method for row in smoothed)
    assert [row["sample_id"] for row in smoothed] == [row["sample_id"] for row in rows]
    assert all("generated" not in row for row in smoothed)


def test_every_system_is_smoothed_by_its_own_probabilities() -> None:
    written = [make_row(row["epoch_idx"], generated=f"Slow. {render_answer(REM)}") | row for row in make_rows()]
    written = [row | {"system": "language_model"} for row in written]
    others = [classify(row, [0.9, 0.05, 0.05], "yasa") for row in written]
    silent = [row | {"system": "silent", "probabilities": None} for row in written]
    found = parse_scorings(smooth_predictions([*written, *others, *silent], Smoothing("hmm"), CHAIN))
    assert {name: set(scoring.answers) for name, scoring in found.items()} == {
        "language_model+hmm": {NREM},
        "yasa+hmm": {WAKE},
    }


@pytest.mark.parametrize("method", ["median", "posterior"])
def test_probabilities_of_a_method_that_gives_some_stand_beside_its_answers(method: str) -> None:
    for row in smooth_predictions(make_rows(), Smoothing(method), CHAIN):
        assert sum(row["probabilities"] or []) == pytest.approx(1, abs=1e-5)
        assert row["options"][int(np.argmax(row["probabilities"] or []))] == row["answer"]


def test_viterbi_gives_stages_and_smoothed_systems_are_not_smoothed_again() -> None:
    rows = make_rows()
    posterior = smooth_predictions(rows, Smoothing("posterior"), CHAIN)
    path = smooth_predictions([*rows, *posterior], Smoothing("hmm"), CHAIN)
    assert {row["system"] for row in path} == {"classifier+hmm"}
    assert not any("probabilities" in row for row in path)


def test_the_order_of_rows_and_of_their_options_does_not_matter() -> None:
    rows = make_rows() + make_rows(recording="m2", odd=3)
    wanted = {row["sample_id"]: row["answer"] for row in smooth_predictions(rows, Smoothing("hmm"), CHAIN)}
    turned = [
        row | {"options": row["options"][::-1], "probabilities": row["probabilities"][::-1]} for row in rows[::-1]
    ]
    smoothed = smooth_predictions(turned, Smoothing("hmm"), CHAIN)
    assert [row["sample_id"] for row in smoothed] == [row["sample_id"] for row in turned]
    assert {row["sample_id"]: row["answer"] for row in smoothed} == wanted


def test_epochs_without_row_or_probabilities_divide_what_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    rows = make_rows()
    for row in rows:
        row["probabilities"] = rng.dirichlet(np.ones(3)).tolist()
    without_row = smooth_predictions(rows[:10] + rows[13:], Smoothing("hmm"), CHAIN)
    blank = [row | {"probabilities": None} if 10 <= idx < 13 else row for idx, row in enumerate(rows)]
    without_values = smooth_predictions(blank, Smoothing("hmm"), CHAIN)
    expected = np.concatenate(
        [
            smooth_stages(
                np.array([row["probabilities"] for row in part]),
                np.array([row["onset_s"] for row in part]),
                10.0,
                Smoothing("hmm"),
                CHAIN,
            )
            for part in (rows[:10], rows[13:])
        ]
    )
    assert [row["answer"] for row in without_row] == [OPTIONS[idx] for idx in expected]
    assert without_values == without_row


def test_metrics_say_how_a_system_was_smoothed() -> None:
    rows = make_rows()
    both = parse_scorings([*rows, *smooth_predictions(rows, Smoothing("median"))])
    systems = score_systems(both, num_resamples=0)["systems"]
    assert systems["classifier+median"]["accuracy"] == 1
    assert systems["classifier+median"]["smoothing"] == {"method": "median", "window_epochs": 5}
    assert systems[CLASSIFIER]["accuracy"] < 1
    assert "smoothing" not in systems[CLASSIFIER]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"onset_s": None}, "onset_s"),
        ({"options": ["(a) slow", "(b) fast", "(c) none"]}, "no sleep stages"),
        ({"probabilities": None}, "no row has"),
        ({"probabilities": [0.2, 0.2, 0.2]}, "m1: epoch 0"),
        ({"options": list(LABEL_SETS["aasm"].answers), "probabilities": [0.2] * 5}, "transitions know"),
    ],
)
def test_rows_that_are_no_scored_nights_are_refused(change: dict, said: str) -> None:
    rows: Any = [row | change for row in make_rows()]
    with pytest.raises(ValueError, match=said):
        smooth_predictions(rows, Smoothing("hmm"), CHAIN)


def test_epochs_picked_out_of_a_night_are_refused() -> None:
    with pytest.raises(ValueError, match="no two rows are neighbouring"):
        smooth_predictions(make_rows()[::4], Smoothing("median"))


def test_epochs_of_another_length_are_refused() -> None:
    rows = [row | {"onset_s": 3 * row["onset_s"]} for row in make_rows()]
    with pytest.raises(ValueError, match="epochs of 10 s do not fit epochs of 30 s"):
        smooth_predictions(rows, Smoothing("hmm"), CHAIN)
