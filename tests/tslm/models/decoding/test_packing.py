from typing import Any

import pytest
import torch
from torch import nn

from tests.factories.architectures import build_llm
from tslm.config.schema import LoRAConfig
from tslm.models.decoding.packing import packed_weights
from tslm.models.llm.backbone import attach_lora, unwrap_lora

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no products in bfloat16"
)


@pytest.fixture
def llm() -> Any:
    return build_llm("llama").to(torch.bfloat16)


def count_packed(llm: Any, num_rows: int) -> int:
    with packed_weights(llm, num_rows):
        return sum("forward" in vars(module) for module in llm.modules())


@needs_bf16
@pytest.mark.parametrize("num_rows", [1, 8, 64])
def test_products_with_packed_weights_are_bit_for_bit_those_without(num_rows: int) -> None:
    for num_inputs, num_outputs, bias in ((576, 192, False), (576, 1536, True), (64, 258, False)):
        layer = nn.Linear(num_inputs, num_outputs, bias=bias, dtype=torch.bfloat16)
        x = torch.randn(num_rows, 3, num_inputs, generator=torch.Generator().manual_seed(0)).bfloat16()
        with torch.no_grad():
            expected = layer(x)
            holder = nn.ModuleList([layer])
            with packed_weights(holder, 8):  # type: ignore[arg-type]
                assert "forward" in vars(layer)
                assert torch.equal(layer(x), expected)
        assert torch.equal(layer(x), expected) and "forward" not in vars(layer)


@needs_bf16
def test_weights_are_packed_for_many_rows_in_bfloat16_and_never_beside_adapters(llm: Any) -> None:
    num_layers = sum(type(module) is nn.Linear for module in llm.modules())
    assert count_packed(llm, 8) == num_layers
    assert count_packed(llm, 7) == 0
    assert count_packed(build_llm("llama"), 8) == 0
    adapted = unwrap_lora(attach_lora(llm, LoRAConfig()))
    assert count_packed(adapted, 8) == 0


@needs_bf16
def test_a_failure_leaves_the_layers_as_they_were(llm: Any) -> None:
    with pytest.raises(RuntimeError, match="half-way"), packed_weights(llm, 8):
        raise RuntimeError("half-way")
    assert not any("forward" in vars(module) for module in llm.modules())
