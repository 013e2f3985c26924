"""What a stopped run goes on from: the last checkpoint with optimizer state and progress, or the one before.

    checkpoints/last/      a checkpoint as any other, and beside its weights
        optimizer.safetensors   moments of AdamW by parameter name
        training.json           Progress, how long the log was, and the SHA-256 of every other file of the folder
    checkpoints/previous/  the one before

A folder is complete when its training.json fits its files: it is written last, and the folder renamed after.
Only safetensors and JSON are read, never a pickle.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tslm.files import hash_file, swap_in
from tslm.training.checkpoints.checkpoint import copy_to_cpu
from tslm.training.progress import Progress
from tslm.training.runs.folder import LAST, OPTIMIZER_FILE, PROGRESS_KEY, TRAINING_FILE

logger = logging.getLogger(__name__)

PREVIOUS = "previous"
_FILES_KEY, _LOG_KEY = "sha256", "num_log_records"


@dataclass(frozen=True)
class ResumePoint:
    """A complete checkpoint to go on from."""

    folder: Path
    progress: Progress
    num_log_records: int  # that the run's log had then


def copy_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, copied to the CPU; parts of sharded tensors are gathered.

    Called on every process; the copy counts on the main one.
    """
    names = {param: name for name, param in model.named_parameters()}
    return {
        f"{names[param]}.{key}": copy_to_cpu(value)
        for group in optimizer.param_groups
        for param in group["params"]
        for key, value in optimizer.state.get(param, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's optimizer state into a fresh optimizer over the same parameters."""
    saved = load_file(folder / OPTIMIZER_FILE)
    names = {param: name for name, param in model.named_parameters()}
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for number, param in enumerate(params):
        prefix = f"{names[param]}."
        own = {key.removeprefix(prefix): saved[key] for key in saved if key.rpartition(".")[0] == prefix[:-1]}
        if own:
            state[number] = {key: _spread(value, param) for key, value in own.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_training_state(
    optimizer_state: dict[str, Tensor], progress: Progress, num_log_records: int, folder: Path
) -> None:
    """Complete a checkpoint's folder for resuming; it holds all its other files already."""
    save_file(optimizer_state, folder / OPTIMIZER_FILE)
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in _list_files(folder)}
    text = json.dumps({PROGRESS_KEY: asdict(progress), _LOG_KEY: num_log_records, _FILES_KEY: files}, indent=1)
    (folder / TRAINING_FILE).write_text(text + "\n", encoding="utf-8")


def rotate_in(partial: Path, last: Path) -> None:
    """Make a complete folder the last checkpoint, and what was the last one the previous."""
    previous = last.with_name(PREVIOUS)
    if last.exists():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    partial.rename(last)


def find_resume_point(checkpoints_dir: Path) -> ResumePoint | None:
    """The newest complete checkpoint of a run; None where none was written yet.

    A damaged last one is put aside as `damaged`, and the log says so.

    Raises:
        ValueError: there are checkpoints, but none is whole.
    """
    problems = []
    for which in (LAST, PREVIOUS):
        folder = checkpoints_dir / which
        if not folder.is_dir():
            continue
        try:
            return read_resume_point(folder)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(f"no checkpoint of this run is whole: {'; '.join(problems)}; --overwrite begins anew")
    return None


def set_aside_damaged(checkpoints_dir: Path, point: ResumePoint | None) -> None:
    """Where the run goes on from the previous checkpoint although there is a last one: say so, and move that away."""
    last = checkpoints_dir / LAST
    if point is None or point.folder == last or not last.is_dir():
        return
    logger.warning("%s is damaged; going on from %s, step %d", last, point.folder, point.progress.step)
    swap_in(last, checkpoints_dir / "damaged")


def read_resume_point(folder: Path) -> ResumePoint:
    """A checkpoint after a check of all its files; ValueError names the first that is damaged."""
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is damaged: it has no {TRAINING_FILE}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files, point = dict(content[_FILES_KEY]), _parse_point(content, folder)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name, sha256 in files.items():
        if not (folder / name).is_file() or hash_file(folder / name) != sha256:
            raise ValueError(f"{folder / name} is damaged or missing")
    return point


def _parse_point(content: dict[str, Any], folder: Path) -> ResumePoint:
    return ResumePoint(folder, Progress(**content[PROGRESS_KEY]), int(content[_LOG_KEY]))


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _spread(value: Tensor, param: Tensor) -> Tensor:
    """A whole tensor cut as its parameter is."""
    if isinstance(param, DTensor) and value.shape == param.shape:
        return distribute_tensor(value.to(param.device), param.device_mesh, param.placements)
    return value
