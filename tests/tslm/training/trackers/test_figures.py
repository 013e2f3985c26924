from typing import Any

import numpy as np
import pytest

from tests.factories.rows import make_classifier_row
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage
from tslm.predictions.nights import EXPERT, Night, build_nights, shown_levels
from tslm.predictions.scorings import parse_scorings

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
from tslm.training.trackers.figures import draw_confusion, draw_night

W, N1, N2, R, GAP = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.REM, SleepStage.UNSCORED
CLASSIFIER = "Classifier"
METRICS: dict[str, Any] = {
    "labels": ["Wake", "Non-REM stage 1"],
    "confusion_columns": ["Wake", "Non-REM stage 1", "unparsed"],
    "confusion_matrix": [[7, 1, 0], [2, 4, 0]],
}


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_confusion_matrix_shows_counts_and_shares_of_the_row() -> None:
    assert texts(draw_confusion(METRICS)) == ["7\n88%", "1\n12%", "2\n33%", "4\n67%"]


def test_answers_that_could_not_be_read_have_a_column_where_there_are_any() -> None:
    unread = METRICS | {"confusion_matrix": [[7, 0, 1], [0, 4, 0]]}
    figure = draw_confusion(unread)
    assert len(texts(figure)) == 6
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["W", "N1", "not\nreadable"]


def test_a_class_without_epochs_has_no_share() -> None:
    assert texts(draw_confusion(METRICS | {"confusion_matrix": [[0, 0, 0], [1, 1, 0]]}))[0] == "0\n0%"


def test_a_night_is_drawn_with_its_gaps_and_differences() -> None:
    hypnograms = {EXPERT: Hypnogram((W, N1, GAP, N2, R)), CLASSIFIER: Hypnogram((W, N2, N2, N2, GAP))}
    figure = draw_night(Night("SC9999", 3600.0, hypnograms, {CLASSIFIER: 4}), [W, R, N1, N2])
    expert, classifier = figure.axes
    hours, heights = expert.lines[0].get_data()
    np.testing.assert_allclose(hours, 1 + np.arange(6) / 120)
    np.testing.assert_array_equal(heights, [0, 2, np.nan, 3, 1, 1])
    assert [label.get_text() for label in expert.get_yticklabels()] == ["W", "REM", "N1", "N2"]
    assert "50.0%" in classifier.get_title(loc="right")
    marks = [path.get_extents() for path in classifier.collections[0].get_paths()]
    np.testing.assert_allclose([(mark.x0, mark.x1) for mark in marks], 1 + np.array([[1, 2], [4, 5]]) / 120)


def test_a_night_of_predictions_is_drawn_under_the_name_of_its_scorer(tmp_path: Any) -> None:
    rows = [make_classifier_row(idx, [1 - idx, idx], options=["Wake", "Non-REM stage 1"]) for idx in range(2)]
    (night,) = build_nights(parse_scorings(rows))
    figure = draw_night(night, shown_levels(rows))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [EXPERT, CLASSIFIER]
    figure.savefig(tmp_path / "night.png")
    assert (tmp_path / "night.png").read_bytes().startswith(b"\x89PNG")
