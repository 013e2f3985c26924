"""Folds of a prepared cohort: between subjects, nested, and within subjects by time or by epoch.

Nested: settings are chosen by inner folds and tested once, on the outer fold (Varma & Simon 2006, BMC Bioinformatics
7:91). The inner cohort is a folder of links without the subjects that the outer fold tests.

Within subjects, training and test share the subject, and every output says so. By time, a fold trains on earlier epochs
and tests on later ones of the same people:

| rule | training data of fold k of K, before it tests block k + 1 of K + 1 equal blocks of a subject's epochs |
|---|---|
| `temporal:K` | all blocks before |
| `rolling:K` | the one block before |

Blocks are those of scikit-learn's TimeSeriesSplit over all recordings of a subject, in the order of their starts. The
last fifth of the training part validates. GAP_EPOCHS are left out between training, validation and test, as
neighbouring epochs resemble each other. Such scores say how well a scorer that knows a subject continues with it, and
nothing about other people.

By epoch, the epochs of every recording are drawn into the parts, stratified by sleep stage: for comparison with the
literature only.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tslm.command import advise
from tslm.data.prepared.on_demand import FirstEpochs
from tslm.data.prepared.recordings import (
    EPOCH_SPLIT_COLUMN,
    Participant,
    Recording,
    read_participants,
    write_participants,
)
from tslm.data.splits.rules import assign_splits
from tslm.data.splits.split import BY_EPOCH, SPLITS, Split
from tslm.labels import SleepStage
from tslm.seeds import hash_seed

GAP_EPOCHS = 10
EPOCH_SHARES = (0.8, 0.1, 0.1)  # by epoch: train, val, test
VAL_SHARE = 0.2  # of a fold's training part, its end


def choose_fold(participants: Sequence[Participant], fold: int) -> list[Participant]:
    """Participants with the splits that one fold gives them: it tests, the next one validates, the others train.

    The next fold is the one with the next higher number, after the last the first. Without folds the
    participants stay as they are.

    Args:
        participants: rows of one cohort; those divided by time stay as they are, as each has all splits.
        fold: number of the fold to test on; -1 for cohorts without folds.

    Raises:
        ValueError: the cohort has folds and `fold` is none of them, or a subject stands in two folds.
    """
    folds = list_folds(participants)
    if not folds:
        return list(participants)
    if fold not in folds:
        chosen = "chooses none" if fold < 0 else f"is {fold}"
        raise ValueError(
            f"the cohort has folds ({_render_range(folds)}) and stage.fold {chosen}; give stage.fold=N or --fold N"
        )
    if participants[0].split.is_within_subject:
        return list(participants)
    part_of = {fold: "test", folds[(folds.index(fold) + 1) % len(folds)]: "val"}
    return [
        replace(row, split=Split(part_of.get(row.split.fold or 0, "train"), row.split.fold)) for row in participants
    ]


def list_folds(participants: Sequence[Participant]) -> list[int]:
    """Numbers of the cohort's folds in ascending order; empty without folds.

    Raises:
        ValueError: some recordings have a fold and some have none, or a subject stands in two; or some are divided by
            time and some are not.
    """
    by_time = {row.split for row in participants if row.split.is_within_subject}
    if by_time:
        split = by_time.pop()
        if by_time or any(row.split != split for row in participants):
            raise ValueError(f"only some recordings have split={split.text}; split the whole cohort again")
        return list(range(split.num_folds))
    fold_of: dict[str, int | None] = {}
    for row in participants:
        first = fold_of.setdefault(row.subject, row.split.fold)
        if first != row.split.fold:
            raise ValueError(f"subject {row.subject} is in fold {first} and in {row.split.fold}: a leak")
    without = [subject for subject, fold in fold_of.items() if fold is None]
    if without and len(without) < len(fold_of):
        raise ValueError(f"subject {without[0]} has no fold and others have one; prepare the cohort again")
    return sorted({fold for fold in fold_of.values() if fold is not None})


def render_counts(participants: Sequence[Participant]) -> str:
    """One line for people: recordings, subjects, how they are split, and how many recordings have no labels."""
    num_of = Counter(row.split.part for row in participants)
    how = ", ".join(f"{num_of[split]} {split}" for split in SPLITS)
    if folds := list_folds(participants):
        how = f"{len(folds)} folds; train with stage.fold=N"
    if participants and participants[0].split.is_within_subject:
        how = f"{len(list_folds(participants))} folds in time within each subject: results are marked within-subject"
    elif any(row.split.leaks for row in participants):
        how = "split by epoch, which LEAKS: results are marked leaky"
    num_unlabelled = sum(not row.has_labels for row in participants)
    without = f", {num_unlabelled} without labels" if num_unlabelled else ""
    return f"{len(participants)} recordings of {len({row.subject for row in participants})} subjects ({how}){without}"


def write_inner_cohort(cohort_dir: Path, fold: int, num_folds: int, out_dir: Path) -> list[Participant]:
    """Link all recordings but those of the subjects that `fold` tests into `out_dir`, split into `num_folds` folds.

    Args:
        cohort_dir: prepared, with folds of subjects.
        fold: the outer one.
        num_folds: of the inner ones, 3 or more; drawn with the outer fold as seed.
        out_dir: a folder for this alone; written again, it is the same.

    Raises:
        FileNotFoundError: there is no cohort.
        ValueError: it has no folds or not this one, they share subjects, or there are too few subjects for inner ones.
    """
    everyone = read_participants(cohort_dir)
    if not list_folds(everyone) or any(row.split.leaks for row in everyone):
        how = advise("make some", f"data_prep.split {cohort_dir} --out {cohort_dir}_folds split=kfold:5")
        raise ValueError(f"{cohort_dir} has no folds of subjects to tune within; {how}")
    rows = [row for row in choose_fold(everyone, fold) if row.split.part != "test"]
    split_of = assign_splits((row.subject for row in rows), f"kfold:{num_folds}", seed=fold)
    inner = [replace(row, split=split_of[row.subject]) for row in rows]
    out_dir.mkdir(parents=True, exist_ok=True)
    for stale in out_dir.glob("*.parquet"):
        stale.unlink()
    for row in inner:
        name = f"{row.recording}.parquet"
        (out_dir / name).symlink_to((cohort_dir / name).resolve())
    write_participants(inner, out_dir)
    return inner


def _render_range(numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def draw_time_splits(num_epochs: int, split: Split, fold: int) -> np.ndarray:
    """Part of each epoch of a subject in one fold: train, val, test, or "" where it is left out.

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
    """Part of each epoch of each recording in one fold of a cohort that is divided by time.

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

    Later epochs are cut off, so that no later signal is seen in training or test.
    """
    stop = int(np.flatnonzero(split_E == part)[-1]) + 1
    pairs = zip(recording.sleep_stages[:stop], split_E[:stop], strict=True)
    columns = {name: values[:stop] for name, values in recording.columns.items()}
    return replace(
        recording,
        channels=FirstEpochs(recording.channels, stop),
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
    codes = np.array([sleep_stage.value for sleep_stage in sleep_stages])
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
