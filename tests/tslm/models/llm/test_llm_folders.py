from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tslm.models.llm.folders import build_tiny_llm, convert_gguf


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llm(tmp_path_factory.mktemp("llm") / "tiny")


def test_tiny_model_has_36k_parameters_and_loads(tiny_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_dir)
    assert 30_000 < sum(p.numel() for p in model.parameters()) < 42_000
    assert model.config.hidden_size == 32
    assert model.config.num_key_value_heads == 2


def test_tiny_model_is_the_same_for_the_same_seed_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    states = [
        AutoModelForCausalLM.from_pretrained(build_tiny_llm(tmp_path / str(i), seed)).state_dict()
        for i, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(torch.rand(3), expected)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])


@pytest.mark.parametrize("text", ["Answer: Non-REM stage 2", "  two  spaces\n\nand µV ≥ 75 😴", ""])
def test_tiny_tokenizer_gives_every_text_back(tiny_dir: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_dir)
    token_ids = tokenizer(text).input_ids
    assert tokenizer.decode(token_ids) == text
    assert len(token_ids) == len(text.encode())


def test_tiny_tokenizer_has_one_special_token_for_begin_end_and_pad(tiny_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_dir)
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert len(tokenizer("<|endoftext|>").input_ids) == 1


def test_a_file_that_is_no_gguf_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="not a GGUF file"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        convert_gguf(tmp_path / "absent.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_model_that_is_there_is_never_overwritten_and_other_files_are_never_removed(
    tiny_dir: Path, tmp_path: Path
) -> None:
    before = (tiny_dir / "model.safetensors").stat().st_mtime_ns
    build_tiny_llm(tiny_dir, seed=5)
    assert (tiny_dir / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        build_tiny_llm(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_gguf_file_becomes_a_folder_with_the_same_weights(tmp_path: Path) -> None:
    gguf_path = tmp_path / "small.gguf"
    weights = write_small_gguf(gguf_path)
    folder = convert_gguf(gguf_path, tmp_path / "out", {"NOTICE.md": "origin\n"})
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    embedding = model.get_input_embeddings().weight
    assert torch.equal(embedding.float(), torch.from_numpy(weights["token_embd.weight"]).bfloat16().float())
    assert tokenizer.decode(tokenizer("ab ba").input_ids) == "ab ba"
    assert (folder / "NOTICE.md").read_text() == "origin\n"
    assert (folder / "model.safetensors").stat().st_mode & 0o044
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small.gguf"]


def write_small_gguf(path: Path) -> dict:
    """A Llama of one layer and a handful of byte tokens in float32."""
    import gguf
    import numpy as np

    tokens = ["<|endoftext|>", "a", "b", "Ġ", "ab"]
    width, num_heads, inner = 32, 4, 64
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(num_heads)
    writer.add_head_count_kv(num_heads)
    writer.add_rope_dimension_count(width // num_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    generator = np.random.default_rng(0)
    shapes = {
        "token_embd.weight": (len(tokens), width),
        "output_norm.weight": (width,),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.ffn_norm.weight": (width,),
        **{f"blk.0.attn_{name}.weight": (width, width) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (inner, width),
        "blk.0.ffn_up.weight": (inner, width),
        "blk.0.ffn_down.weight": (width, inner),
    }
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights
