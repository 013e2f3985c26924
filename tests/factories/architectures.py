"""Small random language models of several architectures."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

SMALL_LLM = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
ARCHITECTURES = {
    "llama": LlamaConfig(**SMALL_LLM, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**SMALL_LLM),
    "gemma2": Gemma2Config(**SMALL_LLM, sliding_window=32, final_logit_softcapping=0.5),
    "gemma3": Gemma3TextConfig(**SMALL_LLM, sliding_window=32),
    "mistral": MistralConfig(**SMALL_LLM, sliding_window=32),
}


def build_llm(architecture: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]
    config._attn_implementation = "eager" if architecture == "gemma2" else "sdpa"
    llm = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for name, param in llm.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(param, std=0.1)
    return llm
