"""Small raw recordings, signal files, and prepared cohorts whose sleep stages are told by a rhythm."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tslm.baselines.inputs import BaselineInputs, Nights, TextSettings, spread_epochs
from tslm.data.prepared.recordings import Recording, write_participants, write_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.evidence.measure import measure_evidence
from tslm.export.night import NightResult
from tslm.labels import LABEL_SETS, SleepStage

EEG, EMG = "EEG Fpz-Cz", "EMG chin"
AASM = LABEL_SETS["aasm"]
RHYTHM_HZ = dict(zip(AASM.sleep_stages, (20.0, 10.0, 13.0, 1.0, 6.0), strict=True))
FS_HZ, EPOCH_S = 64.0, 30.0


def make_noise(duration_s: float, fs_hz: float, seed: int = 0) -> RawSignal:
    """White noise of 30 uV."""
    values = np.random.default_rng(seed).normal(0, 30, round(duration_s * fs_hz))
    return RawSignal(values.astype(np.float32), fs_hz)


def write_night(
    path: Path,
    signals: Mapping[str, RawSignal],
    sleep_stages: Sequence[SleepStage] = (),
    epoch_s: float = 30.0,
    start: str = "",
) -> Path:
    """An EDF file of the signals, its hypnogram in a file of the same stem that ends in .hyp."""
    raw = RawRecording(path.stem, "", signals, tuple(sleep_stages), epoch_s, start=start)
    write_edf(raw, path, path.with_suffix(".hyp"))
    return path


def write_table(path: Path, signals: Mapping[str, RawSignal]) -> Path:
    """A CSV file of signals of one rate, empty cells where samples are missing."""
    columns = [["" if np.isnan(value) else f"{value:.4f}" for value in signal.values] for signal in signals.values()]
    lines = [",".join(signals), *(",".join(cells) for cells in zip(*columns, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def build_night(name: str, sleep_stages: Sequence[SleepStage], seed: int = 0, gap_at: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(FS_HZ * EPOCH_S)) / FS_HZ
    epochs_EL = np.stack([20 * np.sin(2 * np.pi * RHYTHM_HZ.get(stage, 4.0) * time_s) for stage in sleep_stages])
    epochs_EL = (epochs_EL + rng.normal(0, 20, epochs_EL.shape)).astype(np.float32)
    onset_s = EPOCH_S * np.arange(len(sleep_stages))
    onset_s[gap_at or len(onset_s) :] += 600.0
    return Recording(
        recording=name,
        subject=f"subject of {name}",
        fs_hz=FS_HZ,
        epoch_s=EPOCH_S,
        channels={EEG: epochs_EL, EMG: rng.normal(0, 5, epochs_EL.shape).astype(np.float32)},
        sleep_stages=tuple(sleep_stages),
        onset_s=onset_s,
        columns={**measure_evidence(epochs_EL, FS_HZ), "emg_tone": np.ones(len(sleep_stages))},
        measured_channel=EEG,
    )


def build_staged_night(recording: Recording, **more: Any) -> NightResult:
    """A night that a random classifier has staged, with a minute before and after it that has no signal."""
    num_epochs, first = recording.num_epochs, round(recording.onset_s[0] / recording.epoch_s)
    probabilities_EK = np.random.default_rng(0).dirichlet(np.ones(5), num_epochs).astype(np.float32)
    settings = {
        "span": range(first - 2, round(recording.onset_s[-1] / recording.epoch_s) + 3),
        "label_set": AASM,
        "sleep_stages": tuple(AASM.sleep_stages[idx] for idx in probabilities_EK.argmax(axis=1)),
        "probabilities_EK": probabilities_EK,
        "file": Path("raw") / f"{recording.recording}.edf",
    } | more
    return NightResult(recording, **settings)  # type: ignore[arg-type]


def draw_stages(num_epochs: int, seed: int) -> list[SleepStage]:
    """Bouts of two to nine epochs."""
    rng = np.random.default_rng(seed)
    stages: list[SleepStage] = []
    while len(stages) < num_epochs:
        stages += [AASM.sleep_stages[rng.integers(5)]] * int(rng.integers(2, 10))
    return stages[:num_epochs]


def write_cohort(cohort_dir: Path, nights: Mapping[str, Recording]) -> Path:
    """Nights by split."""
    rows = [write_recording(night, cohort_dir, split.split()[0]) for split, night in nights.items()]
    write_participants(rows, cohort_dir)
    return cohort_dir


def write_rhythm_cohort(cohort_dir: Path, num_epochs: int = 60) -> Path:
    splits = ("train 1", "train 2", "val", "test")
    return write_cohort(
        cohort_dir,
        {split: build_night(f"n{seed}", draw_stages(num_epochs, seed), seed) for seed, split in enumerate(splits)},
    )


def build_baseline_inputs(
    cohort_dir: Path, channels: tuple[str, ...] = (EEG,), num_epochs: int = 0, **text
) -> BaselineInputs:
    train, test = (Nights(cohort_dir, split, channels) for split in ("train", "test"))
    ids = [
        night.name_epoch(idx)
        for night in test.read()
        for idx, stage in enumerate(night.sleep_stages)
        if AASM.index(stage) >= 0
    ]
    return BaselineInputs(train, test, AASM, "human", spread_epochs(ids, num_epochs, 0), TextSettings(**text))
