import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig

from tests.factories.architectures import ARCHITECTURES, build_llm
from tests.factories.small import build_small_model, collate, corpus_examples, open_gates, sleep_dataset, small_config
from tslm.batch import Batch, Example
from tslm.config.schema import FlamingoConfig, ModelConfig
from tslm.models import build_text_model
from tslm.models.decoding.decode import position_ids
from tslm.models.flamingo import Flamingo
from tslm.models.fusion import DecoderInputs
from tslm.models.llm.backbone import attach_lora, merge_lora, word_embeddings
from tslm.models.text_model import TextModel
from tslm.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def config(tiny_llm: Path) -> Any:
    return small_config(tiny_llm, model__name="flamingo")


@pytest.fixture(scope="module")
def opened(config: Any) -> TextModel:
    """A model with adapters and gates off their start."""
    return build_small_model(config, lora_noise=0.1)


def padded_examples(config: Any) -> list[Example]:
    dataset = sleep_dataset(config)
    return [dataset[0], replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)]


@torch.no_grad()
def logits_of(model: TextModel, batch: Batch) -> torch.Tensor:
    """At real positions."""
    return read(model, batch, model.fuse(batch))


@torch.no_grad()
def read(model: TextModel, batch: Batch, inputs: DecoderInputs) -> torch.Tensor:
    mask = batch.attention_mask_BT
    assert mask is not None
    positions = position_ids(mask)
    out = model.llm(**inputs.arguments, attention_mask=mask.long(), position_ids=positions, use_cache=False)
    return out.logits[mask]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_at_its_start_it_is_the_plain_language_model(architecture: str, config: Any) -> None:
    plain = build_llm(architecture)
    model = build_text_model(config, build_llm(architecture)).eval()
    batch = collate(config, padded_examples(config))
    wanted = plain(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_BT.long(),
        position_ids=position_ids(batch.attention_mask_BT),
    ).logits[batch.attention_mask_BT]
    assert torch.allclose(logits_of(model, batch), wanted, atol=1e-6)
    assert not torch.allclose(logits_of(open_gates(model), batch), wanted, atol=1e-2)


def test_series_take_no_position_of_the_sequence(config: Any, tiny_llm: Path) -> None:
    examples = padded_examples(config)
    soft = collate(small_config(tiny_llm), examples)
    batch = collate(config, examples)
    assert int(batch.attention_mask_BT.sum()) == int((soft.attention_mask_BT & (soft.slot_BT == 0)).sum())


def changed(example: Example, series_idx: int) -> Example:
    """The sample with another signal in one of its series."""
    series = list(example.series)
    values = series[series_idx].values_L
    series[series_idx] = replace(series[series_idx], values_L=values[::-1] * values.max() + values)
    return replace(example, series=tuple(series))


@pytest.mark.parametrize("series_idx", [0, 1])
def test_a_series_is_seen_from_the_word_after_it_on(series_idx: int, opened: TextModel, config: Any) -> None:
    example = corpus_examples()[1]
    batch = collate(config, [example])
    other = collate(config, [changed(example, series_idx)])
    moved = (logits_of(opened, batch) - logits_of(opened, other)).abs().amax(dim=-1) > 1e-6
    assert torch.equal(moved, batch.series_seen_BT[0] > series_idx)
    assert 0 < int(moved.sum()) < len(moved)


def test_the_night_is_seen_once_all_series_were(opened: TextModel, config: Any) -> None:
    example = sleep_dataset(config)[5]
    other = replace(example, window=replace(example.window, values_WCL=example.window.values_WCL.copy()))
    other.window.values_WCL[0] *= -3.0
    batch = collate(config, [example])
    moved = (logits_of(opened, batch) - logits_of(opened, collate(config, [other]))).abs().amax(dim=-1) > 1e-6
    assert torch.equal(moved, batch.series_seen_BT[0] > 0)


def test_the_order_of_series_matters(opened: TextModel, config: Any) -> None:
    example = corpus_examples()[0]
    first, second = example.series
    swapped = (replace(first, values_L=second.values_L), replace(second, values_L=first.values_L))
    batch, other = collate(config, [example]), collate(config, [replace(example, series=swapped)])
    assert float((logits_of(opened, batch)[-1] - logits_of(opened, other)[-1]).abs().max()) > 1e-4


