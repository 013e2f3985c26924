"""Folders of language models that are made here: converted from a GGUF file, or tiny and random, for tests.

A folder holds config, safetensors and tokenizer as `from_pretrained` reads them, and appears whole or not at all.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tslm.files import share_files
from tslm.models.llm.store import is_llm_dir

logger = logging.getLogger(__name__)

_END_OF_TEXT = "<|endoftext|>"


def convert_gguf(gguf_path: Path, out_dir: Path, notices: Mapping[str, str] | None = None) -> Path:
    """Convert a GGUF file into an ordinary folder: config, bfloat16 safetensors and tokenizer.

    Args:
        gguf_path: The file; architecture and tokenizer are read from it.
        out_dir: Folder to make; it appears whole or not at all. A model that is there already stays.
        notices: Text files to put beside the weights, name to text (licence, origin).

    Returns:
        `out_dir`.

    Raises:
        FileNotFoundError: `gguf_path` is missing.
        ValueError: The file is no GGUF file.
        FileExistsError: `out_dir` holds something else.
    """
    if is_llm_dir(out_dir):
        return out_dir
    if not gguf_path.is_file():
        raise FileNotFoundError(f"there is no file {gguf_path}")
    with gguf_path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{gguf_path} is not a GGUF file (it does not start with 'GGUF')")
    logger.info("converting %s", gguf_path.name)
    source_dir, name = str(gguf_path.parent), gguf_path.name
    tokenizer = AutoTokenizer.from_pretrained(source_dir, gguf_file=name)
    quantized = AutoModelForCausalLM.from_pretrained(source_dir, gguf_file=name, dtype=torch.float32)
    with _build_beside(out_dir) as partial_dir:
        _unquantize(quantized).save_pretrained(partial_dir)
        tokenizer.save_pretrained(partial_dir)
        for notice_name, text in (notices or {}).items():
            (partial_dir / notice_name).write_text(text, encoding="utf-8")
    return out_dir


def build_tiny_llm(out_dir: Path, seed: int = 0) -> Path:
    """Write a random 36k-parameter Llama with a byte-level tokenizer, for tests and dry runs.

    One token a byte plus `<|endoftext|>`, which is begin, end and pad. Weights depend on `seed` only.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: idx for idx, symbol in enumerate(alphabet)}
    bytes_only = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.add_special_tokens([_END_OF_TEXT])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        bos_token=_END_OF_TEXT,
        eos_token=_END_OF_TEXT,
        pad_token=_END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    end_id = bytes_only.token_to_id(_END_OF_TEXT)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=112,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=end_id,
        eos_token_id=end_id,
        pad_token_id=end_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with _build_beside(out_dir) as partial_dir:
        model.save_pretrained(partial_dir)
        tokenizer.save_pretrained(partial_dir)
    return out_dir


def _unquantize(quantized: PreTrainedModel) -> PreTrainedModel:
    """A model of the same class and weights, in bfloat16, that carries no trace of its quantization."""
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = ""
    config.dtype = torch.bfloat16
    state = quantized.state_dict()
    packed = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    if packed:
        raise ValueError(f"this transformers version keeps GGUF weights packed ({packed[0]}); use transformers>=5.23")
    plain = type(quantized)(config).bfloat16()
    plain.load_state_dict(state)
    plain.generation_config = quantized.generation_config
    return plain


@contextmanager
def _build_beside(out_dir: Path) -> Iterator[Path]:
    """A temporary folder beside `out_dir` that takes its place when the block ends well."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    partial_dir = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", suffix=".partial", dir=out_dir.parent))
    try:
        yield partial_dir
        if is_llm_dir(out_dir):  # another process was faster
            return
        if out_dir.exists() and any(out_dir.iterdir()):
            raise FileExistsError(f"{out_dir} is not empty and holds no language model; empty it or choose another")
        partial_dir.chmod(0o755)  # mkdtemp leaves it to the owner alone; a cache may be shared
        share_files(partial_dir)
        os.replace(partial_dir, out_dir)
    except SafetensorError as error:
        raise OSError(f"{out_dir} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial_dir, ignore_errors=True)
