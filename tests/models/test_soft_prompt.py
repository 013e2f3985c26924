from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import build_small_model, collate, sleep_dataset, small_config, small_sample
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, LlamaConfig, PreTrainedModel, Qwen3Config

from tslm.batch import CONTEXT_SLOT, IGNORE_INDEX, SERIES_SLOT, Batch, Example
from tslm.config import OptimConfig
from tslm.data.dataset import CorpusDataset
from tslm.models import build_text_model
from tslm.models.backbone import word_embeddings
from tslm.models.decoding import position_ids
from tslm.models.text_model import TextModel
from tslm.prompts import render_ecg_prompt

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "guide": {
        "model__encoder__front_end": "conv",
        "model__encoder__patch_size": 50,
        "model__context__kind": "none",
        "model__projector__kind": "linear",
        "model__normalization": "zscore",
    },
    "merge": {"model__projector__merge": 4},
}


@pytest.fixture(scope="module", params=VARIANTS)
def case(request: pytest.FixtureRequest, tiny_llm: Path) -> tuple[Any, TextModel, list[Example]]:
    config = small_config(tiny_llm, **VARIANTS[request.param])
    dataset = sleep_dataset(config)
    examples = [dataset[0], dataset[3], dataset[9]]
    examples[1] = replace(examples[1], pre_prompt="A longer prompt. " + examples[1].pre_prompt)
    examples[2] = replace(examples[2], response="Short. Answer: Wake")
    return config, build_small_model(config, lora_noise=0.1), examples


@pytest.fixture(scope="module")
def default(tiny_llm: Path) -> tuple[Any, TextModel]:
    config = small_config(tiny_llm)
    return config, build_small_model(config, lora_noise=0.1)


def corpus_examples() -> list[Example]:
    """Two series a sample, 150 to 250 samples long."""
    samples = [small_sample(idx, "ecg", 2) for idx in range(3)]
    dataset = CorpusDataset(samples, lambda sample: render_ecg_prompt(sample.question, sample.options))
    return [dataset[idx] for idx in range(3)]


@torch.no_grad()
def test_a_batch_is_its_singles(case) -> None:
    config, model, examples = case
    together = model(collate(config, examples))
    alone = [model(collate(config, [example])) for example in examples]
    assert float(together.loss_sum) == pytest.approx(sum(float(out.loss_sum) for out in alone), rel=1e-5)
    assert float(together.weight_sum) == sum(float(out.weight_sum) for out in alone)
    assert int(together.num_correct) == sum(int(out.num_correct) for out in alone)


@pytest.mark.parametrize("merge", [1, 3])
@torch.no_grad()
def test_series_of_different_length_in_one_batch_are_their_singles(merge: int, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__projector__merge=merge)
    model = build_small_model(config)
    together = model(collate(config, corpus_examples()))
    alone = sum(float(model(collate(config, [example])).loss_sum) for example in corpus_examples())
    assert float(together.loss_sum) == pytest.approx(alone, rel=1e-5)


@torch.no_grad()
def test_padding_does_not_change_the_loss(case) -> None:
    config, model, examples = case
    batch = collate(config, examples[:1])
    loss = float(model(batch).loss_sum)
    assert float(model(pad_left(batch, 37)).loss_sum) == pytest.approx(loss, rel=1e-5)


def pad_left(batch: Batch, count: int) -> Batch:
    def pad(tensor: torch.Tensor, value: float) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (count, 0), value=value)

    return replace(
        batch,
        input_ids_BT=pad(batch.input_ids_BT, 3),
        attention_mask_BT=pad(batch.attention_mask_BT, False),
        slot_BT=pad(batch.slot_BT, 0),
        labels_BT=pad(batch.labels_BT, IGNORE_INDEX),
    ).check()


@torch.no_grad()
def test_loss_at_the_supervised_positions_is_the_loss_of_transformers(case) -> None:
    config, model, examples = case
    batch = collate(config, examples)
    out = model.llm(
        inputs_embeds=model.embed(batch),
        attention_mask=batch.attention_mask_BT.long(),
        position_ids=position_ids(batch.attention_mask_BT),
        labels=batch.labels_BT,
    )
    ours = model(batch)
    assert float(ours.loss_sum / ours.weight_sum) == pytest.approx(float(out.loss), rel=1e-5)


