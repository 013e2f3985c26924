"""Cohorts of nights: from raw recordings to a folder of prepared ones, with splits made once, by subject."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from data_prep.prepare_night import WAKE_MARGIN_MIN, prepare_night
from data_prep.simulate_human import simulate_human_night
from tslm.data.edf import SLEEP_EDF_CHANNELS, read_scored_night, read_sleep_edf, write_edf
from tslm.data.raw import RawRecording
from tslm.data.recordings import (
    BY_EPOCH,
    EPOCH_SPLIT_COLUMN,
    PARTICIPANTS_FILE,
    Participant,
    check_subject_splits,
    read_participants,
    write_participants,
    write_recording,
)
from tslm.data.splits import DEFAULT_SPLIT, Place, assign_splits, check_split, draw_epoch_splits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SleepEdfOptions:
    """Sleep-EDF Expanded: EDF files of nights and hypnograms in `raw_dir`."""

    raw_dir: Path | None = None
    channels: str = ",".join(SLEEP_EDF_CHANNELS)  # separated by commas; evidence is measured on the first
    wake_margin_min: float = WAKE_MARGIN_MIN
    split: str = DEFAULT_SPLIT  # a rule of tslm.data.splits
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)


@dataclass(frozen=True)
class SimHumanOptions:
    """The simulated cohort; `edf` also writes the nights as EDF+ and prepares from those files."""

    num_subjects: int = 20
    edf: bool = False
    wake_margin_min: float = WAKE_MARGIN_MIN
    split: str = DEFAULT_SPLIT
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.num_subjects < 1:
            raise ValueError(f"num_subjects={self.num_subjects}: wanted 1 or more")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: wanted 0 or more")


@dataclass(frozen=True)
class Night:
    """One recording still to be read, and its subject, known beforehand for the split."""

    subject: str
    read: Callable[[], RawRecording]


def prepare_sleep_edf(options: SleepEdfOptions, out_dir: Path, workers: int = 1) -> list[Participant]:
    """Prepare every night of Sleep-EDF Expanded below `raw_dir`.

    Raises:
        FileNotFoundError: `raw_dir` is not given, missing, or holds no night.
        ValueError: A night lacks its hypnogram, or one of its files is damaged.
    """
    channels = tuple(name.strip() for name in options.channels.split(",") if name.strip())
    nights = [
        Night(psg_path.name[:5], partial(read_sleep_edf, psg_path, hypnogram_path, channels))
        for psg_path, hypnogram_path in find_sleep_edf_nights(options.raw_dir)
    ]
    return _prepare_nights(nights, out_dir, options.split, options.wake_margin_min, options.seed, workers)


def prepare_sim_human(options: SimHumanOptions, out_dir: Path, workers: int = 1) -> list[Participant]:
    """Simulate a cohort and prepare it; the same options give the same bytes for any number of workers."""
    edf_dir = out_dir / "edf" if options.edf else None
    nights = [
        Night(f"SIM{subject_idx:04d}", partial(_read_simulated, options.seed, subject_idx, edf_dir))
        for subject_idx in range(options.num_subjects)
    ]
    return _prepare_nights(nights, out_dir, options.split, options.wake_margin_min, options.seed, workers)


def find_sleep_edf_nights(raw_dir: Path | None) -> list[tuple[Path, Path]]:
    """Pairs of night and hypnogram below a folder; both names begin with the same six characters.

    Raises:
        FileNotFoundError: No night there.
        ValueError: A night without exactly one hypnogram beside it.
    """
    if raw_dir is None or not raw_dir.is_dir():
        raise FileNotFoundError(f"raw_dir={raw_dir or ''} is no folder; give raw_dir=DIR with the EDF files")
    pairs = []
    for psg_path in sorted(raw_dir.rglob("*-PSG.edf")):
        hypnograms = sorted(psg_path.parent.glob(f"{psg_path.name[:6]}*-Hypnogram.edf"))
        if len(hypnograms) != 1:
            raise ValueError(f"{psg_path} needs one hypnogram beside it, {len(hypnograms)} found; download it again")
        pairs.append((psg_path, hypnograms[0]))
    if not pairs:
        raise FileNotFoundError(
            f"{raw_dir} holds no *-PSG.edf; get nights with: python -m data_prep.download sleep-edf --out {raw_dir}"
        )
    return pairs


def _prepare_nights(
    nights: Sequence[Night], out_dir: Path, split: str, wake_margin_min: float, seed: int, workers: int
) -> list[Participant]:
    place_of = assign_splits((night.subject for night in nights), split, seed)
    left_out = sorted({night.subject for night in nights} - set(place_of))
    if left_out:
        logger.warning("split=%s does not know %d subjects, left out: %s", split, len(left_out), ", ".join(left_out))
    nights = [night for night in nights if night.subject in place_of]
    before = read_participants(out_dir) if (out_dir / PARTICIPANTS_FILE).is_file() else []
    (out_dir / PARTICIPANTS_FILE).unlink(missing_ok=True)  # an interrupted run must not look like a whole cohort
    tasks = (delayed(_prepare_one)(night, out_dir, place_of[night.subject], wake_margin_min, seed) for night in nights)
    done = Parallel(n_jobs=workers, return_as="generator")(tasks)
    participants = list(tqdm(done, total=len(nights), desc="prepare", unit="night"))
    check_subject_splits(participants)
    write_participants(participants, out_dir)
    for stale in {row.recording for row in before} - {row.recording for row in participants}:
        (out_dir / f"{stale}.parquet").unlink(missing_ok=True)
    return participants


def _prepare_one(night: Night, out_dir: Path, place: Place, wake_margin_min: float, seed: int) -> Participant:
    with threadpool_limits(1):  # sums in another order would change the last bit
        recording = prepare_night(night.read(), wake_margin_min, seed)
        if place.split == BY_EPOCH:
            splits = draw_epoch_splits(recording.sleep_stages, recording.recording, seed)
            recording = replace(recording, columns={**recording.columns, EPOCH_SPLIT_COLUMN: splits})
        return write_recording(recording, out_dir, place.split, place.fold)


def _read_simulated(seed: int, subject_idx: int, edf_dir: Path | None) -> RawRecording:
    night = simulate_human_night(seed, subject_idx)
    if edf_dir is None:
        return night
    edf_dir.mkdir(parents=True, exist_ok=True)
    paths = edf_dir / f"{night.recording}-PSG.edf", edf_dir / f"{night.recording}-Hypnogram.edf"
    write_edf(night, *paths)
    return replace(read_scored_night(*paths, tuple(night.signals)), source=night.source)
