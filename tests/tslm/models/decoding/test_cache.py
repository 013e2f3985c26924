from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from tests.factories.architectures import ARCHITECTURES, build_llm
from tslm.models.decoding.attention import attend_grouped, grouped_attention
from tslm.models.decoding.cache import build_cache, fork_cache
from tslm.models.decoding.decode import read_first_prompts, read_prompts
from tslm.models.fusion import DecoderInputs

NUM_STEPS = 70  # more than twice the room, and beyond the sliding windows of 32


def read_step_by_step(llm: Any, cache: DynamicCache, keep: list[int], num_steps: int = NUM_STEPS) -> torch.Tensor:
    """Last hidden states of prompts of 25, 17 and 9 tokens and of the tokens after them; half-way some rows leave."""
    embeds = torch.randn(3, 25 + num_steps, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 25 + num_steps, dtype=torch.long)
    mask[1, :8], mask[2, :16] = 0, 0
    rows, stop, hidden = [0, 1, 2], 25, []
    with torch.no_grad():
        for start in (0, *range(25, 25 + num_steps - 1)):
            inputs = DecoderInputs(embeds[rows, start:stop])
            hidden.append(read_prompts(llm, inputs, mask[rows, :stop], cache)[:, -1][[rows.index(row) for row in keep]])
            if stop == 50:
                cache.batch_select_indices(torch.tensor([rows.index(row) for row in keep]))
                rows = keep
            stop += 1
    return torch.stack(hidden)


@pytest.fixture(params=[*ARCHITECTURES, *(f"{name} eager" for name in ARCHITECTURES)])
def llm(request: pytest.FixtureRequest) -> Any:
    architecture, *attention = request.param.split()
    llm = build_llm(architecture)
    if attention:
        llm.set_attn_implementation("eager")
    return llm


def test_decoding_reads_as_with_the_cache_and_the_attention_of_transformers(llm: Any) -> None:
    expected = read_step_by_step(llm, DynamicCache(config=llm.config), [0, 2])
    with grouped_attention(llm):
        ours = read_step_by_step(llm, build_cache(llm), [0, 2])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("own", [True, False], ids=["own", "of transformers"])
def test_prompts_read_a_few_at_a_time_are_those_read_at_once(llm: Any, own: bool) -> None:
    embeds = torch.randn(20, 40, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(20, 41, dtype=torch.long)
    for row in range(20):
        mask[row, :row] = 0
    found = []
    for read in (lambda *given: read_prompts(*given)[:, -1], read_first_prompts):
        cache = build_cache(llm) if own else DynamicCache(config=llm.config)
        with torch.no_grad(), grouped_attention(llm):
            first = read(llm, DecoderInputs(embeds), mask[:, :40], cache)
            second = read_prompts(llm, DecoderInputs(embeds[:, :1]), mask, cache)[:, -1]
        found.append(torch.stack([first, second]))
        assert cache.get_seq_length() == 41
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_steps", [2, 20, NUM_STEPS])
def test_a_fork_holds_what_the_cache_of_transformers_holds_and_leaves_the_cache_alone(llm: Any, num_steps: int) -> None:
    theirs, ours = DynamicCache(config=llm.config), build_cache(llm)
    for cache in (theirs, ours):
        read_step_by_step(llm, cache, [0, 1, 2], num_steps)
    fork = fork_cache(ours)
    before = ours.layers[0].keys.clone()
    for forked, layer in zip(fork.layers, theirs.layers, strict=True):
        assert type(forked) is type(layer)
        assert forked.get_mask_sizes(4) == layer.get_mask_sizes(4)
        torch.testing.assert_close(forked.keys, layer.keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(forked.values, layer.values, rtol=1e-4, atol=1e-5)
    mask = torch.ones(3, fork.get_seq_length() + 1, dtype=torch.long)
    read_prompts(llm, DecoderInputs(torch.randn(3, 1, 64)), mask, fork)
    assert torch.equal(ours.layers[0].keys, before)


def test_a_layer_is_copied_once_in_many_tokens() -> None:
    llm = build_llm("llama")
    cache, buffers = build_cache(llm), set()
    with torch.no_grad():
        for length in range(1, 100):
            mask = torch.ones(2, length, dtype=torch.long)
            read_prompts(llm, DecoderInputs(torch.randn(2, 1, 64)), mask, cache)
            buffers.add(cache.layers[0].keys.data_ptr())
    assert len(buffers) <= 5


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_grouped_attention_is_the_eager_one(softcap: float | None) -> None:
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    states = [torch.randn(2, heads, length, 8) for heads, length in ((6, 4), (2, 9), (2, 9))]
    mask = torch.zeros(2, 1, 4, 9).masked_fill(torch.rand(2, 1, 4, 9) < 0.3, torch.finfo(torch.float32).min)
    expected = eager_attention_forward(module.eval(), *states, mask, scaling=0.3, softcap=softcap)
    for ours, theirs in zip(attend_grouped(module, *states, mask, 0.3, softcap), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_model_gets_its_own_attention_back() -> None:
    llm = build_llm("llama")
    llm.set_attn_implementation("eager")

    def fail_inside() -> None:
        with grouped_attention(llm):
            assert llm.config._attn_implementation != "eager"
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert llm.config._attn_implementation == "eager"
