"""Splits of a cohort, made once and by subject: shares, leave-one-out, folds, published folds; some within subjects.

| rule | what |
|---|---|
| `70/15/15` | percent of subjects in train/val/test; with 20 subjects or more, at least 5 in test |
| `train`, `val`, `test` | all subjects there |
| `kfold:K` | K folds of subjects, drawn by seed, sizes within one of each other (scikit-learn's KFold over subjects) |
| `skfold:K` | K folds of subjects alike in sleep stages, species and age (StratifiedGroupKFold over epochs) |
| `loso` | leave one subject out: a fold a subject (LeaveOneGroupOut) |
| `sleep_edf_20` | SC400 to SC419, a fold a subject (Supratak et al. 2017, Eldele et al. 2021) |
| `sleep_edf_78` | the 78 of the cassette study in 10 folds of neighbours (Supratak & Guo 2020) |
| `holdout:COLUMN=PATTERN` | test: the recordings that match in that column of participants.tsv (`hold_out`) |
| `temporal:K`, `rolling:K` | K folds in time within each subject (tslm.data.splits.folds): WITHIN-SUBJECT |
| `by_epoch` | the epochs of every recording, stratified 80/10/10: LEAKS, for comparison with the literature only |
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tslm.command import advise
from tslm.data.prepared.recordings import Participant
from tslm.data.splits.split import BY_EPOCH, SPLITS, TIME_RULES, Split, parse_split

DEFAULT_SPLIT = "70/15/15"
MIN_TEST_SUBJECTS = 5  # in test, where there are ENOUGH_SUBJECTS
ENOUGH_SUBJECTS = 20
_KFOLD, _SKFOLD, _LOSO = "kfold:", "skfold:", "loso"
_HOLD_OUT = "holdout:"
_HOLD_OUT_COLUMNS = ("source", "subject", "recording", "start", "strain", "species", "sex")
_MAX_NAMED = 5
_HOLD_OUT_SHARES = "85/15/0"  # of the other subjects
_MIN_FOLDS = 3  # one to test, one to validate, one to train
# Subjects of the cassette study: no recording was ever published of 39, 68, 69, 78 and 79.
_CASSETTE = [f"SC4{number:02d}" for number in range(83) if number not in (39, 68, 69, 78, 79)]
# Fold by subject. Sleep-EDF-20 has a subject a fold in every source; AttnSleep only numbers them in another order
# (numpy's RandomState(123).permutation(20)). Sleep-EDF-78 is TinySleepNet's: sleepedfx.txt lists the subjects in
# ascending order and train.py cuts that list with np.array_split into n_folds = 10. AttnSleep permutes them first;
# of that permutation only one readable copy was found, so it is not offered.
PUBLISHED_FOLDS: dict[str, dict[str, int]] = {
    "sleep_edf_20": {f"SC4{number:02d}": number for number in range(20)},
    "sleep_edf_78": {
        str(subject): fold for fold, chunk in enumerate(np.array_split(_CASSETTE, 10)) for subject in chunk
    },
}


def check_split(split: str) -> None:
    """Raise ValueError when `split` is no rule of this module."""
    if split in (BY_EPOCH, _LOSO, *PUBLISHED_FOLDS):
        return
    if split.startswith((_KFOLD, _SKFOLD)):
        parse_num_folds(split)
    elif is_hold_out(split):
        _parse_hold_out(split)
    elif split.partition(":")[0] in TIME_RULES:
        parse_split(split)
    else:
        parse_shares(split)


def needs_strata(split: str) -> bool:
    """Whether a rule looks at the hypnograms, so that recordings must be prepared before they are split."""
    return split.startswith(_SKFOLD)


def is_hold_out(split: str) -> bool:
    """Whether a rule holds out recordings by a column of participants.tsv, so that they must be prepared before."""
    return split.startswith(_HOLD_OUT)


def hold_out(participants: Sequence[Participant], split: str, seed: int) -> dict[str, Split]:
    """Split of each recording by `holdout:COLUMN=PATTERN`, for a site or a day that training must not know.

    `holdout:source=lab2`, `holdout:subject=LAB2_*`, `holdout:start=2024-03-01*`: matching recordings test. The other
    subjects are drawn into training and validation. Other recordings of the subjects that test are left out, as no
    subject may stand in two splits.

    Args:
        participants: rows of a prepared cohort.
        split: the rule; PATTERN is one of the shell (`*`, `?`).
        seed: of the draw.

    Returns:
        By the recording's name; those that are left out are missing.

    Raises:
        ValueError: `split` is no such rule, nothing matches, or fewer than two subjects are left for training and
            validation.
    """
    column, pattern = _parse_hold_out(split)
    texts = {row.recording: str(getattr(row, column)) for row in participants}
    tested = {row.recording: row.subject for row in participants if fnmatchcase(texts[row.recording], pattern)}
    if not tested:
        found = ", ".join(sorted(set(texts.values()))[:_MAX_NAMED])
        raise ValueError(f"split={split}: no recording matches; the column {column} holds: {found}")
    others = sorted({row.subject for row in participants} - set(tested.values()))
    if len(others) < 2:
        raise ValueError(
            f"split={split} leaves {len(others)} subjects for training and validation, which need one each; "
            "temporal:K divides the time of each subject instead"
        )
    split_of = assign_splits(others, _HOLD_OUT_SHARES, seed)
    return {
        row.recording: Split("test") if row.recording in tested else split_of[row.subject]
        for row in participants
        if row.recording in tested or row.subject in split_of
    }


def _parse_hold_out(split: str) -> tuple[str, str]:
    column, equals, pattern = split.removeprefix(_HOLD_OUT).partition("=")
    if column not in _HOLD_OUT_COLUMNS or not (equals and pattern):
        raise ValueError(f"split={split}: wanted holdout:COLUMN=PATTERN, COLUMN one of: {', '.join(_HOLD_OUT_COLUMNS)}")
    return column, pattern


def parse_num_folds(split: str) -> int:
    """10 from "kfold:10" or "skfold:10"; ValueError when it is no whole number of 3 or more."""
    name, _, text = split.partition(":")
    if not text.isascii() or not text.isdigit() or int(text) < _MIN_FOLDS:
        raise ValueError(f"split={split}: wanted {name}:K with K a whole number of {_MIN_FOLDS} or more")
    return int(text)


def parse_shares(split: str) -> dict[str, float]:
    """Share of subjects by split, adding up to 1: "70/15/15" (train/val/test), or one split's name."""
    if split in SPLITS:
        return {name: float(name == split) for name in SPLITS}
    try:
        percents = [float(part) for part in split.split("/")]
    except ValueError:
        percents = []
    if len(percents) != len(SPLITS) or not min(percents) >= 0 or not abs(sum(percents) - 100) < 1e-6:
        others = ", ".join(
            (
                *SPLITS,
                "kfold:K",
                "skfold:K",
                _LOSO,
                "holdout:COLUMN=PATTERN",
                "temporal:K",
                "rolling:K",
                *PUBLISHED_FOLDS,
                BY_EPOCH,
            )
        )
        raise ValueError(
            f"split={split}: wanted train/val/test in percent such as {DEFAULT_SPLIT}, or one of: {others}"
        )
    return {name: percent / 100 for name, percent in zip(SPLITS, percents, strict=True)}


