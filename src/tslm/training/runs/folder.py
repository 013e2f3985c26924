"""What lies where in the folder of a run; whoever writes or reads one takes the names from here.

config.yaml           settings as resolved
run.json              how it was started, by which code and packages, from which data
log.jsonl             one record a logged step, pass or event
checkpoints/best|last weights, config, state.json; last also training.json, from which training goes on
results/              metrics.json and test_predictions.jsonl of the best checkpoint, each with all its systems
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tslm.config.schema import RunConfig

CHECKPOINTS_DIR, RESULTS_DIR = "checkpoints", "results"
BEST, LAST = "best", "last"
TENSORBOARD_DIR = "tensorboard"  # where `tracking=tensorboard` writes
LOG_FILE = "log.jsonl"
MANIFEST_FILE = "run.json"
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "test_predictions.jsonl"
STATE_FILE = "state.json"  # of a checkpoint: what is known of it
PROGRESS_KEY = "progress"  # of training.json
TRAINING_FILE = "training.json"  # of the last checkpoint: how far training has come
OPTIMIZER_FILE = "optimizer.safetensors"  # likewise: the optimizer's state
RESUME_FILES = (TRAINING_FILE, OPTIMIZER_FILE)
ALL_FOLDS_DIR = "all_folds"  # beside the folders of a run's folds: their predictions pooled, and the scores of these
_NO_LLM = "no_llm"


def run_dir(config: RunConfig) -> Path:
    """results/<llm>/<model>/<stage>[/fold_<n>]; models without a language model stand under `no_llm`.

    Every stage of a run with folds has its own folder a fold, corpora too: a stage inherits from its
    predecessor what that one learnt on the fold's training subjects.
    """
    llm = config.llm.name if config.writes_text else _NO_LLM
    folder = Path(config.results_dir) / llm / config.model.name / config.stage.name
    return folder / f"fold_{config.stage.fold}" if config.stage.fold >= 0 else folder


def find_predictions(run: Path) -> Path:
    """The file of predictions of a run's folder, of its results' folder, or the file itself.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    if not run.is_dir():
        return run
    found = [path for path in (run / RESULTS_DIR / PREDICTIONS_FILE, run / PREDICTIONS_FILE) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {RESULTS_DIR}/{PREDICTIONS_FILE} in {run}; make it with: python -m evaluation.generate"
        )
    return found[0]


def pick_main_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The first system's metrics with what is common to all, in one dict; metrics without systems as they are."""
    common = {name: value for name, value in metrics.items() if name != "systems"}
    return common | next(iter(metrics.get("systems", {}).values()), {})
