from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.small import AASM, small_config, small_recording, small_sample
from tslm.config.compose import compose_config
from tslm.config.schema import CurriculumStageConfig as Stage
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.data.samples.sample_weights import weigh_hardness, weigh_samples
from tslm.labels import SleepStage
from tslm.prompts import render_choice_prompt

W, N1, N2, N3, REM = AASM
NIGHT = [W] * 16 + [N2] * 36 + [REM] * 4 + [N1]


def sleep_night() -> SleepDataset:
    return SleepDataset([small_recording(sleep_stages=NIGHT)], small_config())


def night_windows(**changes: Any) -> NightDataset:
    unscored = [SleepStage.UNSCORED] * 8
    return NightDataset([small_recording(sleep_stages=NIGHT + unscored)], small_config(), **changes)


def class_shares(dataset: Any, weights_N: np.ndarray | None) -> np.ndarray:
    """What share of the epochs that are drawn each class has."""
    counts_NK = dataset.count_sample_classes()
    drawn_K = (np.ones(len(counts_NK)) if weights_N is None else weights_N) @ counts_NK
    return drawn_K / drawn_K.sum()


def test_natural_sampling_has_no_weights() -> None:
    assert weigh_samples(sleep_night(), Stage()) is None


def test_balanced_sampling_draws_each_class_that_occurs_as_often() -> None:
    dataset = sleep_night()
    shares = class_shares(dataset, weigh_samples(dataset, Stage(sampling="balanced")))
    assert np.allclose(shares, [0.25, 0.25, 0.25, 0, 0.25])


def test_sqrt_sampling_draws_a_class_by_the_root_of_its_frequency() -> None:
    dataset = sleep_night()
    weights = weigh_samples(dataset, Stage(sampling="sqrt"))
    assert weights is not None
    roots = np.sqrt([16, 1, 36, 0, 4])
    assert np.allclose(class_shares(dataset, weights), roots / roots.sum())
    assert weights[0] / weights[16] == pytest.approx(np.sqrt(36 / 16))  # 1 / sqrt(freq)


@pytest.mark.parametrize("sampling", ["natural", "sqrt", "balanced"])
@pytest.mark.parametrize("name", ["REM", "R", "rem sleep"])
def test_oversampling_multiplies_the_chances_of_one_class(sampling: str, name: str) -> None:
    dataset = sleep_night()
    before = class_shares(dataset, weigh_samples(dataset, Stage(sampling=sampling)))
    weights = weigh_samples(dataset, Stage(sampling=sampling, oversample={name: 3.0}))
    expected = before * [1, 1, 1, 1, 3]
    assert np.allclose(class_shares(dataset, weights), expected / expected.sum())


def test_a_class_may_be_drawn_less_often_too() -> None:
    dataset = sleep_night()
    weights = weigh_samples(dataset, Stage(oversample={"N2": 0.5, "REM": 2.0}))
    assert np.allclose(class_shares(dataset, weights), np.array([16, 1, 18, 0, 8]) / 43)


@pytest.mark.parametrize(
    "stage",
    [
        Stage(sampling="sqrt"),
        Stage(sampling="balanced"),
        Stage(oversample={"REM": 3.0}),
    ],
)
def test_windows_with_rare_stages_are_drawn_more(stage: Stage) -> None:
    dataset = night_windows()
    weights = weigh_samples(dataset, stage)
    assert weights is not None and weights.shape == (len(dataset),)
    assert class_shares(dataset, weights)[4] > 1.2 * class_shares(dataset, None)[4]
    has_rem = dataset.count_sample_classes()[:, 4] > 0
    assert weights[has_rem].min() > np.median(weights[~has_rem])


