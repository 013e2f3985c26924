from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.factories.small import build_small_model, small_config, small_recording
from tslm.config.files import merge_config
from tslm.config.schema import MaskingConfig, RunConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.labels import SleepStage
from tslm.models.masked_encoder import MaskedEncoder, draw_blocks
from tslm.training.checkpoints.checkpoint import load_checkpoint, load_weights, save_checkpoint

CONV = {"model__encoder__front_end": "conv", "model__normalization": "zscore"}
TWO_VIEWS = {"model__normalization": "zscore_whitened"}
FRONT_ENDS = pytest.mark.parametrize("front_end", [{}, CONV, TWO_VIEWS], ids=["filterbank", "conv", "two_views"])


def masked_config(**changes: Any) -> RunConfig:
    masking = MaskingConfig(share=0.4, block_patches=2)
    base = {"model__name": "masked_encoder", "stage__trained": ("encoder",), "masking": masking}
    return small_config(**{**base, **changes})


def night_batch(config: RunConfig, count: int = 3, **recording: Any) -> Any:
    dataset = NightDataset([small_recording(**recording)], config, unlabelled=True)
    return Collator(config.model, None)([dataset[idx] for idx in range(min(count, len(dataset)))])


@pytest.mark.parametrize(("share", "block"), [(0.5, 5), (0.2, 1), (0.8, 12)])
def test_the_share_asked_for_is_hidden_in_blocks_everywhere_alike(share: float, block: int) -> None:
    hidden = draw_blocks((4000, 30), MaskingConfig(share, block), torch.Generator().manual_seed(0))
    assert hidden.float().mean(dim=0).tolist() == pytest.approx([share] * 30, abs=0.04)
    inner = hidden[:, 1:-1] & ~hidden[:, :-2]  # a block that begins inside is whole, or runs to the end
    for row, first in inner.nonzero()[:200].tolist():
        assert bool(hidden[row, first + 1 : first + 1 + block].all())


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"block_patches": 0}])
def test_masking_that_hides_nothing_or_everything_is_a_value_error(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"masking.share|bad value"):
        merge_config({"masking": wrong})


@FRONT_ENDS
@torch.no_grad()
def test_the_loss_is_that_of_hidden_patches_inside_the_night(front_end: dict) -> None:
    config = masked_config(**front_end)
    model = build_small_model(config)
    batch = night_batch(config)
    guess_PT, truth_PT = model.reconstruct(batch)
    hidden_WCN = draw_blocks((5, 1, 6), config.masking, torch.Generator().manual_seed(0))
    real_BW = batch.epoch_mask_BW
    assert not bool(real_BW.all())
    assert len(truth_PT) == sum(int(hidden_WCN[real_W].sum()) for real_W in real_BW)
    night, epoch, patch = [int(place[0]) for place in ((real_BW[:, :, None] & hidden_WCN[None, :, 0]).nonzero().T)]
    targets = model.reader.encoder.front_end.targets(batch.window_BWCL[night, epoch])
    assert torch.allclose(truth_PT[0], targets[0, patch], atol=1e-5)
    output = model(batch)
    assert output.loss_sum.item() == pytest.approx(((guess_PT - truth_PT) ** 2).mean(dim=1).sum().item(), rel=1e-5)
    assert output.weight_sum.item() == len(truth_PT)


def test_targets_are_the_signal_or_its_log_band_energies() -> None:
    batch = night_batch(masked_config(**CONV))
    series = batch.window_BWCL[1, 2]
    conv = build_small_model(masked_config(**CONV)).reader.encoder.front_end
    assert torch.equal(conv.targets(series), series.reshape(1, 6, 100))
    bank = build_small_model(masked_config()).reader.encoder.front_end
    assert torch.equal(bank.targets(series), bank.band_log_energy(series))


@FRONT_ENDS
@torch.no_grad()
def test_what_is_hidden_is_not_seen(front_end: dict) -> None:
    """A change inside hidden patches, away from the analysis windows of others, changes no guess."""
    config = masked_config(**front_end, model__encoder__band_window_samples=100)
    model = build_small_model(config)
    batch = night_batch(config)
    guess, truth = model.reconstruct(batch)
    hidden_WCN = draw_blocks((5, 1, 6), config.masking, torch.Generator().manual_seed(0))
    changed = batch.window_BWCL.clone()
    hidden_L = hidden_WCN.repeat_interleave(100, dim=-1).reshape(5, 1, *[1] * (changed.dim() - 4), 600)  # in all views
    changed += 3 * torch.randn_like(changed) * hidden_L
    other_guess, other_truth = model.reconstruct(replace(batch, window_BWCL=changed))
    assert torch.allclose(guess, other_guess, atol=1e-5)
    assert not torch.allclose(truth, other_truth, atol=0.1)
    shown = batch.window_BWCL * torch.where(hidden_L, 1, -2)
    assert not torch.allclose(model.reconstruct(replace(batch, window_BWCL=shown))[0], guess, atol=1e-4)


