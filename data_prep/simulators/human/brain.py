"""EEG of a simulated night: the state of the brain every two seconds, its spectrum, and its graphoelements.

Sleep stages are per epoch, but states change inside epochs: N1 alternates with alpha, arousals interrupt sleep and
lapses interrupt wake. `draw_timeline` draws the states, and `draw_background` noise with a 1/f spectrum, the rhythms
of each state and slow random changes.

`add_sleep_events` adds spindles, K-complexes, slow waves, vertex and sawtooth waves. Each kind is drawn for the whole
night at once. Rates, sizes and shapes are those of frontal EEG (Fpz-Cz) in young adults; subjects differ by lognormal
factors, by age and health (`sleepers`), and other derivations see them through the `scalp`.

Shape letters: E epochs, F frames, S states of the brain, K spectral components, B frequency bins, N samples of the
night, n events, L samples of an event.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.human.calibration import FEATURE_OF_KNOT, KNOTS_HZ
from data_prep.simulators.human.scalp import Scalp
from data_prep.simulators.human.sleepers import EYES_CLOSED, EYES_OPEN, STATE_N1, STATE_N2, STATE_N3, STATE_REM, Sleeper
from data_prep.simulators.synthesis import (
    FRAMES_PER_EPOCH,
    FREQS_HZ,
    FS_HZ,
    HUMAN_GRID,
    add_intrusions,
    add_waves,
    build_hat_basis,
    bump,
    combine,
    draw_noise,
    draw_onsets,
    draw_sizes,
    draw_wander,
    jitter_boundaries,
    ramp,
    seconds,
    smooth_rows,
    soften_weights,
)

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


def draw_timeline(rng: np.random.Generator, sleep_stage_E: np.ndarray, sleeper: Sleeper) -> Timeline:
    """States that fit a hypnogram: moved boundaries, eyes open or closed in wake, short intrusions."""
    # Boundaries move by up to 10 s, by less beside bouts of one epoch.
    states_E = _STATE_OF_STAGE[sleep_stage_E]
    state_F = jitter_boundaries(rng, states_E, lambda bouts: np.where(bouts > 1, 5, 3), FRAMES_PER_EPOCH)
    _close_eyes(rng, state_F)
    state_F = sleeper.arouse(rng, add_intrusions(rng, state_F, _INTRUSIONS))
    weights_FS = soften_weights(np.eye(len(_SPECTRA), dtype=np.float32)[state_F], 0.25)
    wander_F = draw_wander(rng, state_F.size, 1, 150)[:, 0] + 0.5 * draw_wander(rng, state_F.size, 1, 15)[:, 0]
    depth_F = 0.2 + 0.75 / (1 + np.exp(-1.4 * wander_F - rng.normal(0, 0.6)))
    return Timeline(sleep_stage_E, weights_FS, depth_F.astype(np.float32))


def draw_background(rng: np.random.Generator, timeline: Timeline, sleeper: Sleeper, scalp: Scalp) -> np.ndarray:
    """Gaussian background with the spectrum of each frame's states, (num_samples,) float32, microvolt."""
    weights_FS = timeline.weights_FS
    num_frames = weights_FS.shape[0]
    alpha_hz, theta_hz, sigma_hz = (
        rng.normal(9.6, 0.8) + sleeper.alpha_shift_hz,
        rng.normal(6, 0.6),
        rng.normal(13.2, 0.5),
    )
    alpha, theta, sigma = rng.normal(1.3, 0.7), rng.normal(0.5, 0.2), rng.normal(0.35, 0.2)
    emg = max(0.0, rng.normal(0.9, 0.6))
    n1_F, n2_F, n3_F, rem_F = (weights_FS[:, state] for state in (STATE_N1, STATE_N2, STATE_N3, STATE_REM))
    wake_F = weights_FS[:, EYES_OPEN] + weights_FS[:, EYES_CLOSED]
    slow_F, fast_F = draw_wander(rng, num_frames, 2, 40).T
    shift_SB = (scalp.state_shifts + sleeper.state_shifts)[:, FEATURE_OF_KNOT] @ build_hat_basis(KNOTS_HZ)
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
            _draw_state_spectra(rng) + shift_SB,
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