def test_a_windows_weight_is_the_mean_over_its_scored_epochs() -> None:
    dataset = night_windows()
    weights = weigh_samples(dataset, Stage(oversample={"REM": 3.0}))
    assert weights is not None
    stages = [dataset[idx].window.sleep_stage_idx_W for idx in range(len(dataset))]  # type: ignore[union-attr]
    expected = np.array([np.where(idx_W[idx_W >= 0] == 4, 3, 1).mean() for idx_W in stages])
    assert np.allclose(weights / expected, weights[0] / expected[0])


def test_one_epoch_windows_are_weighed_as_epochs_are() -> None:
    config = small_config(model__context__kind="none")
    recording = [small_recording(sleep_stages=NIGHT)]
    stage = Stage(sampling="sqrt", oversample={"REM": 2.0})
    ours, theirs = weigh_samples(NightDataset(recording, config), stage), weigh_samples(sleep_night(), stage)
    assert ours is not None and theirs is not None
    assert np.allclose(ours, theirs)


def test_windows_without_a_scored_epoch_weigh_as_the_mean() -> None:
    dataset = night_windows(unlabelled=True)
    weights = weigh_samples(dataset, Stage(sampling="sqrt"))
    assert weights is not None
    unscored = dataset.count_sample_classes().sum(axis=1) == 0
    assert unscored.any()
    assert (weights[unscored] == 1).all()


@pytest.mark.parametrize("stage", [Stage(sampling="balanced"), Stage(oversample={"REM": 2.0})])
def test_samples_without_classes_cannot_be_drawn_by_class(stage: Stage) -> None:
    dataset = CorpusDataset([small_sample(idx) for idx in range(3)], lambda one: render_choice_prompt("?", one.options))
    with pytest.raises(ValueError, match="have no classes to draw by; it needs stage.sampling=natural"):
        weigh_samples(dataset, stage)


def test_an_unknown_class_lists_those_of_the_label_set() -> None:
    with pytest.raises(ValueError, match="'NREM', which is none of: W, N1, N2, N3, R"):
        weigh_samples(sleep_night(), Stage(oversample={"NREM": 2.0}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampling", "even"),
        ("oversample", {"REM": 0.0}),
        ("oversample", {"REM": float("inf")}),
        ("hard_examples", -1.0),
    ],
)
def test_a_setting_out_of_range_is_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"stage.{key}="):
        replace(Stage(), **{key: value})


def test_factors_are_given_on_the_command_line() -> None:
    config = compose_config("stage0_encoder", overrides=["stage.oversample={REM: 2, N1: 1.5}", "stage.sampling=sqrt"])
    assert config.stage.oversample == {"REM": 2.0, "N1": 1.5}
    assert compose_config("stage0_encoder", overrides=["stage.oversample.REM=3"]).stage.oversample == {"REM": 3.0}
    with pytest.raises(ValueError, match="stage.oversample"):
        compose_config("stage0_encoder", overrides=["stage.oversample={REM: twice}"])


def test_hard_samples_are_drawn_more_within_bounds() -> None:
    losses = np.array([1.0, 2.0, 3.0, np.nan, 0.0, 34.0])  # the mean is 8
    factors = weigh_hardness(losses, 1.0)
    assert factors.tolist() == [0.25, 0.25, 3 / 8, 1.0, 0.25, 4.0]
    assert weigh_hardness(losses, 0.5)[2] == pytest.approx(np.sqrt(3 / 8))


@pytest.mark.parametrize(("losses", "strength"), [([np.nan, np.nan], 2.0), ([0.0, 0.0], 1.0), ([1.0, 9.0], 0.0)])
def test_without_known_differences_all_stay_alike(losses: list[float], strength: float) -> None:
    assert weigh_hardness(np.array(losses), strength).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 4))
def test_a_harder_sample_never_has_the_lower_chance(losses: list[float], strength: float) -> None:
    losses_N = np.sort(losses)
    factors = weigh_hardness(losses_N, strength)
    assert (np.diff(factors) >= -1e-12).all()
    assert ((factors >= 0.25) & (factors <= 4)).all()
