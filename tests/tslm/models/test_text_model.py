"""What holds for every way of fusing series and text."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.factories.architectures import ARCHITECTURES, build_llm
from tests.factories.small import build_small_model, collate, corpus_examples, open_gates, sleep_dataset, small_config
from tslm.batch import IGNORE_INDEX, Batch, Example
from tslm.config.schema import OptimConfig
from tslm.models.decoding.decode import position_ids
from tslm.models.fusion import DecoderInputs, memory_argument
from tslm.models.llm.backbone import word_embeddings
from tslm.models.table import FUSIONS, build_text_model
from tslm.models.text_model import TextModel

VARIANTS: dict[str, dict[str, Any]] = {
    "soft_prompt": {},
    "guide": {
        "model__encoder__front_end": "conv",
        "model__encoder__patch_size": 50,
        "model__context__kind": "none",
        "model__projector__kind": "linear",
        "model__normalization": "zscore",
    },
    "merge": {"model__projector__merge": 4},
    "epoch": {"model__context__kind": "epoch"},
    "flamingo": {"model__name": "flamingo"},
    "flamingo_every_2": {
        "model__name": "flamingo",
        "model__flamingo__every_n_layers": 2,
        "model__context__kind": "none",
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def case(request: pytest.FixtureRequest, tiny_llm: Path) -> tuple[Any, TextModel, list[Example]]:
    config = small_config(tiny_llm, **VARIANTS[request.param])
    dataset = sleep_dataset(config)
    examples = [dataset[0], dataset[3], dataset[9]]
    examples[1] = replace(examples[1], pre_prompt="A longer prompt. " + examples[1].pre_prompt)
    examples[2] = replace(examples[2], response="Short. Answer: Wake")
    return config, build_small_model(config, lora_noise=0.1), examples


@pytest.fixture(scope="module", params=FUSIONS)
def default(request: pytest.FixtureRequest, tiny_llm: Path) -> tuple[Any, TextModel]:
    config = small_config(tiny_llm, model__name=request.param)
    return config, build_small_model(config, lora_noise=0.1)


@torch.no_grad()
def test_a_batch_is_its_singles(case) -> None:
    config, model, examples = case
    together = model(collate(config, examples))
    alone = [model(collate(config, [example])) for example in examples]
    assert float(together.loss_sum) == pytest.approx(sum(float(out.loss_sum) for out in alone), rel=1e-5)
    assert float(together.weight_sum) == sum(float(out.weight_sum) for out in alone)
    assert int(together.num_correct) == sum(int(out.num_correct) for out in alone)
    assert together.loss_B.tolist() == pytest.approx([float(out.loss_sum / out.weight_sum) for out in alone], rel=1e-5)


@pytest.mark.parametrize("variant", [{}, {"model__projector__merge": 3}, {"model__name": "flamingo"}])
@torch.no_grad()
def test_series_of_different_length_and_number_in_one_batch_are_their_singles(variant: dict, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, **variant)
    model = build_small_model(config, lora_noise=0.1)
    examples = corpus_examples()
    examples[1] = replace(examples[1], series=examples[1].series[:1])
    examples.insert(1, replace(examples[0], series=()))
    together = model(collate(config, examples))
    alone = sum(float(model(collate(config, [example])).loss_sum) for example in examples)
    assert float(together.loss_sum) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_prompts_with_and_without_their_signal_in_one_batch_are_their_singles(fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion, stage__facts="measured")
    model = open_gates(build_small_model(config, lora_noise=0.1))
    examples = [
        sleep_dataset(replace(config, stage=replace(config.stage, inputs=inputs)))[idx]
        for idx, inputs in enumerate(("all", "facts", "series", "facts"))
    ]
    together = model(collate(config, examples))
    alone = [model(collate(config, [example])) for example in examples]
    assert together.loss_B.tolist() == pytest.approx([float(out.loss_sum / out.weight_sum) for out in alone], rel=1e-5)


@pytest.mark.parametrize("fusion", ["soft_prompt", "flamingo"])
@torch.no_grad()
def test_facts_alone_are_answered_alike_whatever_the_signal(fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion, stage__facts="measured", stage__inputs="facts")
    model = open_gates(build_small_model(config, lora_noise=0.1))
    example = sleep_dataset(config)[3]
    assert example.window is not None
    louder = replace(example, window=replace(example.window, values_WCL=5 * example.window.values_WCL[::-1]))
    losses = [float(model(collate(config, [item])).loss_sum) for item in (example, louder)]
    assert losses[0] == losses[1]
    seen = [float(model(collate(config, [replace(item, reads_night=True)])).loss_sum) for item in (example, louder)]
    assert seen[0] != seen[1]


@torch.no_grad()
def test_padding_does_not_change_the_loss(case) -> None:
    config, model, examples = case
    batch = collate(config, examples[:1])
    loss = float(model(batch).loss_sum)
    assert float(model(pad_left(batch, 37)).loss_sum) == pytest.approx(loss, rel=1e-5)


def test_padding_and_accumulation_change_no_gradient(case) -> None:
    config, model, examples = case
    padded = gradients_of(model, [pad_left(collate(config, examples), 37)])
    together = gradients_of(model, [collate(config, examples)])
    alone = gradients_of(model, [collate(config, [example]) for example in examples])
    for name, gradient in together.items():
        assert_close(padded[name], gradient, name)
        assert_close(alone[name], gradient, name)


def gradients_of(model: TextModel, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Of the summed loss; all batches go forward before the first goes back."""
    model.zero_grad()
    torch.stack([model(batch).loss_sum for batch in batches]).sum().backward()
    gradients = {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}
    model.zero_grad()
    return gradients


