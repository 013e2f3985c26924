"""Background EEG of a simulated night: the state of the brain every two seconds, and its spectrum.

Sleep stages are per epoch, but states change inside epochs: N1 alternates with alpha, arousals interrupt sleep and
lapses interrupt wake. `draw_timeline` draws the states, and `draw_background` noise with a 1/f spectrum, the rhythms
of each state and slow random changes.

Shape letters: E epochs, F frames, S states of the brain, K spectral components, B frequency bins.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.synthesis import (
    FRAMES_PER_EPOCH,
    FREQS_HZ,
    add_intrusions,
    build_hat_basis,
    bump,
    combine,
    draw_noise,
    draw_wander,
    jitter_boundaries,
    ramp,
    smooth_rows,
    soften_weights,
)

EYES_OPEN, EYES_CLOSED, STATE_N1, STATE_N2, STATE_N3, STATE_REM = range(6)
_STATE_OF_STAGE = np.array([EYES_OPEN, STATE_N1, STATE_N2, STATE_N3, STATE_REM])  # by code of the hypnogram

# ln S = c - a ln(f + k) of each state, f in Hz, S in microvolt^2 / Hz.
_SPECTRA = ((4.1, 1.55, 0.5), (3.4, 1.4, 0.5), (3.05, 1.45, 0.5), (5.0, 2.0, 1.1), (6.3, 2.4, 1.2), (3.4, 1.55, 0.5))
_HIGH_PASS_HZ = 0.22
_KNOTS_HZ = np.geomspace(0.5, 40, 6)
_NEIGHBOURS = ((75, 0.2), (300, 0.3))  # frames on either side, weight
_SUBJECT_SD = 0.4  # ln power between subjects at each knot, the same in all states
_SLOW_SD, _FAST_SD = 0.3, 0.35  # ln power at each knot that varies over a minute and over 5 s

# Moments of another state, see `Intrusion`.
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
    """States that fit a hypnogram: moved boundaries, eyes open or closed in wake, short intrusions."""
    # Boundaries move by up to 10 s, by less beside bouts of one epoch.
    states_E = _STATE_OF_STAGE[sleep_stage_E]
    state_F = jitter_boundaries(rng, states_E, lambda bouts: np.where(bouts > 1, 5, 3), FRAMES_PER_EPOCH)
    _close_eyes(rng, state_F)
    state_F = add_intrusions(rng, state_F, _INTRUSIONS)
    weights_FS = soften_weights(np.eye(len(_SPECTRA), dtype=np.float32)[state_F], 0.25)
    wander_F = draw_wander(rng, state_F.size, 1, 150)[:, 0] + 0.5 * draw_wander(rng, state_F.size, 1, 15)[:, 0]
    depth_F = 0.2 + 0.75 / (1 + np.exp(-1.4 * wander_F - rng.normal(0, 0.6)))
    return Timeline(sleep_stage_E, weights_FS, depth_F.astype(np.float32))


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
    """Change of the weights that moves each frame's background towards that of the minutes around it.

    N2 beside N3 is slower than N2 before REM; the mean change of each state is zero.
    """
    pull = sum(weight * (smooth_rows(weights_FS, reach) - weights_FS) for reach, weight in _NEIGHBOURS)
    state_means = np.einsum("fs,ft->st", weights_FS, pull) / np.maximum(weights_FS.sum(axis=0), 1)[:, None]
    return pull - combine(weights_FS, state_means)


def _draw_state_spectra(rng: np.random.Generator) -> np.ndarray:
    slope = rng.normal(0, 0.1)
    return np.stack([c - (a + slope) * np.log(FREQS_HZ + k) for c, a, k in _SPECTRA])


def _draw_recording_gain(rng: np.random.Generator) -> np.ndarray:
    """Gain of skull and amplifier, the same in all states; ln power at every frequency bin."""
    high_pass_hz = _HIGH_PASS_HZ * rng.lognormal(0, 0.25)
    gain = np.log(np.maximum(FREQS_HZ, 0.1) ** 2 / (FREQS_HZ**2 + high_pass_hz**2))
    gain += rng.normal(0, _SUBJECT_SD, len(_KNOTS_HZ)) @ build_hat_basis(_KNOTS_HZ)
    return gain - 0.35 * ramp(16, 3) - 0.4 * ramp(30, 3)


def _close_eyes(rng: np.random.Generator, state_F: np.ndarray) -> None:
    """Turn some runs of wake with eyes open into eyes closed, in place."""
    share = rng.uniform(0.2, 0.8)
    num_runs = state_F.size // 2
    closed = np.arange(num_runs) % 2 == 1
    lengths = 1 + rng.exponential(np.where(closed, 24 * share, 24 * (1 - share))).astype(int)
    closed_F = np.repeat(closed, lengths)[: state_F.size]
    state_F[(state_F == EYES_OPEN) & closed_F] = EYES_CLOSED
