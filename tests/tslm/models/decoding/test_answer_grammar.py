from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LogitsProcessorList, PreTrainedTokenizerBase

from tests.factories.architectures import ARCHITECTURES, build_llm
from tests.factories.small import collate, open_gates, sleep_dataset, small_config
from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, render_answer, split_answers
from tslm.config.schema import LLMConfig
from tslm.data.samples.collate import extend_prompts
from tslm.data.samples.label_tokens import tokenize_response, tokenize_text
from tslm.models import build_text_model
from tslm.models.decoding.answer_grammar import AnswerGrammar, AnswerVocabulary
from tslm.models.decoding.constrained import AnswerGrammars
from tslm.models.decoding.prefix_cache import PrefixCache
from tslm.models.llm.backbone import load_llm, load_tokenizer

STAGES = ("Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep", "Movement")
LETTERED = ("(a) slow", "(b) fast", "(b) faster")
END = 256


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(LLMConfig(name=name, source=name))
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the cache (TSLM_CACHE_DIR)")


@pytest.fixture(scope="module", params=["tiny", "smollm2-135m", "gemma-3-270m"])
def tokenizer(request: pytest.FixtureRequest, tiny_llm: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_llm) if request.param == "tiny" else tokenizer_of(request.param)


@cache
def vocabulary_of(tokenizer: Any) -> AnswerVocabulary:
    return AnswerVocabulary(tokenizer)


@cache
def grammars_of(tokenizer: Any, several: bool = False) -> AnswerGrammars:
    return AnswerGrammars(tokenizer, several)


def write(tokenizer: Any, options: tuple[str, ...], wishes: list[int], budget: int, several: bool = False) -> Any:
    """(text, state) of what comes out where the model's first choice at each step is the next wish, then id 0."""
    processor = grammars_of(tokenizer, several).begin([options], budget)
    ids: list[int] = []
    generator = torch.Generator().manual_seed(len(wishes))
    for step in range(processor.num_steps(budget)):
        scores = torch.rand(1, len(tokenizer), generator=generator)
        scores[0, wishes[step] if step < len(wishes) else 0] = 2.0
        masked = processor(torch.tensor([ids], dtype=torch.int64).reshape(1, -1), scores)
        ids.append(int(masked.argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    processor.advance([0], ids[-1:])
    return tokenizer.decode(ids, skip_special_tokens=True), processor.states[0], ids


@pytest.mark.parametrize("options", [STAGES, LETTERED])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_a_model_wants_its_answer_is_an_option(tokenizer: Any, options: tuple[str, ...], data: Any) -> None:
    pieces = [
        " slow",
        " Answer",
        "Answer",
        "Answ",
        "er",
        ":",
        "://",
        " Answer: N",
        ": (",
        "\n",
        ".",
        "Answer:Wake",
        "é",
    ]
    words = st.sampled_from([tokenize_text(tokenizer, piece) for piece in pieces])
    ends = st.just([tokenizer.eos_token_id])
    anything = st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=3)
    wishes = [token for ids in data.draw(st.lists(words | ends | anything, max_size=25)) for token in ids]
    budget = data.draw(st.integers(1, 60))
    text, state, ids = write(tokenizer, options, wishes, budget)
    assert parse_answer(text, options) in options
    assert ids[-1] == tokenizer.eos_token_id
    assert len(ids) <= max(budget, state.grammar.num_closing)
    assert text.count(ANSWER_PREFIX) == 1


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_several_answers_are_different_options(tokenizer: Any, data: Any) -> None:
    options = ("sinus rhythm", "atrial fibrillation", "sinus arrhythmia")
    begin = tokenize_text(tokenizer, " Answer:")
    joints = [tokenize_text(tokenizer, f"; {option}") for option in options] + [[tokenizer.eos_token_id]]
    named = [tokenize_text(tokenizer, f" {option}") for option in options]
    rest = data.draw(st.lists(st.sampled_from(joints), max_size=4))
    wishes = begin + data.draw(st.sampled_from(named)) + [token for ids in rest for token in ids]
    text, _, _ = write(tokenizer, options, wishes, data.draw(st.integers(5, 90)), several=True)
    answer = parse_answer(text, options, several=True)
    assert answer is not None
    assert split_answers(answer, options) is not None


def test_several_answers_are_written_where_a_model_wants_them(tokenizer: Any) -> None:
    options = ("sinus rhythm", "atrial fibrillation")
    wanted = " Answer: sinus rhythm; atrial fibrillation"
    text, state, _ = write(tokenizer, options, tokenize_response(tokenizer, wanted.strip()), 80, several=True)
    assert text == wanted
    assert not state.forced
    assert not state.corrected


@pytest.mark.parametrize("options", [STAGES, LETTERED])
def test_a_response_as_trained_passes_unchanged(tokenizer: Any, options: tuple[str, ...]) -> None:
    for option in options:
        ids = tokenize_response(tokenizer, f"Slow waves: many. {render_answer(option)}")
        text, state, written = write(tokenizer, options, ids, 100)
        assert written == ids
        assert not state.forced
        assert not state.corrected
        assert parse_answer(text, options) == option


def test_labels_after_the_prefix_are_the_tail_of_the_training_tokens(tokenizer: Any) -> None:
    grammar = AnswerGrammar(vocabulary_of(tokenizer), STAGES)
    for option, label in zip(STAGES, grammar.labels, strict=True):
        assert grammar.opening + label == tokenize_response(tokenizer, render_answer(option))


def test_an_end_without_answer_and_the_end_of_the_budget_force_one(tokenizer: Any) -> None:
    end, words = tokenizer.eos_token_id, tokenize_text(tokenizer, " slow waves")
    for wishes, budget in (([end], 80), (words * 30, 30)):
        text, state, ids = write(tokenizer, STAGES, wishes, budget)
        assert state.forced
        assert parse_answer(text, STAGES) in STAGES
        assert len(ids) <= budget


def test_an_option_that_cannot_be_read_back_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="cannot be read back"):
        AnswerGrammar(vocabulary_of(tokenizer), ("Wake", "two\nlines"))


