from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.factories.small import build_small_model, collate, sleep_dataset, small_config
from tslm.config.compose import compose_config
from tslm.models import build_tokenizer
from tslm.signals.normalize import render_digits
from tslm.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint


def digits_config(tiny_llm: Path, **changes):
    return small_config(
        tiny_llm, model__name="text_only", model__context__kind="none", model__digits__num_values=8, **changes
    )


def test_the_series_stands_in_the_prompt_as_digits_and_nowhere_else(tiny_llm: Path) -> None:
    config = digits_config(tiny_llm)
    example = sleep_dataset(config)[3]
    batch = collate(config, [example])
    assert batch.series_SL is None and batch.window_BWCL is None
    digits = render_digits(example.series[0].values_L, 8)
    whole = f"{example.pre_prompt}{example.series[0].text}{digits}{example.post_prompt} {example.response}"
    assert build_tokenizer(config).decode(batch.input_ids_BT[0], skip_special_tokens=True) == whole


def test_only_adapters_are_trained(tiny_llm: Path) -> None:
    config = digits_config(tiny_llm)
    model = build_small_model(config, lora_noise=0.1)
    model(collate(config, [sleep_dataset(config)[4]])).loss_sum.backward()
    trained = {name for name, param in model.named_parameters() if param.requires_grad}
    assert trained == {name for name, param in model.named_parameters() if param.grad is not None}
    assert trained and all("lora_" in name for name in trained)


@torch.no_grad()
def test_the_loss_sees_the_series(tiny_llm: Path) -> None:
    config = digits_config(tiny_llm)
    model = build_small_model(config)
    example = sleep_dataset(config)[4]
    other = replace(example, series=(replace(example.series[0], values_L=example.series[0].values_L[::-1].copy()),))
    assert float(model(collate(config, [example])).loss_sum) != float(model(collate(config, [other])).loss_sum)


@torch.no_grad()
def test_a_saved_model_answers_alike(tiny_llm: Path, tmp_path: Path) -> None:
    config = digits_config(tiny_llm)
    model = build_small_model(config, lora_noise=0.1)
    save_checkpoint(model, config, {}, tmp_path / "best")
    loaded, saved = load_checkpoint(tmp_path / "best")
    assert saved.model.digits.num_values == 8
    batch = collate(config, [sleep_dataset(config)[4]])
    assert float(loaded(batch).loss_sum) == pytest.approx(float(model(batch).loss_sum), rel=1e-5)


def test_the_named_model_has_no_context_and_trains_lora() -> None:
    config = compose_config("stage4_sleep_cot", model="text_only")
    assert config.model.kind.series_as == "digits" and config.model.context.kind == "none" and config.writes_text
