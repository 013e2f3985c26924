from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.cohorts.consensus import count_votes, main
from tests.factories.small import AASM, small_recording
from tslm.config.schema import LossConfig
from tslm.data.prepared.recordings import read_participants, read_recording, write_participants, write_recording
from tslm.data.samples.night_windows import build_targets, index_sleep_stages
from tslm.labels import LABEL_SETS, SleepStage

LABELS = LABEL_SETS["aasm"]
W, N1, N2, N3, REM = AASM
NONE = SleepStage.UNSCORED


def test_most_votes_win_and_who_agrees_most_decides_a_tie() -> None:
    anna, ben, carla = (W, N2, N2, NONE, N1, NONE), (W, N2, N3, REM, N1, NONE), (W, N3, REM, W, N1, NONE)
    votes = count_votes([carla, ben, anna], LABELS)
    assert votes.sleep_stages[:2] == (W, N2) and votes.sleep_stages[5] == NONE
    assert votes.sleep_stages[2:4] == (N2, REM)  # Anna agrees with the others more than Ben, Ben more than Carla
    assert votes.counts_EK[:, LABELS.index(N2)].tolist() == [0, 2, 1, 0, 0, 0]
    assert votes.counts_EK.sum(axis=1).tolist() == [3, 3, 3, 2, 3, 0]


def test_the_order_of_the_scorers_does_not_matter_without_ties() -> None:
    rng = np.random.default_rng(0)
    scorers = [tuple(AASM[idx] for idx in rng.integers(5, size=200)) for _ in range(3)]
    forward, backward = count_votes(scorers, LABELS), count_votes(scorers[::-1], LABELS)
    assert np.array_equal(forward.counts_EK, backward.counts_EK)
    top_E = np.sort(forward.counts_EK, axis=1)
    decided = top_E[:, -1] > top_E[:, -2]
    assert decided.any() and not decided.all()
    for idx in np.flatnonzero(decided):
        assert forward.sleep_stages[idx] == backward.sleep_stages[idx]


@pytest.fixture
def cohort_dir(tmp_path: Path) -> Path:
    night = small_recording(sleep_stages=[W, N1, N2, N2, N3, REM])
    night = replace(night, columns={**night.columns, "rationale": ["because"] * 6})
    write_participants([write_recording(night, tmp_path / "cohort", "train")], tmp_path / "cohort")
    return tmp_path / "cohort"


def write_scorer(folder: Path, stages: list[str]) -> str:
    folder.mkdir()
    rows = [f"{30 * idx},30,{stage}" for idx, stage in enumerate(stages)]
    (folder / "night1.csv").write_text("\n".join(["onset,duration,stage", *rows]) + "\n", encoding="utf-8")
    return str(folder)


def test_the_command_writes_votes_that_training_takes_as_soft_targets(
    cohort_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    anna = write_scorer(tmp_path / "anna", ["W", "N2", "N2", "N2", "N3", "R"])
    ben = write_scorer(tmp_path / "ben", ["W", "N2", "N2", "N3", "N3", "R"])
    out = tmp_path / "voted"
    assert main([str(cohort_dir), "--out", str(out), "--scorers", "prepared", anna, ben]) == 0
    assert "1 recordings by 3 scorers" in (said := capsys.readouterr().out)
    assert "66.7% of 6 epochs unanimous" in said
    night = read_recording(out / "night1.parquet")
    assert night.sleep_stages == (W, N2, N2, N2, N3, REM)
    assert night.columns["rationale"] == ["because", "", *["because"] * 4]
    (target_EK,) = build_targets([night], [index_sleep_stages(night, LABELS)], LABELS, LossConfig())
    assert target_EK is not None
    np.testing.assert_allclose(target_EK[[1, 3]], [[0, 1 / 3, 2 / 3, 0, 0], [0, 0, 2 / 3, 1 / 3, 0]], atol=1e-6)
    assert read_participants(out)[0].split.text == "train"


def test_mistakes_of_the_call_are_said_in_a_line(
    cohort_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    for scorers, out, said in (
        (["prepared"], "voted", "needs two different scorers"),
        (["prepared", "prepared"], "voted", "needs two different scorers"),
        (["prepared", str(tmp_path / "empty")], "voted", "holds no hypnogram of night1"),
        (["prepared", str(tmp_path / "nowhere")], "voted", "there is no hypnogram"),
        (["prepared", "other"], "cohort", "is the cohort's own folder"),
    ):
        assert main([str(cohort_dir), "--out", str(tmp_path / out), "--scorers", *scorers]) in (1, 2)
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error
