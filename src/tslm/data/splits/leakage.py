"""Leaks between the training, validation and test data of a run, found before anything heavy is loaded.

Curriculum stages are checked in the order they run. Validation data of a stage must not be in its training data or in
that of an earlier stage; test data must not be in their validation data either. People are compared by the name of
their subject, recordings by checksums of their samples. Corpora have no subjects; whether their splits leak is decided
when they are prepared.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tslm.config.schema import RunConfig
from tslm.data.prepared.corpora import is_leaky_corpus
from tslm.data.prepared.recordings import Participant, check_subject_splits, read_participants, read_signal_hashes
from tslm.data.samples.dataset import find_task
from tslm.data.splits.folds import choose_fold, list_folds
from tslm.data.splits.split import BY_EPOCH, SPLITS

_PURPOSES = {"train": "training", "val": "validation", "test": "test"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Use:
    """One recording in one split of one curriculum stage."""

    row: Participant
    cohort_dir: Path
    curriculum_stage: str
    split: str
    fold: int

    def __str__(self) -> str:
        return f"the {_PURPOSES[self.split]} data of {self.curriculum_stage} ({self.cohort_dir})"


@dataclass
class _Seen:
    """What earlier data hold, by subject and by content."""

    by_subject: dict[str, _Use] = field(default_factory=dict)
    by_content: dict[str, _Use] = field(default_factory=dict)

    def add(self, uses: Sequence[_Use]) -> None:
        for use in uses:
            _put(self.by_subject, use.row.subject, use)
            for content in _list_contents(use):
                _put(self.by_content, content, use)


def check_leakage(configs: Sequence[RunConfig], may_lack_data: bool = False) -> set[str]:
    """Look for subjects and recordings on two sides of a split, over all curriculum stages of a run.

    Args:
        configs: of the curriculum stages, in the order they run; those of earlier runs may stand before.
        may_lack_data: leave out, with a warning, cohorts that are not on this machine.

    Returns:
        Names of the curriculum stages whose test data leak because a cohort is split by epoch, because a corpus says
        that its splits leak, or because a corpus does not tell whose epochs it holds; each is warned of.

    Raises:
        FileNotFoundError: a cohort is missing; the message is the command that makes it.
        ValueError: a leak, naming the subject; or folds that do not fit `stage.fold`.
    """
    history = _History()
    leaky: set[str] = set()
    for config in configs:
        if find_task(config.stage).reads_recordings:
            reasons = history.check_nights(_collect_uses(config, may_lack_data))
        else:
            reasons = history.check_corpus(config)
        for reason in reasons:
            logger.warning("LEAKY: %s %s. All its outputs are marked leaky.", config.stage.name, reason)
            leaky.add(config.stage.name)
    return leaky


class _History:
    """Training and validation data of the stages checked so far; each check returns reasons why tests leak."""

    def __init__(self) -> None:
        self.train, self.val = _Seen(), _Seen()
        self.corpora: set[Path] = set()
        self.anonymous: dict[str, str] = {}  # source of recordings without names of subjects -> curriculum stage

    def check_nights(self, uses: Mapping[str, Sequence[_Use]]) -> list[str]:
        _check_time(self.train, uses["test"])
        self.train.add(uses["train"])
        self.val.add(uses["val"])
        reasons = []
        if _compare(self.train, uses["test"]) | _compare(self.val, uses["test"]):
            rules = sorted({use.row.split.text for use in uses["test"] if use.row.split.leaks})
            reasons.append(
                f"tests on people it was trained on (split={' and '.join(rules) or BY_EPOCH}): it says nothing about "
                "other people"
            )
        _compare(self.train, uses["val"])
        for source in sorted({use.row.source for use in uses["test"]} & set(self.anonymous)):
            earlier = self.anonymous[source]
            reasons.append(f"tests on {source}, and {earlier} was trained on epochs of that data set, unknown whose")
        return reasons

    def check_corpus(self, config: RunConfig) -> list[str]:
        self.corpora |= {config.stage.data_dir("train"), config.stage.data_dir("val")}
        if source := find_task(config.stage).source:
            self.anonymous.setdefault(source, config.stage.name)
        tested = config.stage.data_dir("test")
        if tested in self.corpora and is_leaky_corpus(tested):
            return [f"tests on {tested}, whose splits share people or series"]
        return []


def _collect_uses(config: RunConfig, may_lack_data: bool) -> dict[str, list[_Use]]:
    curriculum_stage = config.stage
    uses: dict[str, list[_Use]] = {}
    has_folds, is_complete = False, True
    folders = {split: config.stage.data_dir(split) for split in SPLITS}
    for split, cohort_dir in folders.items():
        try:
            rows = read_participants(cohort_dir)
        except FileNotFoundError as error:
            if not may_lack_data:
                raise
            logger.warning("%s cannot be checked for leaks against %s: %s", curriculum_stage.name, cohort_dir, error)
            rows, is_complete = [], False
        has_folds |= bool(list_folds(rows))
        try:
            rows = choose_fold(rows, curriculum_stage.fold)
            check_subject_splits(rows)
        except ValueError as error:
            raise ValueError(f"{cohort_dir}: {error}") from error
        uses[split] = [
            _Use(row, cohort_dir, curriculum_stage.name, split, curriculum_stage.fold)
            for row in rows
            if row.split.serves(split)
        ]
    if curriculum_stage.fold >= 0 and is_complete and not has_folds:
        names = " and ".join(map(str, dict.fromkeys(folders.values())))
        raise ValueError(
            f"stage.fold={curriculum_stage.fold}, but {names} of {curriculum_stage.name} has no folds; "
            "leave stage.fold out, or prepare the cohort with split=kfold:10 or split=loso"
        )
    return uses


def _check_time(earlier: _Seen, uses: Sequence[_Use]) -> None:
    """ValueError where an earlier curriculum stage may know of a subject that is divided by time what comes later."""
    for use in uses:
        other = earlier.by_subject.get(use.row.subject)
        if other and use.row.split.is_within_subject and (other.row.split, other.fold) != (use.row.split, use.fold):
            raise ValueError(
                f"subject {use.row.subject} is divided by time in {use} (split={use.row.split.text}, fold {use.fold}), "
                f"and is in {other} (split={other.row.split.text}, fold {other.fold}): training may know what "
                "is tested; give all stages one cohort and one stage.fold"
            )


def _compare(seen: _Seen, uses: Sequence[_Use]) -> bool:
    """Whether what was seen comes back by a split by epoch; ValueError when it comes back without one."""
    is_leaky = False
    for use in uses:
        other = seen.by_subject.get(use.row.subject)
        if other is not None:
            if not (other.row.split.leaks or use.row.split.leaks):
                raise ValueError(
                    f"subject {use.row.subject} is in {other} and in {use}: a leak; prepare both with one split "
                    "(or, if these are two people, give them different names)"
                )
            is_leaky = True
            continue
        for content in _list_contents(use):
            twin = seen.by_content.get(content)
            if twin is None:
                continue
            if not (twin.row.split.leaks or use.row.split.leaks):
                raise ValueError(
                    f"recording {twin.row.recording} of subject {twin.row.subject} in {twin} and recording "
                    f"{use.row.recording} of subject {use.row.subject} in {use} hold the same signal: a leak; "
                    "leave one of them out"
                )
            is_leaky = True
    return is_leaky


def _list_contents(use: _Use) -> set[str]:
    """What the recording is known by: its file's checksum, and that of every live channel."""
    path = use.cohort_dir / f"{use.row.recording}.parquet"
    return {use.row.sha256, *read_signal_hashes(path).values()}


def _put(known: dict[str, _Use], key: str, use: _Use) -> None:
    """Keep one use a key, one that is split by subject before one that is split by epoch."""
    if key not in known or known[key].row.split.leaks:
        known[key] = use