def assert_close(found: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()) + 1e-6), name


def pad_left(batch: Batch, count: int) -> Batch:
    def pad(tensor: torch.Tensor, value: float) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (count, 0), value=value)

    return replace(
        batch,
        input_ids_BT=pad(batch.input_ids_BT, 3),
        attention_mask_BT=pad(batch.attention_mask_BT, False),
        slot_BT=pad(batch.slot_BT, 0),
        series_seen_BT=pad(batch.series_seen_BT, 0),
        labels_BT=pad(batch.labels_BT, IGNORE_INDEX),
    ).check()


def mean_loss_of_transformers(llm: Any, model: TextModel, batch: Batch) -> float:
    """What the language model's own forward makes of the same embeddings, positions and labels."""
    assert batch.attention_mask_BT is not None
    out = llm(
        **model.fuse(batch).arguments,
        attention_mask=batch.attention_mask_BT.long(),
        position_ids=position_ids(batch.attention_mask_BT),
        labels=batch.labels_BT,
    )
    return float(out.loss)


@torch.no_grad()
def test_loss_at_the_supervised_positions_is_the_loss_of_transformers(case) -> None:
    config, model, examples = case
    batch = collate(config, examples)
    ours = model(batch)
    theirs = mean_loss_of_transformers(model.llm, model, batch)
    assert float(ours.loss_sum / ours.weight_sum) == pytest.approx(theirs, rel=1e-5)


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
    logits = read_on(model, model.fuse(prompt))[0, -1]
    expected = -torch.log_softmax(logits, -1)[batch.labels_BT[0, first]]
    difference = model(batch).loss_sum - model(replace(batch, labels_BT=dropped)).loss_sum
    assert float(difference) == pytest.approx(float(expected), abs=1e-3)


def read_on(model: TextModel, inputs: DecoderInputs) -> torch.Tensor:
    """Logits of one unpadded sample, by transformers alone."""
    positions = torch.arange(inputs.embeds_BTE.shape[1])[None]
    return model.llm(**inputs.arguments, position_ids=positions, use_cache=False).logits


def test_only_what_the_stage_trains_gets_a_gradient(case) -> None:
    config, model, examples = case
    model.zero_grad()
    model(collate(config, examples)).loss_sum.backward()
    for name, param in model.named_parameters():
        is_frozen = name.startswith("llm.") and "lora_" not in name
        is_unread = config.model.context.kind == "none" and name.startswith("classifier.reader.pools")
        is_unread |= "head" in name and name.startswith("classifier.")  # heads of the classifier
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
@pytest.mark.parametrize("fusion", ["soft_prompt", "flamingo"])
def test_a_stage_trains_its_parts_only(fusion: str, trained: tuple[str, ...], moving: set[str], tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion, stage__trained=trained)
    model = build_small_model(config)
    model(collate(config, [sleep_dataset(config)[4]])).loss_sum.backward()
    assert {name.split(".")[0] for name, param in model.named_parameters() if param.grad is not None} == moving


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_frozen_reader_stays_without_dropout_while_the_rest_trains(fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion, stage__trained=("projector", "lora"))
    model = build_small_model(config).train()
    assert not model.reader.encoder.training
    assert model.fusion.training
    batch = collate(config, [sleep_dataset(config)[4]])
    assert torch.equal(model(batch).loss_sum, model(batch).loss_sum)


@pytest.mark.parametrize("fusion", FUSIONS)
@torch.no_grad()
def test_lora_at_its_start_equals_the_plain_model(fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion)
    plain = build_small_model(replace(config, stage=replace(config.stage, trained=("projector",))))
    adapted = build_small_model(config)
    batch = collate(config, [sleep_dataset(config)[1]])
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    assert torch.equal(plain(batch).loss_sum, adapted(batch).loss_sum)


def generate(config: Any, model: TextModel, examples: list[Example], max_new_tokens: int = 8) -> list[list[int]]:
    end = 256
    ids_BT = model.generate(collate(config, examples, with_response=False), max_new_tokens, end, end)
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
    inputs = model.fuse(collate(config, [example], with_response=False))
    wanted = []
    for _ in range(5):
        wanted.append(int(read_on(model, inputs)[0, -1].argmax()))
        word = word_embeddings(model.llm)(torch.tensor([[wanted[-1]]]))
        inputs = DecoderInputs(torch.cat([inputs.embeds_BTE, word], dim=1), inputs.memory)
    assert generate(config, model, [example], 5)[0] == wanted


