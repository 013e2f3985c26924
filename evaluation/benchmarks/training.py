"""Cost of the training engine beside the model's own work: the loop, and the checkpoints."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import nn

from evaluation.benchmarks.work import TextBench
from tslm.batch import Batch
from tslm.command import Row
from tslm.config.schema import OptimConfig, RunConfig, TrainConfig
from tslm.data.samples.sampling import TrainData
from tslm.models.interface import ModelOutput
from tslm.training.checkpoints.resume import CheckpointSaver
from tslm.training.loop import RunData, Trainer
from tslm.training.optim import build_optimizer
from tslm.training.progress import Progress
from tslm.training.runs.folder import LAST
from tslm.training.runs.recorder import RunContext

_NUM_STEPS = 200  # of the loop around an idle model
_MAX_OVERHEAD = 3.0  # percent of a step
_MAX_WRITE_S, _MAX_STALL_S = 0.5, 0.1


class _Idle(nn.Module):
    """A model that computes nothing, with as many trained parameters as a real one."""

    def __init__(self, num_params: int) -> None:
        super().__init__()
        self.parts = nn.ParameterList(torch.zeros(1) for _ in range(num_params))

    def forward(self, batch: Batch) -> ModelOutput:
        return ModelOutput(torch.cat(list(self.parts)).sum(), torch.tensor(float(len(batch.sample_ids))))

    def param_groups(self, _optim: OptimConfig) -> list[dict]:
        return [{"name": "all", "params": list(self.parts), "lr": 0.0, "weight_decay": 0.0}]


@dataclass
class _Repeat(TrainData):
    """One pass that repeats one batch."""

    batch: Batch

    def __len__(self) -> int:
        return _NUM_STEPS

    def read_pass(self, train_epoch: int, first_batch: int = 0) -> list[Batch]:  # noqa: ARG002
        """Return the batches of the only pass."""
        return [self.batch] * (_NUM_STEPS - first_batch)


def measure_engine(bench: TextBench, batch: Batch, repeats: int) -> Iterator[Row]:
    """Measure the overhead of the loop, the time to write a checkpoint, and how long training waits for it."""
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
    yield Row("loop over bare forward, backward, step", 100 * own_s / step_s, "%", most=_MAX_OVERHEAD, note=note)
    yield from _measure_checkpoint(bench, accelerator, repeats)


def _time_loop(model: _Idle, batch: Batch, accelerator: Accelerator) -> float:
    """Measure seconds per step in the training loop."""
    config = RunConfig(train=TrainConfig(train_epochs=1))
    trainer = Trainer(RunContext(config, accelerator), model, RunData(_Repeat(batch), [replace(batch)]))
    trainer.save = _Nothing()  # type: ignore[assignment]
    started = time.monotonic()
    trainer.fit()
    return (time.monotonic() - started) / _NUM_STEPS


class _Nothing:
    def __call__(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        pass


def _time_bare(model: _Idle, batch: Batch) -> float:
    """Measure seconds per step of forward, backward, clipping and optimizer alone."""
    optimizer, params = build_optimizer(model.param_groups(OptimConfig()), OptimConfig()), list(model.parameters())
    started = time.monotonic()
    for _ in range(_NUM_STEPS):
        output = model(batch)
        (output.loss_sum / output.weight_sum).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.monotonic() - started) / _NUM_STEPS


def _measure_checkpoint(bench: TextBench, accelerator: Accelerator, repeats: int) -> Iterator[Row]:
    """Measure the time to write a checkpoint with optimizer state, and how long training waits for it."""
    stalls, writes = [], []
    with tempfile.TemporaryDirectory() as folder:
        run = RunContext(replace(bench.config, results_dir=folder), accelerator)
        save = CheckpointSaver(run, bench.model, bench.optimizer)
        for _ in range(repeats + 1):
            started = time.monotonic()
            save(LAST, Progress(), {})
            stalls.append(time.monotonic() - started)
            save.finish()
            writes.append(time.monotonic() - started)
        size = sum(path.stat().st_size for path in (run.checkpoints_dir / LAST).rglob("*") if path.is_file())
    note = f"{size / 1e6:.0f} MB, optimizer state included"
    yield Row("checkpoint, until it is on disk", statistics.median(writes[1:]), "s", most=_MAX_WRITE_S, note=note)
    yield Row("checkpoint, training stands still", statistics.median(stalls[1:]), "s", most=_MAX_STALL_S)
