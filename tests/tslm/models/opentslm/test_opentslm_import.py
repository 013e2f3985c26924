import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from evaluation.generate import main as generate
from tests.factories.small import small_recording
from tslm.cli import main
from tslm.config.checkpoint import load_checkpoint_config
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.predictions.rows import read_predictions
from tslm.training.checkpoints.checkpoint import STATE_FILE, load_checkpoint

WIDTH, PATCH, HEADS, LAYERS, FF, MAX_PATCHES = 16, 4, 4, 2, 24, 400
RANK, ALPHA = 3, 12


class PublishedEncoder(nn.Module):
    """The published layout: its names, its order of positions, norm and post-norm layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(1, WIDTH, PATCH, stride=PATCH, bias=False)
        self.pos_embed = nn.Parameter(torch.randn(1, MAX_PATCHES, WIDTH))
        self.input_norm = nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FF, 0.0, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, LAYERS)

    def forward(self, series: Tensor) -> Tensor:
        patches = self.patch_embed(series[:, None]).transpose(1, 2)
        return self.encoder(self.input_norm(patches + self.pos_embed[:, : patches.shape[1]]))


class PublishedProjector(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, width), nn.GELU(), nn.Dropout(0.0))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.projector(tokens)


@pytest.fixture(scope="module")
def llm(tiny_llm: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_llm).eval()


@pytest.fixture(scope="module")
def parts(llm: Any) -> tuple[nn.Module, nn.Module]:
    """Encoder and projector with random weights everywhere, also where they start at one or zero."""
    torch.manual_seed(0)
    encoder, projector = PublishedEncoder().eval(), PublishedProjector(llm.get_input_embeddings().embedding_dim).eval()
    for param in (*encoder.parameters(), *projector.parameters()):
        nn.init.normal_(param, std=0.3)
    return encoder, projector


@pytest.fixture(scope="module")
def lora_state(llm: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, module in llm.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            for letter, shape in (("A", (RANK, module.in_features)), ("B", (module.out_features, RANK))):
                tensor = torch.randn(shape, generator=generator) * 0.2
                state[f"base_model.model.{name}.lora_{letter}.default.weight"] = tensor
    return state


@pytest.fixture
def content(parts: Any) -> dict[str, Any]:
    """What OpenTSLM's trainer saves without adapters."""
    encoder, projector = parts
    return {
        "encoder_state": encoder.state_dict(),
        "projector_state": projector.state_dict(),
        "optimizer_state": torch.optim.AdamW(encoder.parameters()).state_dict(),
        "scheduler_state": {"last_epoch": 7},
        "val_loss": 0.25,
        "epoch": 7,
        "lora_enabled": False,
    }


