from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tslm.training.sample_losses import SampleLosses, read_losses, write_losses

ALONE: Any = SimpleNamespace(num_processes=1, device=torch.device("cpu"))
NOTES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.floats(0, 9, width=32)), max_size=12)


def keep(notes: list[tuple[int, int, float]], accelerator: Any = ALONE) -> SampleLosses:
    """Losses of five samples from notes of (step, sample, loss)."""
    losses = SampleLosses(5, accelerator)
    for step, idx, loss in notes:
        losses.note(step, [idx], torch.tensor([loss]))
    return losses


def test_what_is_seen_counts_from_the_next_pass_on() -> None:
    losses = keep([(0, 1, 2.0), (1, 3, 4.0), (2, 1, 1.5)])
    assert np.isnan(losses.known_N).all()
    losses.close_pass()
    assert np.array_equal(losses.known_N, [np.nan, 1.5, np.nan, 4.0, np.nan], equal_nan=True)
    losses.note(3, [3, 0], torch.tensor([7.0, torch.nan]))
    losses.close_pass()
    assert np.array_equal(losses.known_N, [np.nan, 1.5, np.nan, 7.0, np.nan], equal_nan=True)


@given(NOTES, NOTES, st.integers(0, 12))
def test_a_run_that_goes_on_in_the_middle_of_a_pass_knows_the_same(first: list, second: list, cut: int) -> None:
    whole, stopped = keep(first), keep(first)
    whole.close_pass()
    stopped.close_pass()
    for losses in (whole, stopped):
        for step, idx, loss in second[:cut]:
            losses.note(10 + step, [idx], torch.tensor([loss]))
    resumed = SampleLosses(5, ALONE, stopped.copy_state())
    assert np.array_equal(resumed.known_N, whole.known_N, equal_nan=True)
    for losses in (whole, resumed):
        for step, idx, loss in second[cut:]:
            losses.note(10 + step, [idx], torch.tensor([loss]))
        losses.close_pass()
    assert np.array_equal(resumed.known_N, whole.known_N, equal_nan=True)


@given(NOTES, st.integers(1, 4))
def test_it_does_not_matter_which_process_saw_what(notes: list, num_processes: int) -> None:
    alone = keep(notes)
    parts = [notes[number::num_processes] for number in range(num_processes)]
    everyone = torch.stack([_own(part) for part in parts])
    for part in parts:
        group: Any = SimpleNamespace(num_processes=2, device=torch.device("cpu"), gather=lambda own: everyone)
        losses = keep(part, group)
        losses.close_pass()
        alone.close_pass()
        assert np.array_equal(losses.known_N, alone.known_N, equal_nan=True)


def _own(notes: list) -> torch.Tensor:
    state = keep(notes).copy_state()
    return torch.stack([state["seen"], state["step"].double()])


def test_the_state_survives_its_file_and_is_a_copy(tmp_path: Path) -> None:
    losses = keep([(0, 1, 2.0)])
    losses.close_pass()
    losses.note(4, [2], torch.tensor([3.0]))
    state = losses.copy_state()
    losses.close_pass()
    write_losses(state, tmp_path)
    again = read_losses(tmp_path)
    assert again["known"].tolist()[1] == 2.0
    assert again["seen"].tolist()[2] == 3.0
    assert again["step"].tolist() == [-1, -1, 4, -1, -1]


def test_a_model_without_losses_of_single_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="needs stage.hard_examples=0"):
        SampleLosses(3, ALONE).note(0, [1], None)
