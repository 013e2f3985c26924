from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.architectures import build_llm
from tests.factories.small import (
    CHANNEL,
    build_small_model,
    collate,
    corpus_examples,
    sleep_dataset,
    small_config,
    small_recording,
)
from tslm.batch import CONTEXT_SLOT, SERIES_SLOT
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.models import build_text_model, build_tokenizer
from tslm.models.decoding.decode import position_ids
from tslm.models.llm.backbone import word_embeddings
from tslm.models.text_model import TextModel

ROUND_OFF = 1e-5  # of the values: float32's 1.2e-7, grown by sums over a night's samples in another order


@pytest.fixture(scope="module")
def default(tiny_llm: Path) -> tuple[Any, TextModel]:
    config = small_config(tiny_llm)
    return config, build_small_model(config, lora_noise=0.1)


@torch.no_grad()
def test_neighbours_change_the_context_token_and_nothing_else(default) -> None:
    config, model = default
    example = sleep_dataset(config)[5]
    other = replace(example, window=replace(example.window, values_WCL=example.window.values_WCL.copy()))
    other.window.values_WCL[0] *= -3.0
    batch = collate(config, [example])
    moved = (model.fuse(batch).embeds_BTE != model.fuse(collate(config, [other])).embeds_BTE).any(dim=-1)
    assert torch.equal(moved, batch.slot_BT == CONTEXT_SLOT)
    assert int(moved.sum()) == 1


