"""Predictions of the folds of a cross-validation put together, after a look that none was tested on what it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tslm.predictions.rows import PredictionRow


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation: what it answered on its test subjects, and whom it knows."""

    number: int
    rows: Sequence[PredictionRow]
    trained_on: Mapping[str, str]  # recording -> subject, "" where not known; of training and validation


def pool_folds(folds: Sequence[Fold]) -> list[PredictionRow]:
    """The rows of all folds, fold by fold, each with the number of its `fold`.

    A fold may know its test subjects, and share them with others, only where its rows are marked `leaky`; an epoch is
    tested once in any case.

    Raises:
        ValueError: an epoch or a subject that two folds test, or one that a fold tests and was trained on; the
            message names it.
    """
    subject_of = {row.get("recording", ""): row.get("subject", "") for fold in folds for row in fold.rows}
    tested: dict[str, int] = {}  # sample or subject -> the fold that tests it
    pooled: list[PredictionRow] = []
    for fold in folds:
        known = {subject or subject_of.get(recording, "") for recording, subject in fold.trained_on.items()} - {""}
        for row in fold.rows:
            _test_once(f"sample {row['sample_id']}", fold.number, tested)
            recording, subject = row.get("recording", ""), row.get("subject", "")
            if not row.get("leaky"):
                if subject in known or recording in fold.trained_on:
                    raise ValueError(
                        f"fold {fold.number} tests recording {recording} of subject {subject or 'unknown'} and was "
                        "trained on it, or on another recording of that subject: a leak"
                    )
                _test_once(f"subject {subject or recording}", fold.number, tested)
            pooled.append({**row, "fold": fold.number})
    return pooled


def _test_once(name: str, fold: int, tested: dict[str, int]) -> None:
    if tested.setdefault(name, fold) != fold:
        raise ValueError(f"{name} is tested by fold {tested[name]} and by fold {fold}: a leak")
