"""What the training engine adds to the model's own work: its loop, and the checkpoints it writes beside."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from evaluation.benchmarks.work import TextBench
from tslm.batch import Batch
from tslm.bench_row import Row
from tslm.config.schema import OptimConfig, TrainConfig
from tslm.models.interface import ModelOutput
from tslm.training.checkpoints.saver import CheckpointSaver
from tslm.training.loop import Trainer
from tslm.training.optim import build_scheduler
from tslm.training.progress import Progress
from tslm.training.runs.folder import LAST

_NUM_STEPS = 200  # of the loop around an idle model
_MOST_OVERHEAD = 3.0  # percent of a step
_MOST_WRITE_S, _MOST_STALL_S = 0.5, 0.1


class _Idle(nn.Module):
    """A model that computes nothing, with as many trained parameters to look after as a real one has."""

    def __init__(self, num_params: int) -> None:
        super().__init__()
        self.parts = nn.ParameterList(torch.zeros(1) for _ in range(num_params))

    def forward(self, batch: Batch) -> ModelOutput:
        return ModelOutput(_Idle._sum(list(self.parts)), torch.tensor(float(len(batch.sample_ids))))

    @staticmethod
    def _sum(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts)).sum()


class _Repeat:
    """One batch again and again."""

    def __init__(self, batch: Batch, num_batches: int) -> None:
        self.batch, self.num_batches = batch, num_batches

    def __len__(self) -> int:
        return self.num_batches

    def read_pass(self, train_epoch: int, first_batch: int = 0, losses_N: np.ndarray | None = None) -> list[Batch]:
        """What is left of the only pass; the batch is the same however hard it was."""
        assert train_epoch == 1 and losses_N is None
        return [self.batch] * (self.num_batches - first_batch)


def measure_engine(bench: TextBench, batch: Batch, repeats: int) -> Iterator[Row]:
    """The loop's own time a step as a share of the model's, and what a checkpoint takes and holds up."""
    accelerator = Accelerator(mixed_precision="no")
    num_params = sum(len(group["params"]) for group in bench.optimizer.param_groups)
    in_loop = [_time_loop(_Idle(num_params), batch, accelerator) for _ in range(repeats)]
    bare = [_time_bare(_Idle(num_params).to(accelerator.device), batch) for _ in range(repeats)]
    own_s = statistics.median(in_loop) - statistics.median(bare)
    bench.train_step(batch)
    started = time.monotonic()
    bench.train_step(batch)
    step_s = time.monotonic() - started
    yield Row(f"loop around {num_params} idle parameters, a step", 1e3 * own_s, "ms")
    note = f"of a step of {step_s:.2f} s"
    yield Row("loop over bare forward, backward, step", 100 * own_s / step_s, "%", most=_MOST_OVERHEAD, note=note)
    yield from _measure_checkpoint(bench, accelerator, repeats)


def _time_loop(model: nn.Module, batch: Batch, accelerator: Accelerator) -> float:
    """Seconds a step in the training loop."""
    model.to(accelerator.device)
    optimizer = _build_sgd(model)
    trainer = Trainer(
        model,
        optimizer,
        build_scheduler(optimizer, OptimConfig(), _NUM_STEPS),
        accelerator,
        TrainConfig(train_epochs=1),
        OptimConfig(),
        0,
        lambda *_: None,
        lambda _: None,
    )
    started = time.monotonic()
    trainer.fit(_Repeat(batch, _NUM_STEPS), [replace(batch)])  # type: ignore[arg-type]
    return (time.monotonic() - started) / _NUM_STEPS


def _time_bare(model: nn.Module, batch: Batch) -> float:
    """Seconds a step of what any training does: forward, backward, clipping, optimizer."""
    optimizer, params = _build_sgd(model), list(model.parameters())
    started = time.monotonic()
    for _ in range(_NUM_STEPS):
        output = model(batch)
        (output.loss_sum / output.weight_sum).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.monotonic() - started) / _NUM_STEPS


def _build_sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD([{"name": "all", "params": list(model.parameters())}], lr=0.0)


def _measure_checkpoint(bench: TextBench, accelerator: Accelerator, repeats: int) -> Iterator[Row]:
    """Seconds until a checkpoint with optimizer state is on disk, and how long the loop stands still for it."""
    stalls, writes = [], []
    with tempfile.TemporaryDirectory() as folder:
        arguments: tuple[Any, ...] = (bench.config, bench.model, bench.optimizer, accelerator, lambda: 0, {})
        save = CheckpointSaver(Path(folder), *arguments)
        for _ in range(repeats + 1):
            started = time.monotonic()
            save(LAST, Progress(), {})
            stalls.append(time.monotonic() - started)
            save.finish()
            writes.append(time.monotonic() - started)
        size = sum(path.stat().st_size for path in (Path(folder) / LAST).rglob("*") if path.is_file())
    note = f"{size / 1e6:.0f} MB, optimizer state included"
    yield Row("checkpoint, until it is on disk", statistics.median(writes[1:]), "s", most=_MOST_WRITE_S, note=note)
    yield Row("checkpoint, training stands still", statistics.median(stalls[1:]), "s", most=_MOST_STALL_S)
