import pytest
import torch

from tslm.config.schema import LLMConfig
from tslm.models.decoding.decode import Sampling, decode
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
    ours = decode(llm, DecoderInputs(embeds), mask, 12, -1, 0)
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
    free = decode(llm, DecoderInputs(embeds), mask, 10, -1, 0)
    end = int(free[0, 2])  # end the first row after its third token, wherever others happen to say it
    ended = decode(llm, DecoderInputs(embeds), mask, 10, end, 0)
    for row, full in zip(ended.tolist(), free.tolist(), strict=True):
        stop = full.index(end) + 1 if end in full else len(full)
        expected = full[:stop] + [0] * (10 - stop)
        assert row == expected[: len(row)]
        assert not any(expected[len(row) :])


def _sample(llm, embeds, mask, rows, temperature=1.5, end=-1):
    sampling = Sampling(temperature, [torch.Generator().manual_seed(row) for row in rows])
    return decode(llm, DecoderInputs(embeds[rows]), mask[rows], 12, end, 0, sampling=sampling)


def test_a_sampled_row_is_the_same_each_time_and_in_any_batch(llm):
    embeds, mask = _prompts(llm, [7, 3, 5, 1], seed=4)
    together = _sample(llm, embeds, mask, [0, 1, 2, 3])
    assert torch.equal(together, _sample(llm, embeds, mask, [0, 1, 2, 3]))
    assert torch.equal(together[[3, 1]], _sample(llm, embeds, mask, [3, 1]))
    for row in range(4):
        assert torch.equal(together[[row]], _sample(llm, embeds, mask, [row]))
    end = int(together[0, 2])  # rows that leave the batch take nothing from the others' draws
    ended = _sample(llm, embeds, mask, [0, 1, 2, 3], end=end)
    for row, free in zip(ended.tolist(), together.tolist(), strict=True):
        stop = free.index(end) + 1 if end in free else len(free)
        assert row[:stop] == free[:stop]


@pytest.mark.parametrize(
    ("top_p", "allowed"), [(0.4, {2}), (0.5, {2}), (0.51, {0, 2}), (0.8, {0, 2}), (1.0, {0, 1, 2})]
)
def test_top_p_draws_from_the_likeliest_tokens_that_reach_it(top_p, allowed):
    logits_V = torch.tensor([0.3, 0.2, 0.5]).log()
    sampling = Sampling(1.0, [torch.Generator().manual_seed(0)], top_p)
    assert {sampling.draw(0, logits_V) for _ in range(200)} == allowed


def test_sampling_draws_by_the_temperature_and_is_greedy_near_zero(llm):
    embeds, mask = _prompts(llm, [6, 6, 4, 2], seed=5)
    greedy = decode(llm, DecoderInputs(embeds), mask, 12, -1, 0)
    assert torch.equal(_sample(llm, embeds, mask, [0, 1, 2, 3], temperature=1e-6), greedy)
    logits_V = torch.tensor([0.0, 1.0, 2.0, -torch.inf])
    sampling = Sampling(2.0, [torch.Generator().manual_seed(0)])
    drawn = torch.tensor([sampling.draw(0, logits_V) for _ in range(4000)])
    assert torch.bincount(drawn, minlength=4) / 4000 == pytest.approx((logits_V / 2).softmax(0), abs=0.03)
