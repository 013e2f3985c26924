from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.factories.architectures import ARCHITECTURES, build_llm
from tests.factories.small import collate, open_gates, sleep_dataset, small_config
from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, render_answer
from tslm.config.schema import LLMConfig
from tslm.data.samples.collate import extend_prompts, tokenize_response, tokenize_text
from tslm.evidence.text.closing import CLOSING_PREFIX
from tslm.models import build_text_model
from tslm.models.decoding.decode import Sampling
from tslm.models.decoding.grammar import AnswerGrammar, AnswerGrammars, AnswerState, AnswerVocabulary
from tslm.models.llm.backbone import load_tokenizer
from tslm.models.llm.store import find_embedded_dir, is_llm_dir
from tslm.seeds import hash_seed

CLOSINGS = (
    "Decisive for W (3.C): eye movements.",
    "Decisive for N1 (4.B): theta; doubt (5.B): the spindle.",
    "Decisive for N2 (5.B): the spindle.",
    "Decisive for N3: nothing; doubt (6.B): slow waves under a fifth.",
    "Decisive for R (7.B): eye movements and theta; doubt (7.D): the spindle.",
    "Decisive for M: nothing; doubt (8.A): the absence of flat or clipped parts.",
)
STAGES = ("Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep", "Movement")
LETTERED = ("(a) slow", "(b) fast", "(b) faster")
END = 256


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    if not is_llm_dir(find_embedded_dir(name)):
        pytest.skip(f"{name} is not in the cache (TSLM_CACHE_DIR)")
    return load_tokenizer(LLMConfig(name=name, source=name))


@pytest.fixture(scope="module", params=["tiny", "smollm2-135m", "gemma-3-270m"])
def tokenizer(request: pytest.FixtureRequest, tiny_llm: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_llm) if request.param == "tiny" else tokenizer_of(request.param)


@cache
def vocabulary_of(tokenizer: Any, cue: str = ANSWER_PREFIX) -> AnswerVocabulary:
    return AnswerVocabulary(tokenizer, cue)


def write(
    tokenizer: Any, options: tuple[str, ...], wishes: list[int], budget: int, closings: tuple[str, ...] = ()
) -> Any:
    """(text, state, ids) of a model whose first choice at each step is the next wish, then id 0.

    Of the endings it likes the one best that the wishes go on with, or else the first.
    """
    state = AnswerState(AnswerGrammar(vocabulary_of(tokenizer), options), budget)
    if closings:
        grammar = AnswerGrammar(vocabulary_of(tokenizer, CLOSING_PREFIX), options, closings)
        state = AnswerState(grammar, budget, other=state.grammar)
    ids: list[int] = []
    while not state.is_at_answer:
        preferred = wishes[len(ids)] if len(ids) < len(wishes) else 0
        forced, banned = state.restrict(preferred)
        if forced is not None:
            preferred = forced
        elif preferred in banned:
            preferred = next(token for token in range(len(tokenizer)) if token not in banned)
        state.advance(preferred)
        ids.append(preferred)
    is_preferred = [label == wishes[len(ids) : len(ids) + len(label)] for label in state.grammar.labels]
    ids += state.finish([float(wanted) for wanted in is_preferred], is_preferred)
    return tokenizer.decode(ids, skip_special_tokens=True), state, ids


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


def test_with_closings_a_response_as_trained_passes_unchanged(tokenizer: Any) -> None:
    for option, closing in zip(STAGES, CLOSINGS, strict=True):
        ids = tokenize_response(tokenizer, f"Slow waves: many. {closing} {render_answer(option)}")
        text, state, written = write(tokenizer, STAGES, ids, 160, CLOSINGS)
        assert written == ids
        assert not (state.forced or state.corrected)
        assert text.endswith(f"{closing} {render_answer(option)}")


def test_closings_are_scored_until_they_differ(tokenizer: Any) -> None:
    grammar = AnswerGrammar(vocabulary_of(tokenizer, CLOSING_PREFIX), STAGES, CLOSINGS)
    for idx, (scored, label) in enumerate(zip(grammar.scored, grammar.labels, strict=True)):
        others = [other for place, other in enumerate(grammar.labels) if place != idx]
        assert label[: len(scored)] == scored
        assert not any(other[: len(scored)] == scored for other in others)
        assert any(other[: len(scored) - 1] == scored[:-1] for other in others)


def test_an_end_and_a_spent_budget_force_one_of_the_closings(tokenizer: Any) -> None:
    endings = [f"{closing} {render_answer(option)}" for closing, option in zip(CLOSINGS, STAGES, strict=True)]
    end, words = tokenizer.eos_token_id, tokenize_text(tokenizer, " slow waves")
    own = tokenize_text(tokenizer, " Decisive (1.A): the moon.")
    for wishes, budget in (([end], 160), (words * 60, 150), (own, 160)):
        text, state, ids = write(tokenizer, STAGES, wishes, budget, CLOSINGS)
        assert text.endswith(tuple(endings))
        assert state.forced == (wishes is not own)
        assert len(ids) <= budget


def test_an_answer_before_any_closing_is_one_of_the_options(tokenizer: Any) -> None:
    wishes = tokenize_text(tokenizer, " Slow waves: many. Answer: moon")
    text, state, _ = write(tokenizer, STAGES, wishes, 160, CLOSINGS)
    assert parse_answer(text, STAGES) in STAGES
    assert CLOSING_PREFIX not in text
    assert len(state.label_scores) == len(STAGES)


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


@pytest.mark.parametrize("sampled", [False, True])
@torch.no_grad()
def test_constrained_answers_are_the_most_likely_options_whatever_stands_in_the_batch(
    case: Any, tiny_llm: Path, sampled: bool
) -> None:
    config, model, examples = case
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    grammars, budget = AnswerGrammars(tokenizer), 40

    def answer(some: list[Any]) -> Any:
        states = grammars.begin([one.options for one in some], budget)
        batch = collate(config, some, with_response=False)
        generators = [torch.Generator().manual_seed(hash_seed(one.sample_id)) for one in some]
        chosen = Sampling(0.8, generators) if sampled else None
        return model.generate(batch, budget, END, END, states, chosen).tolist(), states

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


def test_an_answer_given_early_stays_while_others_are_written(case: Any, tiny_llm: Path) -> None:
    config, model, examples = case
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    grammars = AnswerGrammars(tokenizer)
    states = [grammars.begin([one.options], 60 if row else 30)[0] for row, one in enumerate(examples)]
    rows = model.generate(collate(config, examples, with_response=False), 60, END, END, states).tolist()
    for row, example in zip(rows, examples, strict=True):
        text = tokenizer.decode(row[: row.index(END)], skip_special_tokens=True)
        assert parse_answer(text, example.options) in example.options


def test_samples_without_options_are_left_free(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model = build_text_model(config, build_llm("llama")).eval()
    dataset = sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[1]], with_response=False)
    states = AnswerGrammars(AutoTokenizer.from_pretrained(tiny_llm)).begin([(), ()], 8)
    assert states == [None, None]
    free = model.generate(batch, 8, END, END)
    assert torch.equal(model.generate(batch, 8, END, END, states), free)
