"""Domain-adversarial training: the encoder learns not to tell sites apart (`loss.domain_weight`)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.factories.small import build_small_model, small_config, small_recording
from tslm.batch import Batch
from tslm.config.schema import LossConfig, RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import describe_nights
from tslm.data.samples.night_windows import find_domains
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.training.checkpoints.checkpoint import load_weights, save_checkpoint


def sites_config(weight: float = 0.5, **changes: Any) -> RunConfig:
    base = {"model__name": "classifier", "stage__trained": ("encoder", "context", "classifier")}
    return small_config(**base, **changes, loss=LossConfig(domain_weight=weight))


def read(config: RunConfig) -> tuple[RunConfig, Batch]:
    nights = [replace(small_recording(name), source=site) for name, site in (("a", "Bern"), ("b", "Basel"))]
    dataset = NightDataset(nights, config, augmented=True)
    config = replace(config, model=describe_nights(config.model, dataset))
    torch.manual_seed(0)
    return config, Collator(config.model, None)([dataset[idx] for idx in range(len(dataset))])


def test_a_batch_names_the_site_of_each_window_and_the_model_those_of_training() -> None:
    config, batch = read(sites_config())
    assert config.model.domains == ("Basel", "Bern")
    assert batch.domain_B is not None
    sites = [sample_id.partition(":")[0] for sample_id in batch.sample_ids]
    assert batch.domain_B.tolist() == [1 if name == "a" else 0 for name in sites]
    assert read(sites_config(0.0))[1].domain_B is None


def test_the_head_learns_sites_and_the_encoder_is_pushed_the_other_way() -> None:
    config, batch = read(sites_config())
    model = build_small_model(config)
    gradients = {}
    for weight in (0.5, 1.0, 1e-9):
        model.loss = LossConfig(domain_weight=weight)
        model.zero_grad()
        model.train()
        torch.manual_seed(1)
        model(batch).loss_sum.backward()
        gradients[weight] = {name: param.grad.clone() for name, param in model.named_parameters()}
    name = "reader.pools.0.query.weight"
    half, whole = (gradients[weight][name] - gradients[1e-9][name] for weight in (0.5, 1.0))
    assert half.abs().max() > 0 and torch.allclose(2 * half, whole, rtol=1e-3, atol=1e-6)
    head = "domain_head.0.weight"
    assert torch.allclose(gradients[0.5][head], gradients[1.0][head]) and gradients[0.5][head].abs().max() > 0


@torch.no_grad()
def test_validation_does_without_sites() -> None:
    config, batch = read(sites_config())
    model = build_small_model(config).eval()
    assert torch.equal(model(batch).loss_sum, model(replace(batch, domain_B=None)).loss_sum)


def test_a_checkpoint_with_sites_is_scored_and_goes_into_a_language_model(tmp_path: Path) -> None:
    config, batch = read(sites_config())
    model = build_small_model(config)
    save_checkpoint(model, config, {}, tmp_path / "scorer")
    again = build_small_model(config, seed=1)
    load_weights(again, config, tmp_path / "scorer")
    args = (batch.window_BWCL, batch.epoch_mask_BW)
    assert torch.equal(again.logits(*args)[1], model.logits(*args)[1])
    ssm = replace(config, model=replace(config.model, name="cnn_bilstm", domains=()))
    without = build_small_model(ssm, seed=2)
    load_weights(without, ssm, tmp_path / "scorer")
    assert torch.equal(without.logits(*args)[1], model.logits(*args)[1])


@pytest.mark.parametrize(("site", "said"), [("", "states no source"), ("Bern", "needs two sites or more")])
def test_sites_that_cannot_be_told_apart_are_refused(site: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_domains([replace(small_recording(), source=site)], LossConfig(domain_weight=0.1))


def test_a_source_that_none_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted one of: source"):
        LossConfig(domain_by="hospital")
