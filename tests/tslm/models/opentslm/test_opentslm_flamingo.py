import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tslm.cli import main
from tslm.config.checkpoint import load_checkpoint_config
from tslm.nn.cross_attention import VisibleLatents
from tslm.nn.resampler import number_series
from tslm.training.checkpoints.checkpoint import load_checkpoint

WIDTH, PATCH, MAX_PATCHES, LATENTS, DEPTH, HEADS, HEAD_SIZE = 16, 4, 64, 5, 2, 8, 4
INNER = HEADS * HEAD_SIZE


@pytest.fixture(scope="module")
def llm(tiny_llm: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_llm)


def make_state(llm: Any, every: int = 1) -> dict[str, Tensor]:
    """The published layout with random weights, the decoder's layers and the blocks twice, as it saves them."""
    generator = torch.Generator().manual_seed(0)
    wide = llm.get_input_embeddings().embedding_dim

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    state = {"vision_encoder.patch_embed.weight": draw(WIDTH, 1, PATCH)}
    state["vision_encoder.pos_embed"] = draw(1, MAX_PATCHES, WIDTH)
    state["perceiver.latents"] = draw(LATENTS, WIDTH)
    norms = [("vision_encoder.input_norm", WIDTH), ("perceiver.norm", WIDTH)]
    linears = []
    for layer in range(DEPTH):
        at = f"perceiver.layers.{layer}"
        norms += [(f"{at}.0.norm_media", WIDTH), (f"{at}.0.norm_latents", WIDTH), (f"{at}.1.0", WIDTH)]
        linears += [
            (f"{at}.0.to_q", INNER, WIDTH),
            (f"{at}.0.to_kv", 2 * INNER, WIDTH),
            (f"{at}.0.to_out", WIDTH, INNER),
        ]
        linears += [(f"{at}.1.1", 4 * WIDTH, WIDTH), (f"{at}.1.3", WIDTH, 4 * WIDTH)]
    for layer in range(every - 1, llm.config.num_hidden_layers, every):
        at = f"lang_encoder.gated_cross_attn_layers.{layer}"
        norms += [(f"{at}.attn.norm", wide), (f"{at}.ff.0", wide)]
        linears += [(f"{at}.attn.to_q", INNER, wide), (f"{at}.attn.to_kv", 2 * INNER, WIDTH)]
        linears += [(f"{at}.attn.to_out", wide, INNER), (f"{at}.ff.1", 4 * wide, wide), (f"{at}.ff.3", wide, 4 * wide)]
        state |= {f"{at}.attn_gate": draw(1), f"{at}.ff_gate": draw(1)}
    state |= {f"{name}.weight": draw(rows, columns) for name, rows, columns in linears}
    state |= {f"{name}.{kind}": draw(width) for name, width in norms for kind in ("weight", "bias")}
    for layer in range(llm.config.num_hidden_layers):
        state[f"lang_encoder.old_decoder_blocks.{layer}.self_attn.q_proj.weight"] = draw(2, 2)
        state[f"lang_encoder.model.layers.{layer}.decoder_layer.self_attn.q_proj.weight"] = draw(2, 2)
        at = f"lang_encoder.model.layers.{layer}.gated_cross_attn_layer.ff_gate"
        state[at] = state.get(f"lang_encoder.gated_cross_attn_layers.{layer}.ff_gate", draw(1))
    state["lang_encoder.model.embed_tokens.weight"] = draw(9, wide)
    return state


def attend(state: dict[str, Tensor], at: str, query: Tensor, read: Tensor) -> Tensor:
    """Plain attention of one sample, head by head: query (T, ...), read (M, ...)."""
    keys, values = (read @ state[f"{at}.to_kv.weight"].T).split(INNER, dim=-1)
    queries = query @ state[f"{at}.to_q.weight"].T
    heads = []
    for head in range(HEADS):
        part = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
        weights = (queries[:, part] @ keys[:, part].T / HEAD_SIZE**0.5).softmax(-1)
        heads.append(weights @ values[:, part])
    return torch.cat(heads, dim=-1) @ state[f"{at}.to_out.weight"].T


def norm(state: dict[str, Tensor], at: str, values: Tensor) -> Tensor:
    return nn.functional.layer_norm(values, values.shape[-1:], state[f"{at}.weight"], state[f"{at}.bias"])


def feed_forward(state: dict[str, Tensor], at: str, values: Tensor) -> Tensor:
    hidden = nn.functional.gelu(norm(state, f"{at}.0", values) @ state[f"{at}.1.weight"].T)
    return hidden @ state[f"{at}.3.weight"].T


