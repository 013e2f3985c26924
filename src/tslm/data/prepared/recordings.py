"""Prepared recordings: the files that `data_prep` writes and everything else reads.

A cohort is a folder with one `<recording>.parquet` per recording (zstd, one row per epoch in time
order) and `participants.tsv` (one row per recording). Each channel is a fixed-size list of int16;
the schema's metadata hold its scale in microvolt per step, the sampling rate and the length of an epoch.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tslm.command import advise
from tslm.data.prepared.checks import check_metadata, check_table
from tslm.data.prepared.on_demand import ChannelCache, StoredChannels
from tslm.data.splits.split import BY_EPOCH, Split, parse_split
from tslm.files import hash_file, parse_json, read_table, write_beside
from tslm.labels import SleepStage

PARTICIPANTS_FILE = "participants.tsv"
PARTICIPANTS_NOTES_FILE = "participants.json"  # beside it where test and training share subjects: the rule, and marks
NO_LABELS = "no labels"  # how the note of a recording without a scored epoch begins
EPOCH_SPLIT_COLUMN = "split"  # of a recording that is split by epoch: the part of each epoch
# Fields that a recording, its parquet file and its row of participants.tsv share.
IDENTITY = ("recording", "subject", "species", "start", "age", "sex", "strain", "lights_on", "lights_off", "source")
_METADATA_KEY = b"tslm"
_INT16_MAX = 32767
MAX_STORED_UV = 0.5 * _INT16_MAX  # steps stay at 0.5 uV or finer: `tslm.data.epochs` clips what lies beyond


@dataclass(frozen=True)
class Recording:
    """One night (or day) in memory, cut into scoring epochs."""

    recording: str
    subject: str
    fs_hz: float
    epoch_s: float
    channels: Mapping[str, np.ndarray]  # name -> (num_epochs, epoch samples) float32, microvolt unless `units` tells
    sleep_stages: tuple[SleepStage, ...]  # one per epoch
    onset_s: np.ndarray  # (num_epochs,) seconds from the start of the recording
    columns: Mapping[str, np.ndarray | list[str]] = field(default_factory=dict)  # evidence, artefact flags, rationale
    species: str = "human"
    start: str = ""  # ISO 8601; empty when unknown
    age: str = ""
    sex: str = ""
    strain: str = ""
    lights_on: str = ""  # time of day on the clock of `start`, e.g. 07:00
    lights_off: str = ""
    source: str = ""
    units: Mapping[str, str] = field(
        default_factory=dict
    )  # units of channels that are no voltage; the others are in uV
    notes: tuple[str, ...] = ()  # what was changed on the way from the raw files
    measured_channel: str = ""  # channel that the evidence columns are of; empty: there are none
    split: Split = Split()  # as participants.tsv has it; no part where it was read without

    @property
    def num_epochs(self) -> int:
        """Number of scoring epochs."""
        return len(self.sleep_stages)

    def name_epoch(self, epoch_idx: int) -> str:
        """The sample_id of an epoch."""
        return f"{self.recording}:{epoch_idx}"


@dataclass(frozen=True)
class Participant:
    """One row of participants.tsv."""

    recording: str
    subject: str
    species: str
    split: Split
    sha256: str
    fs_hz: float
    start: str
    age: str
    sex: str
    strain: str = ""
    lights_on: str = ""
    lights_off: str = ""
    source: str = ""
    notes: str = ""  # what was changed on the way from the raw files, divided by "; "

    @property
    def has_labels(self) -> bool:
        """Whether any epoch was scored when the recording was prepared, by its notes."""
        return not any(note.startswith(f"{NO_LABELS}: ") for note in self.notes.split("; "))


_COLUMNS = [item.name for item in fields(Participant)]  # of participants.tsv
_COLUMNS.insert(_COLUMNS.index("notes"), "fold")


def write_recording(recording: Recording, cohort_dir: Path, split: Split | str) -> Participant:
    """Write one recording's parquet file (beside, then renamed) and return its participants row.

    Args:
        recording: what to write.
        cohort_dir: folder of the cohort.
        split: how it is split, or the text of that; `by_epoch` needs a column `split`.

    Raises:
        ValueError: an unknown split, one that does not fit the recording, or values that are not finite.
    """
    split = parse_split(split) if isinstance(split, str) else split
    if (split.rule == BY_EPOCH) != (EPOCH_SPLIT_COLUMN in recording.columns):
        raise ValueError(f"{recording.recording} has split {split.text!r}; by_epoch goes with a column `split` alone")
    path = cohort_dir / f"{recording.recording}.parquet"
    cohort_dir.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as partial:
        pq.write_table(_to_table(recording), partial, compression="zstd", row_group_size=1 << 20)
    identity = {name: getattr(recording, name) for name in IDENTITY}
    notes = "; ".join(" ".join(note.split()) for note in recording.notes)
    return Participant(**identity, fs_hz=recording.fs_hz, split=split, sha256=hash_file(path), notes=notes)


def read_checked(
    row: Participant, cohort_dir: Path, channels: Iterable[str] | None = None, cache: ChannelCache | None = None
) -> Recording:
    """Read a recording of a cohort for training or generation; arguments as `read_recording`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no prepared recording, or its SHA-256 is not that of participants.tsv.
    """
    path = cohort_dir / f"{row.recording}.parquet"
    if path.is_file():
        facts = path.stat()
        if _hash_once(path.resolve(), facts.st_mtime_ns, facts.st_size) != row.sha256:
            raise ValueError(
                f"{path} is not the file that was prepared: its SHA-256 is not that of {PARTICIPANTS_FILE}; restore it "
                f"or {advise('prepare the cohort again, and see all such files', f'data_prep.verify {cohort_dir}')}"
            )
    return replace(read_recording(path, channels, cache), split=row.split)


def read_recording(path: Path, channels: Iterable[str] | None = None, cache: ChannelCache | None = None) -> Recording:
    """Read one prepared recording; ValueError when it is not one.

    Args:
        path: the file.
        channels: names of those to read; None: all.
        cache: each channel is read when it is asked for, and held by it; None: all are read now.
    """
    metadata = _read_metadata(path)
    wanted = list(metadata["scale_uv"]) if channels is None else list(channels)
    missing = [name for name in wanted if name not in metadata["scale_uv"]]
    if missing:
        raise ValueError(
            f"{path.name} has no channel {missing[0]!r}; it has: {', '.join(metadata['scale_uv'])} "
            "(stage.channel and stage.extra_channels name those to read)"
        )
    unwanted = set(metadata["scale_uv"]) - (set(wanted) if cache is None else set())
    names = [name for name in pq.read_schema(path).names if name not in unwanted]
    table = _read_columns(path, names)
    check_table(path, table, wanted if cache is None else (), metadata)
    core = {"epoch_idx", "onset_s", "sleep_stage", *wanted}
    return Recording(
        **{name: metadata.get(name, "") for name in IDENTITY},
        fs_hz=metadata["fs_hz"],
        epoch_s=metadata["epoch_s"],
        channels={name: _read_channel(table, name, metadata["scale_uv"][name]) for name in wanted}
        if cache is None
        else StoredChannels(path, wanted, partial(_read_stored, path, metadata), cache),
        sleep_stages=tuple(SleepStage(code) for code in table["sleep_stage"].to_pylist()),
        onset_s=table["onset_s"].to_numpy(),
        columns={name: _read_column(table, name) for name in names if name not in core},
        units={name: unit for name, unit in metadata.get("units", {}).items() if name in wanted},
        notes=tuple(metadata.get("notes", ())),
        measured_channel=next(iter(metadata["scale_uv"])),  # the first one, as `tslm.data.evidence` measures it
    )


def round_to_stored(recording: Recording) -> Recording:
    """The recording with its samples rounded to the steps of its file: as `write_recording` and `read_recording` do.

    Raises:
        ValueError: values that are not finite.
    """
    channels = {}
    for name, epochs_EL in recording.channels.items():
        channels[name] = _restore_samples(*_quantize(recording.recording, name, epochs_EL))
    return replace(recording, channels=channels)


def write_participants(participants: Iterable[Participant], cohort_dir: Path) -> None:
    """Write participants.tsv, and participants.json where test and training share subjects.

    Raises:
        ValueError: a subject stands in two splits, or a recording in two rows.
    """
    rows = sorted(participants, key=lambda row: row.recording)
    _check_names(rows, cohort_dir / PARTICIPANTS_FILE)
    check_subject_splits(rows)
    with (
        write_beside(cohort_dir / PARTICIPANTS_FILE) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_render_participant(row) for row in rows)
    notes_path = cohort_dir / PARTICIPANTS_NOTES_FILE
    notes_path.unlink(missing_ok=True)
    if shared := next((row for row in rows if row.split.leaks), None):
        notes = {"split": shared.split.text, "leaky": True}
        notes |= {"within_subject": True} if shared.split.is_within_subject else {}
        with write_beside(notes_path) as partial:
            partial.write_text(json.dumps(notes) + "\n", encoding="utf-8")


def read_participants(cohort_dir: Path) -> list[Participant]:
    """Rows of participants.tsv; unknown columns are ignored, columns with a default may be missing.

    Raises:
        FileNotFoundError: no such file; the message is the command that makes the cohort.
        ValueError: a column is missing, a rate or split cannot be read, or a recording stands in two rows.
    """
    path = cohort_dir / PARTICIPANTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; {advise('make it', f'data_prep.prepare COHORT --out {cohort_dir}')}"
        )
    names, rows = read_table(path, "\t")
    known = fields(Participant)
    missing = {item.name for item in known if item.default is MISSING} - set(names)
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(sorted(missing))}; prepare the cohort again")
    participants = [_parse_participant({name: row.get(name) or "" for name in _COLUMNS}, path) for row in rows]
    _check_names(participants, path)
    return participants


def read_signal_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of the samples of each channel that is not flat; it does not depend on names."""
    return dict(_read_metadata(path).get("signal_sha256", {}))