def add_sleep_events(
    rng: np.random.Generator,
    signal_N: np.ndarray,
    timeline: Timeline,
    sleeper: Sleeper,
    scalp: Scalp,
    slow_wave_factor: float = 1.0,
) -> None:
    """Add all graphoelements of sleep to a night, in place.

    Args:
        rng: Source of all randomness.
        signal_N: (N,) float32, microvolt.
        timeline: States of the brain.
        sleeper: Age and health.
        scalp: Derivation.
        slow_wave_factor: Scales the amplitude of slow waves; smaller if delta is calibrated.
    """
    _add_spindles(rng, signal_N, timeline, sleeper, scalp)
    _add_k_complexes(rng, signal_N, timeline, sleeper, scalp)
    _add_slow_waves(rng, signal_N, timeline, slow_wave_factor * sleeper.slow_wave_factor, scalp)
    _add_vertex_waves(rng, signal_N, timeline, scalp)
    _add_sawtooth_waves(rng, signal_N, timeline, scalp)


def _add_spindles(
    rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, sleeper: Sleeper, scalp: Scalp
) -> None:
    n2_F, n3_F = timeline.weights_FS[:, STATE_N2], timeline.weights_FS[:, STATE_N3]
    # Spindles occur in clusters, 40 to 60 s apart.
    phase_F = 2 * np.pi * np.arange(n2_F.size) * HUMAN_GRID.hop_s / rng.uniform(40, 60)
    grouping_F = 1 + 0.8 * np.cos(phase_F + np.cumsum(rng.normal(0, 0.08, n2_F.size)))
    rate = 3.5 * sleeper.spindle_rate_factor * rng.lognormal(0, 0.4)
    onsets = draw_onsets(rng, rate * grouping_F * (n2_F + 0.45 * n3_F))
    fast_hz = rng.normal(13.2, 0.5) + sleeper.spindle_shift_hz + scalp.spindle_shift_hz
    amplitude_uv = 14 * rng.lognormal(0, 0.3)
    _add_spindle_waves(rng, signal_N, onsets, fast_hz, sleeper.spindle_factor * amplitude_uv, scalp)


def _add_spindle_waves(
    rng: np.random.Generator,
    signal_N: np.ndarray,
    onsets_n: np.ndarray,
    fast_hz: float,
    amplitude_uv: float,
    scalp: Scalp,
) -> None:
    num = onsets_n.size
    t = seconds(2.2)
    durations_s = np.clip(draw_sizes(rng, 0.85, 0.35, num), 0.5, 2.0)
    slow = rng.random((num, 1)) < 0.25  # frontal slow spindles
    freqs_hz = np.where(slow, fast_hz - 1.6, fast_hz) + rng.normal(0, 0.35, (num, 1))
    phase = 2 * np.pi * (freqs_hz * t - 0.25 * t**2 + rng.random((num, 1)))  # slows by 0.5 Hz a second
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1)) ** 1.5
    gains = np.where(slow, scalp.draw_gains("spindle_slow", num), scalp.draw_gains("spindle_fast", num))
    add_waves(signal_N, onsets_n, gains * (draw_sizes(rng, amplitude_uv, 0.3, num) * envelope * np.sin(phase)))


def _add_k_complexes(
    rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, sleeper: Sleeper, scalp: Scalp
) -> None:
    weights_FS = timeline.weights_FS
    rate = 1.5 * sleeper.k_complex_factor * rng.lognormal(0, 0.4)
    onsets = draw_onsets(rng, rate * (weights_FS[:, STATE_N2] + 0.3 * weights_FS[:, STATE_N3]))
    num = onsets.size
    t = seconds(2.0)
    trough_s = rng.uniform(0.25, 0.4, (num, 1))
    peak_s = trough_s + rng.uniform(0.35, 0.55, (num, 1))
    trough = np.exp(-0.5 * ((t - trough_s) / rng.uniform(0.07, 0.12, (num, 1))) ** 2)
    peak = np.exp(-0.5 * ((t - peak_s) / rng.uniform(0.14, 0.22, (num, 1))) ** 2)
    sizes_uv = draw_sizes(rng, 76 * rng.lognormal(0, 0.25), 0.3, num)
    waves = sizes_uv * (rng.uniform(0.4, 0.9, (num, 1)) * peak - trough)
    add_waves(signal_N, onsets, scalp.draw_gains("k_complex", num) * waves)
    with_spindle = onsets[rng.random(num) < 0.5] + 70
    fast_hz = rng.normal(13.2, 0.5) + sleeper.spindle_shift_hz + scalp.spindle_shift_hz
    amplitude_uv = 14 * rng.lognormal(0, 0.3)
    _add_spindle_waves(rng, signal_N, with_spindle, fast_hz, sleeper.spindle_factor * amplitude_uv, scalp)


