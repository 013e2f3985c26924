import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from tslm.compose import configs_dir

FOLDER = configs_dir() / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))
TWO_NODES = ["--machine_rank", "1", "--main_process_ip", "10.0.0.1"]


def launch_options(name: str, *more: str) -> Namespace:
    """What `accelerate launch --config_file NAME` makes of the file."""
    args = launch_command_parser().parse_args(["--config_file", str(FOLDER / name), *more, "train.py"])
    args.nondefault = {word.removeprefix("--") for word in more if word.startswith("--")}
    return _validate_launch_command(args)[0]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_accelerate_knows_every_key(path: Path) -> None:
    load_config_from_file(str(path))  # refuses unknown keys, but none of those below `fsdp_config`
    known = vars(launch_command_parser().parse_args(["train.py"]))
    nested = [key for value in yaml.safe_load(path.read_text()).values() if isinstance(value, dict) for key in value]
    assert set(nested) <= set(known)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_precision_is_left_to_the_run(path: Path) -> None:
    assert "mixed_precision" not in yaml.safe_load(path.read_text())


def test_the_files_start_what_they_are_named_after() -> None:
    cpu, ddp, fsdp2 = (launch_options(f"{name}.yaml", "--num_processes", "2") for name in ("cpu", "ddp", "fsdp2"))
    one_gpu, two_nodes = launch_options("one_gpu.yaml"), launch_options("two_nodes.yaml", "--num_processes", "16")
    assert [args.multi_gpu for args in (cpu, ddp, fsdp2, one_gpu, two_nodes)] == [True, True, False, False, True]
    assert [args.num_machines for args in (cpu, ddp, fsdp2, one_gpu, two_nodes)] == [1, 1, 1, 1, 2]
    assert (one_gpu.num_processes, one_gpu.use_cpu, one_gpu.use_fsdp, fsdp2.use_fsdp) == (1, False, False, True)
    assert prepare_multi_gpu_env(cpu)["CUDA_VISIBLE_DEVICES"] == "-1,-1"  # no GPU, even where there are some
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert [prepare_multi_gpu_env(args).get("CUDA_VISIBLE_DEVICES") for args in (ddp, fsdp2)] == [visible] * 2


@pytest.mark.parametrize("name", ["ddp.yaml", "fsdp2.yaml", "two_nodes.yaml"])
def test_how_many_gpus_there_are_has_to_be_said(name: str) -> None:
    with pytest.raises(ValueError, match="--num_processes"):
        launch_options(name)


def test_two_nodes_share_the_processes_and_meet_at_machine_0() -> None:
    args = launch_options("two_nodes.yaml", "--num_processes", "16", *TWO_NODES)
    prepare_multi_gpu_env(args)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert (args.rdzv_endpoint, args.rdzv_backend) == ("10.0.0.1:29500", "static")


def test_fsdp2_shards_by_layers_recomputes_them_and_saves_whole_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in prepare_multi_gpu_env(launch_options("fsdp2.yaml", "--num_processes", "2")).items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.state_dict_type.name) == (2, "FULL_STATE_DICT")
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.transformer_cls_names_to_wrap is None  # the model's own `_no_split_modules`
    assert (plugin.activation_checkpointing, plugin.reshard_after_forward) == (True, True)
    assert plugin.cpu_ram_efficient_loading is False
    assert not torch.distributed.is_initialized()