def assign_splits(
    subjects: Iterable[str], split: str, seed: int, strata: Mapping[str, Mapping[str, int]] | None = None
) -> dict[str, Split]:
    """Split of each subject by a rule of this module, drawn by `seed` where the rule draws.

    Published folds know their subjects; others have none there and stay out of the cohort.

    Args:
        subjects: names; one that stands there twice counts once.
        split: the rule.
        seed: of the draw.
        strata: epochs of each subject in each stratum (`count_strata`), for `skfold:K`.

    Raises:
        ValueError: `split` is no rule, or there are too few subjects (or none that it knows).
    """
    check_split(split)
    if is_hold_out(split):
        raise ValueError(
            f"split={split} looks at participants.tsv: {advise('split a prepared cohort', 'data_prep.split')}"
        )
    ordered = sorted(set(subjects))
    if split == BY_EPOCH or split.partition(":")[0] in TIME_RULES:
        return dict.fromkeys(ordered, parse_split(split))
    if split in PUBLISHED_FOLDS:
        known = PUBLISHED_FOLDS[split]
        return _split_by_fold({subject: known[subject] for subject in ordered if subject in known}, split)
    if split == _LOSO or split.startswith((_KFOLD, _SKFOLD)):
        return _split_by_fold(_draw_folds(ordered, split, seed, strata), split)
    return {subject: Split(name) for subject, name in _draw_shares(ordered, parse_shares(split), seed).items()}