def _add_slow_waves(
    rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, factor: float, scalp: Scalp
) -> None:
    weights_FS = timeline.weights_FS
    durations_s = np.clip(rng.lognormal(np.log(0.92), 0.18, round(signal_N.size / FS_HZ)), 0.5, 1.8)
    onsets = np.rint(np.cumsum(durations_s) * FS_HZ).astype(int)
    frames = np.minimum(onsets // HUMAN_GRID.hop_samples, weights_FS.shape[0] - 1)
    coverage = weights_FS[frames, STATE_N3] * timeline.depth_F[frames] + 0.05 * weights_FS[frames, STATE_N2]
    kept = (rng.random(onsets.size) < coverage) & (onsets < signal_N.size)
    onsets, durations_s = onsets[kept], durations_s[kept, None]
    num = onsets.size
    t = seconds(1.8)
    trough_s = durations_s * np.clip(rng.normal(0.455, 0.05, (num, 1)), 0.3, 0.6)  # .42 of .92 s
    skew = rng.uniform(0.75, 1.25, (num, 1))
    down = np.sin(np.pi * np.clip(t / trough_s, 0, 1) ** skew)
    up = np.sin(np.pi * np.clip((t - trough_s) / (durations_s - trough_s), 0, 1))
    sizes_uv = draw_sizes(rng, 57 * factor * rng.lognormal(0, 0.3), 0.35, num)
    waves = sizes_uv * (rng.uniform(0.5, 1.0, (num, 1)) * up - down)
    add_waves(signal_N, onsets, scalp.draw_gains("slow", num) * waves)


def _add_vertex_waves(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, scalp: Scalp) -> None:
    weights_FS = timeline.weights_FS
    rate = 2.0 * rng.lognormal(0, 0.5)
    onsets = draw_onsets(rng, rate * (weights_FS[:, STATE_N1] + 0.15 * weights_FS[:, STATE_N2]))
    t = seconds(0.8)
    width_s = rng.uniform(0.035, 0.06, (onsets.size, 1))
    sharp = np.exp(-0.5 * ((t - 0.2) / width_s) ** 2)
    after = np.exp(-0.5 * ((t - 0.38) / (2 * width_s)) ** 2)
    sizes_uv = rng.uniform(25, 70, (onsets.size, 1))
    waves = sizes_uv * (rng.uniform(0.2, 0.5, (onsets.size, 1)) * after - sharp)
    add_waves(signal_N, onsets, scalp.draw_gains("vertex", onsets.size) * waves)


def _add_sawtooth_waves(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, scalp: Scalp) -> None:
    onsets = draw_onsets(rng, 0.7 * rng.lognormal(0, 0.5) * timeline.weights_FS[:, STATE_REM])
    num = onsets.size
    t = seconds(6.0)
    durations_s = rng.uniform(2, 6, (num, 1))
    cycles = rng.uniform(2, 3.4, (num, 1)) * t + rng.random((num, 1))
    # Four harmonics of a sawtooth: steep, but within the band of the recording.
    wave = sum(np.sin(2 * np.pi * order * cycles) / order for order in range(1, 5)) * 0.55
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1)) ** 0.7
    waves = rng.uniform(7, 18, (num, 1)) * envelope * wave
    add_waves(signal_N, onsets, scalp.draw_gains("sawtooth", num) * waves)
