"""Sleepers: how age, illness and drugs change a simulated night.

A kind of health scales what the simulator draws for healthy sleepers and shifts the power of some bands in some
states. docs/experiments/simulators.md says where each range comes from.

Shape letters: F frames, S states of the brain.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import scipy

from data_prep.simulators.synthesis import HUMAN_GRID, add_intrusions, draw_wander

EYES_OPEN, EYES_CLOSED, STATE_N1, STATE_N2, STATE_N3, STATE_REM = range(6)
_NREM, _ASLEEP = [STATE_N2, STATE_N3], [STATE_N1, STATE_N2, STATE_N3, STATE_REM]
_DELTA, _THETA, _ALPHA, _BETA, _GAMMA, _BELOW = range(6)  # features of the calibration
_ALL = list(range(6))
_YOUNGEST, _OLDEST = 18, 90


@dataclass(frozen=True)
class Sleeper:
    """One sleeper; the defaults are a healthy one."""

    age: int
    health: str = "healthy"
    n3_factor: float = 1.0  # length of the bouts of N3
    restlessness: float = 1.0  # rate of interruptions in the hypnogram
    arousals_per_minute: float = 0.0  # within epochs of sleep
    apnoea_share: float = 0.0  # of N1, N2 and REM with an arousal at the end of every apnoea
    apnoea_period_s: float = 40.0
    movement_factor: float = 1.0  # rate of movements and muscle bursts in sleep
    slow_wave_factor: float = 1.0  # amplitude
    spindle_factor: float = 1.0  # amplitude
    spindle_rate_factor: float = 1.0
    spindle_shift_hz: float = 0.0
    k_complex_factor: float = 1.0  # rate
    alpha_shift_hz: float = 0.0
    state_shifts: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)), compare=False)  # ln power, (S, 6)

    def arouse(self, rng: np.random.Generator, state_F: np.ndarray) -> np.ndarray:
        """The states with this sleeper's arousals in them; nothing is drawn for one without."""
        if rate := self.arousals_per_minute:
            rates = ((STATE_N1, rate), (STATE_N2, rate), (STATE_N3, 0.5 * rate), (STATE_REM, rate))
            state_F = add_intrusions(rng, state_F, [(inside, EYES_CLOSED, one, 2, 7) for inside, one in rates])
        if not self.apnoea_share:
            return state_F
        # Arousals of 3 to 10 s follow one another in stretches of minutes, less in N3.
        is_apnoeic_F = draw_wander(rng, state_F.size, 1, 600)[:, 0] < scipy.special.ndtri(self.apnoea_share)
        num = int(state_F.size * HUMAN_GRID.hop_s / self.apnoea_period_s) + 1
        starts = np.cumsum(self.apnoea_period_s * rng.lognormal(0, 0.2, num)) / HUMAN_GRID.hop_s
        aroused_F = np.zeros(state_F.size, dtype=bool)
        for start, frames in zip(starts.astype(int), rng.integers(2, 6, num), strict=True):
            aroused_F[start : start + frames] = True
        open_to_it = np.isin(state_F, (STATE_N1, STATE_N2, STATE_REM))
        return np.where(aroused_F & is_apnoeic_F & open_to_it, EYES_CLOSED, state_F)

    def shifted(self, states: list[int], features: list[int], log_power: float) -> np.ndarray:
        """The shifts with some features of some states changed."""
        shifts = self.state_shifts.copy()
        shifts[np.ix_(states, features)] += log_power
        return shifts


def draw_sleeper(rng: np.random.Generator, health: str) -> Sleeper:
    """A sleeper of any adult age and of one kind of health, or of any for "mixed"."""
    if health == "mixed":
        health = ("healthy", *HEALTH)[rng.choice(len(HEALTH) + 1, p=[0.4] + [0.6 / len(HEALTH)] * len(HEALTH))]
    sleeper = _age(rng, int(rng.integers(60 if health == "aged" else _YOUNGEST, _OLDEST + 1)))
    return replace(HEALTH[health](rng, sleeper), health=health) if health in HEALTH else sleeper


