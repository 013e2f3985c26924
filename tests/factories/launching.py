"""How tests start several processes of a run: by accelerate's files, and with one model in shares on CPUs."""

import gc
import multiprocessing
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

from curriculum import processes
from tslm.config.compose import configs_dir

ACCELERATE_CONFIGS = configs_dir() / "accelerate"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "curriculum.train_stage", "curriculum.evaluate_stage"])  # torch loads once


def read_launch_options(name: str, *more: str) -> Namespace:
    """What `accelerate launch --config_file NAME` makes of the file."""
    args = launch_command_parser().parse_args(["--config_file", str(ACCELERATE_CONFIGS / name), *more, "train.py"])
    args.nondefault = {word.removeprefix("--") for word in more if word.startswith("--")}
    return _validate_launch_command(args)[0]


def start_ranks(act: Callable[..., Any], arguments: Sequence[Any], folder: Path) -> list[Any]:
    """Two processes that run `act(rank, *arguments)`; what each says goes to rank<N>.txt in the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        FORKS.Process(target=_run_rank, args=(rank, port, folder / f"rank{rank}.txt", act, *arguments))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    return ranks


def end_ranks(ranks: Sequence[Any], timeout_s: float = 300) -> list[int | None]:
    """Exit codes, once all have ended; one that does not is killed and has None."""
    for process in ranks:
        process.join(timeout_s)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
        process.join()
    return codes


def shard_on_cpus() -> None:
    """Have runs of this process share out their model as configs/accelerate/fsdp2.yaml says.

    accelerate shards on GPUs only. torch does on CPUs as well, so accelerate's state is told that it is such a run.
    """
    build, follow = processes.build_accelerator, processes.apply_launch_options
    settings = prepare_multi_gpu_env(read_launch_options("fsdp2.yaml", "--num_processes", "2"))

    def build_sharded(config: Any) -> Accelerator:
        if PartialState._shared_state:  # of the stage before
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_CPU
        accelerator = build(config)
        with patched(settings):
            plugin = processes.build_fsdp_plugin()
        for state in (PartialState._shared_state, AcceleratorState._shared_state):
            state["distributed_type"] = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
        return accelerator

    def follow_sharded(config: Any) -> Any:
        with patched(settings):
            return follow(config)

    processes.build_accelerator, processes.apply_launch_options = build_sharded, follow_sharded


@contextmanager
def patched(settings: dict[str, str]) -> Iterator[None]:
    """The environment with these settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield


def _run_rank(rank: int, port: int, output: Path, act: Callable[..., Any], *arguments: Any) -> None:
    gc.freeze()  # of what the server loaded
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    sys.stdout = sys.stderr = output.open("w", buffering=1)
    sys.exit(act(rank, *arguments) or 0)  # multiprocessing writes the traceback of an error to stderr
