"""The table of exports: the files of a staged night."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tslm.export.annotations import name_in_bids, write_annotations, write_bids_events, write_bids_sidecar
from tslm.export.explanations import write_explanations
from tslm.export.figure import write_figure
from tslm.export.night import NightResult
from tslm.export.page import write_page
from tslm.export.rows import write_events, write_hypnogram
from tslm.export.statistics import write_statistics


@dataclass(frozen=True)
class Export:
    """One file of a night's folder; `write` writes it atomically."""

    file_name: str  # `{bids}` stands for the name of the recording as BIDS spells it
    summary: str
    write: Callable[[NightResult, Path], None]
    needs: str = ""  # field of NightResult without which the file is left out


EXPORTS: dict[str, Export] = {
    "hypnogram": Export("hypnogram.csv", "stage, probabilities, entropy and artefacts of each epoch", write_hypnogram),
    "explanations": Export(
        "explanations.json", "answer, text and checked claims of each epoch", write_explanations, needs="rows"
    ),
    "figure": Export("hypnogram.png", "hypnogram over the probabilities of the stages", write_figure),
    "events": Export("events.csv", "detected waveforms and artefacts with their times", write_events, needs="events"),
    "bids": Export("{bids}_events.tsv", "stages as events of BIDS", write_bids_events),
    "bids_sidecar": Export("{bids}_events.json", "what the columns of the BIDS events mean", write_bids_sidecar),
    "annotations": Export("annotations.edf", "stages and events as EDF+ annotations, for viewers", write_annotations),
    "page": Export("report.html", "a page of the night: hypnogram, signals, texts, marked waveforms", write_page),
    # The last one: a folder that has it is complete.
    "statistics": Export("statistics.json", "sleep statistics, also under YASA's names", write_statistics),
}


def write_exports(
    night: NightResult, folder: Path, keep_identity: bool = False, exports: Mapping[str, Export] = EXPORTS
) -> dict[str, Path]:
    """Write all files of a table of exports that the night has the data for.

    Args:
        night: a staged night.
        folder: of this night alone; it is made.
        keep_identity: keep the patient's code and the date of the recording.
        exports: the table.

    Returns:
        The path of each file by its name in the table.
    """
    night = night if keep_identity else night.remove_identity()
    written = {}
    for name, export in exports.items():
        if not export.needs or getattr(night, export.needs) is not None:
            written[name] = folder / export.file_name.format(bids=name_in_bids(night.file))
            export.write(night, written[name])
    return written
