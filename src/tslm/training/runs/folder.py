"""The folder of a run: its file names, and its log. Needs no torch.

config.yaml           settings as resolved
run.json              how it was started, by which code and packages, from which data
run.lock              while a process trains or scores it, with run.lock.json: which one
log.jsonl             one record a logged step, pass or event
checkpoints/best|last weights, config, state.json; last also training.json, from which a run is resumed
checkpoints/top_1|2|3 the best three as they were saved, without what is fitted to `best` after the training
results/              metrics.json and test_predictions.jsonl of the best checkpoint, each with all its systems
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tslm.command import advise
from tslm.config.schema import RunConfig
from tslm.files import to_plain, write_beside

CHECKPOINTS_DIR, RESULTS_DIR = "checkpoints", "results"
BEST, LAST = "best", "last"
TOP_PREFIX, NUM_TOP = "top_", 3  # checkpoints/top_1 to top_3, the best first
LOG_FILE = "log.jsonl"
MANIFEST_FILE = "run.json"
LOCK_FILE = "run.lock"
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "test_predictions.jsonl"
STATE_FILE = "state.json"  # of a checkpoint: step, figures, data, scores
PROGRESS_KEY = "progress"  # of training.json
TRAINING_FILE = "training.json"  # of the last checkpoint: how far training has come
OPTIMIZER_FILE = "optimizer.safetensors"  # likewise: state of the optimizer
SAMPLER_FILE = "sample_losses.safetensors"  # likewise: state of the sampler, with `stage.hard_examples`
RESUME_FILES = (TRAINING_FILE, OPTIMIZER_FILE, SAMPLER_FILE)
ALL_FOLDS_DIR = "all_folds"  # beside the folders of the folds: pooled predictions and their scores
_NO_LLM = "no_llm"


def run_dir(config: RunConfig) -> Path:
    """Return results/<llm>/<model>/<curriculum stage>[/fold_<n>]; `no_llm` stands for models without one.

    With folds, every curriculum stage has one folder per fold, those on corpora too: a stage inherits what its
    predecessor learnt from the fold's training subjects.
    """
    llm = config.llm.name if config.writes_text else _NO_LLM
    folder = Path(config.results_dir) / llm / config.model.name / config.stage.name
    return folder / f"fold_{config.stage.fold}" if config.stage.fold >= 0 else folder


def checkpoints_dir(config: RunConfig) -> Path:
    """Return the folder of all checkpoints of a run."""
    return run_dir(config) / CHECKPOINTS_DIR


def checkpoint_dir(config: RunConfig, which: str = BEST) -> Path:
    """Return the folder of a run's best or last checkpoint."""
    return checkpoints_dir(config) / which


def find_predictions(run: Path) -> Path:
    """Return the predictions file of a run's folder or of its results folder, or the given file itself.

    Raises:
        FileNotFoundError: the folder has no predictions.
    """
    if not run.is_dir():
        return run
    found = [path for path in (run / RESULTS_DIR / PREDICTIONS_FILE, run / PREDICTIONS_FILE) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {RESULTS_DIR}/{PREDICTIONS_FILE} in {run}; {advise('make it', 'evaluation.generate')}"
        )
    return found[0]


def pick_main_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of the first system, merged with those common to all systems."""
    common = {name: value for name, value in metrics.items() if name != "systems"}
    return common | next(iter(metrics.get("systems", {}).values()), {})


class RunLog:
    """Log of a run: JSON lines, one per logged step, pass or event, in the order in which they happened.

    A process may be killed at any moment; `truncate` restores the file to its length at a checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._num_records: int | None = None  # None until counted

    def clear(self) -> None:
        """Start a new log."""
        with write_beside(self.path) as partial:
            partial.write_text("", encoding="utf-8")
        self._num_records = 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record; numbers that are not finite become null."""
        line = json.dumps(to_plain(record), allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        if self._num_records is not None:
            self._num_records += 1

    def count(self) -> int:
        """Return the number of records, which `truncate` takes to restore the log to this moment."""
        if self._num_records is None:
            self._num_records = len(read_log(self.path))
        return self._num_records

    def truncate(self, num_records: int) -> int:
        """Keep the first records; drop later ones and an incomplete last line.

        Returns:
            Number of dropped lines.

        Raises:
            ValueError: a line before the last is damaged.
        """
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.is_file() else []
        self._num_records = num_kept = min(num_records, len(read_log(self.path)))
        with write_beside(self.path) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines[:num_kept]), encoding="utf-8")
        return len(lines) - num_kept


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the records of a log without an incomplete last line; empty if there is no log.

    Raises:
        ValueError: a line before the last is damaged.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = text.splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        record = _parse_line(line)
        if record is None and number < len(lines):
            raise ValueError(f"{path} is damaged in line {number}: {line[:60]!r} is not a JSON object")
        if record is not None and (number < len(lines) or text.endswith("\n")):
            records.append(record)
    return records


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