def test_a_sample_without_series_gets_nothing_from_the_attention(opened: TextModel, config: Any) -> None:
    bare = [replace(example, series=()) for example in corpus_examples()[:2]]
    batch = collate(config, bare)
    alone = logits_of(opened, batch)
    shut = copy.deepcopy(opened)
    for block in shut.fusion.blocks:
        torch.nn.init.zeros_(block.attention_gate)
    assert torch.equal(alone, logits_of(shut, batch))
    assert bool(alone.isfinite().all())
    with_series = collate(config, [bare[0], corpus_examples()[1]])
    own = int(with_series.attention_mask_BT[0].sum())
    assert torch.allclose(logits_of(opened, with_series)[:own], alone[:own], atol=1e-5)


@torch.no_grad()
def test_a_series_that_ends_the_prompt_is_seen_by_the_answer_alone(opened: TextModel, config: Any) -> None:
    example = replace(corpus_examples()[0], post_prompt="")
    logits = []
    for sample in (example, changed(example, 1)):
        inputs = opened.fuse(collate(config, [sample], with_response=False))
        with_answer = torch.cat([inputs.embeds_BTE, word_embeddings(opened.llm)(torch.tensor([[40, 50]]))], dim=1)
        positions = torch.arange(with_answer.shape[1])[None]
        arguments = DecoderInputs(with_answer, inputs.memory).arguments
        logits.append(opened.llm(**arguments, position_ids=positions).logits[0])
    moved = (logits[0] - logits[1]).abs().amax(dim=-1) > 1e-6
    assert torch.equal(moved.nonzero()[:, 0], torch.arange(len(moved))[-2:])


@torch.no_grad()
def test_text_before_the_first_series_reads_the_same_alone(opened: TextModel, config: Any) -> None:
    batch = collate(config, corpus_examples()[:1])
    num_before = int((batch.series_seen_BT == 0).sum())
    wanted = logits_of(opened, batch)[:num_before]
    alone = opened.llm(input_ids=batch.input_ids_BT[:, :num_before]).logits[0]
    assert torch.allclose(alone, wanted, atol=1e-5)


@torch.no_grad()
def test_selected_rows_go_on_as_they_would_have(opened: TextModel, config: Any) -> None:
    batch = collate(config, padded_examples(config))
    rows = torch.tensor([1, 0, 1])
    inputs = opened.fuse(batch)
    wanted = read(opened, batch, inputs).split(batch.attention_mask_BT.sum(dim=1).tolist())
    selected = replace(batch, attention_mask_BT=batch.attention_mask_BT[rows])
    found = read(opened, selected, DecoderInputs(inputs.embeds_BTE[rows], inputs.memory.select_rows(rows)))
    assert torch.allclose(found, torch.cat([wanted[row] for row in rows]), atol=1e-5)


def test_keys_and_values_are_made_once_an_answer(opened: TextModel, config: Any) -> None:
    calls: list[int] = []
    handles = [block.to_key_value.register_forward_hook(lambda *_: calls.append(1)) for block in opened.fusion.blocks]
    opened.generate(collate(config, padded_examples(config), with_response=False), 6, -1, 256)
    for handle in handles:
        handle.remove()
    assert len(calls) == len(opened.fusion.blocks)


def test_hooks_survive_adapters_merging_and_copying(config: Any) -> None:
    model = build_text_model(config, build_llm("llama")).eval()
    batch = collate(config, padded_examples(config))
    at_start = logits_of(model, batch)
    model.llm = attach_lora(model.llm, config.model.lora).eval()
    assert torch.allclose(logits_of(model, batch), at_start, atol=1e-6)
    adapted = logits_of(open_gates(model), batch)
    assert not torch.allclose(adapted, at_start, atol=1e-3)
    model(batch).loss_sum.backward()  # leaves a graph behind, which no copy may trip over
    twin = copy.deepcopy(model)
    torch.nn.init.zeros_(twin.fusion.blocks[0].attention_gate)
    assert torch.equal(logits_of(model, batch), adapted)
    assert not torch.allclose(logits_of(twin, batch), adapted, atol=1e-3)
    model.llm = merge_lora(model.llm)
    assert torch.allclose(logits_of(model, batch), adapted, atol=1e-5)


def test_the_fusion_owns_nothing_of_the_language_model(opened: TextModel) -> None:
    own = {id(param) for param in opened.fusion.parameters()}
    assert not own & {id(param) for param in opened.llm.parameters()}
    assert not any("llm" in name or "layers.0.self_attn" in name for name in opened.fusion.state_dict())


