"""Seeds of every draw, derived from a seed of the user and from what is drawn.

Nothing random is remembered: the order of a pass, the changes of a sample, the dropout of a step, the split of a
subject and the wording of a rationale are functions of where they stand. A run that was stopped goes on as if it had
not been, and one more recording changes no other.
"""

import hashlib
from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a seed of a training run is for; two kinds of draws at the same place have nothing in common."""

    ORDER = 1  # which samples a pass sees, in which order: place = (train_epoch,)
    SAMPLE = 2  # how one sample is changed: place = (train_epoch, position in the pass)
    STEP = 3  # dropout and masks of the model: place = (process, step, batch of the step)


def derive_seed(seed: int, draw: Draw, *place: int) -> int:
    """A 64-bit seed for one draw of a training run; the same arguments give the same seed on any machine.

    Args:
        seed: of the run.
        draw: what is drawn.
        place: where in the run, as `Draw` says; whole numbers, none negative.
    """
    return int(np.random.SeedSequence((seed, draw, *place)).generate_state(1, np.uint64)[0])


def hash_seed(*names: str | int) -> int:
    """A 64-bit seed for one draw of data preparation, from the user's seed and names such as that of a recording."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8])