def read_series(state: dict[str, Tensor], series: Tensor) -> Tensor:
    """Latents of one series by the published design."""
    patches = series.unflatten(0, (-1, PATCH)) @ state["vision_encoder.patch_embed.weight"][:, 0].T
    tokens = norm(state, "vision_encoder.input_norm", patches + state["vision_encoder.pos_embed"][0, : len(patches)])
    latents = state["perceiver.latents"]
    for layer in range(DEPTH):
        at = f"perceiver.layers.{layer}"
        normed = norm(state, f"{at}.0.norm_latents", latents)
        read = torch.cat([norm(state, f"{at}.0.norm_media", tokens), normed])
        latents = latents + attend(state, f"{at}.0", normed, read)
        latents = latents + feed_forward(state, f"{at}.1", latents)
    return norm(state, "perceiver.norm", latents)


@pytest.fixture
def run(tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    def import_content(content: Any) -> tuple[int, str, str]:
        torch.save(content, tmp_path / "m.pt")
        fixed = ["import-opentslm", str(tmp_path / "m.pt"), "--out", str(tmp_path / "imported"), "--llm", str(tiny_llm)]
        return main(fixed), *capsys.readouterr()

    return import_content


@pytest.mark.parametrize(("key", "wrapper", "every"), [("llm", "", 1), ("model_state", "model.", 1), ("llm", "", 2)])
@torch.no_grad()
def test_latents_and_blocks_give_what_the_published_design_gives(
    key: str, wrapper: str, every: int, llm: Any, run: Any, tmp_path: Path
) -> None:
    state = make_state(llm, every)
    saved = {f"{wrapper}{name}": tensor for name, tensor in state.items()}
    if wrapper:
        saved |= {f"llm.{name}": tensor for name, tensor in state.items()}
    assert run({key: saved, "epoch": 3})[0] == 0
    model: Any = load_checkpoint(tmp_path / "imported")[0]
    generator = torch.Generator().manual_seed(1)
    series = torch.randn(40, generator=generator)
    expected = read_series(state, series)
    tokens = model.reader.encoder(series[None])
    latents = model.fusion.resampler(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))
    latents = latents + number_series(1, WIDTH)  # as the fusion adds it to the first series of a sample
    torch.testing.assert_close(latents[0], expected, atol=1e-5, rtol=1e-5)
    hidden = 3 * torch.randn(6, llm.config.hidden_size, generator=generator)
    assert len(model.fusion.blocks) == llm.config.num_hidden_layers // every
    for number, block in enumerate(model.fusion.blocks):
        at = f"lang_encoder.gated_cross_attn_layers.{(number + 1) * every - 1}"
        added = attend(state, f"{at}.attn", norm(state, f"{at}.attn.norm", hidden), expected)
        added[:2] = 0  # text before the series attends to nothing
        wanted = hidden + state[f"{at}.attn_gate"].tanh() * added
        wanted = wanted + state[f"{at}.ff_gate"].tanh() * feed_forward(state, f"{at}.ff", wanted)
        visible = (torch.arange(6) >= 2)[None, :, None].expand(1, 6, LATENTS)
        given = block(hidden[None], VisibleLatents(*block.read_latents(expected[None]), visible))
        torch.testing.assert_close(given[0], wanted, atol=1e-4, rtol=1e-4)


def test_what_did_not_map_is_listed_with_its_reason(llm: Any, run: Any, tmp_path: Path) -> None:
    state = make_state(llm) | {"lang_encoder.something": torch.ones(1)}
    code, out, _ = run({"llm": state})
    assert code == 0
    num_layers = llm.config.num_hidden_layers
    assert f"lang_encoder.old_decoder_blocks.*.self_attn.q_proj.weight ({num_layers}): frozen layers" in out
    assert "lang_encoder.model.embed_tokens.weight (1): word embeddings were trained" in out
    assert "lang_encoder.something (1): unknown here" in out
    assert "gated_cross_attn_layer.ff_gate" not in out
    config = load_checkpoint_config(tmp_path / "imported")
    assert config.model.name == "flamingo"
    assert (config.model.flamingo.num_latents, config.model.flamingo.resampler_layers) == (LATENTS, DEPTH)
    assert config.model.encoder.num_layers == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s | {"perceiver.latents": s["perceiver.latents"] / 0}, "NaN or infinite.*perceiver.latents"),
        (lambda s: {k: v for k, v in s.items() if k != "perceiver.norm.bias"}, "perceiver lacks norm.bias"),
        (lambda s: s | {"perceiver.frame_embs": torch.ones(1, WIDTH)}, "perceiver holds unknown frame_embs"),
        (
            lambda s: {k: v for k, v in s.items() if "attn_layers.1." not in k},
            "give another --llm",
        ),
        (lambda s: {k: v for k, v in s.items() if "vision" not in k}, "lacks vision_encoder.patch_embed.weight"),
        (lambda s: {}, "has no llm"),
        (lambda s: 3, "llm is a int; wanted a state dict"),
    ],
)
def test_a_flamingo_that_does_not_fit_is_named(spoil: Any, said: str, llm: Any, run: Any, tmp_path: Path) -> None:
    code, out, err = run({"llm": spoil(make_state(llm))})
    assert (code, out, err.count("error:")) == (2, "", 1)
    assert re.search(said, err.splitlines()[-1]), err
    assert not (tmp_path / "imported").exists()
