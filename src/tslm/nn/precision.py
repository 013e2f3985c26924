"""Precision of arithmetic: bfloat16 where the device multiplies in it."""

import logging
from dataclasses import replace

import torch

from tslm.config.schema import RunConfig

logger = logging.getLogger(__name__)


def with_usable_precision(config: RunConfig, device: torch.device | str) -> RunConfig:
    """The config, with `train.precision` fp32 where the device is a CPU that only emulates bfloat16.

    Emulated products take eight times as long as those in float32. Answers differ in round-off, so it is logged.

    Args:
        config: of a run.
        device: where it runs; empty: a GPU if there is one.
    """
    if not device:
        device = "cuda" if torch.accelerator.is_available() else "cpu"
    if config.train.precision != "bf16" or has_bfloat16(device):
        return config
    logger.warning("this CPU has no arithmetic in bfloat16: train.precision=fp32 is used")
    return replace(config, train=replace(config.train, precision="fp32"))


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether the device multiplies matrices in bfloat16; GPUs do, CPUs from AVX-512 on."""
    if torch.device(device).type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
