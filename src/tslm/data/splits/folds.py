"""Folds of a prepared cohort: which there are, what one fold makes of each recording, and folds within a fold.

Settings are chosen by inner folds and tested once, on the outer fold (nested cross-validation: Varma & Simon 2006,
BMC Bioinformatics 7:91). The inner cohort is a folder of links without the subjects that the outer fold tests; whatever
reads it cannot see them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tslm.data.prepared.recordings import Participant, read_participants, write_participants
from tslm.data.splits.rules import assign_splits
from tslm.data.splits.split import SPLITS, Split


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
    """One line for people: recordings, subjects, and how they are split."""
    num_of = Counter(row.split.part for row in participants)
    how = ", ".join(f"{num_of[split]} {split}" for split in SPLITS)
    if folds := list_folds(participants):
        how = f"{len(folds)} folds; train with stage.fold=N"
    if participants and participants[0].split.is_within_subject:
        how = f"{len(list_folds(participants))} folds in time within each subject: results are marked within-subject"
    elif any(row.split.leaks for row in participants):
        how = "split by epoch, which LEAKS: results are marked leaky"
    return f"{len(participants)} recordings of {len({row.subject for row in participants})} subjects ({how})"


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
        raise ValueError(
            f"{cohort_dir} has no folds of subjects to tune within; make some: python -m data_prep.split {cohort_dir} "
            f"--out {cohort_dir}_folds split=kfold:5"
        )
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
