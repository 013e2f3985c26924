"""The curriculum: default stages, files of their runs, and the check before a folder is used again.

The curriculum stages themselves are rows in configs/stage/*.yaml.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, load_checkpoint_config
from tslm.config.compose import list_group
from tslm.config.files import CONFIG_FILE, flatten_settings, load_config, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import (
    BEST,
    CHECKPOINTS_DIR,
    LOG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    RESULTS_DIR,
    checkpoint_dir,
    run_dir,
)
from tslm.training.runs.manifest import read_manifest

logger = logging.getLogger(__name__)

DEFAULT_STAGES = ("stage1_mcq", "stage2_captioning", "stage3_cot", "stage4_sleep_cot")
# Settings that do not change the result of a run; they may differ when it is resumed.
FREE_SETTINGS = (
    "results_dir",
    "tracking",
    "mlflow.uri",
    "mlflow.experiment",
    "model.gradient_checkpointing",
    "train.num_workers",
    "train.memory_gb",
    "train.timeout_min",
    "train.log_every_steps",
    "train.checkpoint_every_steps",
    "train.checkpoint_every_min",
)
# Settings of an evaluation that --eval_only takes from the command; all others are the checkpoint's.
EVALUATION_SETTINGS = (
    *(f"stage.{name}" for name in ("test_dir", "fold", "channel", "extra_channels", "extra_in_text", "prompt_style")),
    *(f"stage.{name}" for name in ("facts", "inputs", "reasons", "constrained", "max_new_tokens")),
    *(f"stage.{name}" for name in ("num_test_samples", "num_alone_samples")),
    "train.eval_batch_size",
    "train.precision",
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
    named = _join(differing)
    if not resume:
        others = f" with other settings ({named})" if differing else ""
        ways = "--overwrite starts again" if differing else "--resume continues it, --overwrite starts again"
        raise ValueError(f"{run_dir(config)} holds a run{others}: {ways}")
    if differing:
        raise ValueError(
            f"{run_dir(config)} holds a run with other settings ({named}): --resume needs the same ones; give those, "
            "another results_dir=DIR, or --overwrite to start again"
        )


def check_evaluation(config: RunConfig, overwrite: bool) -> list[str]:
    """List the settings in which an evaluation by --eval_only differs from the run's own.

    Raises:
        FileNotFoundError: nothing is trained; the message says how to train it.
        ValueError: the run is not finished; or it was scored with other settings, and --overwrite is not given.
    """
    folder, best = run_dir(config), checkpoint_dir(config, BEST)
    if not (best / CHECKPOINT_CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{config.stage.name} has no checkpoint in {best}: --eval_only has nothing to score; the same command "
            "without it trains"
        )
    manifest = read_manifest(folder)
    if manifest is not None and manifest.ended_at is None:
        raise ValueError(
            f"{folder} is not finished: --resume in place of --eval_only finishes and scores it; python -m "
            f"evaluation.generate --checkpoint {best} lets its best checkpoint answer as it is"
        )
    saved = load_checkpoint_config(best)
    changes = compare_settings(_name_test_dir(saved), _name_test_dir(config))
    counting = [change for change in changes if change.partition(":")[0] in EVALUATION_SETTINGS]
    without_effect = [change for change in changes if change not in counting]
    scored_with = list(manifest.evaluations[-1].changes) if manifest and manifest.evaluations else []
    if metrics_path(config).is_file() and counting != scored_with and not overwrite:
        wanted, there = (_join(each) or "those of the run" for each in (counting, scored_with))
        raise ValueError(
            f"{folder} was scored with other settings (now {wanted}; there {there}): --overwrite replaces its metrics "
            "and predictions, and run.json records it; python -m evaluation.generate writes predictions elsewhere"
        )
    if without_effect:
        logger.warning("--eval_only takes these from the checkpoint: %s", _join(without_effect))
    if counting:
        logger.warning("scored with other settings than the run's, as run.json records: %s", _join(counting))
    return counting


def _name_test_dir(config: RunConfig) -> RunConfig:
    """The config with the folder of its test data, which may be that of the training data, as a setting of its own."""
    return replace(config, stage=replace(config.stage, test_dir=str(config.stage.data_dir("test"))))


def _join(changes: Sequence[str]) -> str:
    more = f"; and {len(changes) - _MAX_NAMED} more" if len(changes) > _MAX_NAMED else ""
    return "; ".join(changes[:_MAX_NAMED]) + more


def compare_settings(saved: RunConfig, wanted: RunConfig) -> list[str]:
    """List the differences in settings that change the result, as `key: saved -> wanted`."""
    before, now = flatten_config(saved), flatten_config(wanted)
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


def flatten_config(config: RunConfig) -> dict[str, Any]:
    """Return all settings by dotted key."""
    return flatten_settings(OmegaConf.to_container(to_plain(config)))  # type: ignore[arg-type]
