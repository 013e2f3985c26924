"""A staged night: what a stager made of one recording, ready to be written, drawn or handed to YASA."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tslm.data.prepared.recordings import Recording
from tslm.data.readers.edf.header import NO_START
from tslm.evidence.events import Event
from tslm.hypnogram import Hypnogram
from tslm.labels import LabelSet, SleepStage
from tslm.predictions.rows import PredictionRow

if TYPE_CHECKING:
    from tslm.data.cohorts.experts import Expert


@dataclass(frozen=True)
class NightResult:
    """One staged night.

    An epoch whose signal is missing is left out of `recording` (`tslm.data.epochs.cut_epochs`), but it is in `span` and
    in `hypnogram`. Outputs number epochs from the start of the file, as `span` does.

    Attributes:
        recording: epochs that were staged, with their onset in the file, artefact flags and notes.
        span: epochs of the file that the night covers (`tslm.data.cohorts.nights.SingleNight.span`).
        label_set: sleep stages in the order of the probabilities.
        sleep_stages: of each epoch of `recording`, after smoothing; UNSCORED where an answer could not be read.
        probabilities_EK: (epochs of `recording`, sleep stages) float32, calibrated, before smoothing.
        file: path of the signals. Outputs hold its name without the folder.
        channels: name by which the model knows a channel to the file's channel.
        checkpoints: system (`language_model`, `classifier`) to its checkpoint.
        unsmoothed: sleep stages before smoothing; None: nothing was smoothed.
        smoothing: method of smoothing, as `tslm.predictions.smoothing.Smoothing` names it.
        warnings: what makes the answers less certain, such as a channel of another region than in the training.
        temperature: that the probabilities were calibrated with; None: not calibrated.
        explain: epochs that the language model was asked for (`tslm.staging.night.StagingOptions`).
        expert: name of the file of the expert whose sleep stages `recording` holds; empty: nobody has scored it.
        rows: of the language model, of some or all epochs of `recording` in order; None: no texts were asked for.
        events: of each epoch of `recording` (`tslm.data.events.recording_events`); None: not looked for.

    Raises:
        ValueError: lengths that differ, or an epoch outside the span.
    """

    recording: Recording
    span: range
    label_set: LabelSet
    sleep_stages: tuple[SleepStage, ...]
    probabilities_EK: np.ndarray
    file: Path
    channels: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    unsmoothed: tuple[SleepStage, ...] | None = None
    smoothing: str = "none"
    warnings: tuple[str, ...] = ()
    temperature: float | None = None
    explain: str = "none"
    expert: str = ""
    rows: Sequence[PredictionRow] | None = None
    events: Sequence[Sequence[Event]] | None = None

    def __post_init__(self) -> None:
        num_epochs = self.recording.num_epochs
        parts = {name: getattr(self, name) for name in ("sleep_stages", "unsmoothed", "events")}
        for name, part in parts.items():
            if part is not None and len(part) != num_epochs:
                raise ValueError(f"{name} has {len(part)} epochs, the recording {num_epochs}; give one for each")
        if self.probabilities_EK.shape != (num_epochs, len(self.label_set.sleep_stages)):
            raise ValueError(
                f"probabilities_EK has shape {self.probabilities_EK.shape}; wanted {num_epochs} epochs and "
                f"{len(self.label_set.sleep_stages)} sleep stages"
            )
        explained = [row["epoch_idx"] for row in self.rows or ()]
        if explained != sorted(set(explained) & set(range(num_epochs))):
            raise ValueError(f"rows are not of {num_epochs} epochs in order, each once")
        if outside := set(self.epoch_idx) - set(self.span):
            raise ValueError(f"epoch {min(outside)} of {self.file.name} is outside the night's {self.span}")

    @cached_property
    def epoch_idx(self) -> tuple[int, ...]:
        """Number of each epoch of `recording` in the file, from 0."""
        epoch_s = self.recording.epoch_s
        return tuple(round(onset_s / epoch_s) for onset_s in self.recording.onset_s.tolist())

    @cached_property
    def hypnogram(self) -> Hypnogram:
        """The night's hypnogram over its whole span; an epoch without signal is UNSCORED."""
        return self._spread(self.sleep_stages)

    def _spread(self, sleep_stages: Sequence[SleepStage]) -> Hypnogram:
        """Sleep stages of the epochs of `recording` over the whole span."""
        of_epoch = dict(zip(self.epoch_idx, sleep_stages, strict=True))
        stages = tuple(of_epoch.get(epoch, SleepStage.UNSCORED) for epoch in self.span)
        epoch_s = self.recording.epoch_s
        start = self.start and self.start + timedelta(seconds=self.span.start * epoch_s)
        return Hypnogram(stages, epoch_s, start.isoformat() if start else "")

    @property
    def start(self) -> datetime | None:
        """Start of the file; None where unknown."""
        return datetime.fromisoformat(self.recording.start) if self.recording.start else None

    @property
    def expert_hypnogram(self) -> Hypnogram | None:
        """The expert's sleep stages over the same span; None where nobody has scored the night."""
        return self._spread(self.recording.sleep_stages) if self.expert else None

    def add_expert(self, expert: "Expert") -> "NightResult":
        """The night beside an expert's scoring; the stages and texts stay as they are.

        Raises:
            ValueError: the expert scored none of its epochs.
        """
        sleep_stages = expert.stage_at(self.recording.onset_s)
        answers = dict(zip(self.label_set.sleep_stages, self.label_set.answers, strict=True))
        num_scored = sum(sleep_stage in answers for sleep_stage in sleep_stages)
        if not num_scored:
            raise ValueError(f"{expert.path} scores none of the staged epochs of {self.file.name}")
        notes = [*self.recording.notes, *expert.notes]
        if left := self.recording.num_epochs - num_scored:
            notes.append(
                f"expert: {left} of {self.recording.num_epochs} epochs have no sleep stage and are not compared"
            )
        recording = replace(self.recording, sleep_stages=sleep_stages, notes=tuple(notes))
        rows: list[PredictionRow] | None = None
        if self.rows is not None:
            rows = [{**row, "truth": answers.get(sleep_stages[row["epoch_idx"]])} for row in self.rows]
        return replace(self, recording=recording, rows=rows, expert=expert.path.name)

    def warn(self, warning: str) -> "NightResult":
        """The night with one more warning."""
        return replace(self, warnings=(*self.warnings, warning))

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Metrics of each system against the expert (`tslm.scoring.systems.score_systems`); empty without an expert."""
        from tslm.export.page import build_rows
        from tslm.predictions.scorings import parse_scorings
        from tslm.scoring.systems import score_systems

        return score_systems(parse_scorings(build_rows(self))) if self.expert else {}

    def remove_identity(self) -> "NightResult":
        """The night without the patient's code and the date; the time of day and the file's name stay."""
        start = self.start and self.start.replace(year=NO_START.year, month=NO_START.month, day=NO_START.day)
        anonymous = replace(self.recording, subject="", age="", sex="", start=start.isoformat() if start else "")
        return replace(self, recording=anonymous)

    @property
    def explanations(self) -> list[dict[str, Any]]:
        """Of each epoch with a text its stage, probabilities, answer, text and checked claims.

        See `tslm.export.explanations.describe_epochs`.
        """
        from tslm.export.explanations import describe_epochs

        return [epoch for epoch in describe_epochs(self) if "text" in epoch]

    @property
    def probabilities(self) -> Any:
        """A pandas DataFrame with a row an epoch of `recording` and a column a sleep stage, before smoothing.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a table of probabilities needs pandas; or use probabilities_EK") from error
        names = [sleep_stage.value for sleep_stage in self.label_set.sleep_stages]
        return pd.DataFrame(self.probabilities_EK, index=pd.Index(self.epoch_idx, name="epoch_idx"), columns=names)

    def to_events(self) -> list[dict[str, Any]]:
        """Each detected waveform, rhythm and artefact: kind, epoch_idx, onset_s in the file, duration_s."""
        from tslm.export.rows import list_event_rows

        return list_event_rows(self)

    def to_edf(self, path: Path | str, keep_identity: bool = False) -> None:
        """Write stages and events as EDF+ annotations; see `tslm.export.annotations.write_annotations`."""
        from tslm.export.annotations import write_annotations

        write_annotations(self if keep_identity else self.remove_identity(), Path(path))

    def report(self, path: Path | str, keep_identity: bool = False) -> None:
        """Write the page of the night, which opens without a network."""
        from tslm.export.page import write_page

        write_page(self if keep_identity else self.remove_identity(), Path(path))

    def write(self, folder: Path | str, keep_identity: bool = False) -> dict[str, Path]:
        """Write all exports; see `tslm.export.table.write_exports`."""
        from tslm.export.table import write_exports

        return write_exports(self, Path(folder), keep_identity)

    def plot(self) -> Any:
        """The matplotlib Figure of hypnogram and probabilities; see `tslm.export.figure.draw_night`."""
        from tslm.export.figure import draw_night

        return draw_night(self)

    def to_yasa(self) -> Any:
        """The hypnogram as a yasa.Hypnogram; see `tslm.baselines.yasa.build_yasa_hypnogram`."""
        from tslm.baselines.yasa import build_yasa_hypnogram

        return build_yasa_hypnogram(self.hypnogram)
