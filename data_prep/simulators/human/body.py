"""Eyes, muscle and movement of a simulated sleeper: what they add to the EEG, and the channels EOG and EMG.

Wake and REM differ from other stages by these as much as by rhythms: blinks and saccades with eyes open, slow eye
movements at sleep onset, bursts of saccades in REM. The stages overlap, as in real nights: eyes also move slowly in
REM (Pizza et al. 2011) and quickly in drowsiness, differently in each subject, so that no movement alone identifies a
sleep stage.

EOG and EMG show the same events at the same moments. The levels follow the AASM manual of 2007: chin tone is high in
wake, lower in sleep, and lowest in REM, with short twitches. The microvolts are chosen, not fitted, because there was
no labelled EOG or EMG. Each night draws how much EEG and drift its EOG contains, and how closely its chin tone
follows the sleep stage, so that a scorer cannot rely on either channel alone.

Shape letters: F frames, S states of the brain, N samples of the night, n events, L samples of an event.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.simulators.human.brain import EYES_CLOSED, EYES_OPEN, STATE_N1, STATE_REM, Timeline
from data_prep.simulators.human.scalp import Scalp
from data_prep.simulators.human.sleepers import Sleeper
from data_prep.simulators.synthesis import (
    FREQS_HZ,
    HUMAN_GRID,
    add_waves,
    draw_coloured,
    draw_noise,
    draw_onsets,
    draw_sizes,
    draw_wander,
    seconds,
)

EOG_CHANNEL = "EOG horizontal"
EMG_CHANNEL = "EMG submental"
_CLIP_UV = 500.0
_EEG_IN_EOG = 0.3  # median share of the frontal EEG; slow waves show beside the eyes too
_DRIFT_UV = 6.0  # sweat and skin potentials below 1 Hz, median
_EOG_NOISE_UV = 2.0  # noise of amplifier and skin, median
_EYE_GAIN = 3.5  # median ratio of an eye movement beside the eyes to its trace at Fpz
# Chin EMG in microvolt RMS: eyes open, eyes closed, N1, N2, N3, REM.
_TONE_UV = (14.0, 10.0, 6.0, 4.0, 3.5, 1.2)
_TYPICAL_TONE_UV = 4.0  # common level in a chin that does not follow the sleep stages
_AMPLIFIER_UV = 0.5  # noise floor of the EMG


@dataclass(frozen=True)
class Waves:
    """Events of one kind in the EEG."""

    onsets_n: np.ndarray  # (n,) samples
    waves_nL: np.ndarray  # (n, L) microvolt


@dataclass(frozen=True)
class Artifacts:
    """What was added to the EEG, for the other channels."""

    blinks: Waves
    wake_saccades: Waves
    rem_saccades: Waves
    slow_eye_movements: Waves
    muscle: Waves
    movements: Waves


def add_artifacts(
    rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline, sleeper: Sleeper, scalp: Scalp
) -> Artifacts:
    """Add eye movements, blinks, muscle bursts and movements to a night (microvolt), in place.

    Returns:
        The waves as they are at Fpz-Cz, whatever the derivation.
    """
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
    muscle = _draw_muscle(rng, rng.lognormal(0, 0.5) * (wake_F + 0.06 * sleeper.movement_factor * (1 - wake_F)))
    moving_onsets = draw_onsets(
        rng, 0.25 * rng.lognormal(0, 0.5) * (wake_F + 0.05 * sleeper.movement_factor * (1 - wake_F))
    )
    movements = draw_movements(rng, moving_onsets)
    artifacts = Artifacts(blinks, wake_saccades, rem_saccades, slow_eye_movements, muscle, movements)
    for component, waves in (
        ("blink", blinks),
        ("saccade", wake_saccades),
        ("saccade", rem_saccades),
        ("saccade", slow_eye_movements),
        ("muscle", muscle),
        ("movement", movements),
    ):
        add_waves(signal_N, waves.onsets_n, scalp.draw_gains(component, waves.onsets_n.size) * waves.waves_nL)
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
    """Steps of the corneoretinal potential, which decay by the amplifier's high-pass filter."""
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
    """Body movements of 2 to 10 s: electrode sway and muscle."""
    num = onsets_n.size
    t = seconds(10.0)
    sway = draw_coloured(rng, num, t.shape[1], lambda f: np.where(f > 0, 1 / (f + 0.3) ** 1.3, 0))
    muscle = draw_coloured(rng, num, t.shape[1], lambda f: np.clip((f - 12) / 15, 0, 1))
    envelope = np.sin(np.pi * np.clip(t / rng.uniform(2, 10, (num, 1)), 0, 1)) ** 0.7
    mix = 0.5 * sway + rng.uniform(0.03, 0.15, (num, 1)) * muscle
    return Waves(onsets_n, rng.uniform(60, 250, (num, 1)) * envelope * mix)


