"""The curriculum as a table: where the run of a curriculum stage lies and which run it starts from.

Curriculum stages themselves are rows in configs/stage/*.yaml.
"""

from pathlib import Path

from tslm.config.compose import list_group
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import (
    BEST,
    CHECKPOINTS_DIR,
    LOG_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    RESULTS_DIR,
    run_dir,
)

DEFAULT_STAGES = ("stage1_mcq", "stage2_captioning", "stage3_cot", "stage4_sleep_cot")


def list_stages() -> list[str]:
    """Names that `--stages` accepts."""
    return list_group("stage")


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
