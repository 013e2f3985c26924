"""Body of a simulated rodent: neck muscle, accelerometer, and movement artefacts in the EEG.

Muscle tone is high with bursts in wake, low in NREM, and lowest in REM, with brief twitches; it falls over some
seconds at sleep onset. The accelerometer measures the magnitude of the acceleration, including gravity.

Shape letters: F frames (one per second and one more), N samples, n events, L samples of an event.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from data_prep.simulators.rodent.brain import STATE_NREM, STATE_REM, Frames
from data_prep.simulators.synthesis import (
    FrameGrid,
    add_many_waves,
    draw_coloured,
    draw_mixed_noise,
    draw_onsets,
    draw_sizes,
    draw_wander,
    ramp,
    seconds,
)

_TONE_FALL_S = 6.0  # time constant of the fall of muscle tone
_GRAVITY_G, _SENSOR_NOISE_G = 1.0, 0.003


@dataclass(frozen=True)
class BodyTraits:
    """Parameters of one animal's muscle and electrodes."""

    wake_uv: float = 45.0  # RMS of the EMG while sitting
    nrem_uv: float = 11.0
    rem_share: float = 0.7  # share of the tone in NREM
    floor_uv: float = 2.0  # amplifier noise
    leak: float = 0.04  # share of the EMG in the EEG
    artefact_uv: float = 150.0


def draw_emg(rng: np.random.Generator, frames: Frames, traits: BodyTraits, grid: FrameGrid) -> np.ndarray:
    """Neck EMG, (N,) float32, microvolt."""
    num_frames = len(frames.movement_F)
    nrem_F, rem_F = frames.weights_FS[:, STATE_NREM], frames.weights_FS[:, STATE_REM]
    wake_F = 1 - nrem_F - rem_F
    slow_F, fast_F = draw_wander(rng, num_frames, 1, 40, grid)[:, 0], draw_wander(rng, num_frames, 1, 2, grid)[:, 0]
    posture_F = np.exp(0.2 * slow_F)
    awake_uv = traits.wake_uv * posture_F * (0.55 + 1.5 * frames.movement_F) * np.exp(0.35 * fast_F)
    asleep_uv = traits.nrem_uv * posture_F * (nrem_F + traits.rem_share * rem_F) / np.maximum(nrem_F + rem_F, 1e-3)
    tone_F = _fall_slowly(wake_F * awake_uv + (1 - wake_F) * asleep_uv, rem_F, grid)
    signal_N = draw_mixed_noise(rng, np.ones((num_frames, 1)), _muscle_spectrum(grid)[None], grid)
    signal_N *= interpolate(tone_F, grid)
    _add_bursts(rng, signal_N, 5 * wake_F, 1.5 * traits.wake_uv, (0.3, 3.0), grid)
    _add_bursts(rng, signal_N, 0.3 * nrem_F, 2.5 * traits.nrem_uv, (0.2, 1.0), grid)
    phasic_F = draw_wander(rng, num_frames, 1, 8, grid)[:, 0] > 0.5
    _add_bursts(rng, signal_N, rem_F * (1.5 + 14 * phasic_F), 2.5 * traits.nrem_uv, (0.06, 0.3), grid)
    signal_N += rng.standard_normal(signal_N.size, dtype=np.float32) * np.float32(traits.floor_uv)
    return signal_N


def draw_acceleration(rng: np.random.Generator, frames: Frames, grid: FrameGrid) -> np.ndarray:
    """Magnitude of the acceleration, (N,) float32, g."""
    num_frames = len(frames.movement_F)
    freqs_hz = np.maximum(grid.freqs_hz, 0.1)
    movement = -np.log1p((freqs_hz / 6) ** 4) + np.log(freqs_hz**2 / (freqs_hz**2 + 0.8**2))
    breathing = -0.5 * ((freqs_hz - rng.normal(2.8, 0.3)) / 0.4) ** 2
    asleep_F = frames.weights_FS[:, STATE_NREM] + frames.weights_FS[:, STATE_REM]
    moving_g = 0.12 * frames.movement_F**1.5 * np.exp(0.5 * draw_wander(rng, num_frames, 1, 2, grid)[:, 0])
    signal_N = draw_mixed_noise(rng, np.ones((num_frames, 1)), _unit_variance(movement, grid)[None], grid)
    signal_N *= interpolate(moving_g + 0.002, grid)
    breath_N = draw_mixed_noise(rng, np.ones((num_frames, 1)), _unit_variance(breathing, grid)[None], grid)
    signal_N += breath_N * interpolate(0.006 * asleep_F, grid)
    posture_g = 0.02 * draw_wander(rng, num_frames, 1, 120, grid)[:, 0]
    signal_N += interpolate(_GRAVITY_G + posture_g * (1 - asleep_F), grid)
    signal_N += rng.standard_normal(signal_N.size, dtype=np.float32) * np.float32(_SENSOR_NOISE_G)
    return signal_N


