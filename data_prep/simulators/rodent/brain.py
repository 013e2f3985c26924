"""EEG of a simulated rodent: spectra of four states, theta, gamma, slow waves and spindles.

Scoring criteria (Franken, Malafosse & Tafti 1998, Am J Physiol 275:R1127, and common practice of mouse laboratories):
NREM has high amplitude, delta of 1 to 4 Hz and spindles of 10 to 15 Hz. REM has low amplitude and a narrow theta peak
of 6 to 9 Hz. Wake has low amplitude, with theta and gamma while the animal moves. Delta follows sleep pressure;
spindles increase in the seconds before REM.

Shape letters: T seconds, F frames (one per second and one more), S states of the brain, K spectral components,
B frequency bins, N samples, n events.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.rodent.bouts import NREM, REM, WAKE, Course
from data_prep.simulators.synthesis import (
    FrameGrid,
    add_intrusions,
    add_many_waves,
    build_hat_basis,
    bump,
    draw_mixed_noise,
    draw_onsets,
    draw_sizes,
    draw_wander,
    jitter_boundaries,
    ramp,
    seconds,
    smooth_rows,
    soften_weights,
)

HOP_S = 1.0
QUIET, ACTIVE, STATE_NREM, STATE_REM = range(4)
_STATE_OF = np.array([QUIET, STATE_NREM, STATE_REM])  # by code of the course

# ln S = c - a ln(f + k) of each state, f in Hz, S in microvolt^2 / Hz.
_SPECTRA = ((6.1, 1.5, 0.8), (5.8, 1.35, 0.8), (8.6, 2.2, 1.2), (5.6, 1.45, 0.8))
_HIGH_PASS_HZ = 0.5
_KNOTS_HZ = np.geomspace(0.7, 120, 7)
_ANIMAL_SD, _SLOW_SD, _FAST_SD = 0.3, 0.25, 0.3  # ln power at each knot: of the animal, over 40 s, over 4 s
_PRESSURE_GAIN = 1.3  # ln power of delta from no to full sleep pressure
_SURGE_S = 20  # before REM
_JITTER_S = 3  # largest distance of a scored boundary from the brain's

# Moments of another state, see `Intrusion`.
_INTRUSIONS = (
    (QUIET, STATE_NREM, 0.5, 2, 6),
    (STATE_NREM, QUIET, 0.7, 2, 6),
    (STATE_REM, QUIET, 0.5, 2, 4),
    (STATE_REM, STATE_NREM, 0.3, 2, 4),
    (ACTIVE, STATE_REM, 0.4, 3, 8),  # theta of running looks like that of REM
)


@dataclass(frozen=True)
class BrainTraits:
    """Parameters of one animal's EEG."""

    theta_hz: float
    theta: float = 2.5  # ln power of the theta peak in REM; smaller far from the hippocampus
    gain: float = 1.0
    slow_wave_uv: float = 80.0
    spindle_hz: float = 11.5
    line_hz: float = 50.0
    line_uv: float = 0.0


@dataclass(frozen=True)
class Frames:
    """State of the animal in every frame."""

    weights_FS: np.ndarray  # (F, 4) float32, share of each state; rows sum to one
    movement_F: np.ndarray  # (F,) float32 in 0..1, amount of movement; zero asleep
    surge_F: np.ndarray  # (F,) float32 in 0..1, the approach of REM within NREM
    pressure_F: np.ndarray  # (F,) float32 in 0..1


