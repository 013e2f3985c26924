"""What holds for every scorer of the table, sized down: from a window's loss to a checkpoint that scores a night."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel

import tslm.hub  # noqa: F401  makes the Auto classes know ours
from tests.factories.small import build_small_model, small_recording
from tslm.config.compose import compose_config, list_group
from tslm.config.schema import MODEL_KINDS, RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.predictions.night_scorer import NightScorer
from tslm.training.checkpoints.checkpoint import load_checkpoint, load_weights, save_checkpoint
from tslm.training.runs.folder import run_dir

SMALL = [
    "model.encoder.d_model=16",
    "model.encoder.num_heads=2",
    "model.encoder.d_ff=32",
    "model.encoder.num_bands=8",
    "model.context.hidden_size=8",
    "model.context.window_epochs=5",
    "model.fs_hz=20",
    "model.epoch_s=30",
    "train.precision=fp32",
]
SCORERS = [name for name, kind in MODEL_KINDS.items() if kind.role == "scorer"]
EACH = pytest.mark.parametrize("name", SCORERS)
CPU = torch.device("cpu")


@cache
def scorer_config(name: str, *more: str) -> RunConfig:
    return compose_config("stage0_encoder", model=name, overrides=[*SMALL, *more])


def night_batch(config: RunConfig) -> Any:
    dataset = NightDataset([small_recording()], config)
    examples = [dataset[idx] for idx in range(len(dataset))]
    collator = Collator(config.model, None)
    return collator(examples), [collator([example]) for example in examples]


def test_each_scorer_has_its_preset_and_its_own_folder_of_results() -> None:
    assert set(SCORERS) <= set(list_group("model"))
    folders = {run_dir(scorer_config(name)).parts[-3:] for name in SCORERS}
    assert folders == {("no_llm", name, "stage0_encoder") for name in SCORERS}


def test_no_two_scorers_are_the_same_network() -> None:
    parts = [(config.model.encoder, config.model.context) for config in map(scorer_config, SCORERS)]
    assert len(set(parts)) == len(SCORERS)


@EACH
@torch.no_grad()
def test_a_batch_of_windows_is_its_singles(name: str) -> None:
    config = scorer_config(name)
    model = build_small_model(config)
    batch, singles = night_batch(config)
    assert batch.epoch_mask_BW is not None
    assert not bool(batch.epoch_mask_BW.all())  # windows at the night's edges reach beyond it
    together = model(batch)
    for part in ("loss_sum", "weight_sum", "num_correct"):
        total = sum(float(getattr(model(single), part)) for single in singles)
        assert float(getattr(together, part)) == pytest.approx(total, rel=1e-5)


@EACH
def test_every_weight_learns_and_some_steps_lower_the_loss(name: str) -> None:
    config = scorer_config(name, "model.context.dropout=0")
    model = build_small_model(config).train()
    batch, _ = night_batch(config)
    optimizer = torch.optim.AdamW(model.param_groups(replace(config.optim, lr_encoder=5e-3)))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        output = model(batch)
        (output.loss_sum / output.weight_sum).backward()
        assert all(param.grad is not None for param in model.parameters())
        optimizer.step()
        losses.append(float(output.loss_sum))
    assert losses[-1] < 0.8 * losses[0]


@EACH
@torch.no_grad()
def test_a_checkpoint_scores_a_night_as_the_trained_model_did(name: str, tmp_path: Path) -> None:
    config = scorer_config(name)
    model = build_small_model(config)
    for param in model.parameters():
        nn.init.normal_(param, std=0.2)
    save_checkpoint(model, config, {}, tmp_path / "best")
    night = small_recording(num_epochs=12)
    expected = NightScorer(model, config).score(night)
    loaded, saved = load_checkpoint(tmp_path / "best")
    assert saved.model == config.model
    assert np.array_equal(NightScorer(loaded, saved).score(night), expected)
    by_auto_class = AutoModel.from_pretrained(tmp_path / "best")
    assert np.array_equal(by_auto_class.stager.score(night), expected)


@torch.no_grad()
def test_a_scorer_fills_another_of_equal_parts_and_no_other(tmp_path: Path) -> None:
    config = scorer_config("cnn")
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    renamed = replace(config, model=replace(config.model, name="classifier"))
    model = build_small_model(renamed, seed=1)
    load_weights(model, renamed, tmp_path / "best")
    with pytest.raises(ValueError, match=r"model.encoder|model.context"):
        load_weights(build_small_model(scorer_config("ssm")), scorer_config("ssm"), tmp_path / "best")
