import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.config.compose import compose_config
from tslm.config.schema import ContextConfig, EncoderConfig, ModelConfig, ProjectorConfig
from tslm.nn.context import build_context
from tslm.nn.front_ends import FilterbankFrontEnd, build_front_end, split_stride
from tslm.nn.patch_encoder import EncoderLayer, PatchEncoder, count_patches
from tslm.nn.projector import Projector

SMALL = EncoderConfig(d_model=16, num_layers=2, num_heads=2, d_ff=32, max_patches=12)
CONV = replace(SMALL, front_end="conv", patch_size=4, max_patches=160)
CNN = replace(SMALL, front_end="cnn", num_layers=0)


def build(config: EncoderConfig) -> PatchEncoder:
    torch.manual_seed(0)
    return PatchEncoder(config).eval()


def band_edges(config: EncoderConfig) -> torch.Tensor:
    """Centre frequency of each filter, cycles a sample, as the filter's centre of mass."""
    filters_BF = FilterbankFrontEnd(config).filters
    frequency_B = torch.arange(len(filters_BF)) / config.band_window_samples
    return (frequency_B[:, None] * filters_BF).sum(dim=0)


def rhythm(frequency: float, length: int = 1000, phase: float = 0.0) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(length) + phase)[None]


@pytest.mark.parametrize("config", [EncoderConfig(), SMALL, replace(SMALL, num_bands=64, band_window_samples=300)])
def test_every_filter_takes_in_something_and_no_mean(config: EncoderConfig) -> None:
    filters_BF = FilterbankFrontEnd(config).filters
    assert torch.allclose(filters_BF.sum(dim=0), torch.ones(config.num_bands))
    assert bool((filters_BF[0] == 0).all())
    assert bool((filters_BF >= 0).all())
    centres = band_edges(config)
    assert bool((centres.diff() >= 0).all())


@pytest.mark.parametrize("frequency", [0.02, 0.05, 0.1, 0.13, 0.2, 0.3, 0.4])
def test_a_rhythm_peaks_in_the_band_of_its_frequency(frequency: float) -> None:
    front_end = FilterbankFrontEnd(EncoderConfig())
    energy_NF = front_end.band_log_energy(rhythm(frequency))[0]
    centres = band_edges(EncoderConfig())
    spacing = 1.0 / EncoderConfig().band_window_samples
    peak = centres[energy_NF[1:-1].mean(dim=0).argmax()]
    assert abs(float(peak) - frequency) <= max(spacing, 0.1 * frequency)


def test_band_energy_hardly_moves_with_the_phase_and_raw_patches_do() -> None:
    front_end = FilterbankFrontEnd(EncoderConfig())
    bands = [front_end.band_log_energy(rhythm(0.11, phase=phase))[0, 1:-1] for phase in (0.0, 1.0, 2.0)]
    peak = int(bands[0].mean(dim=0).argmax())
    values = torch.stack([band[:, peak] for band in bands])
    assert float(values.max() - values.min()) < 0.02
    raw = [front_end.raw(rhythm(0.11, phase=phase))[0, 1:-1] for phase in (0.0, 1.0)]
    assert (raw[0] - raw[1]).abs().max().item() > 0.1


def test_white_noise_of_unit_variance_has_unit_power_in_every_band() -> None:
    torch.manual_seed(0)
    log_energy = FilterbankFrontEnd(EncoderConfig()).band_log_energy(torch.randn(40, 3000))
    power_F = torch.exp(log_energy * 3 - 2).mean(dim=(0, 1))
    assert float(power_F[1:].min()) > 0.8
    assert float(power_F[1:].max()) < 1.2


def test_twice_the_amplitude_shifts_the_log_energy_by_a_constant() -> None:
    front_end = FilterbankFrontEnd(EncoderConfig())
    torch.manual_seed(0)
    noise = 10 * torch.randn(1, 1000)
    difference = front_end.band_log_energy(2 * noise) - front_end.band_log_energy(noise)
    assert torch.allclose(difference, torch.full_like(difference, math.log(4) / 3), atol=2e-3)


@pytest.mark.parametrize("config", [SMALL, CONV, CNN], ids=["filterbank", "conv", "cnn"])
@pytest.mark.parametrize("length", [200, 250, 399])
def test_a_padded_tail_changes_no_real_token(config: EncoderConfig, length: int) -> None:
    encoder = build(config)
    torch.manual_seed(1)
    series = torch.randn(1, length)
    longer = torch.randn(1, 600)
    padded = torch.cat([torch.nn.functional.pad(series, (0, 600 - length)), longer])
    alone = encoder(series, torch.tensor([length]))
    together = encoder(padded, torch.tensor([length, 600]))
    real = count_patches(length, config.patch_size)
    assert alone.shape[1] == real
    assert torch.allclose(alone[0], together[0, :real], atol=1e-5)
    assert bool((together[0, real:] == 0).all())
    assert torch.allclose(together[1], encoder(longer)[0], atol=1e-5)


