import os
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from curriculum.processes import apply_launch_options, build_accelerator, build_fsdp_plugin, check_same_on_all
from tests.factories.launching import ACCELERATE_CONFIGS, patched, read_launch_options
from tests.factories.small import small_config

FILES = sorted(ACCELERATE_CONFIGS.glob("*.yaml"))
TWO_NODES = ["--machine_rank", "1", "--main_process_ip", "10.0.0.1"]


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
    cpu, ddp, fsdp2 = (read_launch_options(f"{name}.yaml", "--num_processes", "2") for name in ("cpu", "ddp", "fsdp2"))
    one_gpu, two_nodes = (
        read_launch_options("one_gpu.yaml"),
        read_launch_options("two_nodes.yaml", "--num_processes", "16"),
    )
    assert [args.multi_gpu for args in (cpu, ddp, fsdp2, one_gpu, two_nodes)] == [True, True, False, False, True]
    assert [args.num_machines for args in (cpu, ddp, fsdp2, one_gpu, two_nodes)] == [1, 1, 1, 1, 2]
    assert (one_gpu.num_processes, one_gpu.use_cpu, one_gpu.use_fsdp, fsdp2.use_fsdp) == (1, False, False, True)
    assert prepare_multi_gpu_env(cpu)["CUDA_VISIBLE_DEVICES"] == "-1,-1"  # no GPU, even where there are some
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert [prepare_multi_gpu_env(args).get("CUDA_VISIBLE_DEVICES") for args in (ddp, fsdp2)] == [visible] * 2


@pytest.mark.parametrize("name", ["ddp.yaml", "fsdp2.yaml", "two_nodes.yaml"])
def test_how_many_gpus_there_are_has_to_be_said(name: str) -> None:
    with pytest.raises(ValueError, match="--num_processes"):
        read_launch_options(name)


def test_two_nodes_share_the_processes_and_meet_at_machine_0() -> None:
    args = read_launch_options("two_nodes.yaml", "--num_processes", "16", *TWO_NODES)
    prepare_multi_gpu_env(args)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert (args.rdzv_endpoint, args.rdzv_backend) == ("10.0.0.1:29500", "static")


def test_fsdp2_shards_by_layers_recomputes_them_and_saves_whole_weights() -> None:
    with patched(prepare_multi_gpu_env(read_launch_options("fsdp2.yaml", "--num_processes", "2"))):
        told, plugin = FullyShardedDataParallelPlugin(), build_fsdp_plugin()
        config = apply_launch_options(small_config())
    assert (plugin.fsdp_version, plugin.state_dict_type.name) == (2, "FULL_STATE_DICT")
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.transformer_cls_names_to_wrap is None  # the model's own `_no_split_modules`
    assert (plugin.cpu_ram_efficient_loading, plugin.reshard_after_forward) == (False, True)
    assert (told.activation_checkpointing, plugin.activation_checkpointing) == (True, False)  # the model does it itself
    assert config.model.gradient_checkpointing
    assert apply_launch_options(small_config()) == small_config()
    assert plugin.mixed_precision_policy.param_dtype is None


def test_shares_on_cpus_and_the_first_fsdp_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with patched({"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "2"}), pytest.raises(ValueError, match="cpu.yaml"):
        build_accelerator(small_config())
    with patched({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}), pytest.raises(ValueError, match="fsdp2.yaml"):
        build_accelerator(small_config())


def test_processes_that_found_different_checkpoints_do_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        num_processes = 2

    monkeypatch.setattr("curriculum.processes.gather_object", lambda steps: [*steps, 7])
    check_same_on_all(7, Two())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="None, 7"):
        check_same_on_all(None, Two())  # type: ignore[arg-type]
