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
_DAY = 2880  # epochs of 24 h
# SD of ln between sleepers, set by the spread of N3, N1 and wake in the cassette recordings.
_N3_SPREAD, _RESTLESS_SPREAD = 0.4, 0.8
_BREAKS = 110  # epochs that interruptions add to the plan, roughly
_N3_MEDIANS = (48, 32, 18, 8, 4, 3)
_REM_MEDIANS = (14, 28, 36, 42, 42, 32)
_FLICKER_REACH = 12  # distance from N3, in epochs, in which N2 may turn into N3


def simulate_hypnogram(
    rng: np.random.Generator, age: float = 30, n3_factor: float = 1.0, restlessness: float = 1.0
) -> np.ndarray:
    """Sleep stage codes of one night with half an hour of wake on either side.

    Args:
        rng: Source of all randomness.
        age: Age in years; older sleepers have less N3.
        n3_factor: Length of the bouts of N3, relative to healthy sleepers of this age.
        restlessness: Rate of interruptions, relative to healthy sleepers.

    Returns:
        (num_epochs,) int8, codes as in HUMAN_STAGES, one per 30-s epoch.
    """
    n3_factor *= rng.lognormal(0, _N3_SPREAD) * np.exp(-0.01 * (age - 30))
    restlessness *= rng.lognormal(-0.35, _RESTLESS_SPREAD)
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


def mix_lengths(rng: np.random.Generator, night: np.ndarray) -> np.ndarray:
    """What a laboratory might send of a night: all of it, an excerpt of 10 min to 4 h, a nap, or up to a whole day.

    Half of the excerpts lie around an epoch of a sleep stage that is drawn evenly, so that many hold little else than
    one. Every one holds sleep.
    """
    kind = rng.random()
    if kind < 0.25:
        return _trim_wake(rng, night)
    if kind < 0.8:
        return _cut_excerpt(rng, night, int(np.exp(rng.uniform(np.log(20), np.log(480)))))
    if kind < 0.88:
        return _take_nap(rng)
    return _fill_day(rng, night)


def _trim_wake(rng: np.random.Generator, night: np.ndarray) -> np.ndarray:
    before, after = rng.integers(0, _EDGE_WAKE, 2)
    return night[before : night.size - after]


def _cut_excerpt(rng: np.random.Generator, night: np.ndarray, num: int) -> np.ndarray:
    sleep_stage = rng.choice(np.unique(night)) if rng.random() < 0.5 else None
    inside = np.flatnonzero(night != WAKE if sleep_stage is None else night == sleep_stage)
    asleep = np.flatnonzero(night != WAKE)
    start = int(np.clip(rng.choice(inside) - rng.integers(num), 0, max(0, night.size - num)))
    start = int(np.clip(start, asleep[0] - num + 1, asleep[-1]))
    excerpt = night[start : start + num]
    return excerpt if (excerpt != WAKE).any() else _cut_excerpt(rng, night, num)


def _take_nap(rng: np.random.Generator) -> np.ndarray:
    """Wake, 10 to 100 min of sleep without certain N3 or REM, wake."""
    plan = _plan_cycle(rng, 0, rng.uniform(0.1, 1), 1.0)
    sleep = np.concatenate([_fragment(rng, sleep_stage, num, 1.5) for sleep_stage, num in plan])
    before, after = (np.full(_lognormal(rng, 20, 0.8), WAKE) for _ in range(2))
    return np.concatenate([before, sleep[: rng.integers(20, 200)], after]).astype(np.int8)


def _fill_day(rng: np.random.Generator, night: np.ndarray) -> np.ndarray:
    """Up to 24 h with the night somewhere in it, and at times a nap."""
    spare = rng.integers(0, _DAY - night.size + 1)
    before = rng.integers(0, spare + 1)
    day = np.concatenate([np.full(before, WAKE), night, np.full(spare - before, WAKE)]).astype(np.int8)
    nap = _take_nap(rng)
    if rng.random() < 0.3 and before > nap.size:
        start = rng.integers(0, before - nap.size + 1)
        day[start : start + nap.size] = nap
    return day


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