def test_too_long_a_series_names_the_setting_to_raise() -> None:
    with pytest.raises(ValueError, match=r"13 patches exceeds .* 12 .*model.encoder.max_patches"):
        build(SMALL)(torch.zeros(1, 1201))


def test_guide_encoder_has_the_parameters_of_the_original() -> None:
    config = compose_config("stage4_sleep_cot", "guide").model.encoder
    width, inner = 128, 1024
    attention = 3 * width * width + 3 * width + width * width + width
    feed_forward = width * inner + inner + inner * width + width
    layer = attention + feed_forward + 4 * width
    convolution, positions, norm = 4 * width, 2600 * width, 2 * width
    expected = convolution + positions + norm + 6 * layer
    assert expected == 2_312_704
    assert sum(param.numel() for param in PatchEncoder(config).parameters()) == expected


def test_guide_encoder_makes_750_tokens_of_an_epoch() -> None:
    config = compose_config("stage4_sleep_cot", "guide").model
    assert config.count_series_tokens(3000) == 750


def test_encoder_equals_its_formula_written_out() -> None:
    encoder = build(replace(CONV, num_layers=1))
    series = torch.randn(2, 40)
    patches = series.unflatten(1, (10, 4)) @ encoder.front_end.patch.weight[:, 0].T
    layer = encoder.layers.layers[0]
    tokens = encoder.input_norm(patches + encoder.positions_1ND[:, :10])
    attended = layer.norm1(tokens + layer.self_attn(tokens, tokens, tokens)[0])
    expected = layer.norm2(attended + layer.linear2(torch.nn.functional.gelu(layer.linear1(attended))))
    assert torch.allclose(encoder(series), expected, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"front_end": "fft"}, {"band_window_samples": 99}, {"patch_size": 100, "band_window_samples": 151}]
)
def test_a_front_end_that_cannot_be_built_is_a_value_error(wrong: dict) -> None:
    with pytest.raises(ValueError, match="model.encoder"):
        build_front_end(replace(SMALL, **wrong))


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, raw_patch=False), CONV, CNN])
def test_every_view_of_a_series_is_read_and_reconstructed_in_its_own_patch(config: EncoderConfig) -> None:
    torch.manual_seed(0)
    front_end = build_front_end(config, num_views=2)
    series = torch.randn(2, 2, 3 * config.patch_size, requires_grad=True)
    tokens = front_end(series)
    assert tokens.shape == (2, 3, 16)
    assert front_end.targets(series).shape == (2, 3, front_end.target_width)
    tokens.square().sum().backward()
    assert series.grad is not None
    assert bool((series.grad.abs().sum(dim=-1) > 0).all())
    changed = series.detach().clone()
    changed[0, 1, -config.patch_size // 4 :] += 1  # the last patch's end, in the second view
    moved = (front_end.targets(changed) != front_end.targets(series)).any(dim=0)
    assert moved.any(dim=1).tolist() == [False, False, True]
    assert not moved[:, : front_end.target_width // 2].any()


@pytest.mark.parametrize("config", [SMALL, CONV, CNN])
@torch.no_grad()
def test_a_series_of_one_view_may_have_an_axis_for_it(config: EncoderConfig) -> None:
    encoder, series = build(config), torch.randn(2, 3 * config.patch_size - 1)
    assert torch.equal(encoder(series), encoder(series[:, None]))


@given(st.integers(1, 5000), st.integers(1, 4))
def test_strides_multiply_to_the_patch(total: int, num_layers: int) -> None:
    strides = split_stride(total, num_layers)
    assert math.prod(strides) == total
    assert strides == sorted(strides, reverse=True)
    assert len(strides) == num_layers


@pytest.mark.parametrize(
    ("patch_size", "strides"), [(100, [5, 5, 4]), (250, [10, 5, 5]), (4, [2, 2, 1]), (7, [7, 1, 1])]
)
def test_strides_are_as_even_as_the_prime_factors_allow(patch_size: int, strides: list[int]) -> None:
    assert split_stride(patch_size, 3) == strides


@pytest.mark.parametrize("patch_size", [4, 7, 50, 100, 250])
def test_the_cnn_gives_a_patch_a_token_and_every_sample_a_say(patch_size: int) -> None:
    front_end = build_front_end(replace(CNN, patch_size=patch_size))
    series = torch.randn(2, 3 * patch_size, requires_grad=True)
    tokens = front_end(series)
    assert tokens.shape == (2, 3, 16)
    assert front_end.targets(series).shape == (2, 3, front_end.target_width)
    tokens.square().sum().backward()
    assert all(bool(param.grad.any()) for param in front_end.parameters())
    assert series.grad is not None
    assert bool((series.grad != 0).all())


@torch.no_grad()
def test_the_cnn_tells_loud_from_quiet() -> None:
    encoder = build(CNN)
    quiet, loud = (encoder(scale * rhythm(0.1)) for scale in (0.5, 5.0))
    assert float((loud - quiet).abs().mean()) > 0.1


@given(st.integers(1, 5000), st.integers(1, 200), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_series_tokens_cover_the_series_and_no_more(num_samples: int, patch_size: int, merge: int) -> None:
    model = ModelConfig(encoder=EncoderConfig(patch_size=patch_size), projector=ProjectorConfig(merge=merge))
    tokens = model.count_series_tokens(num_samples)
    assert (tokens - 1) * patch_size * merge < num_samples <= tokens * patch_size * merge


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize(("num_patches", "merge", "num_tokens"), [(6, 1, 6), (6, 3, 2), (7, 3, 3), (2, 3, 1)])
def test_projector_joins_neighbours(kind: str, num_patches: int, merge: int, num_tokens: int) -> None:
    projector = Projector(ProjectorConfig(kind=kind, merge=merge), 16, 32, 0.02).eval()
    tokens = torch.randn(2, num_patches, 16)
    out = projector(tokens)
    assert out.shape == (2, num_tokens, 32)
    changed = tokens.clone()
    changed[:, -1] += 1
    moved = (projector(changed) != out).any(dim=-1)[0]
    assert moved.tolist() == [False] * (num_tokens - 1) + [True]


def test_mlp_projector_starts_at_the_set_multiple_of_the_word_embeddings_spread() -> None:
    torch.manual_seed(0)
    projector = Projector(ProjectorConfig(embedding_scale=3.0), 64, 128, 0.05)
    assert projector(torch.randn(50, 20, 64)).std().item() == pytest.approx(0.15, rel=0.15)


def test_linear_projector_is_the_guides_formula() -> None:
    projector = Projector(ProjectorConfig(kind="linear"), 16, 32, 0.02).eval()
    norm, linear = projector.layers[0], projector.layers[1]
    tokens = torch.randn(2, 5, 16)
    assert torch.allclose(projector(tokens), torch.nn.functional.gelu(linear(norm(tokens))))


def test_an_unknown_projector_or_context_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="mlp, linear"):
        Projector(ProjectorConfig(kind="attention"), 16, 32, 0.02)
    with pytest.raises(ValueError, match="none, epoch, bigru"):
        build_context(ContextConfig(kind="lstm"), 16)


def test_epochs_outside_the_recording_change_no_state_inside_it() -> None:
    torch.manual_seed(0)
    context = build_context(ContextConfig(hidden_size=8), 16)
    assert context is not None
    context.eval()
    epochs = torch.randn(3, 9, 16)
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, :4], mask[2, 6:] = False, False
    states = context(epochs, mask)
    assert torch.allclose(states[0], context(epochs[:1], mask[:1])[0], atol=1e-6)
    assert torch.allclose(states[1, 4:], context(epochs[1:2, 4:], mask[1:2, 4:])[0], atol=1e-6)
    assert torch.allclose(states[2, :6], context(epochs[2:, :6], mask[2:, :6])[0], atol=1e-6)
    assert bool((states[~mask] == 0).all())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_encoder_layers_give_what_torchs_own_give(mode: str) -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 32, 0.0, activation="gelu", batch_first=True)
    reference = torch.nn.TransformerEncoderLayer(16, 4, 32, 0.0, activation="gelu", batch_first=True)
    reference.load_state_dict(layer.state_dict())
    layer.train(mode == "train")
    reference.train(mode == "train")
    x_SND = torch.randn(3, 7, 16)
    padding_SN = torch.arange(7) >= torch.tensor([7, 4, 1])[:, None]
    bias_SN = torch.zeros(3, 7).masked_fill(padding_SN, -math.inf)
    assert torch.allclose(layer(x_SND), reference(x_SND), atol=1e-6)
    ours, theirs = layer(x_SND, src_key_padding_mask=bias_SN), reference(x_SND, src_key_padding_mask=bias_SN)
    assert torch.allclose(ours[~padding_SN], theirs[~padding_SN], atol=1e-6)


def test_encoder_layers_drop_out_while_training_only() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 32, 0.5, activation="gelu", batch_first=True)
    x_SND = torch.randn(2, 7, 16)
    assert not torch.equal(layer.train()(x_SND), layer(x_SND))
    assert torch.equal(layer.eval()(x_SND), layer(x_SND))
