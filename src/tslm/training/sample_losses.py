"""The last known loss of every training sample, by which hard ones are drawn more often (`stage.hard_examples`).

What a pass was drawn by stays as it is until the pass ends; only then counts what was seen in it. So a run that goes
on in the middle of a pass draws the same pass again. Shape letter: N samples of the training split.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

LOSSES_FILE = "sample_losses.safetensors"  # in the folder of a checkpoint that a run can go on from
_NEVER = -1


class SampleLosses:
    """Losses of one run, alike on all its processes between two passes.

    Args:
        num_samples: of the training split.
        accelerator: of the run.
        state: what `read_losses` or `copy_state` gave; None: nothing is known yet.
    """

    def __init__(self, num_samples: int, accelerator: Accelerator, state: Mapping[str, Tensor] | None = None) -> None:
        nothing_N = torch.full((num_samples,), torch.nan, dtype=torch.float64)
        state = state or {"known": nothing_N, "seen": nothing_N, "step": torch.full((num_samples,), _NEVER)}
        self.accelerator = accelerator
        self.known_N: np.ndarray = state["known"].numpy().copy()  # float64 before the pass, NaN where unknown
        self._seen_N: np.ndarray = state["seen"].numpy().copy()  # float64 in the pass
        self._step_N: np.ndarray = state["step"].numpy().copy()  # int64, when that was
        self._notes: list[tuple[int, list[int], Tensor]] = []

    def note(self, step: int, sample_idx: list[int], loss_B: Tensor | None) -> None:
        """Keep the losses of a batch; where they lie on a GPU nothing waits for them.

        Raises:
            ValueError: the model tells none.
        """
        if loss_B is None:
            raise ValueError("this model tells no loss of single samples; it needs stage.hard_examples=0")
        self._notes.append((step, sample_idx, loss_B))

    def close_pass(self) -> None:
        """Let the next pass be drawn by what all processes saw in this one; called on all of them."""
        self._share()
        self.known_N = np.where(np.isnan(self._seen_N), self.known_N, self._seen_N)
        self._seen_N[:], self._step_N[:] = np.nan, _NEVER

    def copy_state(self) -> dict[str, Tensor]:
        """What a run needs to go on from here; called on all processes, and the same on all."""
        self._share()
        arrays = {"known": self.known_N, "seen": self._seen_N, "step": self._step_N}
        return {name: torch.from_numpy(values_N.copy()) for name, values_N in arrays.items()}

    def _share(self) -> None:
        for step, sample_idx, loss_B in self._notes:
            for idx, loss in zip(sample_idx, loss_B.tolist(), strict=True):
                if not np.isnan(loss):
                    self._keep(idx, step, loss)
        self._notes.clear()
        if self.accelerator.num_processes > 1:
            own_1SN = torch.from_numpy(np.stack([self._seen_N, self._step_N])[None]).to(self.accelerator.device)
            for seen_N, step_N in self.accelerator.gather(own_1SN).cpu().numpy():
                for idx in np.flatnonzero(step_N != _NEVER).tolist():
                    self._keep(idx, int(step_N[idx]), float(seen_N[idx]))

    def _keep(self, idx: int, step: int, loss: float) -> None:
        """The later loss counts, of two in one step the larger: whichever process saw them, in whatever order."""
        if (step, loss) > (self._step_N[idx], self._seen_N[idx]):
            self._seen_N[idx], self._step_N[idx] = loss, step


def write_losses(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write what `copy_state` gave into a checkpoint's folder."""
    save_file(dict(state), folder / LOSSES_FILE)


def read_losses(folder: Path) -> dict[str, Tensor]:
    """Inverse of `write_losses`."""
    return load_file(folder / LOSSES_FILE)
