"""Simulated mice and rats: EEG, neck EMG and accelerometer with a hypnogram known by construction.

1. the animal: strain, age, theta, amplitude, muscle  (`draw_animal`)
2. bouts of wake, NREM and REM in seconds             (`bouts.draw_course`)
3. EEG                                                (`brain`)
4. EMG, acceleration, movement in the EEG             (`body`)
5. one label per epoch, as a scorer would give it     (`bouts.score_epochs`)
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from data_prep.simulators.rodent.body import BodyTraits, disturb_eeg, draw_acceleration, draw_emg
from data_prep.simulators.rodent.bouts import (
    LIGHTS_OFF_H,
    LIGHTS_ON_H,
    NREM,
    WAKE,
    Course,
    SleepHabits,
    draw_course,
    score_epochs,
)
from data_prep.simulators.rodent.brain import HOP_S, BrainTraits, draw_eeg, draw_frames
from data_prep.simulators.synthesis import FrameGrid
from tslm.data.readers.raw import RawRecording, RawSignal

EEG_CHANNEL, EMG_CHANNEL, ACC_CHANNEL = "EEG", "EMG", "ACC"
ACC_FS_HZ = 100
SOURCE = "sim_rodent"
_CLIP_UV = 2000.0
_MIN_STATE_SHARE = 0.05  # a short recording is drawn again until it has this share of wake and of NREM

# (mean theta of the strain in Hz, its factor on REM); strains differ in theta (Franken et al. 1998).
_STRAINS: dict[str, dict[str, tuple[float, float]]] = {
    "mouse": {
        "C57BL/6J": (7.6, 1.0),
        "129S1/SvImJ": (7.3, 1.05),
        "DBA/2J": (7.5, 0.9),
        "BALB/cJ": (6.9, 0.85),
    },
    "rat": {"Sprague-Dawley": (7.2, 1.0), "Wistar": (7.3, 1.05), "Long-Evans": (7.4, 0.95)},
}
SPECIES = tuple(_STRAINS)
_BOUT_FACTOR = {"mouse": 1.0, "rat": 1.3}  # rats sleep in longer bouts


@dataclass(frozen=True)
class Animal:
    """One simulated animal."""

    strain: str
    age_weeks: int
    sex: str
    habits: SleepHabits
    brain: BrainTraits
    body: BodyTraits


def simulate_rodent_day(
    seed: int, animal_idx: int, hours: float = 24, fs_hz: int = 500, epoch_s: int = 10, species: str = "mouse"
) -> RawRecording:
    """One simulated recording; the same arguments give the same samples, bit for bit.

    Args:
        seed: Seed of the cohort.
        animal_idx: Number of the animal in the cohort, from 0; animals are independent.
        hours: Duration. A recording of a day or more starts at lights on, a shorter one at any time.
        fs_hz: Sampling rate of EEG and EMG; the accelerometer has 100 Hz.
        epoch_s: Length of a scoring epoch in whole seconds.
        species: `mouse` or `rat`.

    Returns:
        A recording "MOUSE0000" or "RAT0000" (`name_animal`) of EEG and EMG (microvolt) and ACC (g) with labels W, NREM,
        R and, rarely, UNSCORED; start in UTC, lights on from 07:00 to 19:00.

    Raises:
        ValueError: An argument is out of range.
    """
    if seed < 0 or animal_idx < 0:
        raise ValueError(f"seed and animal_idx must not be negative, got {seed} and {animal_idx}")
    if species not in _STRAINS:
        raise ValueError(f"unknown species {species!r}; one of: {', '.join(SPECIES)}")
    if epoch_s < 1 or fs_hz < 64:
        raise ValueError(f"epoch_s={epoch_s} and fs_hz={fs_hz}: expected 1 s or more and 64 Hz or more")
    num_epochs = round(hours * 3600) // epoch_s
    if num_epochs < 1 or hours > 7 * 24:
        raise ValueError(f"hours={hours:g}: expected at least one epoch and at most a week")
    # One random stream per part, so that a change in one part does not change the others.
    streams = np.random.SeedSequence((seed, animal_idx, SPECIES.index(species))).spawn(7)
    rng, course_rng, score_rng, frame_rng, eeg_rng, emg_rng, acc_rng = map(np.random.default_rng, streams)
    animal = draw_animal(rng, species, fs_hz)
    start, course = _draw_recording(course_rng, num_epochs * epoch_s, animal.habits)
    grid, acc_grid = FrameGrid(fs_hz, HOP_S), FrameGrid(ACC_FS_HZ, HOP_S)
    frames = draw_frames(frame_rng, course, grid)
    emg_N = draw_emg(emg_rng, frames, animal.body, grid)
    eeg_N = draw_eeg(eeg_rng, frames, animal.brain, grid)
    disturb_eeg(eeg_rng, eeg_N, emg_N, frames, animal.body, grid)
    acc_N = draw_acceleration(acc_rng, frames, acc_grid)
    name = name_animal(species, seed, animal_idx)
    return RawRecording(
        recording=name,
        subject=name,
        signals={
            EEG_CHANNEL: RawSignal(np.clip(eeg_N, -_CLIP_UV, _CLIP_UV, out=eeg_N), float(fs_hz)),
            EMG_CHANNEL: RawSignal(np.clip(emg_N, -_CLIP_UV, _CLIP_UV, out=emg_N), float(fs_hz)),
            ACC_CHANNEL: RawSignal(acc_N, float(ACC_FS_HZ), unit="g"),
        },
        sleep_stages=score_epochs(score_rng, course.state_T, epoch_s),
        epoch_s=float(epoch_s),
        species=species,
        start=start.isoformat(),
        age=f"{animal.age_weeks} weeks",
        sex=animal.sex,
        strain=animal.strain,
        lights_on=f"{LIGHTS_ON_H:02d}:00",
        lights_off=f"{LIGHTS_OFF_H:02d}:00",
        source=SOURCE,
    )


def name_animal(species: str, seed: int, animal_idx: int) -> str:
    """Name of an animal and of its recording: MOUSE0000 for seed 0, MOUSE0000-S1 for seed 1."""
    return f"{species.upper()}{animal_idx:04d}" + (f"-S{seed}" if seed else "")


def draw_animal(rng: np.random.Generator, species: str, fs_hz: int) -> Animal:
    """Draw an animal: sleep habits, theta between 6.5 and 8.5 Hz, amplitudes, muscle, mains hum."""
    strains = _STRAINS[species]
    strain = list(strains)[int(rng.integers(len(strains)))]
    theta_hz, rem_factor = strains[strain]
    age_weeks = int(rng.integers(9, 40))
    stretch = _BOUT_FACTOR[species]
    old = (age_weeks - 20) / 20
    habits = SleepHabits(
        wake=stretch * rng.lognormal(0, 0.15),
        nrem=stretch * rng.lognormal(0, 0.15) * np.exp(-0.05 * old),
        rem=stretch * rng.lognormal(0, 0.12),
        rem_rate=rem_factor * rng.lognormal(0, 0.15),
    )
    line_hz = float(rng.choice([50.0, 60.0]))
    has_hum = rng.random() < 0.4 and line_hz < fs_hz / 2
    brain = BrainTraits(
        theta_hz=float(np.clip(rng.normal(theta_hz, 0.35), 6.5, 8.5)),
        theta=2.5 * rng.lognormal(0, 0.15),
        gain=rng.lognormal(0, 0.3) * (1.3 if species == "rat" else 1.0),
        slow_wave_uv=80 * rng.lognormal(0, 0.2) * np.exp(-0.1 * old),
        spindle_hz=rng.normal(11.5, 0.6),
        line_hz=line_hz,
        line_uv=rng.uniform(0.5, 3.0) if has_hum else 0.0,
    )
    level = rng.lognormal(0, 0.35)
    body = BodyTraits(
        wake_uv=45 * level * rng.lognormal(0, 0.2),
        nrem_uv=11 * level * rng.lognormal(0, 0.25),
        rem_share=rng.uniform(0.5, 0.85),
        floor_uv=rng.uniform(1, 3),
        leak=0.03 * rng.lognormal(0, 0.5),
        artefact_uv=130 * rng.lognormal(0, 0.4),
    )
    return Animal(strain, age_weeks, "F" if rng.random() < 0.5 else "M", habits, brain, body)


def _draw_recording(rng: np.random.Generator, duration_s: int, habits: SleepHabits) -> tuple[datetime, Course]:
    """Start of the recording (UTC), and the states of the animal from then on."""
    day = datetime(2024, 1, 1, LIGHTS_ON_H, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 365)))
    while True:
        delay_s = 0 if duration_s >= 24 * 3600 else int(rng.integers(0, 24 * 3600 // 600)) * 600
        start = day + timedelta(seconds=delay_s)
        course = draw_course(rng, duration_s, start.hour * 3600 + start.minute * 60, habits)
        if min((course.state_T == state).mean() for state in (WAKE, NREM)) >= _MIN_STATE_SHARE:
            return start, course
