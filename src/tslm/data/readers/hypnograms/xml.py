"""Sleep stages in XML of the National Sleep Research Resource."""

import math
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from tslm.data.readers.hypnograms.config import HypnogramFile
from tslm.data.readers.raw import Annotation

_STAGES_EVENT = "Stages|Stages"  # NSRR's type of event for sleep stages


def read_nsrr(path: Path) -> HypnogramFile:
    """Sleep stages among the scored events of a file of the National Sleep Research Resource."""
    content = path.read_bytes()
    try:
        _refuse_document_type(content, path)
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, expat.ExpatError, LookupError) as error:
        raise ValueError(f"{path} is no XML file: {error}") from error
    labels = []
    for event in root.iter("ScoredEvent"):
        if (event.findtext("EventType") or "").strip() != _STAGES_EVENT:
            continue
        text, *times = (" ".join((event.findtext(tag) or "").split()) for tag in ("EventConcept", "Start", "Duration"))
        try:
            onset_s, duration_s = (float(time) for time in times)
        except ValueError as error:
            raise ValueError(
                f"{path}: stage {text!r} starts at {times[0]!r} for {times[1]!r}; wanted seconds"
            ) from error
        if not (math.isfinite(onset_s) and math.isfinite(duration_s)):
            raise ValueError(f"{path}: stage {text!r} starts at {times[0]!r} for {times[1]!r}; wanted seconds")
        labels.append(Annotation(onset_s, duration_s, text))
    return HypnogramFile(tuple(labels))


def _refuse_document_type(content: bytes, path: Path) -> None:
    """Refuse XML with a document type, and so with entities that could grow or read other files."""

    def refuse(*_: object) -> None:
        raise ValueError(f"{path} declares a document type; NSRR's files have none, and entities are not read")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)
