"""Folds in time within each subject: trained on earlier epochs, tested on later ones of the same people.

| rule | what fold k trains on, of K + 1 equal blocks of a subject's epochs, before it tests block k + 1 |
|---|---|
| `temporal:K` | all blocks before |
| `rolling:K` | the one block before |

Blocks are those of scikit-learn's TimeSeriesSplit over all recordings of a subject, in the order of their starts. The
last fifth of the training part validates. Between training, validation and test GAP_EPOCHS are left out, as
neighbouring epochs resemble each other. Such scores tell how a scorer that knows a subject goes on with it. They say
nothing about people it has not seen, and every output is marked (tslm.data.splits.leak_labels).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tslm.data.prepared.recordings import TIME_RULES, TIME_SPLIT_COLUMN, Participant, Recording
from tslm.labels import SleepStage

GAP_EPOCHS = 10
VAL_SHARE = 0.2  # of a fold's training part, its end


def is_time_rule(split: str) -> bool:
    """Whether a rule divides subjects by time; its number is checked by `parse_time_rule`."""
    return split.partition(":")[0] in TIME_RULES


def parse_time_rule(split: str) -> tuple[str, int]:
    """("temporal", 5) from "temporal:5"; ValueError when it is no such rule or no whole number of 2 or more."""
    name, _, text = split.partition(":")
    if name not in TIME_RULES or not (text.isascii() and text.isdigit() and int(text) >= 2):
        raise ValueError(f"split={split}: wanted temporal:K or rolling:K with K a whole number of 2 or more")
    return name, int(text)


def draw_time_splits(num_epochs: int, split: str, fold: int) -> np.ndarray:
    """What each epoch of a subject is for in one fold: train, val, test, or "" for what is left out.

    Args:
        num_epochs: of all recordings of the subject, in the order of time.
        split: a rule of this module.
        fold: 0 for the earliest.

    Raises:
        ValueError: too few epochs for the rule, or no such fold.
    """
    from sklearn.model_selection import TimeSeriesSplit

    name, num_folds = parse_time_rule(split)
    if not 0 <= fold < num_folds:
        raise ValueError(f"split={split} has the folds 0 to {num_folds - 1}, not {fold}")
    block = num_epochs // (num_folds + 1)
    num_train = block - GAP_EPOCHS  # of the shortest training part, its end for validation
    num_val = int(VAL_SHARE * num_train)
    if num_val < 1 or num_train - num_val - GAP_EPOCHS < 1:
        raise ValueError(
            f"split={split}: {num_epochs} epochs are {block} in each of {num_folds + 1} blocks, which leaves nothing "
            f"to train on beside {GAP_EPOCHS} that are left out before validation and before test; take fewer folds"
        )
    splitter = TimeSeriesSplit(
        num_folds, gap=GAP_EPOCHS, test_size=block, max_train_size=num_train if name == "rolling" else None
    )
    known, tested = list(splitter.split(np.zeros(num_epochs)))[fold]
    num_val = int(VAL_SHARE * len(known))
    split_E = np.full(num_epochs, "", dtype=object)
    split_E[known[: -num_val - GAP_EPOCHS]] = "train"
    split_E[known[-num_val:]] = "val"
    split_E[tested] = "test"
    return split_E


def draw_recording_splits(rows: Sequence[Participant], cohort_dir: Path, fold: int) -> Mapping[str, np.ndarray]:
    """What each epoch of each recording is for in one fold of a cohort that is divided by time.

    Raises:
        FileNotFoundError, ValueError: a recording is missing, or a subject has too few epochs.
    """
    by_subject: dict[str, list[Participant]] = {}
    for row in sorted(rows, key=lambda row: (row.start, row.recording)):
        by_subject.setdefault(row.subject, []).append(row)
    splits: dict[str, np.ndarray] = {}
    for subject, of_subject in by_subject.items():
        lengths = [_count_epochs(cohort_dir / f"{row.recording}.parquet") for row in of_subject]
        try:
            split_E = draw_time_splits(sum(lengths), of_subject[0].split, fold)
        except ValueError as error:
            raise ValueError(f"{cohort_dir}, subject {subject}: {error}") from error
        parts = np.split(split_E, np.cumsum(lengths)[:-1])
        splits |= {row.recording: part for row, part in zip(of_subject, parts, strict=True)}
    return splits


def keep_time(recording: Recording, split_E: np.ndarray, split: str) -> Recording:
    """A recording up to the last epoch of a split, the labels of other splits hidden.

    What comes later is cut off, so that no signal of a later time is seen by what is trained or tested before it.
    """
    stop = int(np.flatnonzero(split_E == split)[-1]) + 1
    stages = zip(recording.sleep_stages[:stop], split_E[:stop], strict=True)
    columns = {name: values[:stop] for name, values in recording.columns.items()}
    return replace(
        recording,
        channels={name: epochs_EL[:stop] for name, epochs_EL in recording.channels.items()},
        sleep_stages=tuple(stage if name == split else SleepStage.UNSCORED for stage, name in stages),
        onset_s=recording.onset_s[:stop],
        columns={**columns, TIME_SPLIT_COLUMN: split_E[:stop].tolist()},
    )


def _count_epochs(path: Path) -> int:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; prepare the cohort again")
    return pq.read_metadata(path).num_rows
