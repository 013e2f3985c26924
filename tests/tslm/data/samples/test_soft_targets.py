from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.small import AASM, build_small_model, small_config, small_recording
from tslm.batch import IGNORE_INDEX
from tslm.config.schema import LossConfig
from tslm.data.prepared.recordings import Recording, read_recording, write_recording
from tslm.data.samples.collate import Collator
from tslm.data.samples.night_windows import build_targets, index_sleep_stages, smooth_boundaries
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.labels import LABEL_SETS, SleepStage

LABELS = LABEL_SETS["aasm"]
W, N1, N2, N3, REM = AASM
VOTES = {"votes_W": [3, 0, 0, 0], "votes_N1": [2, 1, 0, 0], "votes_N2": [0, 4, 0, 1], "votes_MOVE": [1, 0, 2, 0]}


def build(recording: Recording, **loss: float) -> np.ndarray | None:
    (target,) = build_targets([recording], [index_sleep_stages(recording, LABELS)], LABELS, LossConfig(**loss))  # type: ignore[arg-type]
    return target


def with_votes(**columns: list[int]) -> Recording:
    recording = small_recording(sleep_stages=[W, N2, N3, N1])
    return replace(recording, columns={name: np.array(values) for name, values in (VOTES | columns).items()})


def test_classes_alone_need_no_targets() -> None:
    assert build(small_recording()) is None
    assert build(with_votes(), scorer_votes=False) is None


def test_beside_a_transition_half_the_share_goes_to_the_other_stage() -> None:
    target = build(small_recording(sleep_stages=[N2, N2, REM, N1, N1]), boundary_smoothing=0.2)
    expected = [[0, 0, 1, 0, 0], [0, 0, 0.9, 0, 0.1], [0, 0.1, 0.1, 0, 0.8], [0, 0.9, 0, 0, 0.1], [0, 1, 0, 0, 0]]
    assert np.allclose(target, expected)


@pytest.mark.parametrize("case", ["unscored", "gap"])
def test_nothing_crosses_an_unscored_epoch_or_a_gap(case: str) -> None:
    stages = [W, W, SleepStage.UNSCORED, N2] if case == "unscored" else [W, W, N2, N2]
    onset_s = np.array([0, 30, 60, 90] if case == "unscored" else [0, 30, 600, 630], dtype=float)
    target = build(small_recording(sleep_stages=stages, onset_s=onset_s), boundary_smoothing=0.5)
    assert target is not None
    assert set(target[[0, 1, 3]].ravel().tolist()) == {0.0, 1.0}


@given(st.integers(0, 10_000), st.floats(0, 0.99))
def test_shares_sum_to_one_and_the_recordings_total_stays(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    target_EK = rng.dirichlet(np.ones(4), size=9)
    smooth_EK = smooth_boundaries(target_EK, rng.random(9) < 0.8, rng.random(8) < 0.8, share)
    assert np.allclose(smooth_EK.sum(axis=1), 1)
    assert (smooth_EK >= 0).all()
    assert np.allclose(smooth_EK.sum(axis=0), target_EK.sum(axis=0))


def test_votes_become_shares_of_the_label_set_and_an_epoch_without_keeps_its_class() -> None:
    expected = [[0.6, 0.4, 0, 0, 0], [0, 0.2, 0.8, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]
    assert np.allclose(build(with_votes()), expected)


def test_votes_survive_the_file(tmp_path: Path) -> None:
    write_recording(with_votes(), tmp_path, "train")
    assert np.allclose(build(read_recording(tmp_path / "night1.parquet")), build(with_votes()))


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("votes_REM", [1, 1, 1, 1], "'votes_REM' counts votes for no known stage; one of: W, N1"),
        ("votes_R", [1, -1, 0, 0], "0 or more"),
        ("votes_R", [1, np.nan, 0, 0], "none may be missing"),
    ],
)
def test_votes_that_cannot_be_counted_are_refused(column: str, values: list, said: str) -> None:
    with pytest.raises(ValueError, match=f"night1.*{said}"):
        build(with_votes(**{column: values}))


@pytest.mark.parametrize("kind", [SleepDataset, NightDataset])
def test_windows_carry_the_targets_of_their_epochs(kind: type) -> None:
    config = small_config(loss__boundary_smoothing=0.2)
    dataset = kind([small_recording(num_epochs=8)], config)
    window = dataset[1].window
    scored = window.sleep_stage_idx_W != IGNORE_INDEX
    assert window.target_WK.dtype == np.float32
    assert (window.target_WK[scored].argmax(axis=1) == window.sleep_stage_idx_W[scored]).all()
    whole = build(small_recording(num_epochs=8), boundary_smoothing=0.2)
    assert whole is not None
    centre = dataset.describe(1)["epoch_idx"]
    assert np.array_equal(window.target_WK[window.scored_idx], whole[centre])
    assert kind([small_recording()], small_config())[1].window.target_WK is None


@torch.no_grad()
def test_a_cohort_of_votes_and_single_scorers_trains_as_one() -> None:
    config = small_config(model__name="classifier", stage__trained=("encoder", "context", "classifier"))
    nights = [replace(with_votes(), recording="voted"), small_recording("single")]
    dataset = NightDataset(nights, config)
    model = build_small_model(config)
    collator = Collator(config.model, None)
    examples = [dataset[idx] for idx in range(len(dataset))]
    together = model(collator(examples))
    alone = [model(collator([example])) for example in examples]
    assert float(together.loss_sum) == pytest.approx(sum(float(one.loss_sum) for one in alone), rel=1e-5)
    hard = model(replace(collator(examples), target_BWK=None))
    assert float(hard.weight_sum) == pytest.approx(float(together.weight_sum))
    assert float(hard.loss_sum) != pytest.approx(float(together.loss_sum), rel=1e-4)
