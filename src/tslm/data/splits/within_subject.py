"""Splits within a subject: by time, and by epoch. Training and test share the subject, and every output says so.

By time, a fold trains on earlier epochs and tests on later ones of the same people:

| rule | what fold k trains on, of K + 1 equal blocks of a subject's epochs, before it tests block k + 1 |
|---|---|
| `temporal:K` | all blocks before |
| `rolling:K` | the one block before |

Blocks are those of scikit-learn's TimeSeriesSplit over all recordings of a subject, in the order of their starts. The
last fifth of the training part validates. Between training, validation and test GAP_EPOCHS are left out, as
neighbouring epochs resemble each other. Such scores tell how a scorer that knows a subject goes on with it. They say
nothing about people it has not seen.

By epoch, the epochs of every recording are drawn into the parts, stratified by sleep stage: for comparison with the
literature only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tslm.data.prepared.recordings import EPOCH_SPLIT_COLUMN, Participant, Recording
from tslm.data.splits.split import BY_EPOCH, SPLITS, Split
from tslm.labels import SleepStage
from tslm.seeds import hash_seed

GAP_EPOCHS = 10
EPOCH_SHARES = (0.8, 0.1, 0.1)  # by epoch: train, val, test
VAL_SHARE = 0.2  # of a fold's training part, its end


def draw_time_splits(num_epochs: int, split: Split, fold: int) -> np.ndarray:
    """What each epoch of a subject is for in one fold: train, val, test, or "" for what is left out.

    Args:
        num_epochs: of all recordings of the subject, in the order of time.
        split: temporal or rolling.
        fold: 0 for the earliest.

    Raises:
        ValueError: too few epochs for the rule, or no such fold.
    """
    from sklearn.model_selection import TimeSeriesSplit

    num_folds = split.num_folds
    if not 0 <= fold < num_folds:
        raise ValueError(f"split={split.text} has the folds 0 to {num_folds - 1}, not {fold}")
    block = num_epochs // (num_folds + 1)
    num_train = block - GAP_EPOCHS  # of the shortest training part, its end for validation
    num_val = int(VAL_SHARE * num_train)
    if num_val < 1 or num_train - num_val - GAP_EPOCHS < 1:
        raise ValueError(
            f"split={split.text}: {num_epochs} epochs are {block} in each of {num_folds + 1} blocks: too few "
            f"beside {GAP_EPOCHS} left out before validation and before test; take fewer folds"
        )
    splitter = TimeSeriesSplit(
        num_folds, gap=GAP_EPOCHS, test_size=block, max_train_size=num_train if split.rule == "rolling" else None
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


def keep_time(recording: Recording, split_E: np.ndarray, part: str) -> Recording:
    """A recording up to the last epoch of a part, the labels of other parts hidden.

    What comes later is cut off, so that no signal of a later time is seen by what is trained or tested before it.
    """
    stop = int(np.flatnonzero(split_E == part)[-1]) + 1
    pairs = zip(recording.sleep_stages[:stop], split_E[:stop], strict=True)
    columns = {name: values[:stop] for name, values in recording.columns.items()}
    return replace(
        recording,
        channels={name: epochs_EL[:stop] for name, epochs_EL in recording.channels.items()},
        sleep_stages=tuple(sleep_stage if name == part else SleepStage.UNSCORED for sleep_stage, name in pairs),
        onset_s=recording.onset_s[:stop],
        columns=columns,
    )


def draw_epoch_splits(sleep_stages: Sequence[SleepStage], recording: str, seed: int) -> list[str]:
    """One split an epoch, stratified by sleep stage: the column `split` of a cohort split by epoch, which LEAKS.

    Epochs of one sleep stage are shuffled and laid along 0 to 1 with a random shift, so that each split
    gets its share of every sleep stage within one epoch, without favour to any split where epochs are few.

    Args:
        sleep_stages: of the recording's epochs.
        recording: its name; each recording draws its own.
        seed: of the draw.
    """
    rng = np.random.default_rng(hash_seed(BY_EPOCH, seed, recording))
    codes = np.array([stage.value for stage in sleep_stages])
    borders = np.cumsum(EPOCH_SHARES)[:-1]
    split_idx = np.zeros(len(codes), dtype=int)
    for code in sorted(set(codes.tolist())):
        epochs = rng.permutation(np.flatnonzero(codes == code))
        split_idx[epochs] = np.searchsorted(borders, (np.arange(len(epochs)) + rng.random()) / len(epochs), "right")
    return [SPLITS[idx] for idx in split_idx]


def keep_epochs(recording: Recording, part: str) -> Recording:
    """A recording split by epoch with the labels of the other parts hidden: they become unscored.

    The signal stays whole, so windows over neighbouring epochs see other parts' signal but never
    their labels. Recordings split by subject come back as they are.
    """
    if recording.split.rule != BY_EPOCH:
        return recording
    splits = recording.columns[EPOCH_SPLIT_COLUMN]
    pairs = zip(recording.sleep_stages, splits, strict=True)
    kept = tuple(sleep_stage if name == part else SleepStage.UNSCORED for sleep_stage, name in pairs)
    return replace(recording, sleep_stages=kept)


def _count_epochs(path: Path) -> int:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; prepare the cohort again")
    return pq.read_metadata(path).num_rows
