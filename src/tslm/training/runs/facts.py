"""Facts about a run, read from its folder: settings, code, packages, data, progress, scores. Needs no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from omegaconf import OmegaConf

from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, SETTINGS_KEY
from tslm.config.files import CONFIG_FILE, flatten_settings, one_line, to_plain
from tslm.config.schema import MODEL_KINDS, RunConfig
from tslm.files import read_json
from tslm.training.runs.folder import (
    BEST,
    CHECKPOINTS_DIR,
    LAST,
    LOG_FILE,
    METRICS_FILE,
    PROGRESS_KEY,
    RESULTS_DIR,
    STATE_FILE,
    TRAINING_FILE,
    pick_main_metrics,
    read_log,
)
from tslm.training.runs.manifest import read_manifest


def describe_run(folder: Path) -> dict[str, Any]:
    """Return the facts of a run as JSON values; for a checkpoint, its own facts and those of its run.

    Raises:
        FileNotFoundError: the folder is neither a run nor a checkpoint.
        ValueError: a file in it is damaged, or was made by a newer version.
    """
    checkpoint = folder if _is_checkpoint(folder) else None
    run_dir = _find_run(folder)
    if checkpoint is None and run_dir is None:
        raise FileNotFoundError(
            f"{folder} holds neither a run ({CONFIG_FILE} and {CHECKPOINTS_DIR}/) nor a checkpoint "
            f"({CHECKPOINT_CONFIG_FILE}); give a folder such as results/LLM/MODEL/STAGE"
        )
    settings = _read_settings(folder)
    model = settings.get("model", {}).get("name")
    facts: dict[str, Any] = {
        "folder": str(folder),
        "kind": "checkpoint" if checkpoint else "run",
        "stage": settings.get("stage", {}).get("name"),
        "model": model,
        "llm": settings.get("llm", {}).get("name")
        if model in MODEL_KINDS and MODEL_KINDS[model].role == "writer"
        else None,
        "seed": settings.get("seed"),
        "config": settings,
        **_compare_with_defaults(settings),
    }
    if run_dir is not None:
        facts |= _describe_manifest(run_dir) | {"training": _describe_training(run_dir)}
    folders = [checkpoint] if checkpoint else [_existing(run_dir) / CHECKPOINTS_DIR / name for name in (BEST, LAST)]
    facts["checkpoints"] = {path.name: _describe_checkpoint(path) for path in folders if path.is_dir()}
    if checkpoint is not None:
        facts["test"] = facts["checkpoints"][checkpoint.name].get("evaluation", {})
    else:
        facts["test"] = pick_main_metrics(read_json(_existing(run_dir) / RESULTS_DIR / METRICS_FILE))
    facts["files"] = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return facts


def _read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a checkpoint or a run as they were written, by any version."""
    path = next(path for name in (CHECKPOINT_CONFIG_FILE, CONFIG_FILE) if (path := folder / name).is_file())
    if path.name == CHECKPOINT_CONFIG_FILE:
        found = read_json(path).get(SETTINGS_KEY)
    else:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is damaged: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings; give the folder of a run or checkpoint of this library")
    return found


def _compare_with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Find the settings that differ from this version's defaults, and those that this version does not know."""
    defaults: Any = OmegaConf.to_container(to_plain(RunConfig()))
    known, given = flatten_settings(defaults), flatten_settings(settings)
    return {
        "changed": {key: value for key, value in given.items() if key not in known or known[key] != value},
        "unknown": [key for key in given if key not in known],
    }


def _find_run(folder: Path) -> Path | None:
    """Find the folder of the run that `folder` belongs to."""
    folder = folder.resolve()
    candidates = [folder, folder.parent.parent] if folder.parent.name == CHECKPOINTS_DIR else [folder]
    is_run = ((path / CONFIG_FILE).is_file() and (path / LOG_FILE).is_file() for path in candidates)
    return next((path for path, found in zip(candidates, is_run, strict=True) if found), None)


def _is_checkpoint(folder: Path) -> bool:
    return (folder / STATE_FILE).is_file() or (folder / CHECKPOINT_CONFIG_FILE).is_file()


def _existing(run_dir: Path | None) -> Path:
    assert run_dir is not None
    return run_dir


def _describe_manifest(run_dir: Path) -> dict[str, Any]:
    manifest = read_manifest(run_dir)
    if manifest is None:
        return {"launches": [], "data": {}}
    return {
        "launches": [asdict(launch) for launch in manifest.launches],
        "ended_at": manifest.ended_at,
        "tracker_runs": dict(manifest.tracker_runs),
        "data": _sum_up_data(manifest.data_sha256),
        "data_sha256": dict(manifest.data_sha256),
    }


def _sum_up_data(data_sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the number of files per data folder, and one checksum of their names and checksums."""
    folders: dict[str, dict[str, str]] = {}
    for name, digest in sorted(data_sha256.items()):
        path = PurePosixPath(name)
        folders.setdefault(str(path.parent), {})[path.name] = digest
    return {
        folder: {"num_files": len(files), "sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest()}
        for folder, files in folders.items()
    }


def _describe_training(run_dir: Path) -> dict[str, Any]:
    """Return the progress of training from the last checkpoint, or else from the log."""
    records = read_log(run_dir / LOG_FILE)
    start = next((record for record in records if record.get("event") == "start"), {})
    end = next((record for record in reversed(records) if record.get("event") == "end"), None)
    steps = [record for record in records if "step" in record]
    found = {
        "is_finished": end is not None,
        "step": (end or {}).get("step", steps[-1]["step"] if steps else 0),
        "num_steps": start.get("num_steps"),
        "train_epoch": steps[-1].get("train_epoch") if steps else None,
        "stopped_early": (end or {}).get("stopped_early"),
        "wall_s": (end or {}).get("wall_s"),
    }
    return found | read_json(run_dir / CHECKPOINTS_DIR / LAST / TRAINING_FILE).get(PROGRESS_KEY, {})


def _describe_checkpoint(checkpoint_dir: Path) -> dict[str, Any]:
    size = sum(path.stat().st_size for path in checkpoint_dir.rglob("*") if path.is_file())
    return read_json(checkpoint_dir / STATE_FILE) | {"size_bytes": size}
