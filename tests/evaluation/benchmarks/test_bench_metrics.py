from pathlib import Path

import pytest

from evaluation.benchmarks.metrics import build_rows, measure_metrics
from tslm.predictions.rows import read_predictions, write_predictions
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_system


def test_the_metrics_of_nights_are_timed_against_what_is_wanted() -> None:
    (row,) = measure_metrics(repeats=1, num_epochs=1500)
    assert row.value is not None and row.value > 0
    assert str(row).startswith("metrics, 1,500 epochs, 2,000 resamples")
    assert "wanted <= 5" in str(row)


def test_the_rows_are_predictions_right_in_most_epochs(tmp_path: Path) -> None:
    rows = build_rows(3000)
    write_predictions(rows, tmp_path / "p.jsonl")
    assert read_predictions(tmp_path / "p.jsonl") == rows
    (scoring,) = parse_scorings(rows).values()
    metrics = score_system(scoring, num_resamples=5)
    assert metrics["accuracy"] == pytest.approx(0.85, abs=0.05)
    assert (metrics["num_parse_failures"], metrics["intervals"]["num_units"]) == (0, 3)
    assert metrics["probabilities"]["num_samples"] == 3000
    assert metrics["structure"]["num_recordings"] == 3
