"""Sleep stages beside the signals: events of BIDS with their sidecar, and EDF+ annotations."""

import re
from pathlib import Path

from tslm.data.readers.edf.writer import write_edf_annotations
from tslm.data.readers.raw import Annotation
from tslm.evidence.criteria import Feature
from tslm.export.night import NightResult
from tslm.files import DISCLAIMER, write_json, write_text
from tslm.labels import AASM_ANNOTATIONS, ANSWER_NAMES, SleepStage
from tslm.report.events import EVENT_NAMES

_BIDS_NAME = re.compile(r"(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_(?:eeg|ieeg|meg)")
_NOT_AVAILABLE = "n/a"  # BIDS: a value that is missing
_TEXT_OF = {sleep_stage: text for text, sleep_stage in AASM_ANNOTATIONS.items()}
_EVENT_TEXTS = {**EVENT_NAMES, Feature.ARTEFACT: "artefact in the signal"}
_COLUMNS = ("onset", "duration", "trial_type")


def name_in_bids(file: Path) -> str:
    """BIDS entities of a file's name; of any other name `sub-<its letters and digits>_task-sleep`."""
    named = _BIDS_NAME.fullmatch(file.stem)
    return named[1] if named else f"sub-{re.sub('[^A-Za-z0-9]', '', file.stem) or 'unknown'}_task-sleep"


def write_bids_events(night: NightResult, path: Path) -> None:
    """Write events.tsv of BIDS (1.10, "Task events"): a row an epoch, onset from the first sample of the recording."""
    epoch_s = night.recording.epoch_s
    lines = ["\t".join(_COLUMNS)]
    for epoch, sleep_stage in zip(night.span, night.hypnogram.sleep_stages, strict=True):
        name = _NOT_AVAILABLE if sleep_stage is SleepStage.UNSCORED else sleep_stage.value
        lines.append(f"{epoch * epoch_s:g}\t{epoch_s:g}\t{name}")
    write_text("\n".join(lines) + "\n", path)


def write_bids_sidecar(night: NightResult, path: Path) -> None:
    """Write the JSON sidecar that describes the columns of events.tsv."""
    levels = {sleep_stage.value: ANSWER_NAMES[sleep_stage] for sleep_stage in night.label_set.sleep_stages}
    by = ", ".join(f"{system} {checkpoint}" for system, checkpoint in night.checkpoints.items()) or "a trained model"
    columns = {
        "onset": {"Description": "Start of the scoring epoch from the first sample of the recording", "Units": "s"},
        "duration": {"Description": "Length of the scoring epoch", "Units": "s"},
        "trial_type": {
            "LongName": "Sleep stage",
            "Description": f"Sleep stage by {by}; n/a: not scored. {DISCLAIMER}",
            "Levels": levels,
        },
    }
    write_json(columns, path)


def list_annotations(night: NightResult) -> list[Annotation]:
    """The sleep stage of each epoch and, where they were looked for, the events, in time order.

    Stages have the standard texts of EDF+. Events are `spindle`, `K-complex` and so on; an artefact is `artefact in the
    signal`, as a bare `artefact` is a score of a whole epoch to some readers.
    """
    epoch_s = night.recording.epoch_s
    notes = [
        Annotation(epoch * epoch_s, epoch_s, _TEXT_OF[sleep_stage])
        for epoch, sleep_stage in zip(night.span, night.hypnogram.sleep_stages, strict=True)
    ]
    for epoch, events in zip(night.epoch_idx, night.events or [[]] * len(night.epoch_idx), strict=True):
        notes += [
            Annotation(epoch * epoch_s + event.onset_s, event.duration_s, _EVENT_TEXTS[event.kind]) for event in events
        ]
    return sorted(notes, key=lambda note: (note.onset_s, note.duration_s, note.text))


def write_annotations(night: NightResult, path: Path) -> None:
    """Write annotations.edf, which viewers open beside the recording: its start is the recording's."""
    write_edf_annotations(list_annotations(night), path, night.start, night.recording.subject)