def check_subject_splits(participants: Iterable[Participant]) -> None:
    """Raise ValueError when the recordings of one subject stand in different splits."""
    split_of: dict[str, str] = {}
    for row in participants:
        if split_of.setdefault(row.subject, row.split.text) != row.split.text:
            raise ValueError(f"subject {row.subject} is in {split_of[row.subject]} and in {row.split.text}: a leak")


def _check_names(participants: Iterable[Participant], path: Path) -> None:
    """Raise ValueError when a recording stands in two rows: its epochs would be read twice."""
    counts = Counter(row.recording for row in participants)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{path}: recording {repeated[0]!r} stands in {counts[repeated[0]]} rows; keep one of them")


def _render_participant(row: Participant) -> list[Any]:
    fold = "" if row.split.fold is None else row.split.fold
    return [row.split.text if name == "split" else fold if name == "fold" else getattr(row, name) for name in _COLUMNS]


def _parse_participant(row: dict[str, str], path: Path) -> Participant:
    try:
        split = parse_split(row["split"], row.pop("fold"))
    except ValueError as error:
        raise ValueError(f"{path}: {row['recording']}: {error}") from error
    try:
        fs_hz = float(row["fs_hz"])
    except ValueError as error:
        raise ValueError(f"{path}: {row['recording']} has fs_hz {row['fs_hz']!r}; wanted a number") from error
    return Participant(**{**row, "split": split, "fs_hz": fs_hz})  # type: ignore[arg-type]


