"""Simulated cohorts of people and rodents, prepared like any other cohort.

With `edf`, recordings are also written as EDF+ and prepared from those files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from data_prep.cohorts.cohort import Night, NightOptions, prepare_nights
from data_prep.simulators.human.night import CHOICES, NightExtras, name_subject, simulate_human_night
from data_prep.simulators.rodent.day import SPECIES, name_animal, simulate_rodent_day
from data_prep.simulators.synthesis import FS_HZ
from tslm.data.cohorts.cohort import RecordingFiles, parse_cohort
from tslm.data.cohorts.nights import read_scored_night
from tslm.data.prepared.recordings import Participant
from tslm.data.readers.align import align_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording
from tslm.labels import RK_ANNOTATIONS, SleepStage
from tslm.parallel import ONE_WORKER, Workers, map_parts
from tslm.progress_bar import progress_bar

_WHOLE_DAY_MIN = 7 * 24 * 60.0
# Annotation texts in the EDF+ files of rodents.
_RODENT_TEXTS = {
    "Sleep stage W": SleepStage.WAKE,
    "Sleep stage N": SleepStage.NREM,
    "Sleep stage R": SleepStage.REM,
    "Sleep stage ?": SleepStage.UNSCORED,
}


@dataclass(frozen=True)
class SimulationOptions(NightOptions):
    """Options of a simulated cohort; with `edf`, it is also written as EDF+ and prepared from those files."""

    num_subjects: int = 20
    edf: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_subjects < 1 or self.seed < 0:
            raise ValueError(f"num_subjects={self.num_subjects} seed={self.seed}: expected 1 or more, and 0 or more")


@dataclass(frozen=True)
class SimHumanOptions(SimulationOptions):
    """Options of the simulated human cohort; `edf_only` writes the EDF+ files and stops."""

    eog: bool = False  # also a horizontal EOG
    emg: bool = False  # also a chin EMG
    movement_epochs: float = 0.0  # epochs a night labelled as movement, on average
    derivation: str = "Fpz-Cz"  # of the EEG; any other, or mixed, is stored as channel EEG
    amplifier: str = "plain"  # mixed: another recorder each
    health: str = "healthy"  # mixed: any age, illness and drug
    length: str = "night"  # mixed: also excerpts, naps and days
    edf_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.movement_epochs <= 100:
            raise ValueError(f"movement_epochs={self.movement_epochs:g}: expected 0 to 100 epochs a night")
        _ = self.extras  # checks the names

    @property
    def extras(self) -> NightExtras:
        """Channels and events of a night beside its EEG."""
        chosen = {name: getattr(self, name) for name in CHOICES}
        return NightExtras(self.eog, self.emg, self.movement_epochs, **chosen)


@dataclass(frozen=True)
class SimPeopleOptions(SimHumanOptions):
    """Options of the cohort of people of every kind: as `SimHumanOptions`, with everything mixed."""

    num_subjects: int = 200
    wake_margin_min: float = _WHOLE_DAY_MIN  # wake-heavy recordings are not trimmed
    eog: bool = True
    emg: bool = True
    derivation: str = "mixed"
    amplifier: str = "mixed"
    health: str = "mixed"
    length: str = "mixed"


@dataclass(frozen=True)
class SimRodentOptions(SimulationOptions):
    """Options of the simulated rodent cohort."""

    hours: float = 24.0
    fs_hz: int = 500
    epoch_s: int = 10
    species: str = "mouse"
    wake_margin_min: float = _WHOLE_DAY_MIN  # a rodent's day is not trimmed

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.species not in SPECIES:
            raise ValueError(f"species={self.species}: expected one of: {', '.join(SPECIES)}")


def prepare_sim_human(
    options: SimHumanOptions, out_dir: Path, workers: Workers = ONE_WORKER
) -> Sequence[Participant] | Sequence[Path]:
    """Simulate nights and prepare them, or with `edf_only` return their EDF+ files.

    The same options give the same bytes for any number of workers.
    """
    if options.edf_only:
        return _write_human_files(options, out_dir / "edf", workers)
    edf_dir = out_dir / "edf" if options.edf else None
    nights = [
        Night(
            f"night {idx}", name_subject(options.seed, idx), partial(_read_human, options, idx, edf_dir), float(FS_HZ)
        )
        for idx in range(options.num_subjects)
    ]
    return prepare_nights(nights, out_dir, options, workers)


def prepare_sim_rodent(options: SimRodentOptions, out_dir: Path, workers: Workers = ONE_WORKER) -> list[Participant]:
    """Simulate days of animals and prepare them; the bytes do not depend on the number of workers."""
    edf_dir = out_dir / "edf" if options.edf else None
    nights = [
        Night(
            f"day {idx}", name_animal(options.species, options.seed, idx), partial(_read_rodent, options, idx, edf_dir)
        )
        for idx in range(options.num_subjects)
    ]
    return prepare_nights(nights, out_dir, options, workers)


def _write_human_files(options: SimHumanOptions, edf_dir: Path, workers: Workers) -> list[Path]:
    done = map_parts(partial(_write_human, options, edf_dir), range(options.num_subjects), workers)
    paths = [
        path for pair in progress_bar(done, total=options.num_subjects, desc="simulate", unit="night") for path in pair
    ]
    for stale in set(edf_dir.glob("SIM*.edf")) - set(paths):
        stale.unlink()
    return paths


def _write_human(options: SimHumanOptions, edf_dir: Path, idx: int) -> tuple[Path, Path]:
    with threadpool_limits(1):
        return _write_files(simulate_human_night(options.seed, idx, options.extras), edf_dir, "-PSG")


def _read_human(options: SimHumanOptions, idx: int, edf_dir: Path | None) -> RawRecording:
    night = simulate_human_night(options.seed, idx, options.extras)
    if edf_dir is None:
        return night
    files = RecordingFiles(night.recording, night.subject, *_write_files(night, edf_dir, "-PSG"))
    read = read_scored_night(parse_cohort({"channels": list(night.signals), "source": night.source}), files)
    return replace(read, notes=(*night.notes, *read.notes))


def _read_rodent(options: SimRodentOptions, idx: int, edf_dir: Path | None) -> RawRecording:
    day = simulate_rodent_day(options.seed, idx, options.hours, options.fs_hz, options.epoch_s, options.species)
    if edf_dir is None:
        return align_recording(day)  # interpolates the accelerometer, so that the cohort keeps its bytes
    files = RecordingFiles(day.recording, day.subject, *_write_files(day, edf_dir, "", _RODENT_TEXTS))
    config = parse_cohort(
        {
            "source": day.source,
            "species": day.species,
            "epoch_s": day.epoch_s,
            "channels": {name: {"any": [name], "unit": signal.unit} for name, signal in day.signals.items()},
            "labels": {text: sleep_stage.value for text, sleep_stage in _RODENT_TEXTS.items()},
        }
    )
    # An EDF header has no room for these fields.
    kept = {name: getattr(day, name) for name in ("start", "age", "strain", "lights_on", "lights_off")}
    return replace(align_recording(read_scored_night(config, files)), **kept)


def _write_files(
    raw: RawRecording, edf_dir: Path, ending: str, texts: Mapping[str, SleepStage] = RK_ANNOTATIONS
) -> tuple[Path, Path]:
    edf_dir.mkdir(parents=True, exist_ok=True)
    signal_path, hypnogram_path = (edf_dir / f"{raw.recording}{part}.edf" for part in (ending, "-Hypnogram"))
    write_edf(raw, signal_path, hypnogram_path, texts)
    return signal_path, hypnogram_path
