"""The classifier's loss beside the language model's (`loss.classifier_weight`)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.factories.small import build_small_model, collate, sleep_dataset, small_config, small_sample
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.prompts import render_choice_prompt

ALL_PARTS = ("encoder", "projector", "context", "classifier", "lora")
WITHOUT_DROPOUT = {"model__context__dropout": 0.0, "stage__trained": ALL_PARTS}


def build(tiny_llm: Path, weight: float, **changes: Any) -> tuple[Any, Any, Any]:
    config = small_config(tiny_llm, loss__classifier_weight=weight, **{**WITHOUT_DROPOUT, **changes})
    dataset = sleep_dataset(config)
    return config, build_small_model(config, lora_noise=0.1).train(), collate(config, [dataset[1], dataset[6]])


@pytest.mark.parametrize("kind", ["bigru", "transformer", "none"])
def test_loss_and_weight_are_those_of_both_parts(kind: str, tiny_llm: Path) -> None:
    _, model, batch = build(tiny_llm, 3.0, model__context__kind=kind)
    model.classifier.set_class_weights(torch.tensor([9, 4, 3, 2, 1]))
    output = model(batch)
    classes = model.classifier(batch)
    text = model.eval()(batch)
    assert output.loss_sum.item() == pytest.approx(text.loss_sum.item() + 3 * classes.loss_sum.item(), rel=1e-5)
    assert output.weight_sum.item() == pytest.approx(text.weight_sum.item() + 3 * classes.weight_sum.item(), rel=1e-5)
    assert output.num_correct.item() == text.num_correct.item()


def test_gradients_are_the_sum_of_both_losses_gradients(tiny_llm: Path) -> None:
    def gradients(losses: Any) -> dict[str, torch.Tensor]:
        model.zero_grad()
        sum(losses).backward()
        return {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}

    _, model, batch = build(tiny_llm, 2.0)
    both = gradients([model(batch).loss_sum])
    text = gradients([model.eval()(batch).loss_sum])
    classes = gradients([2 * model.train().classifier(batch).loss_sum])
    assert set(both) == set(text) | set(classes)
    assert "classifier.head.weight" in set(classes) - set(text)
    for name, gradient in both.items():
        parts = [part[name] for part in (text, classes) if name in part]
        assert torch.allclose(gradient, sum(parts), rtol=1e-3, atol=1e-4), name


@torch.no_grad()
def test_while_judging_the_loss_is_the_texts_alone(tiny_llm: Path) -> None:
    _, plain, _ = build(tiny_llm, 0.0)
    _, model, batch = build(tiny_llm, 5.0)
    model.load_state_dict(plain.state_dict())
    ours, theirs = model.eval()(batch), plain.eval()(batch)
    assert torch.equal(ours.loss_sum, theirs.loss_sum)
    assert torch.equal(ours.weight_sum, theirs.weight_sum)


def test_a_weight_of_zero_is_the_plain_loss_bit_for_bit_and_leaves_the_heads_alone(tiny_llm: Path) -> None:
    _, model, batch = build(tiny_llm, 0.0)
    output = model(batch)
    assert torch.equal(output.loss_sum, model.eval()(batch).loss_sum)
    output.loss_sum.backward()
    heads = [*model.classifier.head.parameters(), *model.classifier.epoch_head.parameters()]
    assert not any(param.requires_grad or param.grad is not None for param in heads)


def test_a_stage_without_night_windows_has_the_texts_loss(tiny_llm: Path) -> None:
    dataset = CorpusDataset([small_sample(idx) for idx in range(2)], lambda one: render_choice_prompt("?", one.options))
    losses = []
    for weight in (0.0, 4.0):
        config, model, _ = build(tiny_llm, weight)
        output = model(collate(config, [dataset[0], dataset[1]]))
        losses.append((output.loss_sum.item(), output.weight_sum.item()))
    assert losses[0] == losses[1]


def test_without_context_the_scored_epoch_alone_is_classified(tiny_llm: Path) -> None:
    config, model, batch = build(tiny_llm, 1.0, model__context__kind="none")
    assert batch.window_BWCL.shape[1] == 1
    extra = model(batch).weight_sum.item() - model.eval()(batch).weight_sum.item()
    assert extra == 2
    without = sleep_dataset(replace(config, loss=replace(config.loss, classifier_weight=0.0)))
    assert without[0].window is None