def disturb_eeg(
    rng: np.random.Generator,
    eeg_N: np.ndarray,
    emg_N: np.ndarray,
    frames: Frames,
    traits: BodyTraits,
    grid: FrameGrid,
) -> None:
    """Add muscle and cable movement to an EEG, in place."""
    eeg_N += emg_N * np.float32(traits.leak)
    onsets = draw_onsets(rng, 2.5 * frames.movement_F**2, grid)
    t = seconds(4.0, grid)
    durations_s = rng.uniform(0.5, 4, (onsets.size, 1))
    sizes_uv = draw_sizes(rng, traits.artefact_uv, 0.5, onsets.size)

    def build(some: slice) -> np.ndarray:
        num = len(onsets[some])
        sway = draw_coloured(rng, num, t.size, lambda f: np.where(f > 0.4, 1 / (f + 0.5) ** 1.4, 0), grid)
        return sizes_uv[some] * 0.5 * np.sin(np.pi * np.clip(t / durations_s[some], 0, 1)) ** 0.7 * sway

    add_many_waves(eeg_N, onsets, t.size, build)


def interpolate(values_F: np.ndarray, grid: FrameGrid) -> np.ndarray:
    """Linear interpolation between the values of neighbouring frames, (N,) float32."""
    ramp_L = (np.arange(grid.hop_samples, dtype=np.float32) / np.float32(grid.hop_samples))[None]
    values = values_F.astype(np.float32)[:, None]
    return (values[:-1] + (values[1:] - values[:-1]) * ramp_L).reshape(-1)


def _add_bursts(
    rng: np.random.Generator,
    signal_N: np.ndarray,
    rate_F: np.ndarray,
    size_uv: float,
    durations_s: tuple[float, float],
    grid: FrameGrid,
) -> None:
    onsets = draw_onsets(rng, rate_F, grid)
    t = seconds(durations_s[1], grid)
    lengths_s = rng.uniform(*durations_s, (onsets.size, 1))
    sizes_uv = draw_sizes(rng, size_uv, 0.5, onsets.size)

    def build(some: slice) -> np.ndarray:
        noise = rng.standard_normal((len(onsets[some]), t.size), dtype=np.float32)
        return sizes_uv[some] * np.sqrt(np.sin(np.pi * np.clip(t / lengths_s[some], 0, 1))) * noise

    add_many_waves(signal_N, onsets, t.size, build)


def _fall_slowly(tone_F: np.ndarray, rem_F: np.ndarray, grid: FrameGrid) -> np.ndarray:
    """Tone that rises at once and decays with its time constant; in REM it falls at once."""
    keep = np.exp(-grid.hop_s / _TONE_FALL_S)
    trail_F = scipy.signal.lfilter([1 - keep], [1, -keep], tone_F)
    return np.where(rem_F > 0.5, tone_F, np.maximum(tone_F, trail_F * (tone_F < trail_F)))


def _muscle_spectrum(grid: FrameGrid) -> np.ndarray:
    freqs_hz = np.maximum(grid.freqs_hz, 0.1)
    shape = 2 * np.log(ramp(25, 6, grid) + 0.01) - np.log1p((freqs_hz / 160) ** 2)
    shape -= np.log1p((freqs_hz / (0.43 * grid.fs_hz)) ** 16)
    return _unit_variance(shape, grid)


def _unit_variance(log_psd_B: np.ndarray, grid: FrameGrid) -> np.ndarray:
    power = np.exp(log_psd_B).sum() * (grid.freqs_hz[1] - grid.freqs_hz[0])
    return log_psd_B - np.log(power)
