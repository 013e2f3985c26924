"""Background EEG of a simulated night: what state the brain is in every two seconds, and its spectrum.

Sleep stage labels are per epoch, brains are not: boundaries fall inside epochs, N1 flickers with alpha,
sleep is broken by arousals and wake by lapses. `draw_timeline` makes that finer course, and
`draw_background` gives it a 1/f spectrum with the state's rhythms and slow random changes.

Shape letters: E epochs, F frames, S states of the brain, K spectral components, B frequency bins.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.human.hypnogram import N1, N2, N3, REM, WAKE
from data_prep.simulators.synthesis import (
    FRAMES_PER_EPOCH,
    FREQS_HZ,
    build_hat_basis,
    bump,
    combine,
    draw_noise,
    draw_wander,
    ramp,
    smooth_rows,
)

EYES_OPEN, EYES_CLOSED, STATE_N1, STATE_N2, STATE_N3, STATE_REM = range(6)
_STATE_OF_STAGE = {WAKE: EYES_OPEN, N1: STATE_N1, N2: STATE_N2, N3: STATE_N3, REM: STATE_REM}

# ln S = c - a ln(f + k) of each state, f in Hz, S in microvolt^2 / Hz.
_SPECTRA = ((4.1, 1.55, 0.5), (3.4, 1.4, 0.5), (3.05, 1.45, 0.5), (5.0, 2.0, 1.1), (6.3, 2.4, 1.2), (3.4, 1.55, 0.5))
_HIGH_PASS_HZ = 0.22
_KNOTS_HZ = np.geomspace(0.5, 40, 6)
_NEIGHBOURS = ((75, 0.2), (300, 0.3))  # frames on either side, weight
_SUBJECT_SD = 0.4  # ln power between subjects at each knot, the same in all states
_SLOW_SD, _FAST_SD = 0.3, 0.35  # ln power at each knot that comes and goes over a minute and over 5 s

# Moments of another state inside a sleep stage: (inside, becomes, a minute, shortest and longest in frames).
_INTRUSIONS = (
    (STATE_N1, EYES_CLOSED, 1.0, 2, 5),
    (STATE_N1, STATE_N2, 0.1, 2, 4),
    (STATE_N2, EYES_CLOSED, 0.2, 2, 5),
    (STATE_N2, STATE_N1, 0.15, 2, 5),
    (STATE_N2, STATE_N3, 0.2, 2, 5),
    (STATE_N3, STATE_N2, 0.3, 2, 6),
    (STATE_REM, EYES_CLOSED, 0.15, 2, 4),
    (STATE_REM, STATE_N1, 0.1, 2, 5),
    (EYES_CLOSED, STATE_N1, 0.3, 2, 5),
)


@dataclass(frozen=True)
class Timeline:
    """State of the brain in every frame."""

    sleep_stage_E: np.ndarray  # (E,) int8 sleep stage codes of the hypnogram
    weights_FS: np.ndarray  # (F, 6) float32, share of each state; rows sum to one
    depth_F: np.ndarray  # (F,) float32 in 0..1, how dense slow waves are where there are any


def draw_timeline(rng: np.random.Generator, sleep_stage_E: np.ndarray) -> Timeline:
    """States that fit a hypnogram: jittered boundaries, eyes open or closed in wake, short intrusions."""
    state_F = _jitter_boundaries(rng, sleep_stage_E)
    _close_eyes(rng, state_F)
    base_F = state_F.copy()
    for inside, becomes, per_minute, shortest, longest in _INTRUSIONS:
        rate = per_minute * rng.lognormal(0, 0.4)
        for start in np.flatnonzero((rng.random(state_F.size) < rate / 30) & (base_F == inside)):
            moment = slice(start, start + int(rng.integers(shortest, longest + 1)))
            state_F[moment] = np.where(base_F[moment] == inside, becomes, state_F[moment])
    weights_FS = np.eye(len(_SPECTRA), dtype=np.float32)[state_F]
    smoothed = 0.5 * weights_FS
    smoothed[1:] += 0.25 * weights_FS[:-1]
    smoothed[:-1] += 0.25 * weights_FS[1:]
    smoothed /= smoothed.sum(axis=1, keepdims=True)
    wander_F = draw_wander(rng, state_F.size, 1, 150)[:, 0] + 0.5 * draw_wander(rng, state_F.size, 1, 15)[:, 0]
    depth_F = 0.2 + 0.75 / (1 + np.exp(-1.4 * wander_F - rng.normal(0, 0.6)))
    return Timeline(sleep_stage_E, smoothed, depth_F.astype(np.float32))


def draw_background(rng: np.random.Generator, timeline: Timeline) -> np.ndarray:
    """Gaussian background with the spectrum of each frame's states, (num_samples,) float32, microvolt."""
    weights_FS = timeline.weights_FS
    num_frames = weights_FS.shape[0]
    alpha_hz, theta_hz, sigma_hz = rng.normal(9.6, 0.8), rng.normal(6, 0.6), rng.normal(13.2, 0.5)
    alpha, theta, sigma = rng.normal(1.3, 0.7), rng.normal(0.5, 0.2), rng.normal(0.35, 0.2)
    emg = max(0.0, rng.normal(0.9, 0.6))
    n1_F, n2_F, n3_F, rem_F = (weights_FS[:, state] for state in (STATE_N1, STATE_N2, STATE_N3, STATE_REM))
    wake_F = weights_FS[:, EYES_OPEN] + weights_FS[:, EYES_CLOSED]
    slow_F, fast_F = draw_wander(rng, num_frames, 2, 40).T
    components = [
        ((weights_FS[:, EYES_CLOSED] + 0.15 * weights_FS[:, EYES_OPEN]) * (alpha + 0.3 * fast_F), bump(alpha_hz, 1.1)),
        ((0.4 * n1_F + 0.15 * rem_F + 0.15 * n2_F) * alpha, bump(alpha_hz - 1, 1.3)),
        ((n1_F + rem_F) * theta, bump(theta_hz, 1.3)),
        ((n2_F + 0.5 * n3_F) * sigma, bump(sigma_hz, 1.2)),
        (n3_F * 0.9, bump(0.9, 0.5)),
        (rem_F * 0.45, bump(2.6, 1.0)),
        (wake_F * np.maximum(0.2 * emg, emg + 0.5 * slow_F), ramp(23, 2.5)),
    ]
    weights_FK = np.concatenate(
        [
            weights_FS + _lean_on_neighbours(weights_FS),
            np.stack([weight_F for weight_F, _ in components], axis=1),
            _FAST_SD * draw_wander(rng, num_frames, 6, 5) + _SLOW_SD * draw_wander(rng, num_frames, 6, 60),
            np.ones((num_frames, 1), dtype=np.float32),
        ],
        axis=1,
    )
    basis_KB = np.concatenate(
        [
            _draw_state_spectra(rng),
            np.stack([curve for _, curve in components]),
            build_hat_basis(_KNOTS_HZ),
            _draw_recording_gain(rng)[None],
        ]
    )
    return draw_noise(rng, combine(weights_FK, basis_KB))


