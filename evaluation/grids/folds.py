"""Folds of a cross-validation: runs of train.py, and their pooled predictions, checked for leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.predictions.rows import PredictionRow, read_predictions
from tslm.training.runs.folder import METRICS_FILE, RESULTS_DIR, find_predictions, run_dir
from tslm.training.runs.manifest import read_manifest


@dataclass(frozen=True)
class FoldRun:
    """One fold: its curriculum stages, the last of which is tested."""

    configs: Sequence[RunConfig]  # of the stages, in the order they run
    arguments: tuple[str, ...]  # of train.py
    cell: dict[str, str] = field(default_factory=dict)

    @property
    def fold(self) -> int:
        """Its number."""
        return self.configs[-1].stage.fold

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.configs[-1].seed

    @property
    def name(self) -> str:
        """For people."""
        return f"fold {self.fold}"

    @property
    def folder(self) -> Path:
        """Of the stage that is tested."""
        return run_dir(self.configs[-1])

    @property
    def metrics_path(self) -> Path | None:
        """Scores of the finished run; None as long as it is not."""
        path = self.folder / RESULTS_DIR / METRICS_FILE
        return path if path.is_file() else None


@dataclass(frozen=True)
class Fold:
    """Predictions of one fold on its test subjects, and the recordings it was trained and validated on."""

    number: int
    rows: Sequence[PredictionRow]
    trained_on: Mapping[str, str]  # recording -> subject, "" where not known; of training and validation


def read_fold(run: FoldRun) -> Fold:
    """Read the predictions of a finished fold, and the recordings that its runs read over all curriculum stages.

    Raises:
        FileNotFoundError: a run without predictions.
        ValueError: a run that does not say what it read, or damaged files.
    """
    trained_on: dict[str, str] = {}
    for config in run.configs:
        manifest = read_manifest(run_dir(config))
        if manifest is None:
            raise ValueError(f"{run_dir(config)} has no run.json, which says what it was trained on; train it again")
        files = [Path(name) for name in manifest.data_sha256]
        cohorts = {path.parent for path in files if path.name == PARTICIPANTS_FILE}
        subject_of = {cohort: _read_subjects(cohort) for cohort in cohorts}
        trained_on |= {
            path.stem: subject_of[path.parent].get(path.stem, "")
            for path in files
            if path.suffix == ".parquet" and path.parent in cohorts
        }
    return Fold(run.fold, read_predictions(find_predictions(run.folder)), trained_on)


def pool_folds(folds: Sequence[Fold]) -> list[PredictionRow]:
    """Pool the rows of all folds, each row with its `fold`.

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


def _read_subjects(cohort_dir: Path) -> dict[str, str]:
    """Read the subject of each recording; empty if the cohort is no longer on this machine."""
    if not (cohort_dir / PARTICIPANTS_FILE).is_file():
        return {}
    return {row.recording: row.subject for row in read_participants(cohort_dir)}


def _test_once(name: str, fold: int, tested: dict[str, int]) -> None:
    if tested.setdefault(name, fold) != fold:
        raise ValueError(f"{name} is tested by fold {tested[name]} and by fold {fold}: a leak")