def test_every_trained_parameter_is_in_one_group_at_its_own_rate(case) -> None:
    config, model, _ = case
    optim = OptimConfig(lr_encoder=1.0, lr_projector=2.0, lr_lora=3.0, lr_gates=4.0)
    groups = {group["name"]: group for group in model.param_groups(optim)}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "encoder": 1.0,
        "projector": 2.0,
        "lora": 3.0,
    } | ({"gates": 4.0} if config.model.name == "flamingo" else {})
    grouped = [id(param) for group in groups.values() for param in group["params"]]
    trained = [id(param) for param in model.parameters() if param.requires_grad]
    assert sorted(grouped) == sorted(trained)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradient_checkpointing_changes_no_gradient(fusion: str, tiny_llm: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        config = small_config(
            tiny_llm, model__name=fusion, model__gradient_checkpointing=checkpointing, model__context__dropout=0.0
        )
        model = build_small_model(config, lora_noise=0.1).train()
        dataset = sleep_dataset(config)
        gradients.append(gradients_of(model, [collate(config, [dataset[idx]]) for idx in (2, 7)]))
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, name)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_loss_and_padding_hold_for_every_architecture(architecture: str, fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion)
    model = open_gates(build_text_model(config, build_llm(architecture))).eval()
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)]
    batch = collate(config, examples)
    ours = model(batch)
    theirs = mean_loss_of_transformers(model.causal_lm, model, batch)
    assert float(ours.loss_sum / ours.weight_sum) == pytest.approx(theirs, rel=1e-5)
    alone = sum(float(model(collate(config, [example])).loss_sum) for example in examples)
    assert float(ours.loss_sum) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_holds_for_every_architecture(architecture: str, fusion: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__name=fusion)
    model = open_gates(build_text_model(config, build_llm(architecture))).eval()
    dataset = sleep_dataset(config)
    examples = [dataset[0], replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)]
    together = generate(config, model, examples)
    assert together == [generate(config, model, [example])[0] for example in examples]
    batch = collate(config, examples[:1], with_response=False)
    inputs = model.fuse(batch)
    model.causal_lm.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: (args, kwargs | memory_argument(inputs.memory)), with_kwargs=True, prepend=True
    )
    theirs = model.causal_lm.generate(
        inputs_embeds=inputs.embeds_BTE,
        attention_mask=batch.attention_mask_BT.long(),
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=256,
        pad_token_id=256,
    )
    assert together[0] == [token for token in theirs[0].tolist() if token != 256]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_bfloat16_stays_close_to_float32(fusion: str, tiny_llm: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        config = small_config(tiny_llm, model__name=fusion, train__precision=precision)
        model = open_gates(build_small_model(config))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(collate(config, [sleep_dataset(config)[2]]))
        assert output.loss_sum.dtype == torch.float32
        losses.append(float(output.loss_sum / output.weight_sum))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_names_the_layers_that_are_sharded_one_by_one(architecture: str, tiny_llm: Path) -> None:
    model = build_text_model(small_config(tiny_llm), build_llm(architecture))
    layers = model.causal_lm.base_model.layers
    assert model._no_split_modules == [type(layers[0]).__name__]


def test_a_sample_longer_than_the_language_model_reads_is_refused_by_name(tiny_llm: Path) -> None:
    config = small_config(tiny_llm)
    model, dataset = build_small_model(config), sleep_dataset(config)
    longer = replace(dataset[3], pre_prompt="A longer prompt. " + dataset[3].pre_prompt)
    batch, prompts = collate(config, [dataset[0], longer]), collate(config, [dataset[0], longer], with_response=False)
    model.causal_lm.config.max_position_embeddings = batch.attention_mask_BT.shape[1]
    assert bool(model(batch).loss_sum.isfinite())  # the longest that fits
    length = prompts.attention_mask_BT.shape[1]
    model.causal_lm.config.max_position_embeddings = length + 4
    too_long = rf"{re.escape(longer.sample_id)}: the sample takes {length} positions and its answer up to 5, .* reads"
    with pytest.raises(ValueError, match=rf"{too_long} {length + 4} .*lower stage\.max_new_tokens"):
        model.generate(prompts, max_new_tokens=5, end_token_id=0, pad_token_id=0)
    assert model.generate(prompts, max_new_tokens=4, end_token_id=0, pad_token_id=0).shape[1] <= 4
    with pytest.raises(ValueError, match="answer up to 5"):
        model.score_labels(prompts, [[[1, 2, 3, 4, 5], [2]]] * 2)
    model.causal_lm.config.max_position_embeddings = length - 1
    with pytest.raises(ValueError, match=rf"takes {length} positions, .*model\.encoder\.patch_size .*--llm") as caught:
        model.fuse(prompts)
    assert "\n" not in str(caught.value)
