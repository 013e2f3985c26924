"""Channels beside the EEG of a simulated night: horizontal eye movements and the tone of the chin.

Both show the events that the EEG shows, at the same moments. Their levels follow what the manual
says of the sleep stages (AASM 2007: chin tone high in wake, lower in sleep, lowest in REM with short
twitches; slow eye movements at sleep onset, rapid ones in REM); the microvolts are chosen, not
fitted, since no labelled EOG or EMG was at hand. Electrodes differ far more than sleepers do: how
much of the EEG and of slow drift an EOG holds, and how far the chin's tone follows the sleep stage at all,
is drawn anew for every night, so that a scorer cannot lean on either channel alone.

Shape letters: F frames, S states of the brain, N samples of the night, n events, L samples of an event.
"""

import numpy as np

from data_prep.simulators.human.artifacts import Artifacts
from data_prep.simulators.human.background import STATE_REM, Timeline
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
_EEG_IN_EOG = 0.3  # of the frontal EEG, median; slow waves show beside the eyes too
_DRIFT_UV = 6.0  # sweat and skin potentials below 1 Hz, median
_EOG_NOISE_UV = 2.0  # of amplifier and skin, median
_EYE_GAIN = 3.5  # an eye movement beside the eyes over its trace at Fpz, median
# Chin EMG in microvolt RMS: eyes open, eyes closed, N1, N2, N3, REM.
_TONE_UV = (14.0, 10.0, 6.0, 4.0, 3.5, 1.2)
_TYPICAL_TONE_UV = 4.0  # where the sleep stages meet in a chin that tells them apart badly
_AMPLIFIER_UV = 0.5  # noise floor of the EMG


def draw_eog(rng: np.random.Generator, eeg_N: np.ndarray, artifacts: Artifacts) -> np.ndarray:
    """Horizontal EOG, left minus right, (N,) float32 microvolt.

    Eyes move together, so one bipolar channel holds every conjugate movement; its direction is
    drawn apart from the sign at Fpz, which sees the vertical part.
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
    """Slow potentials of the skin that come and go over minutes, (N,) float32."""
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
