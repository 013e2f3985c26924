"""Simulated human nights for the embedded cohort: EEG, on request EOG and EMG, hypnogram known by construction.

1. a hypnogram of sleep cycles            (simulate_hypnogram)
2. the brain's course inside the epochs   (simulate_background.draw_timeline)
3. a background spectrum per state        (simulate_background, simulate_spectrum)
4. graphoelements, eyes, muscle, movement (simulate_events, simulate_artifacts)
5. band powers steered to real ones       (simulate_calibration), in most subjects
6. unfamiliar amplifiers and habits       (below), in some subjects
7. on request: movement epochs            (below), EOG and EMG (simulate_channels)

The cohort is mixed on purpose: about 80 % of subjects are calibrated, and about 20 %, drawn apart,
are recorded with other filters, noise and spectral tilt. Uncalibrated subjects keep N1 and REM too
alike in beta and gamma, varied ones have wake with little muscle: some of both keeps a model from
leaning on one lab's spectra, more of them costs agreement on the band powers of real nights.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from data_prep.simulators.human.artifacts import Artifacts, Waves, add_artifacts, draw_movements
from data_prep.simulators.human.background import (
    EYES_CLOSED,
    EYES_OPEN,
    STATE_N1,
    Timeline,
    draw_background,
    draw_timeline,
)
from data_prep.simulators.human.calibration import draw_targets, impose_targets, measure_features
from data_prep.simulators.human.channels import EMG_CHANNEL, EOG_CHANNEL, draw_emg, draw_eog
from data_prep.simulators.human.events import add_sleep_events
from data_prep.simulators.human.hypnogram import HUMAN_STAGES, simulate_hypnogram
from data_prep.simulators.synthesis import EPOCH_S, FREQS_HZ, FS_HZ, add_waves, combine, join_frames, split_frames
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.hypnogram import SLEEP
from tslm.labels import SleepStage

CHANNEL = "EEG Fpz-Cz"
SOURCE = "sim_human"
CALIBRATED_SHARE = 0.8
VARIED_SHARE = 0.2
_CLIP_UV = 250.0
_SLOW_WAVES = 0.85
_CALIBRATED_SLOW_WAVES = 0.6  # full templates on top of calibrated delta make every N3 epoch alike


@dataclass(frozen=True)
class NightExtras:
    """What a simulated night may hold beside its EEG; none of it changes a sample of the EEG elsewhere."""

    eog: bool = False
    emg: bool = False
    # Epochs labelled as movement, a night on average. None by default: the manual of 2007
    # dropped that sleep stage, and 37 Sleep-EDF cassette hypnograms hold none within 35,900 epochs of sleep period.
    movement_epochs: float = 0.0


_EEG_ALONE = NightExtras()


def simulate_human_night(seed: int, subject_idx: int, extras: NightExtras = _EEG_ALONE) -> RawRecording:
    """One simulated night; the same arguments give the same samples, bit for bit.

    Args:
        seed: Seed of the cohort.
        subject_idx: Number of the subject in the cohort, from 0; subjects are independent.
        extras: Further channels, and epochs of movement.

    Returns:
        A recording at 100 Hz (microvolt) with one label per 30-s epoch, named by `name_subject`, half an
        hour of wake on either side of sleep. The EEG is the first channel.
    """
    if seed < 0 or subject_idx < 0:
        raise ValueError(f"seed and subject_idx must not be negative, got {seed} and {subject_idx}")
    # One stream a part: a change in one part leaves the others' draws as they were.
    streams = np.random.SeedSequence((seed, subject_idx)).spawn(11)
    rng, night_rng, course_rng, noise_rng, event_rng, artifact_rng, target_rng, vary_rng, *extra_rngs = map(
        np.random.default_rng, streams
    )
    eog_rng, emg_rng, movement_rng = extra_rngs
    is_calibrated, is_varied = rng.random() < CALIBRATED_SHARE, rng.random() < VARIED_SHARE
    age = int(np.clip(rng.normal(32, 9), 18, 65))
    sleep_stage_E = simulate_hypnogram(night_rng, age)
    timeline = draw_timeline(course_rng, sleep_stage_E)
    signal_N = draw_background(noise_rng, timeline)
    add_sleep_events(event_rng, signal_N, timeline, _CALIBRATED_SLOW_WAVES if is_calibrated else _SLOW_WAVES)
    artifacts = add_artifacts(artifact_rng, signal_N, timeline)
    if is_calibrated:
        signal_N = impose_targets(signal_N, draw_targets(target_rng, sleep_stage_E, measure_features(signal_N)))
    if is_varied:
        signal_N = _vary(vary_rng, signal_N, timeline)
    signal_N = (signal_N * np.float32(rng.lognormal(0, 0.1))).astype(np.float32)
    sleep_stages = [HUMAN_STAGES[code] for code in sleep_stage_E]
    if extras.movement_epochs:
        artifacts = _move(movement_rng, signal_N, sleep_stages, artifacts, extras.movement_epochs)
    signals = {CHANNEL: np.clip(signal_N, -_CLIP_UV, _CLIP_UV)}
    if extras.eog:
        signals[EOG_CHANNEL] = draw_eog(eog_rng, signals[CHANNEL], artifacts)
    if extras.emg:
        signals[EMG_CHANNEL] = draw_emg(emg_rng, timeline, artifacts)
    return RawRecording(
        recording=name_subject(seed, subject_idx),
        subject=name_subject(seed, subject_idx),
        signals={name: RawSignal(values, float(FS_HZ)) for name, values in signals.items()},
        sleep_stages=tuple(sleep_stages),
        epoch_s=float(EPOCH_S),
        start=_draw_start(rng),
        age=str(age),
        sex="F" if rng.random() < 0.5 else "M",
        source=SOURCE,
    )


def name_subject(seed: int, subject_idx: int) -> str:
    """SIM0000; cohorts of other seeds than 0 hold other people, with names of their own: SIM0000-S1."""
    return f"SIM{subject_idx:04d}" + (f"-S{seed}" if seed else "")


def _move(
    rng: np.random.Generator, signal_N: np.ndarray, sleep_stages: list[SleepStage], artifacts: Artifacts, mean: float
) -> Artifacts:
    """Turn some epochs of sleep into movement, in place: more than half of each is hidden (R&K's movement time)."""
    asleep = np.flatnonzero([sleep_stage in SLEEP for sleep_stage in sleep_stages])
    num = min(int(rng.poisson(mean)), asleep.size - 2)
    moved = rng.choice(asleep[1:-1], num, replace=False)  # the first and the last bound the night
    for epoch_idx in moved:
        sleep_stages[epoch_idx] = SleepStage.MOVEMENT
    starts_s = EPOCH_S * moved[:, None] + np.array([1.0, 8.0, 15.0]) + rng.uniform(0, 4, (num, 3))
    movements = draw_movements(rng, np.rint(FS_HZ * starts_s).astype(int).ravel())
    add_waves(signal_N, movements.onsets_n, movements.waves_nL)
    both = (
        np.concatenate([getattr(waves, name) for waves in (artifacts.movements, movements)])
        for name in ("onsets_n", "waves_nL")
    )
    return replace(artifacts, movements=Waves(*both))


def _vary(rng: np.random.Generator, signal_N: np.ndarray, timeline: Timeline) -> np.ndarray:
    """The night as another laboratory would have it: tilt, filters, noise, more alpha, less muscle."""
    freqs_hz = np.maximum(FREQS_HZ, 0.05)
    low_pass_hz, high_pass_hz = rng.uniform(25, 45), rng.uniform(0.1, 0.5)
    log_gain = 0.5 * rng.uniform(-0.3, 0.3) * np.log(freqs_hz / 4)
    log_gain -= 0.5 * np.log1p((freqs_hz / low_pass_hz) ** 8)
    log_gain -= 0.5 * np.log1p((high_pass_hz / freqs_hz) ** 2)
    alpha = 0.5 * rng.uniform(0, 1.2) * np.exp(-0.5 * ((freqs_hz - rng.normal(9.8, 0.7)) / 1.2) ** 2)
    fast = -0.5 * rng.uniform(0, 1.8) / (1 + np.exp(-(freqs_hz - 16) / 3))
    weights_FS = timeline.weights_FS
    wake_F = weights_FS[:, EYES_OPEN] + weights_FS[:, EYES_CLOSED]
    alpha_F = weights_FS[:, EYES_CLOSED] + 0.4 * weights_FS[:, STATE_N1]
    gains_F3 = np.stack([np.ones_like(wake_F), alpha_F, wake_F], axis=1)
    gain_FB = np.exp(combine(gains_F3, np.stack([log_gain, alpha, fast])))
    noise_uv = rng.uniform(0.2, 1.5)
    noise_N = rng.standard_normal(signal_N.size, dtype=np.float32) * np.float32(noise_uv)
    return join_frames(split_frames(signal_N) * gain_FB) + noise_N


def _draw_start(rng: np.random.Generator) -> str:
    evening = datetime(2000, 1, 1, 22, 30) + timedelta(days=int(rng.integers(0, 365)))
    return (evening + timedelta(seconds=int(np.clip(rng.normal(0, 2400), -5400, 5400)))).isoformat()
