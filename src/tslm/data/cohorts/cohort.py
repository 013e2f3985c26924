"""A cohort as one YAML file: where its recordings lie, which channels to read, and what its labels mean.

`load_cohort` reads a file of configs/cohort or a user's own, `find_recordings` finds the files it describes.
"""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tslm.config.compose import configs_dir, list_group
from tslm.config.files import apply_overrides, build_config, read_yaml
from tslm.data.cohorts.subject_table import Row, find_row, read_subject_table
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.digits import DIGIT_PRESETS
from tslm.data.readers.raw import SignalsConfig
from tslm.labels import RK_ANNOTATIONS, SleepStage

COHORT_GROUP = "cohort"
_APPLE_DOUBLE = "._"  # begins files that macOS writes beside others on foreign disks
MISSING_LABELS = ("unscored", "error")
_LISTS = {"signals": ("files", "channel_names"), "hypnogram": ("files", "ignore")}  # keys whose values are lists


@dataclass(frozen=True)
class DerivationConfig:
    """One way to get a channel: a recorded one, or its difference to the mean of others."""

    plus: str = ""
    minus: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the derivation, e.g. "C4 - M1"."""
        return f"{self.plus} - {' + '.join(self.minus)}" if self.minus else self.plus


@dataclass(frozen=True)
class ChannelConfig:
    """Source of a prepared channel: the first of `any` that the file holds."""

    any: tuple[DerivationConfig, ...] = ()
    optional: bool = False  # recordings without it, or with a flat one, are prepared without it
    unit: str = ""  # unit of the values where the header is wrong or empty; voltages are converted to uV


@dataclass(frozen=True)
class SubjectsConfig:
    """A table of subjects or recordings (tslm.data.cohorts.subject_table)."""

    table: str = ""  # CSV or TSV below raw_dir; empty: none
    key: str = ""  # column with the name of the recording or subject; empty: one of the usual names


@dataclass(frozen=True)
class CohortConfig:
    """One cohort."""

    description: str = ""
    obtain: str = ""  # how to get the recordings; part of the error where none is found
    source: str = ""  # source stored in every recording; empty: the name of the YAML file
    species: str = "human"
    epoch_s: float = 30.0
    fs_hz: float = 0.0  # sampling rate of all prepared channels; 0: the highest rate recorded
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    hypnogram: HypnogramConfig = field(default_factory=HypnogramConfig)
    subjects: SubjectsConfig = field(default_factory=SubjectsConfig)
    channels: dict[str, ChannelConfig] = field(default_factory=dict)  # evidence is measured on the first
    labels: dict[str, str] = field(default_factory=dict)  # label -> code of SleepStage; empty: the labels of Sleep-EDF
    missing_labels: str = "unscored"  # epochs and recordings without a label are unscored, or an error

    def __post_init__(self) -> None:
        if self.missing_labels not in MISSING_LABELS:
            raise ValueError(f"missing_labels={self.missing_labels}: wanted one of: {', '.join(MISSING_LABELS)}")
        if not (0 < self.epoch_s < 3600 and 0 <= self.fs_hz < 1e5):
            raise ValueError(f"epoch_s={self.epoch_s:g} and fs_hz={self.fs_hz:g} cannot be; wanted s and Hz")
        for text, code in self.labels.items():
            if code not in tuple(SleepStage):
                raise ValueError(f"labels: {text!r} is {code!r}; wanted one of: {', '.join(SleepStage)}")

    @property
    def label_map(self) -> Mapping[str, SleepStage]:
        """Label to sleep stage; a preset of digits is added to the labels, which come first."""
        named = {text: SleepStage(code) for text, code in self.labels.items()} or RK_ANNOTATIONS
        digits = DIGIT_PRESETS[self.hypnogram.digits].stages if self.hypnogram.digits else {}
        return {**digits, **named}


@dataclass(frozen=True)
class RecordingFiles:
    """Files of one recording, with its names and its row of the table of subjects."""

    recording: str
    subject: str  # empty: the patient code of the header, or else the name of the recording
    signal_path: Path
    hypnogram_path: Path | None  # None: inside the signal file, or missing
    about: Row = field(default_factory=dict)  # row of the table of subjects
    missing: str = ""  # names of the hypnogram that was looked for beside the signals and is not there


def load_cohort(name: str, overrides: Sequence[str] = ()) -> CohortConfig:
    """A cohort of configs/cohort, or of a YAML file.

    Args:
        name: `sleep_edf`, or a path to a YAML file.
        overrides: `key=value` with dots (`hypnogram.epoch_s=20`); `channels=A,B` takes two channels as they are named.

    Raises:
        ValueError: No such cohort, an unknown key (the nearest valid one is named) or a bad value.
    """
    path = configs_dir() / COHORT_GROUP / f"{name}.yaml" if name in list_group(COHORT_GROUP) else Path(name)
    if not path.is_file():
        known = ", ".join(list_group(COHORT_GROUP))
        raise ValueError(f"no cohort {name!r}; give a YAML file or one of: {known}")
    content = read_yaml(path)
    try:
        config = parse_cohort(apply_overrides(content, overrides))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config if config.source else replace(config, source=path.stem)


def describe_cohorts() -> dict[str, str]:
    """Description of each cohort of configs/cohort, by its name; the rest of the files is not checked."""
    return {
        name: read_yaml(configs_dir() / COHORT_GROUP / f"{name}.yaml").get("description", "")
        for name in list_group(COHORT_GROUP)
    }


def parse_cohort(content: Mapping[str, Any]) -> CohortConfig:
    """CohortConfig from plain mappings and lists as YAML gives them; ValueError for a bad key or value."""
    content = dict(content)
    channels = _parse_channels(content.pop("channels", None) or {})
    named = content.pop("labels", None) or {}
    if not isinstance(named, dict):
        raise ValueError(f"labels: {named!r} is no mapping from the text of a label to a code such as N2")
    labels = {_text(text): _text(code) for text, code in named.items()}
    for part in _LISTS:
        if isinstance(content.get(part), dict):
            content[part] = _list_values(content[part], part)
    config = build_config(CohortConfig, content, {"labels": labels})
    return replace(config, channels=channels)


def parse_reading(overrides: Sequence[str]) -> CohortConfig:
    """How to read single files from `key=value`; ValueError for a bad key or value.

    Keys of `hypnogram` and `labels` are named in full (`hypnogram.digits=rk`), those of `signals` may stand alone.
    """
    named = [
        word if word.startswith(("signals.", "hypnogram.", "labels.")) else f"signals.{word}" for word in overrides
    ]
    return parse_cohort(apply_overrides({}, named))


def find_recordings(config: CohortConfig, raw_dir: Path | None) -> list[RecordingFiles]:
    """Recordings below a folder, in the order of their paths; a file that is the hypnogram of another one is none.

    Raises:
        FileNotFoundError: No such folder, or no recording in it.
        ValueError: A recording has several hypnograms, or none under missing_labels=error, or two recordings have one
            name.
    """
    if raw_dir is None or not raw_dir.is_dir():
        raise FileNotFoundError(f"raw_dir={raw_dir or ''} is no folder; give raw_dir=DIR with the raw recordings")
    if not config.signals.files:
        raise ValueError("signals.files is empty; give patterns such as '**/*.edf'")
    paths = sorted({path for pattern in config.signals.files for path in _glob(raw_dir, pattern, "signals.files")})
    found = [files for path in paths if (files := _match_files(config, path, raw_dir)) is not None]
    hypnogram_paths = {files.hypnogram_path for files in found}
    found = [files for files in found if files.signal_path not in hypnogram_paths]
    if not found:
        wanted = " or ".join(config.signals.files)
        named = f" whose path fits signals.name, {paths[0].relative_to(raw_dir)} does not" if paths else ""
        hint = f"; {config.obtain}" if config.obtain else ""
        raise FileNotFoundError(f"{raw_dir} holds no {wanted}{named}{hint}")
    first_of: dict[str, Path] = {}
    for files in found:
        if first_of.setdefault(files.recording, files.signal_path) != files.signal_path:
            raise ValueError(
                f"{files.signal_path} and {first_of[files.recording]} are both named {files.recording}; "
                "give signals.name a group `recording` that tells them apart"
            )
    if not config.subjects.table:
        return found
    table_path = raw_dir / config.subjects.table
    table = read_subject_table(table_path, config.subjects.key)
    rows = [find_row(table, files.recording, files.subject, table_path) for files in found]
    return [
        replace(files, about=row, subject=row.get("subject", files.subject))
        for files, row in zip(found, rows, strict=True)
    ]


def find_hypnograms(config: CohortConfig, signal_path: Path, folder: Path) -> list[Path]:
    """The files anywhere below a folder whose names fit `hypnogram.files` for a recording, sorted.

    The folders of the patterns are not looked at; a recording whose path does not fit `signals.name` has none.
    """
    fields = _read_fields(config, signal_path, signal_path.as_posix())
    if fields is None:
        return []
    names = {_fill(pattern.rpartition("/")[2], fields, is_glob=True) for pattern in config.hypnogram.files}
    found = {path for name in names for path in folder.rglob(name) if path.is_file() and path != signal_path}
    return sorted(path for path in found if not path.name.startswith(_APPLE_DOUBLE))


def _match_files(config: CohortConfig, path: Path, raw_dir: Path) -> RecordingFiles | None:
    """Files of one recording; None when its name is not that of one."""
    fields = _read_fields(config, path, path.relative_to(raw_dir).as_posix())
    if fields is None:
        return None
    recording = re.sub(r"[^\w.+-]+", "_", fields["recording"])
    hypnogram_path, missing = _find_hypnogram(config, path, fields)
    return RecordingFiles(recording, fields.get("subject", ""), path, hypnogram_path, missing=missing)


def _read_fields(config: CohortConfig, path: Path, where: str) -> dict[str, str] | None:
    """What `hypnogram.files` may ask for: the groups of `signals.name` in a path, `recording` and `stem`."""
    try:
        match = re.search(config.signals.name, where)
    except re.error as error:
        raise ValueError(f"signals.name is no regular expression: {error}") from error
    if match is None:
        return None
    groups = {"stem": path.stem, **{name: text or "" for name, text in match.groupdict().items()}}
    return groups | {"recording": groups.get("recording") or path.stem}


def _find_hypnogram(config: CohortConfig, path: Path, fields: Mapping[str, str]) -> tuple[Path | None, str]:
    """The hypnogram beside the signals, or the names under which it was looked for."""
    for pattern in config.hypnogram.files:
        is_pattern = any(sign in pattern for sign in "*?[")
        name = _fill(pattern, fields, is_pattern)
        found = _glob(path.parent, name, "hypnogram.files") if is_pattern else [path.parent / name]
        found = [hypnogram_path for hypnogram_path in found if hypnogram_path.is_file() and hypnogram_path != path]
        if len(found) > 1:
            raise ValueError(f"{path} needs one hypnogram beside it, {len(found)} are named {name}")
        if found:
            return found[0], ""
    wanted = " or ".join(pattern.format_map(fields) for pattern in config.hypnogram.files)
    if wanted and config.missing_labels == "error":
        raise ValueError(
            f"{path} needs one hypnogram beside it, 0 found; wanted {wanted}; missing_labels=unscored would let it be"
        )
    return None, wanted


def _fill(pattern: str, fields: Mapping[str, str], is_glob: bool) -> str:
    """A pattern of `hypnogram.files` with the names of a recording, escaped for glob where it is one."""
    try:
        return pattern.format_map({key: glob.escape(text) for key, text in fields.items()} if is_glob else fields)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"hypnogram.files: {pattern!r} asks for {error}; known are: {', '.join(fields)}") from error


def _glob(folder: Path, pattern: str, key: str) -> list[Path]:
    """Files below a folder, without those that macOS writes beside others; ValueError for what is no pattern."""
    try:
        found = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError, IndexError, re.error) as error:
        raise ValueError(
            f"{key}: {pattern!r} is no pattern below {folder} ({error}); wanted such as **/*.edf"
        ) from error
    return [path for path in found if path.is_file() and not path.name.startswith(_APPLE_DOUBLE)]


def _parse_channels(content: Any) -> dict[str, ChannelConfig]:
    if isinstance(content, str):
        content = [name.strip() for name in content.split(",") if name.strip()]
    if isinstance(content, list):
        content = {str(name): [str(name)] for name in content}
    if not isinstance(content, dict):
        raise ValueError(f"channels: {content!r} is no mapping from a channel's name to where it comes from")
    return {str(name): _parse_channel(str(name), choice) for name, choice in content.items()}


def _parse_channel(name: str, choice: Any) -> ChannelConfig:
    prefix = f"channels.{name}."
    if not isinstance(choice, dict) or "plus" in choice:
        choice = {"any": choice}
    alternatives = []
    for derivation in _listed(choice.get("any", name)):
        parts = (
            dict(derivation)
            if isinstance(derivation, dict)
            else {"plus": "" if derivation is None else str(derivation)}
        )
        if "minus" in parts:
            parts["minus"] = [str(minus) for minus in _listed(parts["minus"])]
        alternatives.append(build_config(DerivationConfig, parts, prefix=f"{prefix}any."))
    if not alternatives or not all(derivation.plus for derivation in alternatives):
        raise ValueError(f"channels.{name}: no recorded channel is named; wanted a name or {{plus: C4, minus: M1}}")
    rest = {key: value for key, value in choice.items() if key != "any"}
    return replace(build_config(ChannelConfig, rest, prefix=prefix), any=tuple(alternatives))


def _list_values(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The values that are lists as lists, where only one was given."""
    return {key: _listed(value) if key in _LISTS[part] else value for key, value in content.items()}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        raise ValueError(f"labels: YAML reads one of the texts as {value}; put it in quotes")
    return str(value)
