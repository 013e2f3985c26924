"""Seeds of all random draws, derived from the user's seed and from the place of the draw.

No state of a random generator is stored: the order of a pass, the augmentation of a sample, the dropout of a step, the
split of a subject and the wording of a rationale depend on the seed and their place alone. A resumed run equals one
that was not interrupted, and a further recording changes no other.
"""

import hashlib
from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """Kind of a draw in a training run; two kinds at the same place have independent seeds."""

    ORDER = 1  # the samples of a pass and their order: place = (train_epoch,)
    SAMPLE = 2  # augmentation of one sample: place = (train_epoch, position in the pass)
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
    """A 64-bit seed for the draws of one thing, from the user's seed and names such as that of a recording."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:8])
