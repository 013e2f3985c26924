"""Hypnogram files of any format: which reader opens which file.

A new format is one row of HYPNOGRAM_READERS, and an extension in _FORMAT_OF.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tslm.data.readers.hypnograms.columns import NOT_GIVEN, Column
from tslm.data.readers.hypnograms.config import HypnogramConfig, HypnogramFile, NightSpan
from tslm.data.readers.hypnograms.digits import count_digits, plain_label
from tslm.data.readers.hypnograms.table import COMMENTS, has_columns, read_table
from tslm.data.readers.hypnograms.xml import read_nsrr
from tslm.data.readers.raw import Annotation
from tslm.labels import SleepStage, parse_sleep_stage

_FORMAT_OF = {".txt": "text", ".csv": "table", ".tsv": "table", ".xml": "nsrr"}  # any other ending: annotations
_CONTROL = set(range(9)) | set(range(14, 32))
_WIDE_BOM = (b"\xff\xfe", b"\xfe\xff")


def find_format(path: Path, config: HypnogramConfig) -> str:
    """Format of a hypnogram file: as configured, or by its ending."""
    return config.format or _FORMAT_OF.get(path.suffix.lower(), "annotations")


def read_hypnogram_file(
    path: Path,
    config: HypnogramConfig,
    epoch_s: float,
    labels: Mapping[str, SleepStage] | None = None,
    night: NightSpan = NightSpan(),  # noqa: B008
) -> HypnogramFile:
    """Labels of a text, table or NSRR file, in file order; none where the file holds none.

    Args:
        path: The file.
        config: Its format, columns and epoch length.
        epoch_s: Length of an epoch where `config` has none.
        labels: Label to sleep stage, as the cohort names them; common names are known without.
        night: What is known of the recording; it decides on the unit of times where nothing else does.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not what its format wants.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return HYPNOGRAM_READERS[find_format(path, config)](path, config, config.epoch_s or epoch_s, labels or {}, night)


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
    texts = [note.text for note in annotations if note.text not in config.ignore]
    digits = set(count_digits(texts)) - set(label_map)
    has_digits = bool(digits) and not any(text in label_map for text in texts)
    first_words = {name.split(" ")[0] for name in label_map if " " in name}
    foreign = {note.text for note in annotations} - set(label_map) - set(config.ignore)
    return sorted(
        text
        for text in foreign
        if only_sleep_stages
        or (has_digits and text in digits)
        or text.split(" ")[0] in first_words
        or parse_sleep_stage(text) is not None
    )


def decode_text(path: Path) -> str:
    """Content of a text file: UTF-8 or UTF-16, with or without a mark of byte order, else Latin-1.

    Raises:
        ValueError: It is no text.
    """
    content = path.read_bytes()
    try:
        if content.startswith(_WIDE_BOM):
            return content.decode("utf-16")
        nulls = content[:1000].count(0)
        if nulls > len(content[:1000]) / 4:
            return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error.reason} at byte {error.start}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if _CONTROL & set(content):
            raise ValueError(f"{path} is no text: {error.reason} at byte {error.start}") from error
        text = content.decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{path} is no text: it holds zero bytes")
    return text


def _read_text(
    path: Path, config: HypnogramConfig, epoch_s: float, labels: Mapping[str, SleepStage], night: NightSpan
) -> HypnogramFile:
    """A label a line; a file of several columns is a table, whatever its ending."""
    text = decode_text(path)
    if not config.format and has_columns(text):
        return read_table(path, text, config, epoch_s, labels, night)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    lines = [line for line in lines if not line.startswith(COMMENTS)]
    first = next((idx for idx, line in enumerate(lines) if line), 0)
    if lines and lines[first] not in labels and Column(lines[first], ()).role == "label":
        lines = lines[first + 1 :]
    found: list[Annotation] = []
    blank_at, num_ignored, place = [], 0, 0
    for line in lines:
        if not line:
            blank_at += [place] if place else []
        elif line in config.ignore:
            num_ignored += 1 if place else 0
        else:
            label = line if line in labels else plain_label(line)
            if label.casefold() not in NOT_GIVEN:
                found.append(Annotation(place * epoch_s, epoch_s, label))
            place += 1
    return HypnogramFile(tuple(found), is_listed=True, num_ignored=num_ignored, blank_at=tuple(blank_at))


def _read_table(
    path: Path, config: HypnogramConfig, epoch_s: float, labels: Mapping[str, SleepStage], night: NightSpan
) -> HypnogramFile:
    return read_table(path, decode_text(path), config, epoch_s, labels, night)


def _read_nsrr(path: Path, *_: object) -> HypnogramFile:
    return read_nsrr(path)


_Reader = Callable[[Path, HypnogramConfig, float, Mapping[str, SleepStage], NightSpan], HypnogramFile]
# Formats that are files of their own; annotations come from a signal file.
HYPNOGRAM_READERS: Mapping[str, _Reader] = {"text": _read_text, "table": _read_table, "nsrr": _read_nsrr}