def _to_table(recording: Recording) -> pa.Table:
    scale_uv: dict[str, float] = {}
    signal_sha256: dict[str, str] = {}
    columns: dict[str, pa.Array] = {
        "epoch_idx": pa.array(np.arange(recording.num_epochs, dtype=np.int32)),
        "onset_s": pa.array(np.asarray(recording.onset_s, dtype=np.float64)),
        "sleep_stage": pa.array([sleep_stage.value for sleep_stage in recording.sleep_stages]),
    }
    for name, epochs_EL in recording.channels.items():
        steps_EL, scale_uv[name] = _quantize(recording.recording, name, epochs_EL)
        if steps_EL.any():  # flat channels are alike in all recordings
            signal_sha256[name] = hashlib.sha256(steps_EL.tobytes()).hexdigest()
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(steps_EL.reshape(-1)), steps_EL.shape[1])
    columns.update({name: pa.array(values) for name, values in recording.columns.items()})
    metadata = {name: getattr(recording, name) for name in (*IDENTITY, "fs_hz", "epoch_s")}
    metadata |= {"scale_uv": scale_uv, "units": dict(recording.units), "signal_sha256": signal_sha256}
    if recording.notes:
        metadata["notes"] = list(recording.notes)
    return pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(metadata)})


def _quantize(recording: str, name: str, epochs_EL: np.ndarray) -> tuple[np.ndarray, float]:
    """Samples of a channel in int16 steps, and microvolt per step: the largest sample takes the largest step."""
    if not np.isfinite(epochs_EL).all():
        raise ValueError(f"channel {name!r} of {recording} holds NaN or infinite values")
    scale_uv = float(np.abs(epochs_EL).max(initial=1e-6)) / _INT16_MAX
    return np.rint(epochs_EL / scale_uv).astype(np.int16), scale_uv


def _restore_samples(steps_EL: np.ndarray, scale_uv: float) -> np.ndarray:
    return steps_EL.astype(np.float32) * np.float32(scale_uv)


@lru_cache(maxsize=1 << 14)
def _hash_once(path: Path, _mtime_ns: int, _size: int) -> str:
    """SHA-256 of a file, computed once a process as long as the file stays as it is."""
    return hash_file(path)


def _read_metadata(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"no prepared recording at {path}")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a parquet file: {' '.join(str(error).split())[:200]}") from error
    if _METADATA_KEY not in metadata:
        raise ValueError(f"{path} is not a prepared recording; {advise('make one', 'data_prep.prepare')}")
    found = parse_json(metadata[_METADATA_KEY], str(path))
    check_metadata(path, found, IDENTITY)
    return {name: value for name, value in found.items() if value is not None}


def _read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(names)).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} is damaged: {' '.join(str(error).split())[:200]}; prepare the cohort again"
        ) from error


def _read_stored(path: Path, metadata: Mapping[str, Any], name: str) -> np.ndarray:
    table = _read_columns(path, ("epoch_idx", "onset_s", "sleep_stage", name))
    check_table(path, table, (name,), metadata)
    return _read_channel(table, name, metadata["scale_uv"][name])


def _read_channel(table: pa.Table, name: str, scale_uv: float) -> np.ndarray:
    column = table[name].chunk(0) if table.num_rows else None
    if column is None:
        return np.zeros((0, 0), dtype=np.float32)
    steps_EL = column.flatten().to_numpy().reshape(table.num_rows, -1)
    return _restore_samples(steps_EL, scale_uv)


def _read_column(table: pa.Table, name: str) -> np.ndarray | list[str]:
    column = table[name]
    return column.to_pylist() if pa.types.is_string(column.type) else column.to_numpy()