def _lean_on_neighbours(weights_FS: np.ndarray) -> np.ndarray:
    """Change of the weights that draws every state's background towards that of the minutes around.

    N2 beside N3 is slower than N2 before REM; on average no state changes.
    """
    pull = sum(weight * (smooth_rows(weights_FS, reach) - weights_FS) for reach, weight in _NEIGHBOURS)
    state_means = np.einsum("fs,ft->st", weights_FS, pull) / np.maximum(weights_FS.sum(axis=0), 1)[:, None]
    return pull - combine(weights_FS, state_means)


def _draw_state_spectra(rng: np.random.Generator) -> np.ndarray:
    slope = rng.normal(0, 0.1)
    return np.stack([c - (a + slope) * np.log(FREQS_HZ + k) for c, a, k in _SPECTRA])


def _draw_recording_gain(rng: np.random.Generator) -> np.ndarray:
    """What skull and amplifier do to every state alike, ln power at every frequency bin."""
    high_pass_hz = _HIGH_PASS_HZ * rng.lognormal(0, 0.25)
    gain = np.log(np.maximum(FREQS_HZ, 0.1) ** 2 / (FREQS_HZ**2 + high_pass_hz**2))
    gain += rng.normal(0, _SUBJECT_SD, len(_KNOTS_HZ)) @ build_hat_basis(_KNOTS_HZ)
    return gain - 0.35 * ramp(16, 3) - 0.4 * ramp(30, 3)


def _jitter_boundaries(rng: np.random.Generator, sleep_stage_E: np.ndarray) -> np.ndarray:
    """State of every frame with sleep stage boundaries moved by up to 10 s, less between short bouts."""
    changes = np.flatnonzero(np.diff(sleep_stage_E)) + 1
    edges = np.concatenate([[0], changes, [sleep_stage_E.size]])
    bouts = np.diff(edges)
    reach = np.where(np.minimum(bouts[:-1], bouts[1:]) > 1, 5, 3)
    starts = changes * FRAMES_PER_EPOCH + np.rint(rng.uniform(-1, 1, changes.size) * reach).astype(int)
    num_frames = sleep_stage_E.size * FRAMES_PER_EPOCH + 1
    lengths = np.diff(np.concatenate([[0], starts, [num_frames]]))
    states = [_STATE_OF_STAGE[int(sleep_stage)] for sleep_stage in sleep_stage_E[edges[:-1]]]
    return np.repeat(states, lengths)


def _close_eyes(rng: np.random.Generator, state_F: np.ndarray) -> None:
    """Turn runs of wake with eyes open into eyes closed, more of them once the night has begun."""
    share = rng.uniform(0.2, 0.8)
    num_runs = state_F.size // 2
    closed = np.arange(num_runs) % 2 == 1
    lengths = 1 + rng.exponential(np.where(closed, 24 * share, 24 * (1 - share))).astype(int)
    closed_F = np.repeat(closed, lengths)[: state_F.size]
    state_F[(state_F == EYES_OPEN) & closed_F] = EYES_CLOSED
