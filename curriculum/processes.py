"""Devices and processes of a run; `accelerate launch` chooses them."""

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

from curriculum.plan import checkpoint_dir
from tslm.config.schema import RunConfig
from tslm.predictions.rows import PredictionRow
from tslm.training.checkpoints.checkpoint import read_state
from tslm.training.runs.folder import LAST


class LostProcessError(ConnectionError):
    """Another process of the run has ended, or has not answered for `train.timeout_min`."""


def build_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate set up for the run's precision; devices and processes come from `accelerate launch`.

    Processes on a machine without GPUs talk over gloo; accelerate alone would let each train by itself.

    Raises:
        ValueError: shares of a model (FSDP) on CPUs, or by the first version of FSDP.
    """
    AcceleratorState._reset_state(reset_partial_state=False)  # the stage before may have had another precision
    is_sharded = _is_sharded()
    is_on_cpus = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    if is_sharded and is_on_cpus:
        raise ValueError("a model is shared out over GPUs only; for processes on CPUs use configs/accelerate/cpu.yaml")
    return Accelerator(
        cpu=is_on_cpus,
        mixed_precision="bf16" if config.train.precision == "bf16" else "no",
        fsdp_plugin=build_fsdp_plugin() if is_sharded else None,
        kwargs_handlers=[
            # Stages without night windows leave the context network and its projector unread.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=timedelta(minutes=config.train.timeout_min)),
        ],
    )


def build_fsdp_plugin() -> FullyShardedDataParallelPlugin:
    """What `accelerate launch` was told of FSDP, but for two things.

    Weights are gathered in their own type, as autocast gives the precision. And it is the model that recomputes its
    layers (`follow_launch`): accelerate's way renames their parameters and draws dropout anew.

    Raises:
        ValueError: another version of FSDP than the second.
    """
    if os.environ.get("FSDP_VERSION") != "2":
        raise ValueError("only FSDP2 is supported: launch with --config_file configs/accelerate/fsdp2.yaml")
    return FullyShardedDataParallelPlugin(mixed_precision_policy=MixedPrecisionPolicy(), activation_checkpointing=False)


def follow_launch(config: RunConfig) -> RunConfig:
    """The settings with what `accelerate launch` was told: fsdp_activation_checkpointing."""
    told = os.environ if _is_sharded() else {}
    recomputes = told.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true"
    recomputes |= config.model.gradient_checkpointing
    return replace(config, model=replace(config.model, gradient_checkpointing=recomputes))


@contextmanager
def naming_lost_processes(config: RunConfig) -> Iterator[None]:
    """What a process says that waited for another in vain.

    Raises:
        LostProcessError: in place of what the connection's library says.
    """
    try:
        yield
    except RuntimeError as error:
        is_of_gloo = any(sign in str(error) for sign in ("/gloo/", "pair closure"))  # it has no class of its own
        if not is_of_gloo and not isinstance(error, torch.distributed.DistError):
            raise
        step = read_state(checkpoint_dir(config, LAST)).get("step")
        stands = "no checkpoint was written yet" if step is None else f"the checkpoint of step {step} stands"
        raise LostProcessError(
            f"another process of this run ended, or did not answer for train.timeout_min={config.train.timeout_min:g} "
            f"({_shorten(str(error))}); its own message says why. {stands}: the same command with --resume goes on"
        ) from error


def _is_sharded() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _shorten(text: str) -> str:
    return text.partition("] ")[2].partition(". ")[0] or text.partition("\n")[0]


def check_same_on_all(step: int | None, accelerator: Accelerator) -> None:
    """ValueError on all processes unless each has found the same step to go on from, or none."""
    steps = gather_object([step]) if accelerator.num_processes > 1 else [step]
    if len(set(steps)) > 1:
        raise ValueError(
            f"processes go on from different steps ({', '.join(str(found) for found in steps)}): results_dir must be "
            "one folder that all machines see"
        )


def share_indices(indices: list[int], accelerator: Accelerator) -> list[int]:
    """This process' part of some samples; all parts together hold each once."""
    return indices[accelerator.process_index :: accelerator.num_processes]


def gather_rows(rows: list[PredictionRow], accelerator: Accelerator) -> list[PredictionRow]:
    """The rows of all processes, by recording and epoch, on every process."""
    gathered = gather_object(rows) if accelerator.num_processes > 1 else rows
    return sorted(gathered, key=lambda row: (row.get("recording", ""), row.get("epoch_idx", 0), row["sample_id"]))