@pytest.mark.parametrize("num_channels", [1, 2])
@torch.no_grad()
def test_a_batch_of_windows_is_its_singles(num_channels: int) -> None:
    config = masked_config(stage__extra_channels=("EMG",) * (num_channels - 1))
    model = build_small_model(config)
    dataset = NightDataset([small_recording()], config, unlabelled=True)
    collator = Collator(config.model, None)
    together = model(collator([dataset[idx] for idx in range(3)]))
    alone = [model(collator([dataset[idx]])) for idx in range(3)]
    assert together.loss_sum.item() == pytest.approx(sum(out.loss_sum.item() for out in alone), rel=1e-5)
    assert together.weight_sum.item() == sum(out.weight_sum.item() for out in alone)


def test_nights_without_any_label_are_read_and_all_weights_learn() -> None:
    config = masked_config(stage__extra_channels=("EMG",))
    unscored = [SleepStage.UNSCORED] * 12
    assert len(NightDataset([small_recording(sleep_stages=unscored)], config)) == 0
    model = build_small_model(config).train()
    batch = night_batch(config, sleep_stages=unscored)
    model(batch).loss_sum.backward()
    assert all(param.requires_grad and param.grad is not None for param in model.parameters())
    (group,) = model.param_groups(config.optim)
    assert len(group["params"]) == len(list(model.parameters()))
    first, second = model(batch), model(batch)
    assert first.weight_sum.item() != second.weight_sum.item() or not torch.equal(first.loss_sum, second.loss_sum)


@pytest.mark.parametrize("context", ["bigru", "transformer", "none"])
def test_its_encoder_moves_into_a_classifier_and_nothing_else_does(context: str, tmp_path: Path) -> None:
    config = masked_config(stage__extra_channels=("EMG",))
    masked = build_small_model(config, seed=5)
    torch.nn.init.normal_(masked.reader.channel_offset_CD)
    save_checkpoint(masked, config, {}, tmp_path / "best")
    loaded, _ = load_checkpoint(tmp_path / "best")
    assert isinstance(loaded, MaskedEncoder)
    changes = {"model__name": "classifier", "masking": MaskingConfig(), "model__context__kind": context}
    classifier_config = masked_config(**changes, stage__extra_channels=("EMG",))
    classifier = build_small_model(classifier_config)
    before = {name: param.clone() for name, param in classifier.state_dict().items()}
    load_weights(classifier, classifier_config, tmp_path / "best")
    moved = {f"reader.{name}": tensor for name, tensor in masked.reader.state_dict().items()}
    assert {"reader.encoder.positions_1ND", "reader.channel_offset_CD"} <= set(moved)
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, moved.get(name, before[name])), name


def test_its_encoder_moves_into_a_language_model_and_back(tiny_llm: Path, tmp_path: Path) -> None:
    config = masked_config()
    masked = build_small_model(config, seed=5)
    save_checkpoint(masked, config, {}, tmp_path / "masked")
    text_config = small_config(tiny_llm)
    text = build_small_model(text_config)
    load_weights(text, text_config, tmp_path / "masked")
    for name, tensor in masked.reader.encoder.state_dict().items():
        assert torch.equal(text.reader.encoder.state_dict()[name], tensor)
    save_checkpoint(text, text_config, {}, tmp_path / "text")
    again = build_small_model(config, seed=6)
    load_weights(again, config, tmp_path / "text")
    assert torch.equal(again.reader.encoder.positions_1ND, masked.reader.encoder.positions_1ND)


def test_an_encoder_of_other_sizes_is_refused_by_name(tmp_path: Path) -> None:
    save_checkpoint(build_small_model(masked_config()), masked_config(), {}, tmp_path / "best")
    wanted = small_config(model__name="classifier", model__encoder__d_ff=64)
    with pytest.raises(ValueError, match="d_ff=32, this run has d_ff=64"):
        load_weights(build_small_model(wanted), wanted, tmp_path / "best")