@torch.no_grad()
def test_the_first_answer_token_is_supervised(default) -> None:
    """The guide's formula begins at the second (its section on loss computation, step 7)."""
    config, model = default
    example = sleep_dataset(config)[0]
    batch = collate(config, [example])
    num_response_tokens = len(f" {example.response}".encode()) + 1
    assert int(model(batch).weight_sum) == num_response_tokens
    first = int((batch.labels_BT[0] != IGNORE_INDEX).nonzero()[0])
    dropped = batch.labels_BT.clone()
    dropped[0, first] = IGNORE_INDEX
    prompt = collate(config, [example], with_response=False)
    logits = model.llm(inputs_embeds=model.embed(prompt)).logits[0, -1]
    expected = -torch.log_softmax(logits, -1)[batch.labels_BT[0, first]]
    difference = model(batch).loss_sum - model(replace(batch, labels_BT=dropped)).loss_sum
    assert float(difference) == pytest.approx(float(expected), abs=1e-3)


def test_only_what_the_stage_trains_gets_a_gradient(case) -> None:
    config, model, examples = case
    model.zero_grad()
    model(collate(config, examples)).loss_sum.backward()
    for name, param in model.named_parameters():
        is_frozen = name.startswith("llm.") and "lora_" not in name
        is_unread = config.model.context.kind == "none" and name.startswith("classifier.reader.pools")
        is_unread |= "head" in name and name.startswith("classifier.")  # no classifier_weight
        assert (param.grad is None) == (is_frozen or is_unread), name
        assert param.requires_grad == (param.grad is not None), name


@pytest.mark.parametrize(
    ("trained", "moving"),
    [
        (("projector",), {"fusion"}),
        (("encoder", "projector"), {"fusion", "classifier"}),
        (("lora",), {"llm"}),
        (("context",), {"classifier"}),
    ],
)
def test_a_stage_trains_its_parts_only(trained: tuple[str, ...], moving: set[str], tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__trained=trained)
    model = build_small_model(config)
    model(collate(config, [sleep_dataset(config)[4]])).loss_sum.backward()
    assert {name.split(".")[0] for name, param in model.named_parameters() if param.grad is not None} == moving


def test_a_frozen_reader_stays_without_dropout_while_the_rest_trains(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__trained=("projector", "lora"))
    model = build_small_model(config).train()
    assert not model.reader.encoder.training
    assert model.fusion.projector.training
    batch = collate(config, [sleep_dataset(config)[4]])
    assert torch.equal(model(batch).loss_sum, model(batch).loss_sum)