def draw_eog(rng: np.random.Generator, eeg_N: np.ndarray, artifacts: Artifacts) -> np.ndarray:
    """Horizontal EOG, left minus right, (N,) float32 microvolt.

    Both eyes move together, so one bipolar channel shows every movement. Its sign is independent of the sign at Fpz,
    which shows the vertical part.
    """
    eog_N = np.float32(_EEG_IN_EOG * rng.lognormal(0, 0.5)) * eeg_N
    noise_uv = _EOG_NOISE_UV * rng.lognormal(0, 0.5)
    eog_N += np.float32(noise_uv) * rng.standard_normal(eeg_N.size, dtype=np.float32)
    eog_N += _draw_drift(rng, eeg_N.size, _DRIFT_UV * rng.lognormal(0, 0.6))
    gain = _EYE_GAIN * rng.lognormal(0, 0.2)
    for waves in (artifacts.wake_saccades, artifacts.rem_saccades, artifacts.slow_eye_movements):
        num = waves.onsets_n.size
        signs = rng.choice([-1.0, 1.0], (num, 1))
        add_waves(eog_N, waves.onsets_n, signs * draw_sizes(rng, gain, 0.35, num) * waves.waves_nL)
    blink_gains = rng.normal(0, 0.12, (artifacts.blinks.onsets_n.size, 1))  # lids move vertically
    add_waves(eog_N, artifacts.blinks.onsets_n, blink_gains * artifacts.blinks.waves_nL)
    add_waves(eog_N, artifacts.movements.onsets_n, 0.7 * artifacts.movements.waves_nL)
    return np.clip(eog_N, -_CLIP_UV, _CLIP_UV)


def _draw_drift(rng: np.random.Generator, num_samples: int, typical_uv: float) -> np.ndarray:
    """Slow potentials of the skin, which change over minutes, (N,) float32."""
    num_frames = num_samples // HUMAN_GRID.hop_samples + 1
    log_power_F = 2 * (np.log(typical_uv) + 0.7 * draw_wander(rng, num_frames, 1, 200)[:, 0])
    shape_B = 1 / (1 + (np.maximum(FREQS_HZ, FREQS_HZ[1]) / 0.4) ** 3)
    shape_B /= shape_B.sum() * FREQS_HZ[1]
    return draw_noise(rng, (log_power_F[:, None] + np.log(shape_B)).astype(np.float32))


def draw_emg(rng: np.random.Generator, timeline: Timeline, artifacts: Artifacts) -> np.ndarray:
    """Chin EMG, (N,) float32 microvolt, noise above 10 Hz."""
    rem_F = timeline.weights_FS[:, STATE_REM]
    num_frames = rem_F.size
    contrast = rng.uniform(0.15, 1.1)
    tone = np.log(_TYPICAL_TONE_UV) + contrast * np.log(np.array(_TONE_UV) / _TYPICAL_TONE_UV)
    tone += rng.normal(0, 0.2, tone.size)
    tone[:STATE_REM] += rng.normal(0, 0.4)  # electrodes and subject; in REM the amplifier's floor is near
    log_tone_F = np.einsum("fs,s->f", timeline.weights_FS, tone)
    log_tone_F += rng.uniform(0.1, 0.5) * draw_wander(rng, num_frames, 1, 900)[:, 0]  # posture
    log_tone_F += rng.uniform(0.1, 0.3) * draw_wander(rng, num_frames, 1, 60)[:, 0] * (1 - rem_F)
    log_tone_F += 0.15 * draw_wander(rng, num_frames, 1, 5)[:, 0]
    power_F = np.exp(2 * log_tone_F) + _AMPLIFIER_UV**2
    shape_B = np.clip((FREQS_HZ - 8) / 6, 1e-4, 1)
    shape_B /= shape_B.sum() * FREQS_HZ[1]
    emg_N = draw_noise(rng, (np.log(power_F)[:, None] + np.log(shape_B)).astype(np.float32))
    _add_twitches(rng, emg_N, rem_F)
    for waves, gain in ((artifacts.muscle, 2.0), (artifacts.movements, 0.5)):
        num, length = waves.waves_nL.shape
        envelope = np.sqrt(np.maximum(np.mean(np.square(waves.waves_nL), axis=1, keepdims=True), 1e-12))
        course = np.sin(np.pi * np.linspace(0, 1, length)) ** 0.5
        add_waves(emg_N, waves.onsets_n, gain * envelope * course * draw_coloured(rng, num, length, _muscle_amplitude))
    return np.clip(emg_N, -_CLIP_UV, _CLIP_UV)


def _add_twitches(rng: np.random.Generator, emg_N: np.ndarray, rem_F: np.ndarray) -> None:
    """Transient muscle activity of REM: bursts under a quarter of a second, in clusters (AASM 2007)."""
    is_phasic_F = draw_wander(rng, rem_F.size, 1, 12)[:, 0] > 0.7
    onsets = draw_onsets(rng, rng.lognormal(np.log(8), 0.4) * rem_F * (is_phasic_F + 0.05))
    t = seconds(0.3)
    durations_s = rng.uniform(0.08, 0.25, (onsets.size, 1))
    envelope = np.sin(np.pi * np.clip(t / durations_s, 0, 1))
    noise = draw_coloured(rng, onsets.size, t.shape[1], _muscle_amplitude)
    add_waves(emg_N, onsets, draw_sizes(rng, 15, 0.5, onsets.size) * envelope * noise)


def _muscle_amplitude(freqs_hz: np.ndarray) -> np.ndarray:
    return np.clip((freqs_hz - 8) / 10, 0, 1)
