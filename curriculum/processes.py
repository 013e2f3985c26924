"""Devices and processes of a run, as chosen by `accelerate launch`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
    gather_object,
)
from torch.distributed.fsdp import MixedPrecisionPolicy

from tslm.config.schema import RunConfig
from tslm.predictions.rows import PredictionRow
from tslm.predictions.stager import choose_device
from tslm.training.checkpoints.checkpoint import read_state
from tslm.training.runs.folder import LAST, checkpoint_dir

_GLOO_ERRORS = ("/gloo/", "pair closure")  # texts of its messages; gloo raises a bare RuntimeError


class LostProcessError(ConnectionError):
    """Another process of the run ended, or did not answer within `train.timeout_min`."""


def build_accelerator(config: RunConfig, device: str = "") -> Accelerator:
    """Build the accelerator with the run's precision; devices and processes come from `accelerate launch`.

    Processes without GPUs communicate by gloo; with accelerate's defaults each would train alone.

    Args:
        config: of the run.
        device: cpu, cuda or cuda:1 ...; empty: as `accelerate launch` chooses.

    Raises:
        ValueError: no such device, one GPU for several processes, FSDP on CPUs, or FSDP1.
    """
    _choose_gpu(device)
    AcceleratorState._reset_state(reset_partial_state=False)  # another curriculum stage may have set another precision
    is_sharded = _is_sharded()
    is_on_cpus = device == "cpu" or (_count_processes() > 1 and not torch.accelerator.is_available())
    if is_sharded and is_on_cpus:
        raise ValueError("FSDP needs GPUs; for processes on CPUs use configs/accelerate/cpu.yaml")
    return Accelerator(
        cpu=is_on_cpus,
        mixed_precision="bf16" if config.train.precision == "bf16" else "no",
        fsdp_plugin=build_fsdp_plugin() if is_sharded else None,
        kwargs_handlers=[
            # Curriculum stages without night windows do not use the context network and its projector.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=timedelta(minutes=config.train.timeout_min)),
        ],
    )


def _choose_gpu(device: str) -> None:
    """Make the named GPU the one that this process uses; nothing for another device, or without a number."""
    if not device:
        return
    kind, _, number = choose_device(device).partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: wanted cpu, cuda or cuda:N")
    if number and _count_processes() > 1:
        raise ValueError(f"--device {device} is one GPU for several processes; leave it out, each gets its own")
    if number:
        torch.cuda.set_device(int(number))


def _count_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def build_fsdp_plugin() -> FullyShardedDataParallelPlugin:
    """Build the FSDP options of `accelerate launch`, with two exceptions.

    Weights are gathered in their own type, as autocast sets the precision. The model recomputes its layers by itself
    (`apply_launch_options`): accelerate's wrapper would rename parameters and draw dropout again.

    Raises:
        ValueError: FSDP1.
    """
    if os.environ.get("FSDP_VERSION") != "2":
        raise ValueError("only FSDP2 is supported: launch with --config_file configs/accelerate/fsdp2.yaml")
    return FullyShardedDataParallelPlugin(mixed_precision_policy=MixedPrecisionPolicy(), activation_checkpointing=False)


def apply_launch_options(config: RunConfig) -> RunConfig:
    """Apply an option of `accelerate launch` to the settings: fsdp_activation_checkpointing."""
    options = os.environ if _is_sharded() else {}
    recomputes = options.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true"
    recomputes |= config.model.gradient_checkpointing
    return replace(config, model=replace(config.model, gradient_checkpointing=recomputes))


@contextmanager
def report_lost_processes(config: RunConfig) -> Iterator[None]:
    """Translate errors of the communication library into `LostProcessError`, which says how to continue."""
    try:
        yield
    except RuntimeError as error:
        is_gloo_error = any(text in str(error) for text in _GLOO_ERRORS)
        if not is_gloo_error and not isinstance(error, torch.distributed.DistError):
            raise
        step = read_state(checkpoint_dir(config, LAST)).get("step")
        saved = "no checkpoint was written yet" if step is None else f"the checkpoint of step {step} stands"
        raise LostProcessError(
            f"another process of this run ended, or did not answer for train.timeout_min={config.train.timeout_min:g} "
            f"({_shorten(str(error))}); its own message says why. {saved}: the same command with --resume goes on"
        ) from error


def _is_sharded() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _shorten(text: str) -> str:
    return text.partition("] ")[2].partition(". ")[0] or text.partition("\n")[0]


def check_same_on_all(step: int | None, accelerator: Accelerator) -> None:
    """Raise ValueError on all processes unless each found the same step to resume from, or none."""
    steps = gather_object([step]) if accelerator.num_processes > 1 else [step]
    if len(set(steps)) > 1:
        raise ValueError(
            f"processes resume from different steps ({', '.join(str(found) for found in steps)}): results_dir must be "
            "one folder that all machines share"
        )


def share_indices(indices: list[int], accelerator: Accelerator) -> list[int]:
    """Return this process' part of the samples; every sample is in exactly one part."""
    return indices[accelerator.process_index :: accelerator.num_processes]


def gather_rows(rows: list[PredictionRow], accelerator: Accelerator) -> list[PredictionRow]:
    """Gather the rows of all processes on every process, sorted by recording and epoch."""
    gathered = gather_object(rows) if accelerator.num_processes > 1 else rows
    return sorted(gathered, key=lambda row: (row.get("recording", ""), row.get("epoch_idx", 0), row["sample_id"]))
