import json
from pathlib import Path

import numpy as np
import pytest

from tests.factories.small import small_config, small_recording
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.hypnogram import Hypnogram, split_at_gaps
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.smoothing import decode_viterbi
from tslm.predictions.transitions import (
    IMPOSSIBLE_STEPS,
    TRANSITIONS_FILE,
    Transitions,
    fit_run_transitions,
    fit_transitions,
    list_hypnograms,
    load_transitions,
    save_transitions,
)

RODENT = LABEL_SETS["rodent"]
CODES = {"W": SleepStage.WAKE, "N": SleepStage.NREM, "R": SleepStage.REM, "?": SleepStage.UNSCORED}


def hypnogram(codes: str, epoch_s: float = 10.0) -> Hypnogram:
    return Hypnogram(tuple(CODES[code] for code in codes), epoch_s)


def test_steps_are_counted_by_hand() -> None:
    found = fit_transitions([hypnogram("WWNNR")], RODENT, "mouse", pseudocount=1, self_loop=2, impossible_factor=1)
    np.testing.assert_allclose(found.transition_KK, [[4 / 7, 2 / 7, 1 / 7], [1 / 7, 4 / 7, 2 / 7], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(found.share_K, [3 / 8, 3 / 8, 2 / 8])
    np.testing.assert_allclose(found.prior_K, [2 / 5, 2 / 5, 1 / 5])
    assert (found.num_hypnograms, found.num_epochs, found.epoch_s) == (1, 5, 10.0)


def test_unscored_epochs_and_ends_of_nights_are_no_step() -> None:
    apart = fit_transitions([hypnogram("WW"), hypnogram("NN")], RODENT, "mouse")
    unscored = fit_transitions([hypnogram("WW?NN?")], RODENT, "mouse")
    np.testing.assert_array_equal(apart.transition_KK, unscored.transition_KK)
    np.testing.assert_array_equal(apart.share_K, unscored.share_K)
    assert unscored.num_epochs == 4


def test_a_gap_in_a_recording_is_no_step() -> None:
    stages = [SleepStage.WAKE] * 3 + [SleepStage.N2] * 3
    whole = small_recording(sleep_stages=stages)
    onset_s = whole.onset_s + np.where(np.arange(6) < 3, 0, 300)
    broken = small_recording(sleep_stages=stages, onset_s=onset_s)
    assert [run.num_epochs for run in list_hypnograms(whole)] == [6]
    assert [run.num_epochs for run in list_hypnograms(broken)] == [3, 3]


def test_stretches_between_gaps_cover_every_epoch_once() -> None:
    onset_s = np.array([0.0, 30, 60, 120, 150, 400])
    assert split_at_gaps(onset_s, 30.0) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert split_at_gaps(np.zeros(0), 30.0) == []


def test_a_rodents_step_from_wake_to_rem_is_made_rare_and_can_be_forbidden() -> None:
    nights = [hypnogram("WWWWRRRNNNWRWR")]
    free, rare, never = (
        fit_transitions(nights, RODENT, "rat", impossible_factor=factor).transition_KK for factor in (1, 0.01, 0)
    )
    assert rare[0, 2] < 0.02 * free[0, 2]
    assert never[0, 2] == 0
    np.testing.assert_array_equal(rare[1:], free[1:])
    np.testing.assert_allclose(rare.sum(axis=1), 1)
    assert rare[0, 0] / rare[0, 1] == pytest.approx(free[0, 0] / free[0, 1])


def test_each_species_has_a_table_of_steps_between_different_stages() -> None:
    assert set(IMPOSSIBLE_STEPS) == {"human", "rodent"}
    assert all(before is not after for steps in IMPOSSIBLE_STEPS.values() for before, after in steps)
    human = fit_transitions([Hypnogram((SleepStage.WAKE,))], LABEL_SETS["aasm"], "human")
    assert human.transition_KK[0, 3] < 0.02 * human.transition_KK[0, 2]


@pytest.mark.parametrize(("power", "prior"), [(1, [9, 4, 1]), (0.5, [3, 2, 1]), (0, [1, 1, 1])])
def test_the_prior_of_a_scorer_is_what_its_training_leaves_of_the_shares(power: float, prior: list[float]) -> None:
    found = fit_transitions([hypnogram("W" * 9 + "N" * 4 + "R")], RODENT, "mouse", prior_power=power)
    np.testing.assert_allclose(found.prior_K, np.array(prior) / sum(prior))


@pytest.mark.parametrize(
    ("changes", "power"),
    [
        ({"model__name": "classifier", "loss__class_weight_power": 0.5}, 0.5),
        ({"model__name": "classifier", "loss__class_weight_power": 0.5, "stage__sampling": "sqrt"}, 0.0),
        ({"loss__class_weight_power": 0.5}, 1.0),
        ({"stage__sampling": "balanced"}, 0.0),
    ],
)
def test_a_runs_prior_follows_its_loss_and_sampling(changes: dict, power: float, tmp_path: Path) -> None:
    stages = [SleepStage.WAKE] * 9 + [SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM]
    row = write_recording(small_recording(sleep_stages=stages), tmp_path, "train")
    write_participants([row], tmp_path)
    found = fit_run_transitions(small_config(stage__train_dir=str(tmp_path), **changes))
    assert found.prior_K[0] / found.prior_K[1] == pytest.approx(9**power)


def test_what_the_scorer_says_on_average_stands_for_the_prior(tmp_path: Path) -> None:
    write_participants([write_recording(small_recording(), tmp_path, "train")], tmp_path)
    config = small_config(stage__train_dir=str(tmp_path), model__name="classifier")
    mean_K = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    wanted_K = np.array([0.5, 0.02, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(fit_run_transitions(config, mean_K).prior_K, wanted_K / wanted_K.sum())


def test_a_stage_that_was_hardly_or_never_seen_is_not_made_likely_by_a_tiny_prior() -> None:
    unseen = fit_transitions([hypnogram("WWNN" * 20)], RODENT, "mouse")
    assert unseen.prior_K[2] > unseen.prior_K[:2].max()
    rare = fit_transitions([hypnogram("WWNN" * 100 + "R")], RODENT, "mouse")
    assert rare.prior_K[2] > 3 * rare.share_K[2]
    for chain in (unseen, rare):
        probabilities_EK = np.tile([0.05, 0.93, 0.02], (200, 1))
        assert set(decode_viterbi(probabilities_EK, chain).tolist()) == {1}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = fit_transitions([hypnogram("WWNNRRNW")], RODENT, "mouse")
    save_transitions(found, tmp_path)
    for path in (tmp_path, tmp_path / TRANSITIONS_FILE):
        again = load_transitions(path)
        np.testing.assert_array_equal(again.transition_KK, found.transition_KK)
        assert again.sleep_stages == RODENT.sleep_stages
        assert again.num_epochs == 8


def test_missing_transitions_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train the checkpoint again"):
        load_transitions(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share_K": [0.5, 0.5]}, "share_K must be"),
        ({"share_K": [0.5, 0.4, 0.0]}, "share_K does not sum to 1"),
        ({"share_K": [0.5, 0.5, 0.0]}, "share_K holds a 0"),
        ({"transition_KK": [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "cannot follow itself"),
        ({"transition_KK": [[1.0, 0.0, 0.0]] * 2}, "transition_KK must be"),
        ({"epoch_s": 0.0}, "epoch_s is 0"),
        ({"epoch_s": 1e308}, "epoch_s is 1e"),
        ({"share_K": 10**400}, "is damaged"),
        ({"num_epochs": "x"}, "is damaged"),
        ({"num_hypnograms": -1}, "give whole numbers"),
        ({"sleep_stages": ["W", "N9", "R"]}, "N9"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_damaged_file_is_one_line(change: dict, said: str, tmp_path: Path) -> None:
    path = tmp_path / TRANSITIONS_FILE
    save_transitions(fit_transitions([hypnogram("WWNNRRNW")], RODENT, "mouse"), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=said) as error:
        load_transitions(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("nights", "changes", "said"),
    [
        ([], {}, "no epoch of 0 hypnograms"),
        (["???"], {}, "no epoch of 1 hypnograms is scored as a sleep stage of rodent"),
        (["WN"], {"pseudocount": -1}, "0 or more"),
        (["WN"], {"pseudocount": 0, "self_loop": 0}, "above 0"),
    ],
)
def test_nothing_to_fit_is_refused(nights: list[str], changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_transitions([hypnogram(codes) for codes in nights], RODENT, "mouse", **changes)


def test_epochs_of_several_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        fit_transitions([hypnogram("WN"), hypnogram("WN", 4.0)], RODENT, "mouse")


def test_transitions_can_be_given_by_hand() -> None:
    chain = Transitions(RODENT.sleep_stages, 10.0, [0.4, 0.5, 0.1], np.eye(3), [0.4, 0.5, 0.1])  # type: ignore[arg-type]
    assert chain.share_K.dtype == np.float64
