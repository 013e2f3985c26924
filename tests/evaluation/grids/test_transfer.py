"""Scorers on kinds of nights: each reads what it was made for, pieces are scored apart, mistakes are one line."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.experiments import main
from evaluation.grids.transfer import cut_pieces
from tests.factories.recordings import build_night, draw_stages, write_cohort
from tests.factories.small import build_small_model, small_config
from tslm.files import read_json
from tslm.training.checkpoints.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of 40 epochs, a classifier of people, one of animals, and a language model."""
    folder = tmp_path_factory.mktemp("transfer")
    write_cohort(folder / "nights", {"test": build_night("n1", draw_stages(40, 1), seed=1)})
    for name, model, label_set in (
        ("human", "classifier", "aasm"),
        ("mouse", "classifier", "rodent"),
        ("text", "soft_prompt", "aasm"),
    ):
        config = small_config(
            model__name=model,
            model__label_set=label_set,
            stage__task="night",
            model__encoder__max_patches=64,
            stage__channel="EEG C3-A2",
            stage__train_dir=str(folder / "other"),
        )
        save_checkpoint(build_small_model(config), config, {}, folder / name)
    return folder


def transfer(folder: Path, *checkpoints: str, data: str = "nights", **more: str) -> int:
    options = [word for name, value in more.items() for word in (f"--{name}", *value.split())]
    return main(
        [
            "transfer",
            "--checkpoints",
            *[f"{name}={folder / name}" for name in checkpoints],
            "--data",
            f"Fpz-Cz={folder / data}",
            "--out",
            str(folder / "out"),
            "--num_resamples",
            "20",
            *options,
        ]
    )


def test_a_scorer_reads_the_eeg_of_another_name_and_one_of_another_species_reads_nothing(folder: Path) -> None:
    assert transfer(folder, "human", "mouse", pieces_min="0 5") == 0
    rows = read_json(folder / "out" / "transfer.json")["rows"]
    assert [(row["system"], row["piece_min"], row["num_recordings"]) for row in rows] == [
        ("human", 0.0, 1),
        ("human", 5.0, 4),
    ]
    assert {row["num_epochs"] for row in rows} == {40}
    assert "5 min" in (folder / "out" / "transfer.md").read_text()


@pytest.mark.parametrize(("minutes", "lengths"), [(0, [40]), (5, [10, 10, 10, 10]), (8, [16, 16, 8]), (30, [40])])
def test_pieces_follow_each_other_and_a_rest_shorter_than_half_is_left_out(minutes: float, lengths: list[int]) -> None:
    night = build_night("n1", draw_stages(40, 1))
    pieces = cut_pieces(night, minutes)
    assert [piece.num_epochs for piece in pieces] == lengths
    joined = np.concatenate([piece.channels[next(iter(night.channels))] for piece in pieces])
    np.testing.assert_array_equal(joined, night.channels[next(iter(night.channels))][: len(joined)])


def test_a_language_model_is_no_scorer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(folder, "text") == 2
    assert "holds no classifier" in capsys.readouterr().err


def test_a_cohort_that_is_not_there_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transfer(folder, "human", data="nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