def _age(rng: np.random.Generator, age: int) -> Sleeper:
    """A healthy sleeper of this age; changes start at 30."""
    years = max(0, age - 30) * rng.lognormal(0, 0.3)
    sleeper = Sleeper(
        age=age,
        n3_factor=float(np.exp(-0.005 * years)),
        restlessness=float(np.exp(0.012 * years)),
        arousals_per_minute=0.004 * years,
        slow_wave_factor=float(np.exp(-0.006 * years)),
        spindle_factor=float(np.exp(-0.006 * years)),
        spindle_rate_factor=float(np.exp(-0.012 * years)),
        k_complex_factor=float(np.exp(-0.012 * years)),
        alpha_shift_hz=-0.02 * max(0, age - 45),
    )
    sleeper = replace(sleeper, state_shifts=sleeper.shifted(_NREM, [_DELTA, _BELOW], -0.012 * years))
    return replace(sleeper, state_shifts=sleeper.shifted(_NREM, [_THETA, _ALPHA], -0.006 * years))


def _flatten(rng: np.random.Generator, sleeper: Sleeper) -> Sleeper:
    """Low amplitudes at all frequencies, as in many old people."""
    return replace(sleeper, state_shifts=sleeper.shifted(_ALL, _ALL, -rng.uniform(0.2, 1.0)))


def _fragment(rng: np.random.Generator, sleeper: Sleeper) -> Sleeper:
    return replace(
        sleeper,
        n3_factor=sleeper.n3_factor * rng.uniform(0.15, 0.8),
        restlessness=sleeper.restlessness * rng.uniform(1.5, 4),
        arousals_per_minute=sleeper.arousals_per_minute + rng.uniform(0.15, 0.5),
        movement_factor=rng.uniform(1, 4),
        state_shifts=sleeper.shifted(_ASLEEP, [_BETA, _GAMMA], rng.uniform(0, 0.5)),
    )


def _obstruct(rng: np.random.Generator, sleeper: Sleeper) -> Sleeper:
    return replace(
        sleeper,
        n3_factor=sleeper.n3_factor * rng.uniform(0.1, 0.7),
        restlessness=sleeper.restlessness * rng.uniform(1.2, 2.5),
        apnoea_share=rng.uniform(0.2, 0.9),
        apnoea_period_s=rng.uniform(25, 70),
        movement_factor=rng.uniform(2, 8),
        k_complex_factor=sleeper.k_complex_factor * rng.uniform(0.5, 1),
        spindle_rate_factor=sleeper.spindle_rate_factor * rng.uniform(0.4, 1),
    )


def _medicate(rng: np.random.Generator, sleeper: Sleeper) -> Sleeper:
    sleeper = replace(sleeper, state_shifts=sleeper.shifted(_ALL, [_BETA], rng.uniform(0.2, 0.8)))
    return replace(
        sleeper,
        n3_factor=sleeper.n3_factor * rng.uniform(0.3, 0.9),
        slow_wave_factor=sleeper.slow_wave_factor * rng.uniform(0.7, 1),
        spindle_rate_factor=sleeper.spindle_rate_factor * rng.uniform(1.3, 2.2),
        spindle_factor=sleeper.spindle_factor * rng.uniform(1.0, 1.5),
        spindle_shift_hz=rng.uniform(0.1, 0.6),
        k_complex_factor=sleeper.k_complex_factor * rng.uniform(0.4, 0.9),
        state_shifts=sleeper.shifted(_NREM, [_DELTA, _BELOW], -rng.uniform(0.1, 0.5)),
    )


def _intrude_alpha(rng: np.random.Generator, sleeper: Sleeper) -> Sleeper:
    sleeper = replace(sleeper, state_shifts=sleeper.shifted([STATE_REM], [_ALPHA], rng.uniform(0, 0.6)))
    return replace(
        sleeper,
        n3_factor=sleeper.n3_factor * rng.uniform(0.4, 1),
        arousals_per_minute=sleeper.arousals_per_minute + rng.uniform(0, 0.3),
        state_shifts=sleeper.shifted(_NREM, [_ALPHA], rng.uniform(0.5, 1.6)),
    )


HEALTH: dict[str, Callable[[np.random.Generator, Sleeper], Sleeper]] = {
    "aged": _flatten,
    "fragmented": _fragment,
    "apnoea": _obstruct,
    "benzodiazepine": _medicate,
    "alpha_intrusion": _intrude_alpha,
}