@torch.no_grad()
def test_the_context_token_is_the_state_at_the_scored_epoch(default) -> None:
    config, model = default
    dataset = sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[5]])
    _, state_BWC = model.reader(batch.window_BWCL, batch.epoch_mask_BW)
    state_BC = state_BWC[:, config.model.context.window_epochs // 2]
    expected = model.fusion.context_projector.tokens[0](state_BC[:, None])[:, 0]
    assert torch.allclose(model.fuse(batch).embeds_BTE[batch.slot_BT == CONTEXT_SLOT], expected, atol=1e-6)


@pytest.mark.parametrize("num_tokens", [2, 5])
@torch.no_grad()
def test_several_context_tokens_each_have_a_projector_of_their_own(num_tokens: int, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__context__num_tokens=num_tokens)
    model = build_small_model(config, lora_noise=0.1)
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[5], pre_prompt="Longer. " + dataset[5].pre_prompt)]
    batch = collate(config, examples)
    assert (batch.slot_BT == CONTEXT_SLOT).sum(dim=1).tolist() == [num_tokens, num_tokens]
    _, state_BWH = model.reader(batch.window_BWCL, batch.epoch_mask_BW)
    state_BH = state_BWH[:, config.model.context.window_epochs // 2]
    for row, embeds in enumerate(model.fuse(batch).embeds_BTE):
        own = [token(state_BH[row, None, None])[0, 0] for token in model.fusion.context_projector.tokens]
        assert torch.allclose(embeds[batch.slot_BT[row] == CONTEXT_SLOT], torch.stack(own), atol=1e-5)
        assert not torch.allclose(own[0], own[1], atol=1e-3)
    alone = sum(model(collate(config, [example])).loss_sum.item() for example in examples)
    assert model(batch).loss_sum.item() == pytest.approx(alone, rel=1e-5)


@torch.no_grad()
def test_the_classifier_token_is_the_mean_of_names_by_probability(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__projector__classifier_token=True)
    model = build_small_model(config, lora_noise=0.1)
    batch = collate(config, [sleep_dataset(config)[0], sleep_dataset(config)[5]])
    assert (batch.slot_BT == CONTEXT_SLOT).sum(dim=1).tolist() == [2, 2]
    logits_BWC = model.classifier.logits(batch.window_BWCL, batch.epoch_mask_BW)[1]
    probability_BC = logits_BWC[:, config.model.context.window_epochs // 2].softmax(dim=-1)
    embeds_BTE = model.fuse(batch).embeds_BTE
    vector_CE = model.fusion.context_projector.classes.vector_CE
    for row in range(2):
        token_E = embeds_BTE[row][batch.slot_BT[row] == CONTEXT_SLOT][1]
        assert torch.allclose(token_E, probability_BC[row] @ vector_CE, atol=1e-5)
    words = word_embeddings(model.llm)
    for row, character in ((0, "W"), (1, "1"), (3, "3"), (4, "R")):  # "N" is of three sleep stages
        named_E = words(torch.tensor(build_tokenizer(config)(character, add_special_tokens=False).input_ids))[0]
        assert torch.nn.functional.cosine_similarity(vector_CE[row], named_E, dim=0) > 0.999
    assert len({float(std) for std in vector_CE.std(dim=1).round(decimals=4)}) == 1


def test_positions_are_counted_over_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    assert position_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


@torch.no_grad()
def test_the_series_fills_its_slots_in_order_and_text_keeps_its_words(default) -> None:
    config, model = default
    examples = corpus_examples()
    batch = collate(config, examples)
    embeds = model.fuse(batch).embeds_BTE
    is_text = (batch.slot_BT == 0) & batch.attention_mask_BT
    assert torch.equal(embeds[is_text], word_embeddings(model.llm)(batch.input_ids_BT[is_text]))
    for row, example in enumerate(examples):
        tokens = [
            model.fusion.projector(model.reader.encoder(torch.from_numpy(normalized(series.values_L))[None]))[0]
            for series in example.series
        ]
        assert torch.allclose(embeds[row][batch.slot_BT[row] == SERIES_SLOT], torch.cat(tokens), atol=1e-5)


def normalized(values: np.ndarray) -> np.ndarray:
    return ((values - values.mean()) / values.std()).astype(np.float32)


def test_series_tokens_start_at_the_scale_of_embeddings_that_a_model_scales_itself() -> None:
    llm = build_llm("gemma3")
    model = build_text_model(small_config(), llm).eval()
    words = word_embeddings(model.llm)(torch.arange(257)).std()
    tokens = model.fusion.projector(torch.randn(10, 6, 16)).std()
    assert words.item() > 5 * llm.get_input_embeddings().weight.std().item()
    assert tokens.item() == pytest.approx(3.0 * words.item(), rel=0.25)


@torch.no_grad()
def test_the_epoch_token_is_the_scored_epoch_alone_in_all_its_channels(tiny_llm: Path) -> None:
    channels = {"stage__extra_channels": ("EMG",), "stage__extra_in_text": False}
    config = small_config(tiny_llm, model__context__kind="epoch", **channels)
    model = build_small_model(config)
    recording = small_recording()
    batch = collate(config, [SleepDataset([recording], config)[4]])
    assert int((batch.slot_BT == CONTEXT_SLOT).sum()) == 1

    def moved_by(channel: str, epoch: int) -> torch.Tensor:
        other = small_recording()
        other.channels[channel][epoch] = other.channels[channel][epoch][::-1]  # the same spectrum and scale
        changed = collate(config, [SleepDataset([other], config)[4]])
        before_BTE = model.fuse(batch).embeds_BTE
        change_BT = (before_BTE - model.fuse(changed).embeds_BTE).abs().amax(dim=-1)
        return change_BT > ROUND_OFF * before_BTE.abs().max()

    assert not moved_by(CHANNEL, 3).any()
    assert not moved_by("EMG", 5).any()
    assert torch.equal(moved_by("EMG", 4), batch.slot_BT == CONTEXT_SLOT)
    pooled = model.reader(batch.window_BWCL, batch.epoch_mask_BW)[0][:, 0]
    wanted = model.fusion.context_projector.tokens[0](pooled[:, None])[0]
    torch.testing.assert_close(model.fuse(batch).embeds_BTE[batch.slot_BT == CONTEXT_SLOT], wanted)
