"""Simulated human nights: EEG, on request EOG and EMG, with a hypnogram known by construction.

1. the hypnogram                                   (`hypnogram`)
2. states of the brain inside the epochs           (`brain.draw_timeline`)
3. background EEG by the spectrum of each state    (`brain.draw_background`)
4. graphoelements, and eyes, muscle and movement   (`brain.add_sleep_events`, `body.add_artifacts`)
5. band powers moved to real ones in most subjects (`calibration`)
6. another laboratory's recording in some subjects (`_vary`)
7. on request: movement epochs, EOG and EMG        (`_move`, `body`)
8. on request: another recorder                    (`amplifier`)

The derivation (`scalp`), the sleeper's age and health (`sleepers`) and the length of the recording (`hypnogram`) are
chosen before; what is left at its default is drawn as if the others had not been asked for.

About 80 % of the subjects are calibrated, and, drawn independently, about 20 % have other filters, noise and spectral
tilt. In uncalibrated subjects the beta and gamma of N1 and REM are too similar, and varied ones have little muscle in
wake. Some of both keeps a model from learning the spectra of one laboratory; more lowers the agreement on the band
powers of real nights.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from data_prep.simulators.human.amplifier import draw_amplifier
from data_prep.simulators.human.body import (
    EMG_CHANNEL,
    EOG_CHANNEL,
    Artifacts,
    Waves,
    add_artifacts,
    draw_emg,
    draw_eog,
    draw_movements,
)
from data_prep.simulators.human.brain import (
    EYES_CLOSED,
    EYES_OPEN,
    STATE_N1,
    Timeline,
    add_sleep_events,
    draw_background,
    draw_timeline,
)
from data_prep.simulators.human.calibration import draw_targets, impose_targets, measure_features
from data_prep.simulators.human.hypnogram import HUMAN_STAGES, mix_lengths, simulate_hypnogram
from data_prep.simulators.human.scalp import ANCHOR, DERIVATIONS, Scalp, by_stage
from data_prep.simulators.human.sleepers import HEALTH, Sleeper, draw_sleeper
from data_prep.simulators.synthesis import EPOCH_S, FREQS_HZ, FS_HZ, add_waves, combine, join_frames, split_frames
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.hypnogram import SLEEP
from tslm.labels import SleepStage

CHANNEL = "EEG Fpz-Cz"
ANY_CHANNEL = "EEG"
SOURCE = "sim_human"
SIMULATED = "simulated as"  # begins the note on what was drawn
CALIBRATED_SHARE = 0.8
VARIED_SHARE = 0.2
_CLIP_UV = 250.0
_SLOW_WAVES = 0.85
_CALIBRATED_SLOW_WAVES = 0.6  # larger ones on calibrated delta make all N3 epochs similar


MIXED = "mixed"
CHOICES = {
    "derivation": (*DERIVATIONS, MIXED),
    "amplifier": ("plain", MIXED),
    "health": ("healthy", *HEALTH, MIXED),
    "length": ("night", MIXED),
}


@dataclass(frozen=True)
class NightExtras:
    """What is asked for beside or instead of the EEG Fpz-Cz of a healthy sleeper's night.

    Raises:
        ValueError: A name that is not one of CHOICES.
    """

    eog: bool = False
    emg: bool = False
    # Mean number of movement epochs a night. The AASM manual of 2007 dropped that label, and 37 Sleep-EDF cassette
    # hypnograms have none in 35,900 epochs of sleep period.
    movement_epochs: float = 0.0
    derivation: str = ANCHOR
    amplifier: str = "plain"
    health: str = "healthy"
    length: str = "night"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)}: expected one of: {', '.join(choices)}")

    @property
    def eeg_channel(self) -> str:
        """Name of the EEG: that of Sleep-EDF, or one for any derivation."""
        return CHANNEL if self.derivation == ANCHOR else ANY_CHANNEL


_EEG_ALONE = NightExtras()


def simulate_human_night(seed: int, subject_idx: int, extras: NightExtras = _EEG_ALONE) -> RawRecording:
    """One simulated night; the same arguments give the same samples, bit for bit.

    Args:
        seed: Seed of the cohort.
        subject_idx: Number of the subject in the cohort, from 0; subjects are independent.
        extras: Further channels, epochs of movement, derivation, recorder, health and length.

    Returns:
        A recording at 100 Hz, or at its recorder's rate (microvolt), with one label per 30-s epoch, named by
        `name_subject`, half an hour of wake on either side of sleep. The EEG is the first channel. A note says what
        was drawn where something is mixed.
    """
    if seed < 0 or subject_idx < 0:
        raise ValueError(f"seed and subject_idx must not be negative, got {seed} and {subject_idx}")
    # One random stream per part, so that a change in one part does not change the others.
    streams = np.random.SeedSequence((seed, subject_idx)).spawn(15)
    rng, night_rng, course_rng, noise_rng, event_rng, artifact_rng, target_rng, vary_rng, *extra_rngs = map(
        np.random.default_rng, streams
    )
    eog_rng, emg_rng, movement_rng, scalp_rng, health_rng, length_rng, amplifier_rng = extra_rngs
    is_calibrated, is_varied = rng.random() < CALIBRATED_SHARE, rng.random() < VARIED_SHARE
    sleeper = Sleeper(age=int(np.clip(rng.normal(32, 9), 18, 65)))
    if extras.health != "healthy":
        sleeper = draw_sleeper(health_rng, extras.health)
    scalp = Scalp(_draw_derivation(scalp_rng, extras.derivation), scalp_rng)
    sleep_stage_E = simulate_hypnogram(night_rng, sleeper.age, sleeper.n3_factor, sleeper.restlessness)
    if extras.length == MIXED:
        sleep_stage_E = mix_lengths(length_rng, sleep_stage_E)
    timeline = draw_timeline(course_rng, sleep_stage_E, sleeper)
    signal_N = draw_background(noise_rng, timeline, sleeper, scalp)
    slow_waves = _CALIBRATED_SLOW_WAVES if is_calibrated else _SLOW_WAVES
    add_sleep_events(event_rng, signal_N, timeline, sleeper, scalp, slow_waves)
    artifacts = add_artifacts(artifact_rng, signal_N, timeline, sleeper, scalp)
    if is_calibrated:
        table = {**scalp.table, "mu": scalp.table["mu"] + by_stage(sleeper.state_shifts)}
        signal_N = impose_targets(signal_N, draw_targets(target_rng, sleep_stage_E, measure_features(signal_N), table))
    if is_varied:
        signal_N = _vary(vary_rng, signal_N, timeline)
    signal_N = (signal_N * np.float32(rng.lognormal(0, 0.1))).astype(np.float32)
    sleep_stages = [HUMAN_STAGES[code] for code in sleep_stage_E]
    if extras.movement_epochs:
        artifacts = _move(movement_rng, signal_N, sleep_stages, artifacts, extras.movement_epochs)
    eeg_N = np.clip(signal_N, -_CLIP_UV, _CLIP_UV)
    channels = {extras.eeg_channel: eeg_N}
    if extras.eog:
        channels[EOG_CHANNEL] = draw_eog(eog_rng, eeg_N, artifacts)
    if extras.emg:
        channels[EMG_CHANNEL] = draw_emg(emg_rng, timeline, artifacts)
    signals = {name: RawSignal(values, float(FS_HZ)) for name, values in channels.items()}
    drawn = [scalp.derivation, f"{sleeper.health} at {sleeper.age}"]
    if extras.amplifier == MIXED:
        amplifier = draw_amplifier(amplifier_rng)
        if amplifier.is_inverted:
            channels[extras.eeg_channel] = -eeg_N
        signals = {name: amplifier.record(amplifier_rng, values) for name, values in channels.items()}
        drawn.append(amplifier.describe())
    return RawRecording(
        recording=name_subject(seed, subject_idx),
        subject=name_subject(seed, subject_idx),
        signals=signals,
        sleep_stages=tuple(sleep_stages),
        epoch_s=float(EPOCH_S),
        start=_draw_start(rng),
        age=str(sleeper.age),
        sex="F" if rng.random() < 0.5 else "M",
        source=SOURCE,
        notes=(f"{SIMULATED} {', '.join(drawn)}",) if _is_mixed(extras) else (),
    )


def _draw_derivation(rng: np.random.Generator, name: str) -> str:
    return str(rng.choice(list(DERIVATIONS))) if name == MIXED else name


def _is_mixed(extras: NightExtras) -> bool:
    return any(getattr(extras, name) != getattr(_EEG_ALONE, name) for name in CHOICES)


def name_subject(seed: int, subject_idx: int) -> str:
    """SIM0000 for seed 0, SIM0000-S1 for seed 1."""
    return f"SIM{subject_idx:04d}" + (f"-S{seed}" if seed else "")


def _move(
    rng: np.random.Generator, signal_N: np.ndarray, sleep_stages: list[SleepStage], artifacts: Artifacts, mean: float
) -> Artifacts:
    """Turn some epochs of sleep into movement time (R&K), in place; movement hides more than half of each."""
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
    """The night as recorded in another laboratory: tilt, filters, noise, more alpha, less muscle."""
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
