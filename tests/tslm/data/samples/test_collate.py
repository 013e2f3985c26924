from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tests.factories.small import collate, sleep_dataset, small_config, small_recording, small_sample
from tslm.batch import CONTEXT_SLOT, IGNORE_INDEX, SERIES_SLOT, TEXT_SLOT, Example, Series
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.dataset import TASKS
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.prompts import render_choice_prompt


def examples_of_different_length(config) -> list[Example]:
    dataset = CorpusDataset(
        [small_sample(idx) for idx in range(3)], lambda sample: render_choice_prompt(sample.question, sample.options)
    )
    longer = replace(dataset[2], pre_prompt="A much longer question: " + dataset[2].pre_prompt)
    return [dataset[0], dataset[1], longer]


@pytest.fixture(scope="module")
def config(tiny_llm: Path):
    return small_config(tiny_llm)


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path):
    return AutoTokenizer.from_pretrained(tiny_llm)


def test_padding_stands_on_the_left_and_is_never_supervised(config) -> None:
    batch = collate(config, examples_of_different_length(config))
    assert not bool(batch.attention_mask_BT[0, 0])
    assert bool(batch.attention_mask_BT[:, -1].all())
    assert bool((batch.attention_mask_BT.int().diff(dim=1) >= 0).all())
    assert bool((batch.labels_BT[~batch.attention_mask_BT] == IGNORE_INDEX).all())


def test_exactly_the_response_and_its_end_token_are_supervised(config, tokenizer) -> None:
    examples = examples_of_different_length(config)
    batch = collate(config, examples)
    for labels, ids, example in zip(batch.labels_BT, batch.input_ids_BT, examples, strict=True):
        supervised = labels != IGNORE_INDEX
        wanted = [*tokenizer(f" {example.response}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        assert labels[supervised].tolist() == ids[supervised].tolist() == wanted
        assert bool(supervised[-len(wanted) :].all())


def test_special_tokens_appear_once(config, tokenizer) -> None:
    batch = collate(config, examples_of_different_length(config))
    is_word = batch.attention_mask_BT & (batch.slot_BT == TEXT_SLOT)
    for ids, words in zip(batch.input_ids_BT, is_word, strict=True):
        text_ids = ids[words].tolist()
        assert text_ids[0] == tokenizer.bos_token_id
        assert text_ids[-1] == tokenizer.eos_token_id
        assert not set(text_ids[1:-1]) & set(tokenizer.all_special_ids)


def test_a_row_reads_prompt_series_text_slots_prompt_response(config, tokenizer) -> None:
    example = sleep_dataset(config)[2]
    batch = collate(config, [example])
    slots = batch.slot_BT[0]
    num_series_tokens = config.model.count_series_tokens(600)
    assert int((slots == SERIES_SLOT).sum()) == num_series_tokens
    assert int((slots == CONTEXT_SLOT).sum()) == 1
    first = int((slots == SERIES_SLOT).nonzero()[0])
    before = tokenizer.decode(batch.input_ids_BT[0, 1:first])
    after = tokenizer.decode(batch.input_ids_BT[0, first + num_series_tokens + 1 : -1])
    assert before == example.pre_prompt + example.series[0].text
    assert after == f"{example.post_prompt} {example.response}"


def test_generation_batches_end_where_the_response_would_begin(config) -> None:
    examples = examples_of_different_length(config)
    without, with_response = collate(config, examples, with_response=False), collate(config, examples)
    assert without.labels_BT is None
    for row in range(len(examples)):
        prompt = without.input_ids_BT[row][without.attention_mask_BT[row]]
        whole = with_response.input_ids_BT[row][with_response.attention_mask_BT[row]]
        assert whole[: len(prompt)].tolist() == prompt.tolist()
        assert with_response.labels_BT[row][with_response.attention_mask_BT[row]][len(prompt)] != IGNORE_INDEX


@pytest.mark.parametrize("merge", [1, 2, 5])
def test_slots_are_as_many_as_the_projector_gives(config, merge: int) -> None:
    config = replace(config, model=replace(config.model, projector=replace(config.model.projector, merge=merge)))
    batch = collate(config, examples_of_different_length(config))
    counts = [config.model.count_series_tokens(length) for length in (150, 200, 250)]
    assert (batch.slot_BT == SERIES_SLOT).sum(dim=1).tolist() == counts


def test_series_are_normalised_and_padded_on_the_right(config) -> None:
    examples = examples_of_different_length(config)
    batch = collate(config, examples)
    assert batch.series_lengths_S.tolist() == [150, 200, 250]
    for row, length in zip(batch.series_SL, batch.series_lengths_S, strict=True):
        assert float(row[:length].mean()) == pytest.approx(0, abs=1e-5)
        assert float(row[:length].std(unbiased=False)) == pytest.approx(1, abs=1e-4)
        assert bool((row[length:] == 0).all())


def test_night_windows_use_the_recordings_scale_and_zeros_outside(config) -> None:
    dataset = sleep_dataset(config, num_epochs=6)
    batch = collate(config, [dataset[0], dataset[5]])
    assert batch.epoch_mask_BW.tolist() == [[False, False, True, True, True], [True, True, True, False, False]]
    assert bool((batch.window_BWCL[~batch.epoch_mask_BW] == 0).all())
    assert batch.scored_idx_B.tolist() == [2, 2]
    assert torch.allclose(batch.window_BWCL[0, 2, 0], batch.series_SL[0])


def test_the_classifiers_batches_carry_no_text(config) -> None:
    dataset = NightDataset([small_recording()], config)
    batch = Collator(config.model, None)([dataset[0], dataset[1]])
    assert batch.input_ids_BT is None
    assert batch.series_SL is None
    assert batch.window_BWCL.shape == (2, 5, 1, 600)


def test_too_long_a_series_names_the_setting_before_the_model_sees_it(config) -> None:
    example = replace(examples_of_different_length(config)[0], series=(Series(np.zeros(1700, np.float32), "x:"),))
    with pytest.raises(ValueError, match="model.encoder.max_patches"):
        collate(config, [example])


def test_samples_with_and_without_a_window_cannot_mix(config) -> None:
    with pytest.raises(ValueError, match="share a batch"):
        collate(config, [sleep_dataset(config)[0], examples_of_different_length(config)[0]])


def test_a_broken_signal_names_its_sample(config) -> None:
    example = examples_of_different_length(config)[1]
    example.series[0].values_L[3] = np.nan
    with pytest.raises(ValueError, match="choice:1.*NaN"):
        collate(config, [example])


def test_a_tokenizer_without_pad_token_pads_with_the_end_token(config, tiny_llm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    tokenizer.pad_token = None
    batch = Collator(config.model, tokenizer)(examples_of_different_length(config))
    assert int(batch.input_ids_BT[0, 0]) == tokenizer.eos_token_id
    assert bool((batch.labels_BT[~batch.attention_mask_BT] == IGNORE_INDEX).all())


def test_every_task_has_a_prompt_or_a_window() -> None:
    assert set(TASKS) == {"sleep", "night", "unlabelled", "choice", "caption", "ecg", "sleep_cot"}
