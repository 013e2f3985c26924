"""Graphoelements of simulated sleep: spindles, K-complexes, slow waves, vertex and sawtooth waves.

Every kind is drawn for the whole night at once: onsets from a rate per frame, one row of samples
per event, all rows added to the signal. Rates, sizes and shapes are those of frontal EEG (Fpz-Cz)
in young adults; subjects differ by lognormal factors.

Shape letters: F frames, N samples of the night, n events, L samples of an event.
"""

import numpy as np

from data_prep.simulators.human.background import STATE_N1, STATE_N2, STATE_N3, STATE_REM, Timeline
from data_prep.simulators.synthesis import FS_HZ, HUMAN_GRID, add_waves, draw_onsets, draw_sizes, seconds


def add_sleep_events(
    rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, slow_wave_factor: float = 1.0
) -> None:
    """Add all graphoelements of sleep to a night, in place.

    Args:
        rng: Source of all randomness.
        signal_N: (N,) float32, microvolt.
        timeline: States of the night.
        slow_wave_factor: Scales the amplitude of slow waves (age; less where delta is calibrated).
    """
    _add_spindles(rng, signal_N, timeline)
    _add_k_complexes(rng, signal_N, timeline)
    _add_slow_waves(rng, signal_N, timeline, slow_wave_factor)
    _add_vertex_waves(rng, signal_N, timeline)
    _add_sawtooth_waves(rng, signal_N, timeline)


def _add_spindles(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> None:
    n2_F, n3_F = timeline.weights_FS[:, STATE_N2], timeline.weights_FS[:, STATE_N3]
    # Spindles cluster in an infraslow rhythm of 40 to 60 s.
    phase_F = 2 * np.pi * np.arange(n2_F.size) * HUMAN_GRID.hop_s / rng.uniform(40, 60)
    grouping_F = 1 + 0.8 * np.cos(phase_F + np.cumsum(rng.normal(0, 0.08, n2_F.size)))
    rate = 3.5 * rng.lognormal(0, 0.4)
    onsets = draw_onsets(rng, rate * grouping_F * (n2_F + 0.45 * n3_F))
    fast_hz, amplitude_uv = rng.normal(13.2, 0.5), 14 * rng.lognormal(0, 0.3)
    _add_spindle_waves(rng, signal_N, onsets, fast_hz, amplitude_uv)


def _add_spindle_waves(
    rng: np.random.Generator, signal_N: np.ndarray, onsets_n: np.ndarray, fast_hz: float, amplitude_uv: float
) -> None:
    num = onsets_n.size
    t = seconds(2.2)
    durations_s = np.clip(draw_sizes(rng, 0.85, 0.35, num), 0.5, 2.0)
    slow = rng.random((num, 1)) < 0.25  # frontal slow spindles
    freqs_hz = np.where(slow, fast_hz - 1.6, fast_hz) + rng.normal(0, 0.35, (num, 1))
    phase = 2 * np.pi * (freqs_hz * t - 0.25 * t**2 + rng.random((num, 1)))  # slows by 0.5 Hz a second
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1)) ** 1.5
    add_waves(signal_N, onsets_n, draw_sizes(rng, amplitude_uv, 0.3, num) * envelope * np.sin(phase))


def _add_k_complexes(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> None:
    weights_FS = timeline.weights_FS
    rate = 1.5 * rng.lognormal(0, 0.4)
    onsets = draw_onsets(rng, rate * (weights_FS[:, STATE_N2] + 0.3 * weights_FS[:, STATE_N3]))
    num = onsets.size
    t = seconds(2.0)
    trough_s = rng.uniform(0.25, 0.4, (num, 1))
    peak_s = trough_s + rng.uniform(0.35, 0.55, (num, 1))
    trough = np.exp(-0.5 * ((t - trough_s) / rng.uniform(0.07, 0.12, (num, 1))) ** 2)
    peak = np.exp(-0.5 * ((t - peak_s) / rng.uniform(0.14, 0.22, (num, 1))) ** 2)
    sizes_uv = draw_sizes(rng, 76 * rng.lognormal(0, 0.25), 0.3, num)
    add_waves(signal_N, onsets, sizes_uv * (rng.uniform(0.4, 0.9, (num, 1)) * peak - trough))
    with_spindle = onsets[rng.random(num) < 0.5] + 70
    _add_spindle_waves(rng, signal_N, with_spindle, rng.normal(13.2, 0.5), 14 * rng.lognormal(0, 0.3))


def _add_slow_waves(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, factor: float) -> None:
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
    add_waves(signal_N, onsets, sizes_uv * (rng.uniform(0.5, 1.0, (num, 1)) * up - down))


def _add_vertex_waves(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> None:
    weights_FS = timeline.weights_FS
    rate = 2.0 * rng.lognormal(0, 0.5)
    onsets = draw_onsets(rng, rate * (weights_FS[:, STATE_N1] + 0.15 * weights_FS[:, STATE_N2]))
    t = seconds(0.8)
    width_s = rng.uniform(0.035, 0.06, (onsets.size, 1))
    sharp = np.exp(-0.5 * ((t - 0.2) / width_s) ** 2)
    after = np.exp(-0.5 * ((t - 0.38) / (2 * width_s)) ** 2)
    sizes_uv = rng.uniform(25, 70, (onsets.size, 1))
    add_waves(signal_N, onsets, sizes_uv * (rng.uniform(0.2, 0.5, (onsets.size, 1)) * after - sharp))


def _add_sawtooth_waves(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> None:
    onsets = draw_onsets(rng, 0.7 * rng.lognormal(0, 0.5) * timeline.weights_FS[:, STATE_REM])
    num = onsets.size
    t = seconds(6.0)
    durations_s = rng.uniform(2, 6, (num, 1))
    cycles = rng.uniform(2, 3.4, (num, 1)) * t + rng.random((num, 1))
    # Four harmonics of a sawtooth: steep, but within the band of the recording.
    wave = sum(np.sin(2 * np.pi * order * cycles) / order for order in range(1, 5)) * 0.55
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1)) ** 0.7
    add_waves(signal_N, onsets, rng.uniform(7, 18, (num, 1)) * envelope * wave)
