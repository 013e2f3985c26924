"""Folds within a fold, for tuning: a cohort without the subjects that an outer fold tests, with folds of its own.

Settings are chosen by these inner folds and tested once, on the outer fold (nested cross-validation: Varma & Simon
2006, BMC Bioinformatics 7:91). The inner cohort is a folder of links, in which the outer test subjects do not exist;
whatever reads it cannot see them.
"""

from dataclasses import replace
from pathlib import Path

from tslm.data.prepared.recordings import Participant, read_participants, write_participants
from tslm.data.splits.rules import assign_splits, choose_fold, list_folds


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
    if not list_folds(everyone) or any(row.is_leaky for row in everyone):
        raise ValueError(
            f"{cohort_dir} has no folds of subjects to tune within; make some: python -m data_prep.split {cohort_dir} "
            f"--out {cohort_dir}_folds split=kfold:5"
        )
    rows = [row for row in choose_fold(everyone, fold) if row.split != "test"]
    place_of = assign_splits((row.subject for row in rows), f"kfold:{num_folds}", seed=fold)
    inner = [replace(row, split=place_of[row.subject].split, fold=place_of[row.subject].fold) for row in rows]
    out_dir.mkdir(parents=True, exist_ok=True)
    for stale in out_dir.glob("*.parquet"):
        stale.unlink()
    for row in inner:
        name = f"{row.recording}.parquet"
        (out_dir / name).symlink_to((cohort_dir / name).resolve())
    write_participants(inner, out_dir)
    return inner
