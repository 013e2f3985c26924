"""Checkpoints of a run in progress: written while training continues, and resumed from.

    checkpoints/best/      the best checkpoint (tslm.training.checkpoints.ranking)
    checkpoints/top_1/ ..  the best three
    checkpoints/last/      a checkpoint as any other, and beside its weights
        optimizer.safetensors      moments of AdamW by parameter name
        sample_losses.safetensors  state of the sampler, with `stage.hard_examples`
        training.json              Progress, length of the log, and the SHA-256 of every other file of the folder
    checkpoints/previous/  the last checkpoint before that

A folder is complete if its files match its training.json, which is written last; the folder is renamed afterwards.
Only safetensors and JSON are read, never a pickle.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tslm.files import hash_file, parse_json, share_files, swap_in
from tslm.training.checkpoints.checkpoint import copy_to_cpu, fill_beside, take_snapshot
from tslm.training.checkpoints.ranking import find_place, insert_top
from tslm.training.progress import Progress
from tslm.training.runs.folder import (
    BEST,
    LAST,
    OPTIMIZER_FILE,
    PROGRESS_KEY,
    SAMPLER_FILE,
    TRAINING_FILE,
    checkpoint_dir,
)
from tslm.training.runs.recorder import RunContext

logger = logging.getLogger(__name__)

PREVIOUS = "previous"
_FILES_KEY, _LOG_KEY = "sha256", "num_log_records"


@dataclass(frozen=True)
class ResumePoint:
    """A complete checkpoint to resume from."""

    folder: Path
    progress: Progress
    num_log_records: int  # length of the run's log at the checkpoint

    def read_sampler_state(self) -> dict[str, Tensor]:
        """Read the state of the sampler; empty if it has none."""
        path = self.folder / SAMPLER_FILE
        return load_file(path) if path.is_file() else {}


class CheckpointSaver:
    """Saves the best checkpoints and the last one of a run: copied at once, written by a thread.

    At most one checkpoint is being written; the next one waits for it. An error of the thread is raised by the next
    call or by `finish`; earlier checkpoints stay complete.

    Args:
        run: the run, whose folder and config the checkpoints belong to.
        model: as prepared by accelerate.
        optimizer: the inner optimizer; its state is part of the last checkpoint.
        copy_sampler: returns the state of the sampler; called on every process.
    """

    def __init__(
        self,
        run: RunContext,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        copy_sampler: Callable[[], dict[str, Tensor]] = dict,
    ) -> None:
        self.run, self.model, self.optimizer, self.copy_sampler = run, model, optimizer, copy_sampler
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    def __call__(self, which: str, progress: Progress, figures: Mapping[str, Any]) -> None:
        """Copy the content of a checkpoint and start writing it; called on every process.

        Args:
            which: "last", "best", or "top": of a finished pass that is not the best but may be one of the best three.
            progress: of the run.
            figures: of the pass, for the state.json.
        """
        self.finish()
        run, model = self.run, self.run.accelerator.unwrap_model(self.model)
        snapshot = take_snapshot(model)
        optimizer_state = copy_optimizer(self.optimizer, model) if which == LAST else {}
        sampler_state = self.copy_sampler() if which == LAST else {}
        if not run.accelerator.is_main_process:
            return
        folder, recorder = checkpoint_dir(run.config, which), run.recorder
        num_log_records = recorder.log.count() if recorder is not None else 0
        state = {"train_epoch": progress.train_epoch, "step": progress.step, **figures, **run.facts}

        def write() -> None:
            place = find_place(folder.parent, state, run.config) if which != LAST else None
            if which not in (LAST, BEST) and place is None:
                return
            with fill_beside(snapshot, model, run.config, state, folder) as partial:
                if which == LAST:
                    if sampler_state:
                        save_file(sampler_state, partial / SAMPLER_FILE)
                    write_training_state(optimizer_state, progress, num_log_records, partial)
                    rotate_in(partial, folder)
                if place is not None:
                    copy = folder.with_name("ranked.partial")
                    shutil.rmtree(copy, ignore_errors=True)
                    insert_top(shutil.copytree(partial, copy), folder.parent, place)
                if which == BEST:
                    swap_in(partial, folder)
            if which == LAST and recorder is not None:
                recorder.send_checkpoint(folder, state)

        self._running = self._pool.submit(write)

    def finish(self) -> None:
        """Wait until everything is on disk; raise the error of the thread, if any."""
        running, self._running = self._running, None
        if running is not None:
            running.result()


def copy_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Copy the optimizer's state to the CPU by parameter name; shards of a tensor are gathered.

    Called on every process; the main process uses the result.
    """
    names = {param: name for name, param in model.named_parameters()}
    return {
        f"{names[param]}.{key}": copy_to_cpu(value)
        for group in optimizer.param_groups
        for param in group["params"]
        for key, value in optimizer.state.get(param, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, folder: Path) -> None:
    """Load a checkpoint's optimizer state into a new optimizer over the same parameters."""
    saved = load_file(folder / OPTIMIZER_FILE)
    names = {param: name for name, param in model.named_parameters()}
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for number, param in enumerate(params):
        prefix = f"{names[param]}."
        own = {key.removeprefix(prefix): saved[key] for key in saved if key.rpartition(".")[0] == prefix[:-1]}
        if own:
            state[number] = {key: _shard(value, param) for key, value in own.items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_training_state(
    optimizer_state: dict[str, Tensor], progress: Progress, num_log_records: int, folder: Path
) -> None:
    """Write the last two files of a checkpoint that can be resumed; all its other files must exist already."""
    save_file(optimizer_state, folder / OPTIMIZER_FILE)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    text = json.dumps({PROGRESS_KEY: asdict(progress), _LOG_KEY: num_log_records, _FILES_KEY: files}, indent=1)
    (folder / TRAINING_FILE).write_text(text + "\n", encoding="utf-8")


def rotate_in(partial: Path, last: Path) -> None:
    """Rename a complete folder to the last checkpoint, and the former last checkpoint to the previous."""
    share_files(partial)
    previous = last.with_name(PREVIOUS)
    if last.exists():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    partial.rename(last)


def find_resume_point(checkpoints_dir: Path) -> ResumePoint | None:
    """Find the newest complete checkpoint of a run; None if none was written yet.

    Raises:
        ValueError: there are checkpoints, but none is complete.
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
        raise ValueError(f"no checkpoint of this run is complete: {'; '.join(problems)}; --overwrite starts again")
    return None


def set_aside_damaged(checkpoints_dir: Path, point: ResumePoint | None) -> None:
    """Rename a damaged last checkpoint to `damaged`, with a warning, if the run resumes from the previous one."""
    last = checkpoints_dir / LAST
    if point is None or point.folder == last or not last.is_dir():
        return
    logger.warning("%s is damaged; resuming from %s, step %d", last, point.folder, point.progress.step)
    swap_in(last, checkpoints_dir / "damaged")


def read_resume_point(folder: Path) -> ResumePoint:
    """Read a resume point and check all files of its checkpoint; ValueError names the first damaged one."""
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is damaged: it has no {TRAINING_FILE}")
    content = parse_json(path.read_bytes(), str(path))
    try:
        point = ResumePoint(folder, Progress(**content[PROGRESS_KEY]), int(content[_LOG_KEY]))
        files = dict(content[_FILES_KEY])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    for name, sha256 in files.items():
        if not (folder / name).is_file() or hash_file(folder / name) != sha256:
            raise ValueError(f"{folder / name} is damaged or missing")
    return point


def _shard(value: Tensor, param: Tensor) -> Tensor:
    """Shard a tensor in the same way as its parameter."""
    if isinstance(param, DTensor) and value.shape == param.shape:
        return distribute_tensor(value.to(param.device), param.device_mesh, param.placements)
    return value