@pytest.fixture(scope="module", params=[*ARCHITECTURES, "gemma3 flamingo"])
def case(request: pytest.FixtureRequest, tiny_llm: Path) -> Any:
    architecture, *more = request.param.split()
    config = small_config(tiny_llm, model__name=more[0] if more else "soft_prompt")
    model = open_gates(build_text_model(config, build_llm(architecture))).eval()
    dataset = sleep_dataset(config)
    return config, model, [dataset[0], dataset[3], dataset[6], dataset[7], dataset[8]]


@torch.no_grad()
def test_constrained_answers_are_the_most_likely_options_whatever_stands_in_the_batch(
    case: Any, tiny_llm: Path
) -> None:
    config, model, examples = case
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    grammars, prefix, budgets = AnswerGrammars(tokenizer), PrefixCache(), 40

    def answer(some: list[Any]) -> Any:
        processor = grammars.begin([one.options for one in some], budgets)
        batch = collate(config, some, with_response=False)
        return model.generate(batch, budgets, [END], END, prefix, processor).tolist(), processor.states

    together, states = answer(examples)
    for row, example in enumerate(examples):
        ids = together[row][: together[row].index(END) + 1]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        scores = states[row].label_scores
        assert parse_answer(text, example.options) == example.options[scores.index(max(scores))]
        alone, (state,) = answer([example])
        assert alone[0][: len(ids)] == ids
        assert state.label_scores == pytest.approx(scores, abs=1e-3)
        labels = states[row].grammar.labels
        written = ids[: len(ids) - len(labels[scores.index(max(scores))])]
        batch = extend_prompts(collate(config, [example], with_response=False), [written], END)
        assert model.score_labels(batch, [labels])[0].tolist() == pytest.approx(scores, abs=1e-3)


def test_transformers_generate_takes_the_processor(tiny_llm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    llm = load_llm(LLMConfig(name="tiny", source=str(tiny_llm)), torch.float32)
    inputs = tokenizer(["Which stage?", "Which is it?"], return_tensors="pt", padding=True, padding_side="left")
    for sampling in (False, True):
        torch.manual_seed(0)
        processor = AnswerGrammars(tokenizer).begin([STAGES, LETTERED], 60, inputs["input_ids"].shape[1])
        ids = llm.generate(
            **inputs,
            max_new_tokens=60,
            do_sample=sampling,
            logits_processor=LogitsProcessorList([processor]),
            eos_token_id=END,
            pad_token_id=END,
        )
        texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert parse_answer(texts[0], STAGES) in STAGES
        assert parse_answer(texts[1], LETTERED) in LETTERED


def test_a_processor_is_for_one_generation_only(tiny_llm: Path) -> None:
    processor = AnswerGrammars(AutoTokenizer.from_pretrained(tiny_llm)).begin([STAGES], 60)
    processor(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 257))
    with pytest.raises(ValueError, match="begin a new one"):
        processor(torch.zeros(1, 7, dtype=torch.int64), torch.zeros(1, 257))


def test_samples_without_options_are_left_free(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model = build_text_model(config, build_llm("llama")).eval()
    dataset = sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[1]], with_response=False)
    processor = AnswerGrammars(AutoTokenizer.from_pretrained(tiny_llm)).begin([(), ()], 8)
    free = model.generate(batch, 8, [END], END)
    assert torch.equal(model.generate(batch, 8, [END], END, answers=processor), free)
