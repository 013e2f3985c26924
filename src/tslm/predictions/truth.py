"""The truth for a file of predictions: its epochs, their labels and their subjects."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from tslm.data.prepared.recordings import PARTICIPANTS_FILE
from tslm.data.samples.night_windows import load_recordings
from tslm.labels import ANSWER_NAMES
from tslm.predictions.rows import PredictionRow

_NUM_NAMED = 5  # sample_ids that a message names


class TrueEpoch(TypedDict, total=False):
    """Label of one epoch, with recording and subject where they are known."""

    truth: str
    recording: str
    subject: str


def read_truth(path: Path, options: Sequence[str], split: str = "test", fold: int = -1) -> dict[str, TrueEpoch]:
    """Labels by sample_id.

    Args:
        path: a prepared cohort, or a file with an object a line that has sample_id and truth, and may have recording
            and subject, such as a file of predictions.
        options: answers of the task; epochs of a cohort with another label or none are left out.
        split: of the recordings of a cohort.
        fold: that `split` refers to, for cohorts with folds.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: no options, an empty file, a line that is no label or contradicts one, a cohort without such epochs.
    """
    if not options:
        raise ValueError("captions have no options and so no truth to compare with; leave it out")
    if (path / PARTICIPANTS_FILE).is_file():
        return _read_cohort(path, options, split, fold)
    if not path.is_file():
        raise FileNotFoundError(
            f"no truth at {path}; give a prepared cohort or a file of labels, one JSON object a line"
        )
    labelled: dict[str, TrueEpoch] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                sample_id, epoch = _parse_line(line, f"{path}, line {number}", options)
                if labelled.setdefault(sample_id, epoch) != epoch:
                    raise ValueError(f"{path}, line {number} gives {sample_id!r} another label; keep one of them")
    if not labelled:
        raise ValueError(f"{path} is empty; give one label a line")
    return labelled


def apply_truth(rows: Sequence[PredictionRow], labelled: Mapping[str, TrueEpoch]) -> tuple[list[PredictionRow], int]:
    """Rows of each system in the order of the truth, with its labels and subjects, and the number of changed labels.

    Rows without a reference answer that the truth does not know either come last, as they are.

    Raises:
        ValueError: rows of other epochs than the truth; the message names them.
    """
    relabelled: list[PredictionRow] = []
    other = set()
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        known = [row for row in own if row["truth"] is not None or row["sample_id"] in labelled]
        for row in align_rows(known, list(labelled), "the truth"):
            relabelled.append({**row, **labelled[row["sample_id"]]})
            if row["truth"] not in (None, relabelled[-1]["truth"]):
                other.add(row["sample_id"])
        relabelled += [row for row in own if row["truth"] is None and row["sample_id"] not in labelled]
    return relabelled, len(other)


def align_rows(rows: Sequence[PredictionRow], sample_ids: Sequence[str], where: str) -> list[PredictionRow]:
    """The rows in the order of `sample_ids`.

    Args:
        rows: predictions of one system.
        sample_ids: the samples that they have to be of, each once.
        where: what holds these samples, for the message.

    Raises:
        ValueError: the rows lack samples, hold others, or one of both repeats a sample; the message names them.
    """
    for ids, holder in (([row["sample_id"] for row in rows], "the predictions"), (sample_ids, where)):
        if repeated := [sample_id for sample_id, count in Counter(ids).items() if count > 1]:
            raise ValueError(f"{holder} hold(s) {_name(repeated)} more than once; keep each once")
    by_id = {row["sample_id"]: row for row in rows}
    expected = set(sample_ids)
    wrong = []
    if missing := [sample_id for sample_id in sample_ids if sample_id not in by_id]:
        wrong.append(f"lack {len(missing)} of the {len(expected)} epochs of {where}: {_name(missing)}")
    if extra := [sample_id for sample_id in by_id if sample_id not in expected]:
        wrong.append(f"hold {len(extra)} that it lacks: {_name(extra)}")
    if wrong:
        raise ValueError(f"the predictions are of other epochs than {where}; they {' and '.join(wrong)}")
    return [by_id[sample_id] for sample_id in sample_ids]


def _read_cohort(cohort_dir: Path, options: Sequence[str], split: str, fold: int) -> dict[str, TrueEpoch]:
    labelled: dict[str, TrueEpoch] = {
        f"{recording.recording}:{epoch}": {
            "truth": ANSWER_NAMES[sleep_stage],
            "recording": recording.recording,
            "subject": recording.subject,
        }
        for recording in load_recordings(cohort_dir, split, (), fold)
        for epoch, sleep_stage in enumerate(recording.sleep_stages)
        if ANSWER_NAMES.get(sleep_stage) in options
    }
    if not labelled:
        raise ValueError(f"{cohort_dir} has no epoch in split {split!r} with one of the labels {', '.join(options)}")
    return labelled


def _parse_line(line: str, where: str, options: Sequence[str]) -> tuple[str, TrueEpoch]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is not whole JSON (cut off?)") from error
    if not isinstance(found, Mapping) or not all(isinstance(found.get(key), str) for key in ("sample_id", "truth")):
        raise ValueError(f"{where} has no sample_id and truth")
    if found["truth"] not in options:
        raise ValueError(f"{where}: truth {found['truth']!r} is none of the options: {', '.join(options)}")
    known: TrueEpoch = {"truth": found["truth"]}
    for key in ("recording", "subject"):
        if isinstance(found.get(key), str):
            known[key] = found[key]
    return found["sample_id"], known


def _name(sample_ids: Iterable[str]) -> str:
    names = list(sample_ids)
    rest = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return f"{', '.join(names[:_NUM_NAMED])}{rest}"
