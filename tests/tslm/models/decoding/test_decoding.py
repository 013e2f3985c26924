import pytest
import torch

from tslm.config.schema import LLMConfig
from tslm.models.decoding.decode import decode_greedy
from tslm.models.fusion import DecoderInputs
from tslm.models.llm.backbone import load_llm


@pytest.fixture
def llm(tiny_llm):
    return load_llm(LLMConfig(name="tiny", source=str(tiny_llm)), torch.float32)


def _prompts(llm, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    embeds = torch.randn(len(lengths), width, llm.config.hidden_size, generator=generator)
    mask = torch.arange(width)[None] >= torch.tensor([width - length for length in lengths])[:, None]
    return embeds * mask[..., None], mask


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_greedy_decoding_equals_transformers_generate(llm, seed):
    embeds, mask = _prompts(llm, [7, 3, 5, 1], seed)
    ours = decode_greedy(llm, DecoderInputs(embeds), mask, 12, -1, 0)
    theirs = llm.generate(
        inputs_embeds=embeds,
        attention_mask=mask.long(),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=llm.config.vocab_size + 1,
    )
    assert torch.equal(ours, theirs)


def test_a_row_that_ended_leaves_the_others_unchanged(llm):
    embeds, mask = _prompts(llm, [6, 6, 4, 2], seed=3)
    free = decode_greedy(llm, DecoderInputs(embeds), mask, 10, -1, 0)
    end = int(free[0, 2])  # end the first row after its third token, wherever others happen to say it
    ended = decode_greedy(llm, DecoderInputs(embeds), mask, 10, end, 0)
    for row, full in zip(ended.tolist(), free.tolist(), strict=True):
        stop = full.index(end) + 1 if end in full else len(full)
        expected = full[:stop] + [0] * (10 - stop)
        assert row == expected[: len(row)]
        assert not any(expected[len(row) :])