@pytest.fixture
def run(tmp_path: Path, tiny_llm: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Save what is given as a checkpoint file and import it."""

    def import_content(content: Any, *more: str, llm: str = str(tiny_llm)) -> tuple[int, str, str]:
        path = tmp_path / "best_model.pt"
        if content is not None:
            torch.save(content, path)
        fixed = ["import-opentslm", str(path), "--out", str(tmp_path / "imported"), "--num_heads", str(HEADS)]
        code = main([*fixed, "--llm", llm, *more])
        return code, *capsys.readouterr()

    return import_content


@pytest.mark.parametrize("num_samples", [1500, 1498])
@torch.no_grad()
def test_encoder_and_projector_give_what_the_published_ones_give(
    num_samples: int, content: Any, parts: Any, run: Any, tmp_path: Path
) -> None:
    code, out, _ = run(content)
    assert code == 0
    assert f"{LAYERS} layers of width {WIDTH}" in out
    model: Any = load_checkpoint(tmp_path / "imported")[0]
    series = torch.randn(3, num_samples, generator=torch.Generator().manual_seed(2))
    padded = nn.functional.pad(series, (0, -num_samples % PATCH))  # the published pipeline pads with zeros, too
    expected = parts[0](padded)
    tokens = model.reader.encoder(series)
    assert (tokens - expected).abs().max() < 1e-5
    assert (model.fusion.projector(tokens) - parts[1](expected)).abs().max() < 1e-5


def test_sizes_come_from_the_shapes_and_the_rest_is_the_guides(content: Any, run: Any, tmp_path: Path) -> None:
    run(content)
    config = load_checkpoint_config(tmp_path / "imported")
    encoder = config.model.encoder
    sizes = (encoder.d_model, encoder.patch_size, encoder.num_layers, encoder.d_ff, encoder.max_patches)
    assert sizes == (WIDTH, PATCH, LAYERS, FF, MAX_PATCHES)
    assert (encoder.front_end, encoder.num_heads, config.model.projector.kind) == ("conv", HEADS, "linear")
    assert (config.model.normalization, config.model.label_set) == ("zscore", "aasm_movement")
    assert (config.model.context.kind, config.model.fs_hz, config.model.epoch_s) == ("none", 50.0, 30.0)
    assert config.stage.trained == ("encoder", "projector")
    assert (config.stage.prompt_style, config.stage.facts) == ("guide", "none")  # as its training asked


@pytest.mark.parametrize("alone", [True, False], ids=["peft alone", "our model"])
@torch.no_grad()
def test_adapters_add_what_their_weights_say(
    alone: bool, content: Any, lora_state: Any, run: Any, tiny_llm: Path, tmp_path: Path
) -> None:
    code, out, _ = run(content | {"lora_enabled": True, "lora_state": lora_state}, "--lora_alpha", str(ALPHA))
    assert code == 0
    assert f"rank {RANK} on q_proj, down_proj; alpha {ALPHA} (given)" in out
    by_hand = AutoModelForCausalLM.from_pretrained(tiny_llm).eval()
    for name, module in by_hand.named_modules():
        prefix = f"base_model.model.{name}.lora_"
        if f"{prefix}A.default.weight" in lora_state:
            product = lora_state[f"{prefix}B.default.weight"] @ lora_state[f"{prefix}A.default.weight"]
            module.weight += ALPHA / RANK * product
    plain = AutoModelForCausalLM.from_pretrained(tiny_llm).eval()
    ids = torch.arange(20)[None]
    expected, without = by_hand(ids).logits, plain(ids).logits
    if alone:
        logits = peft.PeftModel.from_pretrained(plain, tmp_path / "imported" / "adapter").eval()(ids).logits
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    else:
        logits = load_checkpoint(tmp_path / "imported")[0].llm(ids).logits.float()  # in bfloat16
        assert (logits - expected).abs().mean() < 0.1 * (without - expected).abs().mean()


def published_settings(**changes: Any) -> dict[str, Any]:
    return {
        "default": peft.LoraConfig(r=RANK, lora_alpha=10, target_modules=["q_proj"], task_type="CAUSAL_LM", **changes)
    }


@pytest.mark.parametrize(
    ("settings", "more", "alpha", "said"),
    [
        ({}, (), 32, "OpenTSLM's default"),
        ({}, ("--lora_alpha", "5"), 5, "(given)"),
        ({"lora_config": published_settings()}, (), 10, "(of the file)"),
        ({"lora_config": published_settings()}, ("--lora_alpha", "5"), 5, "(given)"),
    ],
    ids=["unknown", "given", "in the file", "both"],
)
def test_alpha_is_the_calls_or_the_files_or_the_published_one(
    settings: Any, more: Any, alpha: int, said: str, content: Any, lora_state: Any, run: Any, tmp_path: Path
) -> None:
    code, out, _ = run(content | {"lora_enabled": True, "lora_state": lora_state} | settings, *more)
    assert (code, said in out) == (0, True)
    assert load_checkpoint_config(tmp_path / "imported").model.lora.alpha == alpha


def test_an_imported_model_answers_for_nights_of_its_rate_only(
    content: Any, lora_state: Any, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(content | {"lora_enabled": True, "lora_state": lora_state})[0] == 0
    night = small_recording(num_epochs=5)
    channels = {name: np.random.default_rng(0).normal(size=(5, 1500)).astype(np.float32) for name in night.channels}
    for folder, recording in (("at50", replace(night, fs_hz=50.0, channels=channels)), ("at20", night)):
        write_participants([write_recording(recording, tmp_path / folder, "test")], tmp_path / folder)
    fixed = ["--checkpoint", str(tmp_path / "imported"), "--out", str(tmp_path / "p.jsonl"), "--max_new_tokens", "12"]
    assert generate([*fixed, "--data", str(tmp_path / "at20")]) == 2
    assert "prepare the recordings with fs_hz=50" in capsys.readouterr().err
    assert generate([*fixed, "--data", str(tmp_path / "at50"), "--num_samples", "2"]) == 0
    assert len(read_predictions(tmp_path / "p.jsonl")) == 2


class Evil:
    """Runs a command where a pickle is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(content: Any, run: Any, tmp_path: Path) -> None:
    code, out, err = run(content | {"epoch": Evil(tmp_path / "ran")})
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mkdir" in err
    assert "may run any code" in err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "imported").exists()


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def changed(state: dict[str, Tensor], name: str, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return state | {name: change(state[name].clone())}


def spoil_encoder(change: Callable[[dict], dict]) -> Callable[[dict, dict], dict]:
    return lambda content, lora: content | {"encoder_state": change(content["encoder_state"])}


def spoil_projector(change: Callable[[dict], dict]) -> Callable[[dict, dict], dict]:
    return lambda content, lora: content | {"projector_state": change(content["projector_state"])}


def spoil_lora(change: Callable[[dict], dict], **more: Any) -> Callable[[dict, dict], dict]:
    return lambda content, lora: content | {"lora_enabled": True, "lora_state": change(lora)} | more


Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_encoder(lambda s: without(s, "input_norm.bias")), "encoder_state lacks input_norm.bias"),
        (spoil_encoder(lambda s: without(s, "pos_embed")), "lacks pos_embed"),
        (spoil_encoder(lambda s: s | {"patch_embed.bias": torch.ones(WIDTH)}), "holds unknown patch_embed.bias"),
        (spoil_encoder(lambda s: changed(s, "pos_embed", lambda t: t * torch.nan)), "NaN or infinite.*'pos_embed'"),
        (
            spoil_encoder(lambda s: changed(s, "encoder.layers.1.linear1.bias", lambda t: t[:-1])),
            r"encoder.layers.1.linear1.bias of shape \(23,\), wanted \(24,\)",
        ),
        (spoil_encoder(lambda s: s | {"note": "hello"}), "'note', a str in the place of a tensor"),
        (spoil_encoder(lambda s: {}), "has no encoder_state"),
        (spoil_projector(lambda s: without(s, "projector.1.bias")), "projector_state lacks projector.1.bias"),
        (
            spoil_projector(lambda s: changed(s, "projector.1.weight", lambda t: torch.zeros(2048, WIDTH))),
            "trained with a language model of width 2048, tiny has .* another --llm",
        ),
        (spoil_lora(lambda s: {}), "its lora_state is missing"),
        (spoil_lora(lambda s: without(s, f"{Q0}.lora_B.default.weight")), rf"lora_state lacks {Q0}.lora_B"),
        (
            spoil_lora(lambda s: changed(s, f"{Q0}.lora_A.default.weight", lambda t: torch.cat([t, t]))),
            "are of ranks 3, 6; wanted one rank",
        ),
        (
            spoil_lora(lambda s: s | {f"{Q0.replace('.0.', '.99.')}.lora_A.default.weight": torch.ones(RANK, 8)}),
            "layers.99.* for which tiny has no place",
        ),
        (spoil_lora(lambda s: s, lora_config=published_settings(use_rslora=True)), "lora_config sets use_rslora"),
        (
            spoil_lora(lambda s: s, lora_config={"default": peft.LoraConfig(r=8)}),
            "lora_config says rank 8, the weights of lora_state have 3",
        ),
        (lambda content, lora: content | {"embedding_weight": torch.ones(2)}, "holds embedding_weight"),
        (lambda content, lora: [1, 2], "holds a list; wanted a checkpoint"),
        (lambda content, lora: {}, "has no encoder_state"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(
    spoil: Any, said: str, content: Any, lora_state: Any, run: Any, tmp_path: Path
) -> None:
    code, out, err = run(spoil(content, lora_state))
    error = err.splitlines()[-1]  # those before show the progress of loading the language model
    assert (code, out, err.count("error:")) == (2, "", 1)
    assert "Traceback" not in err
    assert re.search(f"^error: .*{said}", error), error
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 50, b"\x80\x02}q\x00.", "cut", "missing"])
def test_a_file_that_is_no_checkpoint_is_one_clear_line(damage: Any, content: Any, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "best_model.pt"
    if damage == "cut":
        torch.save(content, path)
        path.write_bytes(path.read_bytes()[:-3000])
    elif damage != "missing":
        path.write_bytes(damage)
    code, out, err = run(None)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "best_model.pt" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--num_heads", "3"), "cannot be shared by 3 attention heads"),
        (("--num_heads", "0"), "cannot be shared by 0 attention heads"),
        (("--stage", "stage9"), "unknown stage 'stage9'"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(more: Any, said: str, content: Any, run: Any) -> None:
    code, _, err = run(content, *more)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_what_stands_in_the_place_of_the_checkpoint_is_left_alone(content: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "mine.txt").write_text("mine")
    code, _, err = run(content)
    assert (code, "exists; remove it or choose another" in err) == (2, True)
    assert (tmp_path / "imported" / "mine.txt").read_text() == "mine"


def test_what_the_file_tells_of_its_training_is_kept(content: Any, run: Any, tmp_path: Path) -> None:
    run(content)
    state = json.loads((tmp_path / "imported" / STATE_FILE).read_text())
    assert state == {"imported_from": "best_model.pt", "train_epoch": 7, "val_loss": 0.25}
