"""How far scorers carry: every scorer on every kind of night, whole and cut into pieces that are scored apart.

1. A scorer is a checkpoint of a classifier, or YASA, which reads people's nights only.
2. Each recording is scored with all channels that the scorer reads, and with the EEG alone where the scorer can do
   without the others.
3. A recording is also cut into pieces of 140, 60 and 30 minutes, as excerpts and naps come, and each is scored as if
   it were the whole recording.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.comparison.inputs import LABEL_SET_OF_GROUP
from tslm.baselines.table import score_night_with_yasa
from tslm.data.prepared.recordings import Recording, read_participants, read_recording
from tslm.data.samples.night_windows import index_sleep_stages, load_recordings
from tslm.files import write_json, write_text
from tslm.labels import LABEL_SETS, LabelSet, species_group
from tslm.predictions.rows import pick_likeliest
from tslm.predictions.stager import choose_device, find_test_leak, open_stager
from tslm.scoring.intervals import Resampling
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics
from tslm.scoring.probabilities import score_probabilities
from tslm.signals.channel_names import ROLES, read_channel_name
from tslm.table import Cell, Table

YASA = "yasa"
WHOLE = 0.0
PIECES_MIN = (WHOLE, 140.0, 60.0, 30.0)
TRANSFER_FILE = "transfer.json"
_MIN_SHARE = 0.5  # a last piece shorter than this share of a piece is left out
_EEG_ALONE, _ALL = "EEG alone", "all channels"


@dataclass(frozen=True)
class TransferScorer:
    """A scorer in the table.

    Attributes:
        name: of its column.
        channels: that it reads, the EEG first.
        may_lack: whether it can do without all but the EEG.
        label_set: of its answers.
        score: (num_epochs, num_stages) probabilities of a recording whose channels carry the scorer's names.
        is_leaky: whether a cohort's test subjects were in its training data.
    """

    name: str
    channels: tuple[str, ...]
    may_lack: bool
    label_set: LabelSet
    score: Callable[[Recording], np.ndarray]
    is_leaky: Callable[[Path], bool] = lambda _: False


def run_transfer(arguments: argparse.Namespace) -> str:
    """Write transfer.json and transfer.md into `arguments.out`; return the table as text."""
    scorers = [open_scorer(name, folder, arguments.device) for name, folder in arguments.checkpoints]
    if arguments.yasa:
        scorers.append(build_yasa_scorer())
    resampling = Resampling(arguments.num_resamples, arguments.seed)
    rows = [
        row
        for kind, folder in arguments.data
        for row in score_kind(kind, folder, scorers, arguments.pieces_min, resampling)
    ]
    table = build_table(rows)
    write_json({"rows": rows, "seed": arguments.seed}, arguments.out / TRANSFER_FILE)
    path = arguments.out / TRANSFER_FILE.replace(".json", ".md")
    write_text(table.markdown(), path)
    return f"{table.text()}\nwritten to {path}, {TRANSFER_FILE} beside it"


def open_scorer(name: str, folder: Path, device: str = "") -> TransferScorer:
    """The classifier of a checkpoint; ValueError for one of another kind."""
    stager = open_stager(folder, choose_device(device))
    config = stager.config
    if config.model.kind.role != "scorer":
        raise ValueError(f"{folder} holds no classifier; give the checkpoint of stage0_encoder")
    return TransferScorer(
        name=name,
        channels=config.stage.channels,
        may_lack=set(config.stage.extra_channels) <= set(config.optional_channels),
        label_set=LABEL_SETS[config.model.label_set],
        score=stager.score,
        is_leaky=lambda cohort_dir: find_test_leak(config, cohort_dir, -1),
    )


def build_yasa_scorer() -> TransferScorer:
    """YASA, with the names of its channels."""

    def score(recording: Recording) -> np.ndarray:
        names = tuple(recording.channels)
        return score_night_with_yasa(recording, *(name if name in names else None for name in ("EEG", "EOG", "EMG")))  # type: ignore[arg-type]

    return TransferScorer(YASA, ("EEG", "EOG", "EMG"), True, LABEL_SETS["aasm"], score)


def score_kind(
    kind: str,
    cohort_dir: Path,
    scorers: Sequence[TransferScorer],
    pieces_min: Sequence[float] = PIECES_MIN,
    resampling: Resampling | None = None,
) -> Iterator[dict[str, Any]]:
    """One row for each scorer, choice of channels and length of the pieces.

    Args:
        kind: name of the kind of night.
        cohort_dir: prepared cohort whose test split is scored.
        scorers: what scores.
        pieces_min: lengths of the pieces in minutes; 0: the whole recording.
        resampling: of the intervals, over subjects or over blocks of one subject.

    Raises:
        FileNotFoundError: there is no cohort.
        ValueError: it has no EEG channel.
    """
    names = _list_channels(cohort_dir)
    for scorer in scorers:
        for channels in _choose_uses(scorer, names):
            nights = [
                _rename(night, channels) for night in load_recordings(cohort_dir, "test", list(channels.values()))
            ]
            if LABEL_SET_OF_GROUP[species_group(nights[0].species)] != scorer.label_set.name:
                continue  # it scores another species
            use = _ALL if len(channels) > 1 else _EEG_ALONE
            for piece_min in pieces_min:
                parts = [part for night in nights for part in cut_pieces(night, piece_min)]
                if len(parts) == len(nights) and piece_min != WHOLE:
                    continue  # no night is longer than a piece
                measured = _measure(parts, scorer, resampling or Resampling())
                yield {
                    "kind": kind,
                    "system": scorer.name,
                    "channels": use,
                    "piece_min": piece_min,
                    "leaky": scorer.is_leaky(cohort_dir),
                    **measured,
                }


def cut_pieces(recording: Recording, piece_min: float) -> list[Recording]:
    """Parts of a recording one after the other; the recording itself for WHOLE."""
    size = round(piece_min * 60 / recording.epoch_s)
    if not size or recording.num_epochs <= size:
        return [recording]
    starts = range(0, recording.num_epochs, size)
    return [
        _cut(recording, slice(first, first + size))
        for first in starts
        if recording.num_epochs - first >= _MIN_SHARE * size
    ]


def build_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Kappa by kind and piece, a column for each scorer and choice of channels."""
    columns = list(dict.fromkeys((row["system"], row["channels"]) for row in rows))
    keys = list(dict.fromkeys((row["kind"], row["piece_min"]) for row in rows))
    found = {(row["kind"], row["piece_min"], row["system"], row["channels"]): row for row in rows}
    lines = []
    for kind, piece_min in keys:
        cells = [_show(found.get((kind, piece_min, *column))) for column in columns]
        lines.append([kind, "whole" if piece_min == WHOLE else f"{piece_min:g} min", *cells])
    notes = ["Cohen's kappa of the scored epochs; intervals over subjects, or over blocks of 10 min of one subject."]
    if any(row["leaky"] for row in rows):
        notes.append("leaky: test subjects were in the training data.")
    return Table(("nights", "scored as", *(f"{system}, {use}" for system, use in columns)), lines, notes=notes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument(
        "--checkpoints", nargs="+", type=parse_named, required=True, metavar="NAME=DIR", help="of classifiers"
    )
    parser.add_argument(
        "--data", nargs="+", type=parse_named, required=True, metavar="KIND=DIR", help="prepared cohorts, test split"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the table")
    parser.add_argument(
        "--pieces_min",
        nargs="+",
        type=float,
        default=list(PIECES_MIN),
        metavar="MIN",
        help="lengths of the pieces that are scored apart; 0: the whole recording; default: %(default)s",
    )
    parser.add_argument("--yasa", action="store_true", help="also YASA (extra `peers`), on people")
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap resamples of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")


def parse_named(text: str) -> tuple[str, Path]:
    """`NAME=DIR` as a name and a folder."""
    name, sign, folder = text.partition("=")
    if not (name and sign and folder):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted NAME=DIR")
    return name, Path(folder)


def _list_channels(cohort_dir: Path) -> tuple[str, ...]:
    first = read_participants(cohort_dir)[0]
    return tuple(read_recording(cohort_dir / f"{first.recording}.parquet").channels)


def _choose_uses(scorer: TransferScorer, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Channel of the scorer to channel of the cohort: all that it reads, and the EEG alone."""
    wanted = {name: _find_channel(name, names) for name in scorer.channels}
    if not wanted[scorer.channels[0]]:
        raise ValueError(f"no EEG among the channels {', '.join(names)}")
    found = {name: source for name, source in wanted.items() if source}
    if len(found) == len(wanted) or scorer.may_lack:
        yield found
    if len(found) > 1 and scorer.may_lack:
        yield {scorer.channels[0]: found[scorer.channels[0]]}


def _find_channel(wanted: str, names: Sequence[str]) -> str:
    """The channel of that name, else the first of its role; empty without one."""
    role = read_channel_name(wanted).role
    assert role in ROLES
    of_role = [name for name in names if read_channel_name(name).role == role]
    return wanted if wanted in names else next(iter(of_role), "")


def _rename(recording: Recording, channels: Mapping[str, str]) -> Recording:
    return replace(
        recording,
        channels={name: recording.channels[source] for name, source in channels.items()},
        units={name: recording.units[source] for name, source in channels.items() if source in recording.units},
    )


def _cut(recording: Recording, part: slice) -> Recording:
    return replace(
        recording,
        channels={name: epochs_EL[part] for name, epochs_EL in recording.channels.items()},
        sleep_stages=recording.sleep_stages[part],
        onset_s=recording.onset_s[part],
        columns={name: values[part] for name, values in recording.columns.items()},
    )


def _measure(parts: Sequence[Recording], scorer: TransferScorer, resampling: Resampling) -> dict[str, Any]:
    truth, probabilities, subjects = [], [], []
    for part in parts:
        idx_E = index_sleep_stages(part, scorer.label_set)
        scored_E = idx_E >= 0
        truth.append(idx_E[scored_E])
        probabilities.append(scorer.score(part)[scored_E])
        subjects += [part.subject] * int(scored_E.sum())
    truth_N, probability_NK = np.concatenate(truth), np.concatenate(probabilities)
    answers = list(scorer.label_set.answers)
    names = [answers[idx] for idx in truth_N]
    answered = [answers[idx] for idx in pick_likeliest(probability_NK)]
    metrics = compute_metrics(names, answered, answers)
    intervals = bootstrap_intervals(names, answered, answers, subjects=subjects, resampling=resampling)
    return {
        "num_recordings": len(parts),
        "num_epochs": len(truth_N),
        **{name: metrics[name] for name in ("cohen_kappa", "macro_f1", "per_class_f1")},
        "cohen_kappa_interval": intervals["cohen_kappa"],
        "log_loss": score_probabilities(probability_NK, truth_N, answers)["log_loss"],
    }


def _show(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell(None)
    return Cell(row["cohen_kappa"], interval=row["cohen_kappa_interval"], detail="leaky" if row["leaky"] else "")
