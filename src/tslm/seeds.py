"""One seed for every draw of a run, derived from the run's seed and from what is drawn.

Nothing random is remembered: the order of a pass, the changes of a sample and the dropout of a step are
functions of where they stand, so a run that was stopped goes on as if it had not been.
"""

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What a seed is for; two kinds of draws at the same place have nothing in common."""

    ORDER = 1  # which samples a pass sees, in which order: place = (train_epoch,)
    SAMPLE = 2  # how one sample is changed: place = (train_epoch, position in the pass)
    STEP = 3  # dropout and masks of the model: place = (process, step, batch of the step)


def derive_seed(seed: int, draw: Draw, *place: int) -> int:
    """A 64-bit seed for one draw; the same arguments give the same seed on any machine.

    Args:
        seed: of the run.
        draw: what is drawn.
        place: where in the run, as `Draw` says; whole numbers, none negative.
    """
    return int(np.random.SeedSequence((seed, draw, *place)).generate_state(1, np.uint64)[0])
