"""A small run of sleep staging, and reviews of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.rows import OPTIONS, classify, make_row, of_system
from tslm.data.prepared.recordings import Recording, write_recording
from tslm.labels import SleepStage
from tslm.predictions.nights import STAGE_OF_ANSWER
from tslm.predictions.rows import write_predictions
from tslm.review.records import Review, SavedReview


def make_rows(num_rows: int = 12, truth_seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a language model, then of a classifier, on the same epochs.

    Their expert's label and reference text depend on `truth_seed` alone, all else on their position.
    """
    rng, truth_rng = np.random.default_rng(1), np.random.default_rng(truth_seed)
    rows, classified = [], []
    for idx in range(num_rows):
        answer, truth = (OPTIONS[generator.integers(len(OPTIONS))] for generator in (rng, truth_rng))
        rows.append(
            make_row(
                40 + idx,
                truth,
                f"RMS {10 + idx} uV, moderate amplitude; two spindles. Answer: {answer}",
                sample_id=f"n1:{idx}",
                target=f"Reference text {truth_seed}. Answer: {truth}",
                evidence={"rms_uv": 10.0 + idx, "spindle_count": 2.0, "delta_share": 0.5},
                events=[["spindles", 3.0, 1.0], ["spindles", 12.5, 0.8], ["slow_waves", 20.0, 2.5]],
                probabilities=rng.dirichlet(np.ones(len(OPTIONS))).tolist(),
            )
        )
        classified.append(classify(rows[-1], rng.dirichlet(np.ones(len(OPTIONS))).tolist()))
    return rows + classified


def write_run(folder: Path, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """A run's folder with its predictions."""
    write_predictions(rows if rows is not None else make_rows(), folder / "results" / "test_predictions.jsonl")
    return folder


def write_night(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The prepared recording of the rows, with the expert's labels and rationales in it as a prepared one has them."""
    rows = of_system(rows)
    num_before = rows[0]["epoch_idx"]
    num_epochs = num_before + len(rows)
    noise_EL = np.random.default_rng(0).normal(0, 20, (num_epochs, 3000)).astype(np.float32)
    recording = Recording(
        recording=rows[0]["recording"],
        subject="s1",
        fs_hz=100,
        epoch_s=30,
        channels={"EEG Fpz-Cz": noise_EL, "EMG submental": noise_EL / 2},
        sleep_stages=(SleepStage.WAKE,) * num_before + tuple(STAGE_OF_ANSWER[row["truth"]] for row in rows),
        onset_s=30.0 * np.arange(num_epochs),
        columns={
            "motion_flag": np.arange(num_epochs) == num_before,
            "rationale": [""] * num_before + [row["target"] for row in rows],
        },
        start="2020-02-03T22:10:00",
    )
    write_recording(recording, folder, "test")


def save_of(reviewer: str, sample_id: str, **fields: Any) -> SavedReview:
    """A saved review that no store holds."""
    return SavedReview(reviewer, sample_id, 1, "2026-01-02T03:04:05.678+00:00", False, True, Review(**fields))