def test_a_saved_model_loads_with_equal_logits(opened: TextModel, config: Any, tmp_path: Path) -> None:
    save_checkpoint(opened, config, {}, tmp_path / "best")
    loaded, _ = load_checkpoint(tmp_path / "best")
    batch = collate(config, padded_examples(config))
    assert torch.allclose(logits_of(loaded, batch), logits_of(opened, batch), atol=1e-4)  # adapters are merged


@pytest.mark.parametrize(("every", "before"), [(1, [0, 1, 2]), (2, [1]), (3, [2])])
def test_blocks_stand_before_every_nth_layer(every: int, before: list[int], config: Any) -> None:
    config = replace(config, model=replace(config.model, flamingo=FlamingoConfig(every_n_layers=every)))
    llm = build_llm("llama")
    model = open_gates(build_text_model(config, llm)).eval()
    assert len(model.fusion.blocks) == len(before)
    seen: list[int] = []
    for idx, layer in enumerate(llm.model.layers):
        layer.register_forward_pre_hook(lambda _, args, idx=idx: seen.append((idx, args[0])))
        if idx:
            llm.model.layers[idx - 1].register_forward_hook(lambda _, args, out, idx=idx: seen.append((idx, out)))
    logits_of(model, collate(config, padded_examples(config)[:1]))
    changed_at = [idx for idx in (1, 2) if not torch.equal(*[value for at, value in seen if at == idx])]
    assert changed_at == [idx for idx in before if idx]


def test_more_layers_apart_than_there_are_is_a_value_error(config: Any) -> None:
    config = replace(config, model=replace(config.model, flamingo=FlamingoConfig(every_n_layers=4)))
    with pytest.raises(ValueError, match="every_n_layers is 4; the language model has 3 layers"):
        build_text_model(config, build_llm("llama"))


def test_a_decoder_without_a_list_of_layers_is_a_value_error(config: Any) -> None:
    llm = AutoModelForCausalLM.from_config(GPT2Config(n_embd=16, n_layer=1, n_head=1, vocab_size=257))
    with pytest.raises(ValueError, match="GPT2Model.*soft_prompt"):
        build_text_model(config, llm)


def test_a_decoder_that_hands_its_layers_nothing_is_a_value_error(config: Any) -> None:
    model = build_text_model(config, build_llm("llama"))
    with pytest.raises(ValueError, match="LlamaDecoderLayer.*soft_prompt"):
        model.causal_lm.base_model.layers[0](torch.zeros(2, 3, 64))


SHAPES = {
    "smollm2-135m": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
    ),
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    ),
    "llama-3.2-3b": LlamaConfig(
        vocab_size=128256,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        num_key_value_heads=8,
        head_dim=128,
    ),
    "gemma-3-1b": Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=1152,
        intermediate_size=6912,
        num_hidden_layers=26,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
    ),
}


@pytest.mark.parametrize(
    ("name", "every", "num_blocks", "millions"),
    [
        ("smollm2-135m", 1, 30, 103.7),
        ("llama-3.2-1b", 1, 16, 575.1),
        ("llama-3.2-1b", 4, 4, 145.6),
        ("llama-3.2-3b", 1, 28, 2208.4),
        ("gemma-3-1b", 1, 26, 312.6),
        ("gemma-3-1b", 4, 6, 74.0),
    ],
)
def test_parameters_and_hooks_are_counted(name: str, every: int, num_blocks: int, millions: float) -> None:
    config = ModelConfig(name="flamingo", flamingo=FlamingoConfig(every_n_layers=every))
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(SHAPES[name])
        fusion = Flamingo(config, llm)
    flamingo, d_model, d_llm = config.flamingo, config.encoder.d_model, SHAPES[name].hidden_size
    heads = flamingo.num_heads * flamingo.head_size
    block = 2 * d_llm + 2 * d_llm * heads + 2 * d_model * heads + 2
    block += 2 * d_llm + 2 * flamingo.ff_factor * d_llm**2
    layer = 4 * d_model + 4 * d_model * heads + 2 * d_model + 2 * flamingo.ff_factor * d_model**2
    resampler = flamingo.num_latents * d_model + flamingo.resampler_layers * layer + 2 * d_model
    context = 2 * 128 + 2 * (128 * d_model + d_model)
    counted = sum(param.numel() for param in fusion.parameters())
    assert counted == num_blocks * block + resampler + context
    assert counted / 1e6 == pytest.approx(millions, abs=0.05)
    layers = llm.base_model.layers
    assert [len(layer._forward_pre_hooks) for layer in layers] == [1] * len(layers)
    assert len(llm.base_model._forward_pre_hooks) == 1
    assert len(fusion.blocks) == num_blocks
