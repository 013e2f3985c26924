"""The curriculum: default stages, files of their runs, and the check before a folder is used again.

The curriculum stages themselves are rows in configs/stage/*.yaml.
"""

import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tslm.config.compose import list_group
from tslm.config.files import CONFIG_FILE, flatten_settings, load_config, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import (
    CHECKPOINTS_DIR,
    LOG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    RESULTS_DIR,
    run_dir,
)

DEFAULT_STAGES = ("stage1_mcq", "stage2_captioning", "stage3_cot", "stage4_sleep_cot")
# Settings that do not change the result of a run; they may differ when it is resumed.
FREE_SETTINGS = (
    "results_dir",
    "tracking",
    "mlflow.uri",
    "mlflow.experiment",
    "model.gradient_checkpointing",
    "train.num_workers",
    "train.timeout_min",
    "train.log_every_steps",
    "train.checkpoint_every_steps",
    "train.checkpoint_every_min",
)
# Empty in the command: inferred from the data or taken from the weights to start from, then saved.
_INFERRED = ("model.fs_hz", "model.epoch_s", "model.typical_spectrum")
_MAX_NAMED = 6


def list_curriculum_stages() -> list[str]:
    """List the curriculum stages that `--stages` accepts."""
    return list_group("stage")


def metrics_path(config: RunConfig) -> Path:
    """Return the path of the test scores of the best checkpoint."""
    return run_dir(config) / RESULTS_DIR / METRICS_FILE


def predictions_path(config: RunConfig) -> Path:
    """Return the path of the test predictions."""
    return run_dir(config) / RESULTS_DIR / PREDICTIONS_FILE


def check_reuse(config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Raise ValueError for a folder that holds a run, unless --resume or --overwrite is given.

    Raises:
        ValueError: neither flag is given, or the settings differ from those of the run to resume.
    """
    saved = run_dir(config) / CONFIG_FILE
    if not saved.is_file() or overwrite:
        return
    differing = compare_settings(load_config(saved), config)
    named = "; ".join(differing[:_MAX_NAMED]) + (
        f"; and {len(differing) - _MAX_NAMED} more" * (len(differing) > _MAX_NAMED)
    )
    if not resume:
        others = f" with other settings ({named})" if differing else ""
        ways = "--overwrite starts again" if differing else "--resume continues it, --overwrite starts again"
        raise ValueError(f"{run_dir(config)} holds a run{others}: {ways}")
    if differing:
        raise ValueError(
            f"{run_dir(config)} holds a run with other settings ({named}): --resume needs the same ones; give those, "
            "another results_dir=DIR, or --overwrite to start again"
        )


def compare_settings(saved: RunConfig, wanted: RunConfig) -> list[str]:
    """List the differences in settings that change the result, as `key: saved -> wanted`."""
    before, now = _flatten(saved), _flatten(wanted)
    return [
        f"{key}: {before[key]} -> {now[key]}"
        for key in now
        if before[key] != now[key] and key not in FREE_SETTINGS and not (key in _INFERRED and not now[key])
    ]


def clear_run(config: RunConfig) -> None:
    """Delete a run, but nothing else in its folder, such as folders of folds."""
    folder = run_dir(config)
    for name in (CHECKPOINTS_DIR, RESULTS_DIR):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (LOG_FILE, MANIFEST_FILE, CONFIG_FILE):
        (folder / name).unlink(missing_ok=True)


def _flatten(config: RunConfig) -> dict[str, Any]:
    return flatten_settings(OmegaConf.to_container(to_plain(config)))  # type: ignore[arg-type]
