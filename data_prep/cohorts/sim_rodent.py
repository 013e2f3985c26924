"""The simulated cohort of rodents, prepared like any other."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data_prep.cohorts.cohort import Night, NightOptions, prepare_nights
from data_prep.simulators.rodent.day import SPECIES, name_animal, simulate_rodent_day
from tslm.data.cohorts.cohort import RecordingFiles, parse_cohort
from tslm.data.cohorts.nights import read_scored_night
from tslm.data.prepared.recordings import Participant
from tslm.data.readers.align import align_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording
from tslm.labels import SleepStage

_WHOLE_DAY_MIN = 7 * 24 * 60.0
# Annotation texts of the EDF+ files.
_TEXTS = {
    "Sleep stage W": SleepStage.WAKE,
    "Sleep stage N": SleepStage.NREM,
    "Sleep stage R": SleepStage.REM,
    "Sleep stage ?": SleepStage.UNSCORED,
}


@dataclass(frozen=True)
class SimRodentOptions(NightOptions):
    """The simulated cohort; `edf` also writes the recordings as EDF+ and prepares from those files."""

    num_subjects: int = 20
    hours: float = 24.0
    fs_hz: int = 500
    epoch_s: int = 10
    species: str = "mouse"
    edf: bool = False
    wake_margin_min: float = _WHOLE_DAY_MIN  # a rodent's day is not trimmed

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_subjects < 1 or self.seed < 0:
            raise ValueError(f"num_subjects={self.num_subjects} seed={self.seed}: wanted 1 or more, and 0 or more")
        if self.species not in SPECIES:
            raise ValueError(f"species={self.species}: wanted one of: {', '.join(SPECIES)}")


def prepare_sim_rodent(options: SimRodentOptions, out_dir: Path, workers: int = 1) -> list[Participant]:
    """Simulate a cohort of animals and prepare it; the bytes do not depend on the number of workers."""
    edf_dir = out_dir / "edf" if options.edf else None
    nights = [
        Night(name_animal(options.species, idx), partial(_read_simulated, options, idx, edf_dir))
        for idx in range(options.num_subjects)
    ]
    return prepare_nights(nights, out_dir, options, workers)


def _read_simulated(options: SimRodentOptions, animal_idx: int, edf_dir: Path | None) -> RawRecording:
    day = simulate_rodent_day(options.seed, animal_idx, options.hours, options.fs_hz, options.epoch_s, options.species)
    if edf_dir is None:
        return align_recording(day)  # interpolates the accelerometer, so that the cohort keeps its bytes
    edf_dir.mkdir(parents=True, exist_ok=True)
    signal_path, hypnogram_path = (edf_dir / f"{day.recording}{ending}.edf" for ending in ("", "-Hypnogram"))
    write_edf(day, signal_path, hypnogram_path, _TEXTS)
    config = parse_cohort(
        {
            "source": day.source,
            "species": day.species,
            "epoch_s": day.epoch_s,
            "channels": {name: {"any": [name], "unit": signal.unit} for name, signal in day.signals.items()},
            "labels": {text: sleep_stage.value for text, sleep_stage in _TEXTS.items()},
        }
    )
    read = read_scored_night(config, RecordingFiles(day.recording, day.subject, signal_path, hypnogram_path))
    # What an EDF header has no room for.
    return replace(
        align_recording(read),
        start=day.start,
        age=day.age,
        strain=day.strain,
        lights_on=day.lights_on,
        lights_off=day.lights_off,
    )
