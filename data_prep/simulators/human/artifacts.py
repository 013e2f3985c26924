"""What a frontal electrode picks up beside the brain: eye movements, blinks, muscle and movement.

These tell wake and REM from their neighbours as much as rhythms do, so every state has its own:
blinks and saccades with eyes open, slow rolling eyes at sleep onset, bursts of saccades in REM. The
borders are not clean: eyes roll slowly in REM too (Pizza et al. 2011) and the drowsy still look about,
each subject more or less, so that neither movement alone gives a sleep stage away.

Shape letters: F frames, N samples of the night, n events, L samples of an event.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.human.background import EYES_CLOSED, EYES_OPEN, STATE_N1, STATE_REM, Timeline
from data_prep.simulators.synthesis import add_waves, draw_coloured, draw_onsets, draw_sizes, draw_wander, seconds


@dataclass(frozen=True)
class Waves:
    """Events of one kind as the EEG shows them."""

    onsets_n: np.ndarray  # (n,) samples
    waves_nL: np.ndarray  # (n, L) microvolt


@dataclass(frozen=True)
class Artifacts:
    """What was added to the EEG, for other channels that see the same events."""

    blinks: Waves
    wake_saccades: Waves
    rem_saccades: Waves
    slow_eye_movements: Waves
    muscle: Waves
    movements: Waves


def add_artifacts(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> Artifacts:
    """Add eye movements, blinks, muscle bursts and movements to a night (microvolt), in place."""
    weights_FS = timeline.weights_FS
    open_F, closed_F = weights_FS[:, EYES_OPEN], weights_FS[:, EYES_CLOSED]
    wake_F = open_F + closed_F
    blinks = _draw_blinks(rng, open_F)
    looking_F = 18 * rng.lognormal(0, 0.4) * open_F + rng.uniform(0, 6) * weights_FS[:, STATE_N1]
    wake_saccades = _draw_saccades(rng, looking_F, 26 * rng.lognormal(0, 0.3))
    phasic_F = draw_wander(rng, open_F.size, 1, 12)[:, 0] > rng.normal(0.6, 0.3)
    rem_rate_F = 14 * rng.lognormal(0, 0.4) * (phasic_F + 0.05) * weights_FS[:, STATE_REM]
    rem_saccades = _draw_saccades(rng, rem_rate_F, 22 * rng.lognormal(0, 0.3))
    rolling_rate = 2.5 * rng.lognormal(0, 0.4)
    rem_share = rng.uniform(0, 0.8)
    rolling_F = rolling_rate * (weights_FS[:, STATE_N1] + 0.5 * closed_F + rem_share * weights_FS[:, STATE_REM])
    slow_eye_movements = _draw_slow_eye_movements(rng, rolling_F)
    muscle = _draw_muscle(rng, rng.lognormal(0, 0.5) * (wake_F + 0.06 * (1 - wake_F)))
    moving_onsets = draw_onsets(rng, 0.25 * rng.lognormal(0, 0.5) * (wake_F + 0.05 * (1 - wake_F)))
    movements = draw_movements(rng, moving_onsets)
    artifacts = Artifacts(blinks, wake_saccades, rem_saccades, slow_eye_movements, muscle, movements)
    for waves in (blinks, wake_saccades, rem_saccades, slow_eye_movements, muscle, movements):
        add_waves(signal_N, waves.onsets_n, waves.waves_nL)
    return artifacts


def _draw_blinks(rng: np.random.Generator, open_F: np.ndarray) -> Waves:
    onsets = draw_onsets(rng, 14 * rng.lognormal(0, 0.4) * open_F)
    num = onsets.size
    t = seconds(1.2)
    width_s = rng.uniform(0.05, 0.09, (num, 1))
    lid = np.exp(-0.5 * ((t - 0.3) / width_s) ** 2)
    rebound = np.exp(-0.5 * ((t - 0.62) / 0.14) ** 2)
    sizes_uv = rng.uniform(40, 140, (num, 1)) * rng.lognormal(-0.1, 0.3)
    return Waves(onsets, sizes_uv * (lid - rng.uniform(0.1, 0.3, (num, 1)) * rebound))


def _draw_saccades(rng: np.random.Generator, rate_F: np.ndarray, size_uv: float) -> Waves:
    """Steps of the corneoretinal potential that the amplifier's high-pass lets decay."""
    onsets = draw_onsets(rng, rate_F)
    num = onsets.size
    t = seconds(2.5)
    rise = 1 / (1 + np.exp(-(t - 0.15) / 0.018))
    hold_s = rng.uniform(0.3, 1.2, (num, 1))
    decay = np.exp(-np.maximum(t - 0.2, 0) / rng.uniform(0.35, 0.8, (num, 1)))
    back = 1 / (1 + np.exp((t - 0.2 - hold_s) / 0.05))
    taper = np.clip((2.5 - t) / 0.5, 0, 1)
    signs = rng.choice([-1.0, 1.0], (num, 1))
    return Waves(onsets, signs * draw_sizes(rng, size_uv, 0.4, num) * rise * decay * back * taper)


def _draw_slow_eye_movements(rng: np.random.Generator, rate_F: np.ndarray) -> Waves:
    onsets = draw_onsets(rng, rate_F)
    num = onsets.size
    t = seconds(6.0)
    durations_s = rng.uniform(2, 6, (num, 1))
    cycles = rng.uniform(0.25, 0.6, (num, 1)) * t
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1))
    roll = np.sin(2 * np.pi * (cycles + rng.random((num, 1))))
    return Waves(onsets, rng.uniform(12, 45, (num, 1)) * envelope * roll)


def _draw_muscle(rng: np.random.Generator, rate_F: np.ndarray) -> Waves:
    onsets = draw_onsets(rng, rate_F)
    t = seconds(5.0)
    noise = draw_coloured(rng, onsets.size, t.shape[1], lambda f: np.clip((f - 12) / 15, 0, 1))
    envelope = np.sin(np.pi * np.clip(t / rng.uniform(0.8, 5, (onsets.size, 1)), 0, 1)) ** 0.5
    return Waves(onsets, draw_sizes(rng, 9, 0.5, onsets.size) * envelope * noise)


def draw_movements(rng: np.random.Generator, onsets_n: np.ndarray) -> Waves:
    """Movements of the body of 2 to 10 s: swaying electrodes and muscle."""
    num = onsets_n.size
    t = seconds(10.0)
    sway = draw_coloured(rng, num, t.shape[1], lambda f: np.where(f > 0, 1 / (f + 0.3) ** 1.3, 0))
    muscle = draw_coloured(rng, num, t.shape[1], lambda f: np.clip((f - 12) / 15, 0, 1))
    envelope = np.sin(np.pi * np.clip(t / rng.uniform(2, 10, (num, 1)), 0, 1)) ** 0.7
    mix = 0.5 * sway + rng.uniform(0.03, 0.15, (num, 1)) * muscle
    return Waves(onsets_n, rng.uniform(60, 250, (num, 1)) * envelope * mix)
