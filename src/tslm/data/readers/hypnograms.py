"""Hypnogram files: text, tables (CSV, BIDS events.tsv) and NSRR XML, read as annotations.

A label counts for the epochs whose middle it covers, so the file's epochs need not be the cohort's. A new format is one
row of HYPNOGRAM_READERS, and an extension in _FORMAT_OF.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from tslm.data.readers.raw import Annotation
from tslm.labels import SleepStage, parse_sleep_stage

_FORMAT_OF = {".txt": "text", ".csv": "table", ".tsv": "table", ".xml": "nsrr"}  # any other ending: annotations
_LABEL_COLUMNS = ("stage", "sleep_stage", "sleepstage", "label", "trial_type", "value", "annotation", "description")
_ONSET_COLUMNS = ("onset", "onset_s", "start", "start_s")
_DURATION_COLUMNS = ("duration", "duration_s")
_EPOCH_COLUMNS = ("epoch", "epoch_idx", "epoch_number")
_NOT_GIVEN = ("", "n/a")  # BIDS writes n/a where a value is missing
_STAGES_EVENT = "Stages|Stages"  # NSRR's type of event for sleep stages
_LONGEST_S = 31 * 86400.0


@dataclass(frozen=True)
class HypnogramConfig:
    """Where the hypnogram of each recording is and how it is written."""

    files: tuple[str, ...] = ()  # beside the signals, e.g. "{stem}.txt" or "../scores/{subject}*.csv"; none: inside
    format: str = ""  # annotations, text (a label a line), table (csv, tsv), nsrr (XML); empty: by the file's ending
    ignore: tuple[str, ...] = ()  # labels that are no sleep stages
    epoch_s: float = 0.0  # length of a line, or of a label without a duration; 0: as the cohort's
    until_next: bool = False  # a label without a duration lasts to the next one
    delimiter: str = ""  # table; empty: by the file's ending
    label_column: str = ""  # table; empty: by its usual names
    onset_column: str = ""  # table: seconds
    duration_column: str = ""  # table: seconds
    epoch_column: str = ""  # table: number of the epoch, from 0 or 1
    min_coverage: float = 0.5  # a hypnogram of less of the night is taken for another night's

    def __post_init__(self) -> None:
        formats = ("annotations", *HYPNOGRAM_READERS)
        if self.format and self.format not in formats:
            raise ValueError(f"hypnogram.format={self.format}: wanted one of: {', '.join(formats)}")


def find_format(path: Path, config: HypnogramConfig) -> str:
    """Format of a hypnogram file: as configured, or by its ending."""
    return config.format or _FORMAT_OF.get(path.suffix.lower(), "annotations")


def read_hypnogram_file(path: Path, config: HypnogramConfig, epoch_s: float) -> list[Annotation]:
    """Labels of a text, table or NSRR file, in file order; none where the file holds none.

    Args:
        path: The file.
        config: Its format, columns and epoch length.
        epoch_s: Length of an epoch where `config` has none.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not what its format wants.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    kind, line_s = find_format(path, config), config.epoch_s or epoch_s
    try:
        return HYPNOGRAM_READERS[kind](path, config, line_s)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error.reason} at byte {error.start}") from error


def find_unknown_labels(
    annotations: Sequence[Annotation],
    label_map: Mapping[str, SleepStage],
    config: HypnogramConfig,
    only_sleep_stages: bool,
) -> list[str]:
    """Labels that must be sleep stages but that `label_map` does not hold, each once, in alphabetical order.

    Args:
        annotations: Labels of one recording.
        label_map: Label to sleep stage.
        config: Its `ignore` lists labels to leave out.
        only_sleep_stages: The file holds sleep stages and nothing else. Otherwise a label counts if it reads like a
            sleep stage or begins as a known label of several words does ("Sleep stage 5"); the rest are other events.
    """
    first_words = {name.split(" ")[0] for name in label_map if " " in name}
    foreign = {note.text for note in annotations} - set(label_map) - set(config.ignore)
    return sorted(
        text
        for text in foreign
        if only_sleep_stages or text.split(" ")[0] in first_words or parse_sleep_stage(text) is not None
    )


def build_sleep_stages(
    annotations: Sequence[Annotation], label_map: Mapping[str, SleepStage], config: HypnogramConfig, epoch_s: float
) -> tuple[SleepStage | None, ...]:
    """Sleep stage of each epoch: that of the label which covers its middle, None where there is none.

    Where labels overlap, the later one in the file counts. Labels that `label_map` does not hold are ignored; without
    any other there is no epoch.

    Raises:
        ValueError: A label ends after more than a month.
    """
    labels = [note for note in annotations if note.text in label_map and note.text not in config.ignore]
    if not labels:
        return ()
    if config.until_next:
        labels = _fill_durations(labels)
    silent_s = config.epoch_s or epoch_s
    spans = [(label.onset_s, label.onset_s + (label.duration_s or silent_s), label.text) for label in labels]
    end_s = max(stop_s for _, stop_s, _ in spans)
    if not end_s <= _LONGEST_S:
        raise ValueError(f"a label ends at {end_s:g} s, more than a month after the start")
    sleep_stages: list[SleepStage | None] = [None] * max(0, round(end_s / epoch_s))
    for start_s, stop_s, text in spans:
        first, stop = (max(0, math.ceil(at_s / epoch_s - 0.5)) for at_s in (start_s, stop_s))
        stop = min(stop, len(sleep_stages))
        sleep_stages[first:stop] = [label_map[text]] * max(0, stop - first)
    return tuple(sleep_stages)


