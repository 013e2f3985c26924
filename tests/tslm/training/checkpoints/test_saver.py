import errno
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.factories.small import build_small_model, collate, sleep_dataset, small_config
from tslm.models import build_model
from tslm.training.checkpoints.checkpoint import load_weights
from tslm.training.checkpoints.resume import (
    OPTIMIZER_FILE,
    CheckpointSaver,
    find_resume_point,
    restore_optimizer,
    rotate_in,
    set_aside_damaged,
)
from tslm.training.optim import build_optimizer, set_trained_parts
from tslm.training.progress import Progress
from tslm.training.runs.folder import checkpoints_dir
from tslm.training.runs.recorder import RunContext


class Run:
    """A small model in training, and its saver."""

    def __init__(self, tiny_llm: Path, folder: Path) -> None:
        self.config = small_config(tiny_llm, results_dir=str(folder))
        self.model = build_small_model(self.config, lora_noise=0.1)
        self.optimizer = build_optimizer(self.model.param_groups(self.config.optim), self.config.optim)
        self.batch = collate(self.config, [sleep_dataset(self.config)[3]])
        recorder: Any = SimpleNamespace(log=SimpleNamespace(count=lambda: 5), send_checkpoint=lambda *_: None)
        context = RunContext(self.config, Accelerator(cpu=True), recorder)
        self.folder = checkpoints_dir(context.config)
        self.save = CheckpointSaver(context, self.model, self.optimizer)

    def step(self) -> None:
        train_step(self.model, self.optimizer, self.batch)


def train_step(model: Any, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    output = model(batch)
    (output.loss_sum / output.weight_sum).backward()
    optimizer.step()
    optimizer.zero_grad()


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters() if param.requires_grad}


@pytest.fixture
def run(tiny_llm: Path, tmp_path: Path) -> Run:
    return Run(tiny_llm, tmp_path)


def test_a_checkpoint_holds_the_moment_it_was_asked_for_however_long_writing_takes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.step()
    then = trained(run.model)
    waiting: list[Any] = []
    monkeypatch.setattr(run.save._pool, "submit", waiting.append)
    run.save("last", Progress(step=1), {})
    run.step()
    assert not (run.folder / "last").exists()
    waiting[0]()  # what the thread would have done at once
    fresh = build_model(run.config)
    load_weights(fresh, run.config, run.folder / "last", train_lora=True)
    set_trained_parts(fresh, run.config)
    assert all(torch.equal(param, then[name]) for name, param in trained(fresh).items())
    assert not all(torch.equal(param, then[name]) for name, param in trained(run.model).items())


def test_weights_and_optimizer_go_on_bit_for_bit(run: Run) -> None:
    for _ in range(3):
        run.step()
    run.save("last", Progress(step=3), {})
    run.save.finish()
    model = build_model(run.config)
    load_weights(model, run.config, run.folder / "last", train_lora=True)
    set_trained_parts(model, run.config)
    optimizer = build_optimizer(model.eval().param_groups(run.config.optim), run.config.optim)  # type: ignore[operator]
    restore_optimizer(optimizer, model, run.folder / "last")
    for _ in range(2):
        run.step()
        train_step(model, optimizer, run.batch)
    ours, theirs = trained(run.model), trained(model)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_point_to_go_on_from_knows_progress_and_log(run: Run) -> None:
    assert find_resume_point(run.folder) is None
    progress = Progress(train_epoch=2, num_batches=3, step=7, best_val_loss=0.5, class_counts={"Wake": 4}, wall_s=1.5)
    run.save("last", progress, {})
    run.save.finish()
    point = find_resume_point(run.folder)
    assert point is not None
    assert (point.progress, point.num_log_records, point.folder) == (progress, 5, run.folder / "last")
    assert find_resume_point(run.folder / "elsewhere") is None


def save_steps(run: Run, *steps: int) -> None:
    for step in steps:
        run.save("last", Progress(step=step), {})
    run.save.finish()


def test_the_one_before_is_kept(run: Run) -> None:
    save_steps(run, 1, 2, 3)
    found = {
        path.parent.name: json.loads(path.read_text())["progress"]["step"]
        for path in run.folder.glob("*/training.json")
    }
    assert found == {"last": 3, "previous": 2}


@pytest.mark.parametrize("file", ["model.safetensors", OPTIMIZER_FILE, "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped"])
def test_any_damage_falls_back_to_the_one_before(
    file: str, damage: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(run, 1, 2)
    path = run.folder / "last" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    point = find_resume_point(run.folder)
    assert point is not None
    assert point.progress.step == 1
    with caplog.at_level(logging.WARNING):
        set_aside_damaged(run.folder, point)
    assert "last is damaged; resuming from" in caplog.text
    assert sorted(path.name for path in run.folder.iterdir()) == ["damaged", "previous"]
    save_steps(run, 3)
    assert sorted(path.name for path in run.folder.iterdir()) == ["damaged", "last", "previous"]


@pytest.mark.parametrize("content", ["", "[]", '{"progress": {}}', '{"progress": {"dreams": 1}, "sha256": {}}'])
def test_a_damaged_training_state_is_named(content: str, run: Run) -> None:
    save_steps(run, 1)
    (run.folder / "last" / "training.json").write_text(content)
    with pytest.raises(ValueError, match=r"training\.json is damaged.*--overwrite starts again"):
        find_resume_point(run.folder)


def test_a_stop_between_the_renames_goes_on_from_the_one_before(run: Run) -> None:
    save_steps(run, 1, 2)
    partial = (run.folder / "previous").rename(run.folder / "last.partial")
    (run.folder / "last").rename(run.folder / "previous")
    point = find_resume_point(run.folder)
    assert point is not None
    assert (point.folder.name, point.progress.step) == ("previous", 2)
    save_steps(run, 3)
    assert sorted(path.name for path in run.folder.iterdir()) == ["last", "previous"]
    assert not partial.exists()


def test_a_full_disk_comes_up_at_the_next_save_and_leaves_the_old_checkpoint_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(run, 1)

    def write_half(tensors: dict, path: Path, *_: Any) -> None:
        path.write_bytes(bytes(100))
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("tslm.training.checkpoints.resume.save_file", write_half)
        run.save("last", Progress(step=2), {})
        with pytest.raises(OSError, match="No space left"):
            run.save("last", Progress(step=3), {})
    point = find_resume_point(run.folder)
    assert point is not None
    assert point.progress.step == 1
    assert [path.name for path in run.folder.iterdir()] == ["last"]
    save_steps(run, 4)
    assert find_resume_point(run.folder).progress.step == 4  # type: ignore[union-attr]


def test_a_first_checkpoint_has_none_before_it(tmp_path: Path) -> None:
    (tmp_path / "last.partial").mkdir()
    rotate_in(tmp_path / "last.partial", tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
