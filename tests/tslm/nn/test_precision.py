"""Precision of arithmetic on a CPU with and without products in bfloat16."""

import logging
from dataclasses import replace

import pytest
import torch

from tslm.config.schema import RunConfig
from tslm.nn.precision import has_bfloat16, with_usable_precision


@pytest.mark.parametrize(("has_products", "wanted"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_that_emulates_bfloat16_computes_in_float32(
    has_products: bool, wanted: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tslm.nn.precision.has_bfloat16", lambda device: has_products)
    config = RunConfig()
    assert config.train.precision == "bf16"
    with caplog.at_level(logging.WARNING):
        used = with_usable_precision(config, "cpu")
    assert used == replace(config, train=replace(config.train, precision=wanted))
    assert bool(caplog.records) == (not has_products)


def test_a_gpu_has_bfloat16() -> None:
    assert has_bfloat16(torch.device("cuda:1"))
