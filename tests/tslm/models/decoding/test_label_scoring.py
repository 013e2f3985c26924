from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tests.factories.architectures import ARCHITECTURES, build_llm
from tests.factories.small import build_small_model, collate, open_gates, sleep_dataset, small_config
from tslm.answers.grammar import render_response
from tslm.batch import Batch, Example
from tslm.data.samples.collate import LabelTokens, extend_prompts, tokenize_labels
from tslm.models import build_text_model
from tslm.models.decoding.decode import position_ids
from tslm.models.decoding.label_scoring import build_label_tree
from tslm.models.text_model import TextModel

END = 256


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llm)


@pytest.fixture(scope="module", params=[*ARCHITECTURES, "gemma3 eager", "gemma3 flamingo"])
def case(request: pytest.FixtureRequest, tiny_llm: Path) -> Any:
    architecture, *more = request.param.split()
    config = small_config(tiny_llm, model__name="flamingo" if "flamingo" in more else "soft_prompt")
    model = build_text_model(config, build_llm(architecture))
    if "eager" in more:
        model.causal_lm.set_attn_implementation("eager")
    open_gates(model)
    return config, model.eval()


def unequal_examples(config: Any) -> list[Example]:
    """Prompts of different length that begin alike."""
    dataset = sleep_dataset(config)
    second = replace(dataset[3], post_prompt=" Look closer, then decide." + dataset[3].post_prompt)
    return [dataset[0], second, dataset[6]]


@torch.no_grad()
def sum_by_full_forward(config: Any, model: TextModel, example: Example, response: str, num_scored: int) -> float:
    """Log-likelihood of the last tokens of one response, without cache or padding, by transformers' own logits."""
    batch = collate(config, [replace(example, response=response)])
    inputs, positions = model.fuse(batch), position_ids(batch.attention_mask_BT)
    logits = model.llm(**inputs.arguments, position_ids=positions).logits[0].log_softmax(-1)
    truth = batch.input_ids_BT[0, -num_scored:]
    return float(logits[-num_scored - 1 : -1].gather(1, truth[:, None]).sum())


def tokens_of(tokenizer: Any, examples: Sequence[Example], rationales: Sequence[str]) -> list[LabelTokens]:
    return [
        tokenize_labels(tokenizer, example.options, rationale)
        for example, rationale in zip(examples, rationales, strict=True)
    ]


def score(config: Any, model: TextModel, examples: Sequence[Example], tokens: Sequence[LabelTokens]) -> torch.Tensor:
    prompts = collate(config, examples, with_response=False)
    batch = extend_prompts(prompts, [one.given for one in tokens], END)
    return model.score_labels(batch, [one.labels for one in tokens])


@pytest.mark.parametrize("rationales", [("", "", ""), ("Slow waves, and more of them.", "Fast.", "")])
def test_label_scores_equal_one_full_forward_a_label(case: Any, tokenizer: Any, rationales: tuple[str, ...]) -> None:
    config, model = case
    examples = unequal_examples(config)
    examples[1] = replace(examples[1], options=("(a) slow", "(b) fast", "(b) faster"))
    tokens = tokens_of(tokenizer, examples, rationales)
    scores = score(config, model, examples, tokens)
    assert scores.shape == (3, 5)
    for row, (example, rationale) in enumerate(zip(examples, rationales, strict=True)):
        for column, option in enumerate(example.options):
            num_scored = len(f" Answer: {option}") + 1  # bytes and the end token
            expected = sum_by_full_forward(config, model, example, render_response(rationale, option), num_scored)
            assert float(scores[row, column]) == pytest.approx(expected, abs=1e-4 * max(1, abs(expected) / 10))
    assert torch.isneginf(scores[1, 3:]).all()


@pytest.mark.parametrize("rationale", ["", "Slow waves."])
def test_label_tokens_are_those_of_the_training_response(tiny_llm: Path, tokenizer: Any, rationale: str) -> None:
    config = small_config(tiny_llm)
    example = sleep_dataset(config)[2]
    tokens = tokenize_labels(tokenizer, example.options, rationale)
    for option, label in zip(example.options, tokens.labels, strict=True):
        batch = collate(config, [replace(example, response=render_response(rationale, option))])
        assert batch.labels_BT[batch.labels_BT >= 0].tolist() == tokens.given + label
        assert tokenizer.decode(label[:-1]) == f" Answer: {option}"


def test_a_tree_holds_each_common_beginning_once() -> None:
    tree = build_label_tree([[1, 2, 9], [1, 2, 3, 9], [4, 9], [9]])
    assert tree.tokens == [1, 2, 3, 4]
    assert tree.parents == [-1, 0, 1, -1]
    assert tree.depths == [0, 1, 2, 0]
    assert tree.steps == [[(-1, 1), (0, 2), (1, 9)], [(-1, 1), (0, 2), (1, 3), (2, 9)], [(-1, 4), (3, 9)], [(-1, 9)]]


def test_labels_of_one_token_need_no_second_pass(case: Any) -> None:
    config, model = case
    batch = collate(config, unequal_examples(config), with_response=False)
    scores = model.score_labels(batch, [[[token] for token in range(257)]] * 3)
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(3), atol=1e-4)


def test_prompts_lengthened_equal_prompts_that_were_longer(tiny_llm: Path, tokenizer: Any) -> None:
    config = small_config(tiny_llm)
    examples = unequal_examples(config)
    texts = ["", " one more", " two"]
    longer = [replace(one, post_prompt=one.post_prompt + text) for one, text in zip(examples, texts, strict=True)]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    extended = extend_prompts(collate(config, examples, with_response=False), ids, END)
    wanted = collate(config, longer, with_response=False)
    for name in ("input_ids_BT", "attention_mask_BT", "slot_BT", "series_seen_BT"):
        assert torch.equal(getattr(extended, name), getattr(wanted, name)), name


@torch.no_grad()
def test_a_batch_of_bfloat16_scores_close_to_float32(tiny_llm: Path, tokenizer: Any) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        config = small_config(tiny_llm, train__precision=precision)
        model = build_small_model(config)
        examples = unequal_examples(config)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores.append(score(config, model, examples, tokens_of(tokenizer, examples, [""] * 3)))
    assert scores[1].dtype == torch.float32
    assert torch.allclose(scores[0], scores[1], rtol=0.05)


def test_a_batch_for_training_is_not_lengthened(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    batch: Batch = collate(config, unequal_examples(config))
    with pytest.raises(AssertionError, match="has its responses"):
        extend_prompts(batch, [[], [], []], END)