@torch.no_grad()
def test_lora_at_its_start_equals_the_plain_model(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    plain = build_small_model(replace(config, stage=replace(config.stage, trained=("projector",))))
    adapted = build_small_model(config)
    batch = collate(config, [sleep_dataset(config)[1]])
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    assert torch.equal(plain(batch).loss_sum, adapted(batch).loss_sum)


def generate(config: Any, model: TextModel, examples: list[Example], max_new_tokens: int = 8) -> list[list[int]]:
    end = 256
    ids_BT = model.generate(collate(config, examples, with_response=False), max_new_tokens, [end], end)
    return [row[: row.index(end)] if end in row else row for row in ids_BT.tolist()]


def test_generation_from_a_padded_batch_equals_singles(case) -> None:
    config, model, examples = case
    alone = [generate(config, model, [example])[0] for example in examples]
    assert generate(config, model, examples) == alone
    assert all(alone)


@torch.no_grad()
def test_generation_is_the_greedy_path_of_the_full_forward(default) -> None:
    config, model = default
    example = sleep_dataset(config)[7]
    embeds = model.embed(collate(config, [example], with_response=False))
    wanted = []
    for _ in range(5):
        wanted.append(int(model.llm(inputs_embeds=embeds).logits[0, -1].argmax()))
        embeds = torch.cat([embeds, word_embeddings(model.llm)(torch.tensor([[wanted[-1]]]))], dim=1)
    assert generate(config, model, [example], 5)[0] == wanted


@torch.no_grad()
def test_neighbours_change_the_context_token_and_nothing_else(default) -> None:
    config, model = default
    example = sleep_dataset(config)[5]
    other = replace(example, window=replace(example.window, values_WCL=example.window.values_WCL.copy()))
    other.window.values_WCL[0] *= -3.0
    batch = collate(config, [example])
    moved = (model.embed(batch) != model.embed(collate(config, [other]))).any(dim=-1)
    assert torch.equal(moved, batch.slot_BT == CONTEXT_SLOT)
    assert int(moved.sum()) == 1


@torch.no_grad()
def test_the_context_token_is_the_state_at_the_scored_epoch(default) -> None:
    config, model = default
    dataset = sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[5]])
    _, state_BWC = model.reader(batch.window_BWCL, batch.epoch_mask_BW)
    expected = model.fusion.context_projector(state_BWC[:, config.model.context.window_epochs // 2])[:, 0]
    assert torch.allclose(model.embed(batch)[batch.slot_BT == CONTEXT_SLOT], expected, atol=1e-6)


def test_positions_are_counted_over_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    assert position_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


@torch.no_grad()
def test_the_series_fills_its_slots_in_order_and_text_keeps_its_words(default) -> None:
    config, model = default
    examples = corpus_examples()
    batch = collate(config, examples)
    embeds = model.embed(batch)
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


def test_every_trained_parameter_is_in_one_group_at_its_own_rate(case) -> None:
    _, model, _ = case
    optim = OptimConfig(lr_encoder=1.0, lr_projector=2.0, lr_lora=3.0)
    groups = {group["name"]: group for group in model.param_groups(optim)}
    assert {name: group["lr"] for name, group in groups.items()} == {"encoder": 1.0, "projector": 2.0, "lora": 3.0}
    grouped = [id(param) for group in groups.values() for param in group["params"]]
    trained = [id(param) for param in model.parameters() if param.requires_grad]
    assert sorted(grouped) == sorted(trained)


def test_gradient_checkpointing_changes_no_gradient(tiny_llm: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        config = small_config(tiny_llm, model__gradient_checkpointing=checkpointing, model__encoder__dropout=0.0)
        config = replace(config, model=replace(config.model, context=replace(config.model.context, dropout=0.0)))
        model = build_small_model(config, lora_noise=0.1).train()
        model(collate(config, [sleep_dataset(config)[2]])).loss_sum.backward()
        gradients.append([param.grad for param in model.parameters() if param.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


SMALL_LLM = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
ARCHITECTURES = {
    "llama": LlamaConfig(**SMALL_LLM, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**SMALL_LLM),
    "gemma2": Gemma2Config(**SMALL_LLM, sliding_window=32, final_logit_softcapping=0.5),
    "gemma3": Gemma3TextConfig(**SMALL_LLM, sliding_window=32),
}


def build_llm(architecture: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]
    config._attn_implementation = "eager" if architecture == "gemma2" else "sdpa"
    llm = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for name, param in llm.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(param, std=0.1)
    return llm


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_loss_and_padding_hold_for_every_architecture(architecture: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model = build_text_model(config, build_llm(architecture)).eval()
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)]
    batch = collate(config, examples)
    theirs = model.causal_lm(
        inputs_embeds=model.embed(batch),
        attention_mask=batch.attention_mask_BT.long(),
        position_ids=position_ids(batch.attention_mask_BT),
        labels=batch.labels_BT,
    )
    ours = model(batch)
    assert float(ours.loss_sum / ours.weight_sum) == pytest.approx(float(theirs.loss), rel=1e-5)
    alone = sum(float(model(collate(config, [example])).loss_sum) for example in examples)
    assert float(ours.loss_sum) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_holds_for_every_architecture(architecture: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model = build_text_model(config, build_llm(architecture)).eval()
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)]
    together = generate(config, model, examples)
    assert together == [generate(config, model, [example])[0] for example in examples]
    batch = collate(config, examples[:1], with_response=False)
    theirs = model.causal_lm.generate(
        inputs_embeds=model.embed(batch),
        attention_mask=batch.attention_mask_BT.long(),
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=256,
        pad_token_id=256,
    )
    assert together[0] == [token for token in theirs[0].tolist() if token != 256]


def test_series_tokens_start_at_the_scale_of_embeddings_that_a_model_scales_itself() -> None:
    llm = build_llm("gemma3")
    model = build_text_model(small_config(), llm).eval()
    words = word_embeddings(model.llm)(torch.arange(257)).std()
    tokens = model.fusion.projector(torch.randn(10, 6, 16)).std()
    assert words.item() > 5 * llm.get_input_embeddings().weight.std().item()
    assert tokens.item() == pytest.approx(3.0 * words.item(), rel=0.25)


def test_bfloat16_stays_close_to_float32(tiny_llm: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = small_config(tiny_llm, train__precision=precision)
        model = build_small_model(config)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(collate(config, [sleep_dataset(config)[2]]))
        assert output.loss_sum.dtype == torch.float32
        losses.append(float(output.loss_sum / output.weight_sum))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
