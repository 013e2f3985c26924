from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.factories.small import CHANNEL, build_small_model, collate, sleep_dataset, small_config
from tslm.config.schema import ModelConfig
from tslm.models.epoch_reader import EpochReader

THREE = {"stage__extra_channels": ("EOG", "EMG")}


def model_config(**changes: Any) -> ModelConfig:
    return small_config(**changes).model


def build(**changes: Any) -> EpochReader:
    torch.manual_seed(0)
    config = small_config(**changes)
    reader = EpochReader(config.model, len(config.stage.channels)).eval()
    if reader.channel_offset_CD is not None:
        nn.init.normal_(reader.channel_offset_CD)
    return reader


def windows(num_channels: int, num_nights: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(num_nights, 5, num_channels, 600), torch.ones(num_nights, 5, dtype=torch.bool)


@torch.no_grad()
def test_one_channel_is_encoded_pooled_and_put_in_context_and_nothing_else() -> None:
    reader = build()
    window_BWCL, mask_BW = windows(1)
    pooled, states = reader(window_BWCL, mask_BW)
    tokens = reader.encoder(window_BWCL[:, :, 0].flatten(0, 1))
    expected = (reader.pools[0].query(tokens).softmax(dim=1) * tokens).sum(dim=1).unflatten(0, (2, 5))
    assert torch.allclose(pooled, expected, atol=1e-6)
    assert torch.allclose(states, reader.context(expected, mask_BW), atol=1e-6)


def test_a_reader_of_one_channel_has_no_weights_for_others() -> None:
    own = ("channel_offset_CD", "mix.weight", "mix.bias", "pools.1.query.weight")
    assert not set(own) & set(build().state_dict())
    state = build(**THREE).state_dict()
    assert state["channel_offset_CD"].shape == (2, 16)
    assert state["mix.weight"].shape == (16, 48)
    assert {name for name in state if name.startswith("pools.")} == {
        f"pools.{channel}.query.{part}" for channel in range(3) for part in ("weight", "bias")
    }


@torch.no_grad()
def test_pooled_channels_are_mixed_by_one_linear_layer() -> None:
    reader = build(**THREE)
    window_BWCL, mask_BW = windows(3)
    offset = nn.functional.pad(reader.channel_offset_CD, (0, 0, 1, 0))
    pooled = []
    for channel in range(3):
        tokens = reader.encoder(window_BWCL[:, :, channel].flatten(0, 1), None, offset[channel].expand(10, -1))
        pooled.append(reader.pools[channel](tokens))
    expected = reader.mix(torch.cat(pooled, dim=-1)).unflatten(0, (2, 5))
    assert torch.allclose(reader(window_BWCL, mask_BW)[0], expected, atol=1e-5)


@torch.no_grad()
def test_the_order_of_channels_matters_and_each_of_them_is_read() -> None:
    reader = build(**THREE)
    window_BWCL, mask_BW = windows(3)
    pooled = reader(window_BWCL, mask_BW)[0]
    assert not torch.allclose(reader(window_BWCL.flip(2), mask_BW)[0], pooled, atol=1e-3)
    for channel in range(3):
        changed = window_BWCL.clone()
        changed[1, 2, channel] *= -2
        moved = (reader(changed, mask_BW)[0] - pooled).abs().amax(dim=-1) > 1e-5
        assert moved.nonzero().tolist() == [[1, 2]]


@torch.no_grad()
def test_what_stands_in_the_place_of_a_lacking_channel_is_not_read() -> None:
    reader = build(**THREE, model__channel_dropout=0.3)
    nn.init.normal_(reader.missing_CD)
    window_BWCL, mask_BW = windows(3)
    there_BC = torch.tensor([[True, True, False], [True, True, True]])
    with_all, with_two = reader(window_BWCL, mask_BW)[0], reader(window_BWCL, mask_BW, there_BC)[0]
    assert torch.equal(with_two[1], with_all[1])
    assert not torch.allclose(with_two[0], with_all[0], atol=1e-3)
    changed = window_BWCL.clone()
    changed[0, :, 2] = 100
    assert torch.equal(reader(changed, mask_BW, there_BC)[0], with_two)


def test_in_training_a_channel_may_lack_one_of_its_views_for_a_whole_night() -> None:
    reader = build(**THREE, model__normalization="zscore_whitened", model__view_dropout=0.4)
    seen = []
    reader.pool = lambda epochs, there: seen.append(epochs) or epochs.flatten(1)[:, :16]  # type: ignore[method-assign]
    reader.context = None
    window = torch.ones(400, 2, 3, 2, 100)
    reader(window, torch.ones(400, 2, dtype=torch.bool))
    assert bool((torch.cat(seen) == 1).all())
    seen.clear()
    reader.train()
    reader(window, torch.ones(400, 2, dtype=torch.bool))
    kept_BWCV = torch.cat(seen).unflatten(0, (400, 2))[..., 0]
    assert torch.equal(kept_BWCV[:, 0], kept_BWCV[:, 1])
    num_kept_BC = kept_BWCV[:, 0].sum(dim=-1)
    assert bool((num_kept_BC >= 1).all())
    assert float((num_kept_BC == 1).float().mean()) == pytest.approx(0.4, abs=0.06)
    assert kept_BWCV[:, 0].mean(dim=(0, 1)).tolist() == pytest.approx([0.8, 0.8], abs=0.06)


def test_a_reader_that_has_not_learned_to_do_without_has_no_weights_for_it() -> None:
    assert "missing_CD" not in build(**THREE).state_dict()
    assert "missing_CD" not in build(model__channel_dropout=0.3).state_dict()
    window_BWCL, mask_BW = windows(3)
    with pytest.raises(AssertionError, match="a channel is missing"):
        build(**THREE)(window_BWCL, mask_BW, torch.tensor([[True, True, False]] * 2))


@pytest.mark.parametrize("num_channels", [1, 3])
@torch.no_grad()
def test_an_epoch_does_not_depend_on_its_batch_mates(num_channels: int) -> None:
    reader = build(stage__extra_channels=("EOG", "EMG")[: num_channels - 1])
    window_BWCL, mask_BW = windows(num_channels, 3)
    together = reader(window_BWCL, mask_BW)
    for night in range(3):
        for whole, alone in zip(together, reader(window_BWCL[night : night + 1], mask_BW[:1]), strict=True):
            assert torch.allclose(whole[night], alone[0], atol=1e-5)


@torch.no_grad()
def test_a_series_of_a_channel_is_encoded_as_that_channel_of_a_window_is() -> None:
    reader = build(**THREE)
    series = windows(3)[0][0, 0]
    first, as_second = (reader.encode_series(series[:1], None, torch.tensor([channel])) for channel in (0, 1))
    assert torch.equal(first, reader.encode_series(series[:1], None))
    assert not torch.allclose(first, as_second, atol=1e-3)


@torch.no_grad()
def test_the_language_model_reads_every_channel_as_what_it_is(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, stage__extra_channels=("EMG",))
    model = build_small_model(config)
    batch = collate(config, [sleep_dataset(config)[3]])
    before = model.fuse(batch).embeds_BTE
    nn.init.normal_(model.reader.channel_offset_CD)
    moved = (model.fuse(batch).embeds_BTE != before).any(dim=-1)[0]
    emg_begins = int((batch.series_seen_BT[0] == 1).nonzero()[0])
    assert moved[emg_begins:].any()
    assert not moved[:emg_begins].any()


@pytest.mark.parametrize("channels", [(), ("EMG", "EOG")])
def test_other_channels_than_the_model_reads_are_one_line_that_names_them(channels: tuple[str, ...]) -> None:
    from tslm.data.samples.night_windows import check_num_channels

    with pytest.raises(ValueError, match=r"channels \(.*\) for a model that reads 2") as caught:
        check_num_channels((CHANNEL, *channels), 2)
    assert "\n" not in str(caught.value)
