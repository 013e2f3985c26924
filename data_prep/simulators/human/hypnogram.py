"""Simulated human hypnograms: sleep cycles of lognormal bouts with short interruptions.

A semi-Markov plan draws the bouts cycle by cycle; a second pass inserts short interruptions, as in real nights. Medians
and rates were set by the bout lengths, transitions and sleep stage fractions of the Sleep-EDF cassette recordings
(W .19, N1 .07, N2 .43, N3 .13, REM .18 with half an hour of wake on either side).
"""

import numpy as np

from tslm.labels import SleepStage

# Sleep stage codes of this simulator; the position in HUMAN_STAGES.
WAKE, N1, N2, N3, REM = range(5)
HUMAN_STAGES = (SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM)

_EDGE_WAKE = 60  # epochs of wake before and after sleep: half an hour
_MIN_SLEEP, _MAX_SLEEP = 550, 1250  # epochs from the first to the last epoch of sleep
# SD of ln between sleepers, set by the spread of N3, N1 and wake in the cassette recordings.
_N3_SPREAD, _RESTLESS_SPREAD = 0.4, 0.8
_BREAKS = 110  # epochs that interruptions add to the plan, roughly
_N3_MEDIANS = (48, 32, 18, 8, 4, 3)
_REM_MEDIANS = (14, 28, 36, 42, 42, 32)
_FLICKER_REACH = 12  # distance from N3, in epochs, in which N2 may turn into N3


def simulate_hypnogram(rng: np.random.Generator, age: float = 30) -> np.ndarray:
    """Sleep stage codes of one night with half an hour of wake on either side.

    Args:
        rng: Source of all randomness.
        age: Age in years; older sleepers have less N3.

    Returns:
        (num_epochs,) int8, codes as in HUMAN_STAGES, one per 30-s epoch.
    """
    n3_factor = rng.lognormal(0, _N3_SPREAD) * np.exp(-0.01 * (age - 30))  # stretches this sleeper's N3 bouts
    # Rate of interruptions, relative to the typical rate.
    restlessness = rng.lognormal(-0.35, _RESTLESS_SPREAD)
    num_epochs = int(np.clip(rng.normal(890, 150), _MIN_SLEEP, _MAX_SLEEP))
    plan: list[tuple[int, int]] = []
    cycle = 0
    while sum(num for _, num in plan) < num_epochs - _BREAKS:
        plan += _plan_cycle(rng, cycle, n3_factor, restlessness)
        cycle += 1
    sleep = np.concatenate([_fragment(rng, sleep_stage, num, restlessness) for sleep_stage, num in plan])
    sleep = _flicker_n3(rng, sleep)[:_MAX_SLEEP]
    awake = np.full(_EDGE_WAKE, WAKE)
    asleep = np.flatnonzero(sleep != WAKE)
    return np.concatenate([awake, sleep[asleep[0] : asleep[-1] + 1], awake]).astype(np.int8)


def _plan_cycle(rng: np.random.Generator, cycle: int, n3_factor: float, restlessness: float) -> list[tuple[int, int]]:
    late = min(cycle, len(_N3_MEDIANS) - 1)
    plan = [(N1, _lognormal(rng, 6 if cycle == 0 else 3, 0.6))]
    plan.append((N2, _lognormal(rng, 22 if cycle < 2 else 52, 0.5)))
    if cycle < 2 or rng.random() < 0.5:
        plan.append((N3, _lognormal(rng, _N3_MEDIANS[late] * n3_factor, 0.5)))
    plan.append((N2, _lognormal(rng, 24, 0.6)))
    if cycle > 0 or rng.random() < 0.75:
        plan.append((REM, _lognormal(rng, _REM_MEDIANS[late], 0.5)))
    if rng.random() < 0.4 * restlessness:
        plan += [(WAKE, _lognormal(rng, 9 * restlessness, 1.1)), (N1, _lognormal(rng, 4, 0.6))]
    return plan


def _fragment(rng: np.random.Generator, sleep_stage: int, num: int, restlessness: float) -> np.ndarray:
    """One bout of `num` epochs, lengthened by the interruptions typical of its sleep stage."""
    epochs: list[int] = []
    for _ in range(num):
        epochs.append(sleep_stage)
        chance = rng.random() / restlessness
        if sleep_stage == N2 and chance < 0.034:
            if chance < 0.011:
                epochs += [WAKE] * _lognormal(rng, 1.2, 0.7)
            epochs += [N1] * _lognormal(rng, 2.3, 0.6)
        elif sleep_stage == N3 and chance < 0.07:
            if chance < 0.006:
                epochs += [WAKE] * _lognormal(rng, 1, 0.5) + [N1]
            epochs += [N2] * _lognormal(rng, 1.3, 0.6)
        elif sleep_stage == REM and chance < 0.03:
            if chance < 0.007:
                epochs += [WAKE] * _lognormal(rng, 1, 0.5)
            if chance < 0.021:
                epochs += [N1] * _lognormal(rng, 2.0, 0.6)
            if chance > 0.014:
                epochs += [N2] * _lognormal(rng, 1.5, 0.6)
        elif sleep_stage == N1 and chance < 0.12:
            epochs += [WAKE] * _lognormal(rng, 1.5, 0.8)
    return np.array(epochs)


def _flicker_n3(rng: np.random.Generator, sleep: np.ndarray) -> np.ndarray:
    """Turn single epochs of N2 near N3 into N3, as real epochs close to the amplitude criterion."""
    near = np.convolve(sleep == N3, np.ones(2 * _FLICKER_REACH + 1), mode="same") > 0
    deepens = (rng.random(sleep.size) < 0.11) & near & (sleep == N2)
    return np.where(deepens, N3, sleep)


def _lognormal(rng: np.random.Generator, median: float, log_sd: float) -> int:
    return max(1, round(median * float(np.exp(log_sd * rng.standard_normal()))))
