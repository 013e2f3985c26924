"""Simulated sleep of rodents: many short bouts by day and by night, with more sleep in the light.

A semi-Markov chain in seconds. Its bout lengths and transitions were set by those of C57BL/6 mice, mean
of control animals by light phase, L (light) and D (dark) (Exp Neurol 2025, 383:115035, table 1): wake bouts 101 s
and 211 s, NREM 161 s and 131 s, REM 64 s and 61 s; 144 NREM bouts to 55 of REM (L) and 126 to 24 (D).
Shares of time in wake, NREM, REM: .33 .55 .12 (L) and .62 .34 .04 (D) (Sci Rep 2018, s41598-018-33480-1,
table 1); sleep of 100 males and 100 females .62 (L) and .36 (D) (pga.jax.org, sleep phenotypes).
REM follows only NREM. Sleep pressure rises and falls with time constants of about 8 h awake and
2 h in NREM (Franken, Chollet & Tafti 2001, J Neurosci 21:2610).

Shape letters: T seconds, E epochs.
"""

from dataclasses import dataclass

import numpy as np

from tslm.labels import SleepStage

WAKE, NREM, REM = range(3)
RODENT_STAGES = (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)
LIGHTS_ON_H, LIGHTS_OFF_H = 7, 19  # hours of the day

# Resting phase of a nocturnal animal by hours after lights on: 1 rest, 0 activity.
_CLOCK_H = (0, 1, 5, 10, 12, 13, 16, 19, 21, 23, 24)
_REST = (0.75, 1.0, 1.05, 0.9, 0.45, -0.05, 0.0, 0.2, 0.15, 0.3, 0.75)
# Values in the (active phase, resting phase).
_BRIEF_WAKE = (0.42, 0.58)  # share of wake bouts that are brief awakenings
_BRIEF_WAKE_S = 11.0
_LONG_WAKE_S = (275.0, 122.0)
_NREM_S = (76.0, 96.0)
_NREM_BEFORE_REM = 1.55  # factor on the length of NREM before REM
_REM_AFTER_NREM = (0.16, 0.44)
_REM_S = 62.0
_WAKE_AFTER_REM = 0.87
_PRESSURE_RISE_S, _PRESSURE_FALL_S = 8 * 3600, 2 * 3600
_UNCLEAR_SHARE = 0.55  # an epoch may be unscored if no state fills more than this share
_UNCLEAR_UNSCORED = 0.25


@dataclass(frozen=True)
class SleepHabits:
    """Factors on the bout lengths and rates of one animal."""

    wake: float = 1.0
    nrem: float = 1.0
    rem: float = 1.0
    rem_rate: float = 1.0


@dataclass(frozen=True)
class Course:
    """State of an animal in every second."""

    state_T: np.ndarray  # (T,) int8: WAKE, NREM or REM
    pressure_T: np.ndarray  # (T,) float32 in 0..1, sleep pressure
    rest_T: np.ndarray  # (T,) float32, 1 in the middle of the resting phase, 0 in the active one


def draw_course(rng: np.random.Generator, duration_s: int, start_s: float, habits: SleepHabits) -> Course:
    """Bouts of wake, NREM and REM.

    Args:
        rng: Source of all randomness.
        duration_s: Length in seconds.
        start_s: Seconds from midnight at which the recording starts.
        habits: The animal.
    """
    clock_h = ((start_s + np.arange(duration_s)) / 3600 - LIGHTS_ON_H) % 24
    rest_T = np.interp(clock_h, _CLOCK_H, _REST)
    state_T = np.empty(duration_s, dtype=np.int8)
    pressure_T = np.empty(duration_s, dtype=np.float32)
    pressure = float(np.interp(clock_h[0], (0, 6, 12, 24), (0.6, 0.35, 0.35, 0.65)))
    state, now = (NREM, 0) if rng.random() < 0.35 + 0.3 * rest_T[0] else (WAKE, 0)
    while now < duration_s:
        rest = float(np.clip(rest_T[now], 0, 1))
        following, length = _draw_bout(rng, state, rest, habits)
        bout = slice(now, min(now + length, duration_s))
        state_T[bout] = state
        elapsed_s = np.arange(1, bout.stop - now + 1)
        if state == NREM:
            pressure_T[bout] = pressure * np.exp(-elapsed_s / _PRESSURE_FALL_S)
        else:
            pressure_T[bout] = 1 - (1 - pressure) * np.exp(-elapsed_s / _PRESSURE_RISE_S)
        pressure, state, now = float(pressure_T[bout.stop - 1]), following, bout.stop
    return Course(state_T, pressure_T, rest_T.astype(np.float32))


def score_epochs(rng: np.random.Generator, state_T: np.ndarray, epoch_s: int) -> tuple[SleepStage, ...]:
    """Label of every whole epoch: its most frequent state; some epochs without a clear state stay unscored."""
    seconds_ET = state_T[: state_T.size // epoch_s * epoch_s].reshape(-1, epoch_s)
    shares_E3 = np.stack([(seconds_ET == state).mean(axis=1) for state in range(len(RODENT_STAGES))], axis=1)
    unclear_E = shares_E3.max(axis=1) <= _UNCLEAR_SHARE
    unscored_E = unclear_E & (rng.random(unclear_E.size) < _UNCLEAR_UNSCORED)
    codes_E = shares_E3.argmax(axis=1)
    return tuple(
        SleepStage.UNSCORED if unscored else RODENT_STAGES[code]
        for code, unscored in zip(codes_E, unscored_E, strict=True)
    )


def _draw_bout(rng: np.random.Generator, state: int, rest: float, habits: SleepHabits) -> tuple[int, int]:
    """The next state, and the length of this bout in seconds."""
    if state == WAKE:
        if rng.random() < _between(_BRIEF_WAKE, rest):
            return NREM, _lognormal(rng, _BRIEF_WAKE_S, 0.5)
        return NREM, _lognormal(rng, _between(_LONG_WAKE_S, rest) * habits.wake, 1.0)
    if state == REM:
        return WAKE if rng.random() < _WAKE_AFTER_REM else NREM, _lognormal(rng, _REM_S * habits.rem, 0.5)
    median_s = _between(_NREM_S, rest) * habits.nrem
    if rng.random() < _between(_REM_AFTER_NREM, rest) * habits.rem_rate:
        return REM, _lognormal(rng, median_s * _NREM_BEFORE_REM, 0.6)
    return WAKE, _lognormal(rng, median_s, 0.9)


def _between(active_and_rest: tuple[float, float], rest: float) -> float:
    active, resting = active_and_rest
    return active * (resting / active) ** rest


def _lognormal(rng: np.random.Generator, median: float, log_sd: float) -> int:
    return max(4, round(median * float(np.exp(log_sd * np.clip(rng.standard_normal(), -2.5, 2.5)))))
