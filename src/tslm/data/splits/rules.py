"""Splits of a cohort, made once and by subject: shares, leave-one-out, folds, published folds; some within subjects.

| rule | what |
|---|---|
| `70/15/15` | percent of subjects in train/val/test; with 20 subjects or more, at least 5 in test |
| `train`, `val`, `test` | all subjects there |
| `kfold:K` | K folds of subjects, drawn by seed, sizes within one of each other (scikit-learn's KFold over subjects) |
| `skfold:K` | K folds of subjects with like shares of stages, species and age (StratifiedGroupKFold over epochs) |
| `loso` | leave one subject out: a fold a subject (LeaveOneGroupOut) |
| `sleep_edf_20` | SC400 to SC419, a fold a subject (Supratak et al. 2017, Eldele et al. 2021) |
| `sleep_edf_78` | the 78 of the cassette study in 10 folds of neighbours (Supratak & Guo 2020) |
| `temporal:K`, `rolling:K` | K folds in time within each subject (tslm.data.splits.time): WITHIN-SUBJECT |
| `by_epoch` | the epochs of every recording, stratified 80/10/10: LEAKS, for comparison with the literature only |
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tslm.data.prepared.recordings import BY_EPOCH, EPOCH_SPLIT_COLUMN, SPLITS, Participant, Recording
from tslm.data.splits.strata import expand_strata
from tslm.data.splits.time import is_time_rule, parse_time_rule
from tslm.labels import SleepStage
from tslm.seeds import hash_seed

DEFAULT_SPLIT = "70/15/15"
MIN_TEST_SUBJECTS = 5  # in test, where there are ENOUGH_SUBJECTS
ENOUGH_SUBJECTS = 20
EPOCH_SHARES = (0.8, 0.1, 0.1)  # by_epoch: train, val, test
_KFOLD, _SKFOLD, _LOSO = "kfold:", "skfold:", "loso"
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


@dataclass(frozen=True)
class Place:
    """Where a subject stands: `split` is that of the first fold where there are folds."""

    split: str
    fold: str = ""  # number of the fold that tests the subject; empty without folds


def check_split(split: str) -> None:
    """Raise ValueError when `split` is no rule of this module."""
    if split in (BY_EPOCH, _LOSO, *PUBLISHED_FOLDS):
        return
    if split.startswith((_KFOLD, _SKFOLD)):
        parse_num_folds(split)
    elif is_time_rule(split):
        parse_time_rule(split)
    else:
        parse_shares(split)


def needs_strata(split: str) -> bool:
    """Whether a rule looks at the hypnograms, so that recordings must be prepared before they are split."""
    return split.startswith(_SKFOLD)


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
            (*SPLITS, "kfold:K", "skfold:K", _LOSO, "temporal:K", "rolling:K", *PUBLISHED_FOLDS, BY_EPOCH)
        )
        raise ValueError(
            f"split={split}: wanted train/val/test in percent such as {DEFAULT_SPLIT}, or one of: {others}"
        )
    return {name: percent / 100 for name, percent in zip(SPLITS, percents, strict=True)}


def assign_splits(
    subjects: Iterable[str], split: str, seed: int, strata: Mapping[str, Mapping[str, int]] | None = None
) -> dict[str, Place]:
    """Place of each subject by a rule of this module, drawn by `seed` where the rule draws.

    Published folds know their subjects; others have no place there and stay out of the cohort.

    Args:
        subjects: names; one that stands there twice counts once.
        split: the rule.
        seed: of the draw.
        strata: epochs of each subject in each stratum (`tslm.data.splits.strata.count_strata`), for `skfold:K`.

    Raises:
        ValueError: `split` is no rule, or there are too few subjects (or none that it knows).
    """
    check_split(split)
    ordered = sorted(set(subjects))
    if split == BY_EPOCH or is_time_rule(split):
        return {subject: Place(split) for subject in ordered}
    if split in PUBLISHED_FOLDS:
        known = PUBLISHED_FOLDS[split]
        return _place_by_fold({subject: known[subject] for subject in ordered if subject in known}, split)
    if split == _LOSO or split.startswith((_KFOLD, _SKFOLD)):
        return _place_by_fold(_draw_folds(ordered, split, seed, strata), split)
    return {subject: Place(name) for subject, name in _draw_shares(ordered, parse_shares(split), seed).items()}


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
    if participants[0].is_within_subject:
        return list(participants)
    validation = folds[(folds.index(fold) + 1) % len(folds)]
    split_of = {str(fold): "test", str(validation): "val"}
    return [replace(row, split=split_of.get(row.fold, "train")) for row in participants]


def list_folds(participants: Sequence[Participant]) -> list[int]:
    """Numbers of the cohort's folds in ascending order; empty without folds.

    Raises:
        ValueError: some recordings have a fold and some have none, or a subject stands in two; or some are divided by
            time and some are not.
    """
    rules = {row.split for row in participants if row.is_within_subject}
    if rules:
        if len(rules) > 1 or not all(row.is_within_subject for row in participants):
            raise ValueError(f"only some recordings have split={sorted(rules)[0]}; split the whole cohort again")
        return list(range(parse_time_rule(rules.pop())[1]))
    fold_of: dict[str, str] = {}
    for row in participants:
        if fold_of.setdefault(row.subject, row.fold) != row.fold:
            raise ValueError(f"subject {row.subject} is in fold {fold_of[row.subject]!r} and in {row.fold!r}: a leak")
    without = [subject for subject, fold in fold_of.items() if not fold]
    if without and len(without) < len(fold_of):
        raise ValueError(f"subject {without[0]} has no fold and others have one; prepare the cohort again")
    return sorted({int(fold) for fold in fold_of.values() if fold})


def render_counts(participants: Sequence[Participant]) -> str:
    """One line for people: recordings, subjects, and how they are split."""
    num_of = Counter(row.split for row in participants)
    how = ", ".join(f"{num_of[split]} {split}" for split in SPLITS)
    if folds := list_folds(participants):
        how = f"{len(folds)} folds; train with stage.fold=N"
    if participants and participants[0].is_within_subject:
        how = f"{len(list_folds(participants))} folds in time within each subject: results are marked within-subject"
    elif any(row.is_leaky for row in participants):
        how = "split by epoch, which LEAKS: results are marked leaky"
    return f"{len(participants)} recordings of {len({row.subject for row in participants})} subjects ({how})"


def draw_epoch_splits(sleep_stages: Sequence[SleepStage], recording: str, seed: int) -> list[str]:
    """One split an epoch, stratified by stage: the column `split` of a cohort split by epoch, which LEAKS.

    Epochs of one stage are shuffled and laid along 0 to 1 with a random shift, so that each split
    gets its share of every stage within one epoch, without favour to any split where epochs are few.

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


def keep_epochs(recording: Recording, split: str) -> Recording:
    """A recording split by epoch with the labels of the other splits hidden: they become unscored.

    The signal stays whole, so windows over neighbouring epochs see other splits' signal but never
    their labels. Recordings split by subject come back as they are.
    """
    if not recording.is_leaky:
        return recording
    splits = recording.columns[EPOCH_SPLIT_COLUMN]
    stages = zip(recording.sleep_stages, splits, strict=True)
    kept = tuple(stage if name == split else SleepStage.UNSCORED for stage, name in stages)
    return replace(recording, sleep_stages=kept)


def _place_by_fold(fold_of: dict[str, int], split: str) -> dict[str, Place]:
    folds = sorted(set(fold_of.values()))
    if len(folds) < _MIN_FOLDS:
        raise ValueError(
            f"split={split} needs subjects in {_MIN_FOLDS} folds or more (train, val, test), here are {len(folds)}"
        )
    split_of = {folds[0]: "test", folds[1]: "val"}
    return {subject: Place(split_of.get(fold, "train"), str(fold)) for subject, fold in fold_of.items()}


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


def _render_range(numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
