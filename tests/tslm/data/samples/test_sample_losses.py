import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tslm.data.samples.sample_weights import Gather, SampleLosses

NOTES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.floats(0, 9, width=32)), max_size=12)


def alone(own: torch.Tensor) -> torch.Tensor:
    return own


def record(notes: list[tuple[int, int, float]]) -> SampleLosses:
    """Losses of five samples from notes of (step, sample, loss)."""
    losses = SampleLosses(5)
    for step, idx, loss in notes:
        losses.record(step, [idx], torch.tensor([loss]))
    return losses


def test_what_is_seen_counts_from_the_next_pass_on() -> None:
    losses = record([(0, 1, 2.0), (1, 3, 4.0), (2, 1, 1.5)])
    assert np.isnan(losses.known_N).all()
    losses.close_pass(alone)
    assert np.array_equal(losses.known_N, [np.nan, 1.5, np.nan, 4.0, np.nan], equal_nan=True)
    losses.record(3, [3, 0], torch.tensor([7.0, torch.nan]))
    losses.close_pass(alone)
    assert np.array_equal(losses.known_N, [np.nan, 1.5, np.nan, 7.0, np.nan], equal_nan=True)


@given(NOTES, NOTES, st.integers(0, 12))
def test_a_run_that_goes_on_in_the_middle_of_a_pass_knows_the_same(first: list, second: list, cut: int) -> None:
    whole, stopped = record(first), record(first)
    whole.close_pass(alone)
    stopped.close_pass(alone)
    for losses in (whole, stopped):
        for step, idx, loss in second[:cut]:
            losses.record(10 + step, [idx], torch.tensor([loss]))
    resumed = SampleLosses(5)
    resumed.load_state(stopped.copy_state(alone))
    assert np.array_equal(resumed.known_N, whole.known_N, equal_nan=True)
    for losses in (whole, resumed):
        for step, idx, loss in second[cut:]:
            losses.record(10 + step, [idx], torch.tensor([loss]))
        losses.close_pass(alone)
    assert np.array_equal(resumed.known_N, whole.known_N, equal_nan=True)


@given(NOTES, st.integers(1, 4))
def test_it_does_not_matter_which_process_saw_what(notes: list, num_processes: int) -> None:
    expected = record(notes)
    expected.close_pass(alone)
    parts = [notes[number::num_processes] for number in range(num_processes)]
    everyone = torch.stack([_own(part) for part in parts])
    gather: Gather = lambda own: everyone  # noqa: E731
    for part in parts:
        losses = record(part)
        losses.close_pass(gather)
        assert np.array_equal(losses.known_N, expected.known_N, equal_nan=True)


def _own(notes: list) -> torch.Tensor:
    state = record(notes).copy_state(alone)
    return torch.stack([state["seen"], state["step"].double()])


def test_the_state_is_a_copy() -> None:
    losses = record([(0, 1, 2.0)])
    losses.close_pass(alone)
    losses.record(4, [2], torch.tensor([3.0]))
    state = losses.copy_state(alone)
    losses.close_pass(alone)
    assert state["known"].tolist()[1] == 2.0
    assert state["seen"].tolist()[2] == 3.0
    assert state["step"].tolist() == [-1, -1, 4, -1, -1]


def test_a_model_without_losses_of_single_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="set stage.hard_examples=0"):
        SampleLosses(3).record(0, [1], None)