def draw_frames(rng: np.random.Generator, course: Course, grid: FrameGrid) -> Frames:
    """States of the brain that fit a course: active and quiet wake, soft boundaries, the increase before REM."""
    state_F = np.append(course.state_T, course.state_T[-1])
    num_frames = state_F.size
    wander = draw_wander(rng, num_frames, 1, 45, grid)[:, 0] + 0.7 * draw_wander(rng, num_frames, 1, 5, grid)[:, 0]
    drive = 1.6 * wander + 0.6 - 1.4 * np.append(course.rest_T, course.rest_T[-1])
    movement_F = np.where(state_F == WAKE, 1 / (1 + np.exp(-drive)), 0).astype(np.float32)
    brain_F = _STATE_OF[jitter_boundaries(rng, state_F, lambda bouts: np.minimum(_JITTER_S, bouts // 3))]
    brain_F = np.where((brain_F == QUIET) & (movement_F > 0.5), ACTIVE, brain_F)
    weights_FS = np.eye(len(_SPECTRA), dtype=np.float32)[add_intrusions(rng, brain_F, _INTRUSIONS, grid)]
    # Wake is a mixture of sitting and running.
    awake_F = weights_FS[:, QUIET] + weights_FS[:, ACTIVE]
    weights_FS[:, ACTIVE] = 0.5 * weights_FS[:, ACTIVE] + 0.5 * awake_F * movement_F
    weights_FS[:, QUIET] = awake_F - weights_FS[:, ACTIVE]
    pressure_F = np.append(course.pressure_T, course.pressure_T[-1])
    return Frames(soften_weights(weights_FS, 0.2), movement_F, _approach_of_rem(state_F), pressure_F)


def draw_eeg(rng: np.random.Generator, frames: Frames, traits: BrainTraits, grid: FrameGrid) -> np.ndarray:
    """EEG without muscle and movement, (N,) float32, microvolt."""
    signal_N = draw_mixed_noise(rng, *_mix_spectra(rng, frames, traits, grid), grid)
    _add_slow_waves(rng, signal_N, frames, traits, grid)
    _add_spindles(rng, signal_N, frames, traits, grid)
    signal_N *= np.float32(traits.gain)
    if traits.line_uv:
        # One second holds whole cycles of both 50 and 60 Hz.
        hum = traits.line_uv * np.sin(2 * np.pi * traits.line_hz * np.arange(grid.fs_hz) / grid.fs_hz)
        signal_N.reshape(-1, grid.fs_hz)[:] += hum.astype(np.float32)
    return signal_N


def _mix_spectra(
    rng: np.random.Generator, frames: Frames, traits: BrainTraits, grid: FrameGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F, K) and curves (K, B); their product is the ln power spectral density."""
    quiet_F, active_F, nrem_F, rem_F = frames.weights_FS.T
    num_frames = quiet_F.size
    theta_hz = traits.theta_hz
    phasic_F = 1 / (1 + np.exp(-2.5 * (draw_wander(rng, num_frames, 1, 4, grid)[:, 0] - 1)))
    theta, delta = traits.theta * rng.lognormal(0, 0.05), rng.normal(0.8, 0.25)
    gamma = max(0.1, rng.normal(0.6, 0.3))
    ebb_F, running_F, drowsy_F = draw_wander(rng, num_frames, 3, 20, grid).T
    components = [
        (rem_F * (1 - phasic_F) * (theta + 0.2 * ebb_F), bump(theta_hz, 0.65, grid)),
        (rem_F * phasic_F * theta, bump(theta_hz + 0.9, 0.75, grid)),
        (rem_F * 0.8, bump(2 * theta_hz, 1.3, grid)),
        (active_F * (0.55 * theta + 0.35 * running_F), bump(theta_hz + 0.5, 1.0, grid)),
        (quiet_F * theta * 0.2, bump(theta_hz - 0.3, 1.4, grid)),
        (quiet_F * np.maximum(0, 0.4 * drowsy_F + 0.5 * frames.pressure_F), bump(2.2, 1.1, grid)),
        (nrem_F * (delta + _PRESSURE_GAIN * (frames.pressure_F - 0.3) + 0.3 * drowsy_F), bump(2.2, 1.1, grid)),
        (nrem_F * (0.45 + 0.9 * frames.surge_F), bump(traits.spindle_hz, 2.0, grid)),
        (nrem_F * frames.surge_F * 1.2, bump(theta_hz, 0.9, grid)),
        (gamma * (0.5 * quiet_F + active_F + 0.45 * rem_F), ramp(38, 6, grid)),
    ]
    state_spectra = np.stack([c - a * np.log(grid.freqs_hz + k) for c, a, k in _SPECTRA])
    num_knots = _KNOTS_HZ.size
    wander_FK = _FAST_SD * draw_wander(rng, num_frames, num_knots, 4, grid)
    wander_FK += _SLOW_SD * draw_wander(rng, num_frames, num_knots, 40, grid)
    freqs_hz = np.maximum(grid.freqs_hz, 0.1)
    high_pass_hz = _HIGH_PASS_HZ * rng.lognormal(0, 0.3)
    recording = np.log(freqs_hz**2 / (freqs_hz**2 + high_pass_hz**2))
    recording -= np.log1p((freqs_hz / (0.43 * grid.fs_hz)) ** 16)  # the amplifier's own low-pass
    recording += rng.normal(0, _ANIMAL_SD, num_knots) @ build_hat_basis(_KNOTS_HZ, grid)
    weights = [frames.weights_FS, np.stack([weight_F for weight_F, _ in components], axis=1), wander_FK]
    curves = [state_spectra, np.stack([curve for _, curve in components]), build_hat_basis(_KNOTS_HZ, grid)]
    ones_F1 = np.ones((num_frames, 1), dtype=np.float32)
    return np.concatenate([*weights, ones_F1], axis=1), np.concatenate([*curves, recording[None]])


def _add_slow_waves(
    rng: np.random.Generator, signal_N: np.ndarray, frames: Frames, traits: BrainTraits, grid: FrameGrid
) -> None:
    """Slow waves: a negative and a positive half wave, more of them with higher sleep pressure."""
    num_frames = len(frames.pressure_F)
    depth_F = 0.25 + 0.6 * frames.pressure_F + 0.15 * draw_wander(rng, num_frames, 1, 25, grid)[:, 0]
    rate_F = 45 * np.clip(depth_F, 0, 1) * frames.weights_FS[:, STATE_NREM] * (1 - 0.6 * frames.surge_F)
    onsets = draw_onsets(rng, rate_F, grid)
    t = seconds(0.8, grid)
    durations_s = np.clip(draw_sizes(rng, 0.4, 0.2, onsets.size), 0.25, 0.75)
    troughs_s = durations_s * rng.uniform(0.35, 0.55, durations_s.shape)
    sizes_uv = draw_sizes(rng, traits.slow_wave_uv, 0.35, onsets.size)
    ups = rng.uniform(0.4, 0.9, durations_s.shape)

    def build(some: slice) -> np.ndarray:
        down = np.sin(np.pi * np.clip(t / troughs_s[some], 0, 1))
        up = np.sin(np.pi * np.clip((t - troughs_s[some]) / (durations_s[some] - troughs_s[some]), 0, 1))
        return sizes_uv[some] * (ups[some] * up - down)

    add_many_waves(signal_N, onsets, t.size, build)


def _add_spindles(
    rng: np.random.Generator, signal_N: np.ndarray, frames: Frames, traits: BrainTraits, grid: FrameGrid
) -> None:
    nrem_F = frames.weights_FS[:, STATE_NREM]
    # Spindles cluster in an infraslow rhythm of about 50 s (Lecci et al. 2017, Sci Adv 3:e1602026).
    phase_F = 2 * np.pi * np.arange(nrem_F.size) * grid.hop_s / rng.uniform(45, 60)
    grouping_F = 1 + 0.8 * np.cos(phase_F + np.cumsum(rng.normal(0, 0.05, nrem_F.size)))
    rate = 5 * rng.lognormal(0, 0.3)
    onsets = draw_onsets(rng, rate * nrem_F * (grouping_F + 3 * frames.surge_F), grid)
    t = seconds(2.0, grid)
    durations_s = np.clip(draw_sizes(rng, 0.8, 0.35, onsets.size), 0.4, 2.0)
    freqs_hz = traits.spindle_hz + rng.normal(0, 0.9, durations_s.shape)
    phases = rng.random(durations_s.shape)
    sizes_uv = draw_sizes(rng, 0.4 * traits.slow_wave_uv, 0.3, onsets.size)

    def build(some: slice) -> np.ndarray:
        envelope = np.sin(np.pi * np.clip(t / durations_s[some], 0, 1)) ** 1.5
        return sizes_uv[some] * envelope * np.sin(2 * np.pi * (freqs_hz[some] * t + phases[some]))

    add_many_waves(signal_N, onsets, t.size, build)


def _approach_of_rem(state_F: np.ndarray) -> np.ndarray:
    """Rises from 0 to 1 over the last seconds of NREM that turns into REM."""
    starts = np.flatnonzero((state_F[1:] == REM) & (state_F[:-1] == NREM)) + 1
    surge_F = np.zeros(state_F.size, dtype=np.float32)
    for start in starts:
        length = min(_SURGE_S, int(start))
        surge_F[start - length : start] = np.linspace(0, 1, _SURGE_S, dtype=np.float32)[_SURGE_S - length :]
    return np.where(state_F == NREM, smooth_rows(surge_F[:, None], 1)[:, 0], 0).astype(np.float32)