def count_strata(participants: Sequence[Participant], cohort_dir: Path) -> dict[str, dict[str, int]]:
    """Epochs of each subject in each stratum: species, younger or older than the cohort's median age, sleep stage.

    An age that is no number is a band of its own, as is one of another species.

    Raises:
        FileNotFoundError: a recording is missing.
    """
    ages = {row.subject: _parse_age(row.age) for row in participants}
    medians = {
        species: float(np.median(of_species))
        for species in {row.species for row in participants}
        if (
            of_species := [
                age for row in participants if row.species == species and (age := ages[row.subject]) is not None
            ]
        )
    }
    counts: dict[str, Counter[str]] = {row.subject: Counter() for row in participants}
    for row in participants:
        path = cohort_dir / f"{row.recording}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; prepare the cohort again")
        age = ages[row.subject]
        band = "" if age is None else "older" if age > medians[row.species] else "younger"
        codes = pq.read_table(path, columns=["sleep_stage"])["sleep_stage"].to_pylist()
        counts[row.subject].update(f"{row.species}/{band}/{code}" for code in codes)
    return {subject: dict(counted) for subject, counted in counts.items()}


def expand_strata(strata: Mapping[str, Mapping[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(num_epochs,) stratum and (num_epochs,) subject of every epoch, as a splitter wants them."""
    pairs = [(name, subject, count) for subject, counts in strata.items() for name, count in counts.items()]
    repeats = [count for _, _, count in pairs]
    return np.repeat([name for name, _, _ in pairs], repeats), np.repeat([subject for _, subject, _ in pairs], repeats)


def _split_by_fold(fold_of: dict[str, int], split: str) -> dict[str, Split]:
    folds = sorted(set(fold_of.values()))
    if len(folds) < _MIN_FOLDS:
        raise ValueError(
            f"split={split} needs subjects in {_MIN_FOLDS} folds or more (train, val, test), here are {len(folds)}"
        )
    split_of = {folds[0]: "test", folds[1]: "val"}
    return {subject: Split(split_of.get(fold, "train"), fold) for subject, fold in fold_of.items()}


def _draw_folds(
    ordered: Sequence[str], split: str, seed: int, strata: Mapping[str, Mapping[str, int]] | None
) -> dict[str, int]:
    """Fold by subject, by one of scikit-learn's splitters: whole subjects are its groups."""
    from sklearn.model_selection import KFold, LeaveOneGroupOut, StratifiedGroupKFold

    num_folds = len(ordered) if split == _LOSO else parse_num_folds(split)
    if len(ordered) < max(num_folds, 2):
        needed = num_folds if split != _LOSO else _MIN_FOLDS
        raise ValueError(f"split={split} needs {needed} subjects or more, there are {len(ordered)}")
    classes, groups = np.zeros(len(ordered)), np.array(ordered)
    splitter: Any = LeaveOneGroupOut()
    if split.startswith(_KFOLD):
        splitter = KFold(num_folds, shuffle=True, random_state=seed)
    elif split.startswith(_SKFOLD):
        if strata is None:
            raise ValueError(f"split={split} looks at hypnograms: split a prepared cohort by it")
        classes, groups = expand_strata({subject: strata[subject] for subject in ordered})
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # a stratum of fewer than K epochs
        folds = [test for _, test in splitter.split(groups, classes, None if isinstance(splitter, KFold) else groups)]
    fold_of = {str(subject): fold for fold, test in enumerate(folds) for subject in np.unique(groups[test])}
    assert fold_of.keys() == set(ordered), "a splitter tests every group once"
    return fold_of


def _draw_shares(ordered: Sequence[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Each split takes one subject first (test, then train, then val, as far as they reach, so that a single
    subject is test), then every further one goes where most are missing.
    """  # noqa: D205
    wanted = {name: share * len(ordered) for name, share in shares.items() if share > 0}
    others = sum(share for name, share in wanted.items() if name != "test")
    if len(ordered) >= ENOUGH_SUBJECTS and "test" in wanted and others and wanted["test"] < MIN_TEST_SUBJECTS:
        left = (len(ordered) - MIN_TEST_SUBJECTS) / others
        wanted = {name: MIN_TEST_SUBJECTS if name == "test" else left * share for name, share in wanted.items()}
    first_served = ("test", "train", "val")
    names = [name for name in first_served if name in wanted][: len(ordered)]
    while len(names) < len(ordered):
        names.append(max(wanted, key=lambda name: wanted[name] - names.count(name)))
    shuffled = np.random.default_rng(seed).permutation(len(ordered))
    return {ordered[idx]: name for idx, name in zip(shuffled, names, strict=True)}


def _parse_age(age: str) -> float | None:
    try:
        return float(age)
    except ValueError:
        return None
