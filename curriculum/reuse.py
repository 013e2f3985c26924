"""Whether a command may use a run's folder that is there already."""

import shutil
from typing import Any

from omegaconf import OmegaConf

from tslm.config.files import CONFIG_FILE, flatten_settings, load_config, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import CHECKPOINTS_DIR, LOG_FILE, MANIFEST_FILE, RESULTS_DIR, TENSORBOARD_DIR, run_dir

# How a run is carried out, not what comes out of it: these may differ when it goes on.
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
_STATED_LATER = ("model.fs_hz", "model.epoch_s")  # 0 in the command: read from the data, and then saved
_MOST_NAMED = 6


def check_reuse(config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run, unless the command says what is to become of it.

    Raises:
        ValueError: there is a run and neither flag is given, or `resume` with other settings (which are named).
    """
    saved = run_dir(config) / CONFIG_FILE
    if not saved.is_file() or overwrite:
        return
    differing = compare_settings(load_config(saved), config)
    named = "; ".join(differing[:_MOST_NAMED]) + (f"; and {len(differing) - _MOST_NAMED} more" * (len(differing) > 6))
    if not resume:
        others = f" with other settings ({named})" if differing else ""
        ways = "--overwrite begins anew" if differing else "--resume goes on with it, --overwrite begins anew"
        raise ValueError(f"{run_dir(config)} holds a run{others}: {ways}")
    if differing:
        raise ValueError(
            f"{run_dir(config)} holds a run with other settings ({named}): --resume wants the same ones; give those, "
            "another results_dir=DIR, or --overwrite to begin anew"
        )


def compare_settings(saved: RunConfig, wanted: RunConfig) -> list[str]:
    """What differs between two runs in what decides their result, as `key: saved -> wanted`."""
    before, now = _flatten(saved), _flatten(wanted)
    return [
        f"{key}: {before[key]} -> {now[key]}"
        for key in now
        if before[key] != now[key] and key not in FREE_SETTINGS and not (key in _STATED_LATER and not now[key])
    ]


def clear_run(config: RunConfig) -> None:
    """Remove a run, and nothing else that lies in its folder (such as the folds of a run with folds)."""
    folder = run_dir(config)
    for name in (CHECKPOINTS_DIR, RESULTS_DIR, TENSORBOARD_DIR):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (LOG_FILE, MANIFEST_FILE, CONFIG_FILE):
        (folder / name).unlink(missing_ok=True)


def _flatten(config: RunConfig) -> dict[str, Any]:
    return flatten_settings(OmegaConf.to_container(to_plain(config)))  # type: ignore[arg-type]
