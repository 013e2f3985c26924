"""The curriculum as a table: where a stage's run lives and which run it starts from.

Stages themselves are rows in configs/stage/*.yaml.
"""

from pathlib import Path

from tslm.compose import list_group
from tslm.config import RunConfig
from tslm.training.run_folder import BEST, CHECKPOINTS_DIR, LOG_FILE, METRICS_FILE, PREDICTIONS_FILE, RESULTS_DIR

DEFAULT_STAGES = ("stage1_mcq", "stage2_captioning", "stage3_cot", "stage4_sleep_cot")
_NO_LLM = "no_llm"


def list_stages() -> list[str]:
    """Names that `--stages` accepts."""
    return list_group("stage")


def run_dir(config: RunConfig) -> Path:
    """results/<llm>/<model>/<stage>[/fold_<n>]; models without a language model stand under `no_llm`.

    Every stage of a run with folds has its own folder a fold, corpora too: a stage inherits from its
    predecessor what that one learnt on the fold's training subjects.
    """
    llm = config.llm.name if config.writes_text else _NO_LLM
    folder = Path(config.results_dir) / llm / config.model.name / config.stage.name
    return folder / f"fold_{config.stage.fold}" if config.stage.fold >= 0 else folder


def checkpoints_dir(config: RunConfig) -> Path:
    """Where all checkpoints of a run lie."""
    return run_dir(config) / CHECKPOINTS_DIR


def checkpoint_dir(config: RunConfig, which: str = BEST) -> Path:
    """Folder of a run's best or last checkpoint."""
    return checkpoints_dir(config) / which


def log_path(config: RunConfig) -> Path:
    """JSON lines, one a logged step or pass."""
    return run_dir(config) / LOG_FILE


def metrics_path(config: RunConfig) -> Path:
    """Scores of the best checkpoint on the test split."""
    return run_dir(config) / RESULTS_DIR / METRICS_FILE


def predictions_path(config: RunConfig) -> Path:
    """Raw predictions behind the scores."""
    return run_dir(config) / RESULTS_DIR / PREDICTIONS_FILE