def _fill_durations(labels: Sequence[Annotation]) -> list[Annotation]:
    ordered = sorted(labels, key=lambda label: label.onset_s)
    filled = [
        Annotation(label.onset_s, label.duration_s or following.onset_s - label.onset_s, label.text)
        for label, following in pairwise(ordered)
    ]
    return [*filled, ordered[-1]]


def _read_text(path: Path, _config: HypnogramConfig, epoch_s: float) -> list[Annotation]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    return [Annotation(idx * epoch_s, epoch_s, text) for idx, text in enumerate(lines) if text not in _NOT_GIVEN]


def _read_table(path: Path, config: HypnogramConfig, epoch_s: float) -> list[Annotation]:
    """Rows of a table: onset and duration, or the number of an epoch, or one row after the other."""
    delimiter = config.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file, delimiter=delimiter, restval="", restkey="")
            rows, names = list(reader), [name or "" for name in reader.fieldnames or ()]
        except csv.Error as error:
            raise ValueError(f"{path} is no table: {error}") from error
    label = _find_column(path, names, config.label_column, _LABEL_COLUMNS)
    if label is None:
        raise ValueError(
            f"{path} has no column of labels; it has: {', '.join(names)}; name it in hypnogram.label_column"
        )
    onset = _find_column(path, names, config.onset_column, _ONSET_COLUMNS)
    duration = _find_column(path, names, config.duration_column, _DURATION_COLUMNS)
    epoch = _find_column(path, names, config.epoch_column, _EPOCH_COLUMNS)
    texts = [(row[label] or "").strip() for row in rows]
    if onset is not None:
        onsets_s = _read_numbers(path, rows, onset)
        durations_s = _read_numbers(path, rows, duration, 0.0) if duration is not None else np.zeros(len(rows))
    else:
        numbers = _read_numbers(path, rows, epoch) if epoch is not None else np.arange(float(len(rows)))
        first = numbers.min() if epoch is not None and len(numbers) else 0.0
        if first not in (0.0, 1.0):
            raise ValueError(f"{path} begins with epoch {first:g}; epochs count from 0 or from 1")
        onsets_s, durations_s = (numbers - first) * epoch_s, np.full(len(rows), epoch_s)
    return [
        Annotation(float(onset_s), float(duration_s), text)
        for onset_s, duration_s, text in zip(onsets_s, durations_s, texts, strict=True)
        if text not in _NOT_GIVEN
    ]


def _find_column(path: Path, names: Sequence[str], wanted: str, usual: Sequence[str]) -> str | None:
    if wanted and wanted not in names:
        raise ValueError(f"{path} has no column {wanted!r}; it has: {', '.join(names)}")
    of_usual = {name.strip().casefold(): name for name in names}
    return wanted or next((of_usual[name] for name in usual if name in of_usual), None)


def _read_numbers(
    path: Path, rows: Sequence[Mapping[str, str]], column: str, not_given: float | None = None
) -> np.ndarray:
    numbers = np.empty(len(rows))
    for idx, row in enumerate(rows):
        text = (row[column] or "").strip()
        if text in _NOT_GIVEN and not_given is not None:
            numbers[idx] = not_given
            continue
        try:
            numbers[idx] = float(text)
        except ValueError as error:
            raise ValueError(f"{path}: {column} is {text!r} in row {idx + 1}; wanted a number") from error
        if not math.isfinite(numbers[idx]):
            raise ValueError(f"{path}: {column} is {text!r} in row {idx + 1}; wanted a finite number")
    return numbers


def _read_nsrr(path: Path, _config: HypnogramConfig, _epoch_s: float) -> list[Annotation]:
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
    return labels


def _refuse_document_type(content: bytes, path: Path) -> None:
    """Refuse XML with a document type, and so with entities that could grow or read other files."""

    def refuse(*_: object) -> None:
        raise ValueError(f"{path} declares a document type; NSRR's files have none, and entities are not read")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


# Formats that are files of their own; annotations come from a signal file.
HYPNOGRAM_READERS: Mapping[str, Callable[[Path, HypnogramConfig, float], list[Annotation]]] = {
    "text": _read_text,
    "table": _read_table,
    "nsrr": _read_nsrr,
}
