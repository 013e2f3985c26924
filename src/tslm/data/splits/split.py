"""How a recording is divided between training, validation and test; the type behind the text in participants.tsv.

| column `split` | column `fold` | what |
|---|---|---|
| `train`, `val`, `test` | | the recording serves one part |
| `train`, `val`, `test` | K | the same for the first fold; the chosen fold decides (tslm.data.splits.folds) |
| `temporal:K`, `rolling:K` | | each of K folds trains on earlier and tests on later epochs of the subject |
| `by_epoch` | | every epoch has a part of its own, in the recording's column `split` |

The last two leak: training and test share the subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPLITS = ("train", "val", "test")
BY_SUBJECT, BY_EPOCH = "by_subject", "by_epoch"
TIME_RULES = ("temporal", "rolling")
LEAKY, WITHIN_SUBJECT = "LEAKY", "WITHIN-SUBJECT"


@dataclass(frozen=True)
class Split:
    """The split of one recording."""

    part: str = ""  # train, val or test; empty where the epochs of the recording serve several
    fold: int | None = None  # the fold that tests the subject; None: the cohort has no folds of subjects
    rule: str = BY_SUBJECT  # or by_epoch, temporal, rolling
    num_folds: int = 0  # of temporal and rolling

    @property
    def leaks(self) -> bool:
        """Whether training and test share the subject."""
        return self.rule != BY_SUBJECT

    @property
    def is_within_subject(self) -> bool:
        """Whether earlier epochs of the subject train and later ones test."""
        return self.rule in TIME_RULES

    @property
    def text(self) -> str:
        """The column `split` of participants.tsv; inverse of `parse_split`."""
        return self.part or (f"{self.rule}:{self.num_folds}" if self.is_within_subject else self.rule)

    def serves(self, part: str) -> bool:
        """Whether some epochs of the recording are for a part."""
        return self.leaks or self.part == part


def parse_split(text: str, fold: str = "") -> Split:
    """Split from the columns `split` and `fold` of participants.tsv; ValueError for another text."""
    if fold and not (fold.isascii() and fold.isdigit()):
        raise ValueError(f"fold {fold!r} is neither a whole number nor empty")
    name, _, number = text.partition(":")
    if name in TIME_RULES:
        if not (number.isascii() and number.isdigit() and int(number) >= 2):
            raise ValueError(f"split={text}: wanted temporal:K or rolling:K with K a whole number of 2 or more")
        return Split(rule=name, num_folds=int(number))
    if text == BY_EPOCH:
        return Split(rule=BY_EPOCH)
    if text not in SPLITS:
        raise ValueError(f"unknown split {text!r}; one of: {', '.join(SPLITS)}")
    return Split(text, int(fold) if fold else None)


def render_leak(facts: Mapping[str, Any]) -> str:
    """The warning beside scores on subjects that training knows; empty where test and training share nobody.

    Args:
        facts: metrics or a row of predictions: `leaky`, and `within_subject` where time divides training from test.
    """
    if facts.get("within_subject"):
        return (
            f"{WITHIN_SUBJECT}: trained on earlier and tested on later time of the same people; says nothing of others"
        )
    if facts.get("leaky"):
        return f"{LEAKY}: trained and tested on the same people or series; says nothing about others"
    return ""
