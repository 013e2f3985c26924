"""The table of results: what a finished job can be fetched as."""

import mimetypes
from pathlib import Path

from tslm.export.explanations import describe_epochs
from tslm.export.night import NightResult
from tslm.export.statistics import summarise_night
from tslm.export.table import EXPORTS, Export
from tslm.files import to_plain, write_json

_MEDIA_TYPES = {".edf": "application/edf", ".tsv": "text/tab-separated-values"}


def write_night(night: NightResult, path: Path) -> None:
    """Write everything about a night as one JSON: its statistics, and each epoch with its text where it has one."""
    write_json(to_plain(summarise_night(night) | {"epochs": describe_epochs(night)}), path)


# By the name in the address. The last row is that of the file which is written last.
RESULTS: dict[str, Export] = {
    "json": Export("night.json", "statistics, and stage, probabilities and text of each epoch", write_night),
    "csv": EXPORTS["hypnogram"],
    "events": EXPORTS["events"],
    "bids": EXPORTS["bids"],
    "bids_sidecar": EXPORTS["bids_sidecar"],
    "edf": EXPORTS["annotations"],
    "png": EXPORTS["figure"],
    "html": EXPORTS["page"],
    "explanations": EXPORTS["explanations"],
    "statistics": EXPORTS["statistics"],
}


def guess_media_type(path: Path) -> str:
    """Media type of a result's file."""
    return _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
