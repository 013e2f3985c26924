"""Benchmark on one H200 GPU: training throughput, memory of a 12-lead ECG, and speed of the classifier.

The language model has the shape of Llama-3.2-1B and random weights, which do not change speed and memory; only a
small tokenizer is downloaded.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from evaluation.benchmarks.work import ClassifierBench, TextBench, count_tokens, measure
from tslm.command import Row

PEAK_FLOPS = 790e12  # of an H200 in bfloat16 without sparsity, as far as matrix products reach it
_NUM_LEADS, _ECG_SAMPLES = 12, 1000  # 10 s at 100 Hz
_CLASSIFIER_EPOCHS = 960


@dataclass(frozen=True)
class GpuWork:
    """Shape of the language model and batch sizes."""

    llm: LlamaConfig
    train_batch: int = 32
    ecg_batch: int = 4


LLAMA_1B = LlamaConfig(
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=64,
    vocab_size=128256,
    tie_word_embeddings=True,
    max_position_embeddings=131072,
)


def measure_gpu(work: GpuWork, tokenizer_of: str, repeats: int) -> Iterator[Row]:
    """Measure the rows of the current device.

    Args:
        work: shape and batch sizes.
        tokenizer_of: short name of a language model whose tokenizer is used.
        repeats: timed repetitions; the median counts.
    """
    bench = _build(work, tokenizer_of, num_series=1)
    batch = bench.batch(work.train_batch, with_response=True)
    step = partial(bench.train_step, batch)
    step()
    timings = [measure(step, bench.device) for _ in range(repeats)]
    seconds = statistics.median(timing.seconds for timing in timings)
    num_tokens = count_tokens(batch)
    share = count_flops(bench.model.causal_lm, num_tokens, num_tokens / work.train_batch) / seconds / PEAK_FLOPS
    note = f"{num_tokens / seconds:.0f} tokens/s, batch {work.train_batch}"
    yield Row("training step, share of 790 TFLOP/s", 100 * share, "%", least=35, note=note)
    del bench, batch, step

    ecg = _build(work, tokenizer_of, num_series=_NUM_LEADS)
    leads = ecg.batch(work.ecg_batch, with_response=True)
    ecg.train_step(leads)
    peak_gib = measure(partial(ecg.train_step, leads), ecg.device).peak_gib
    yield Row(f"12-lead ECG, soft prompt, batch {work.ecg_batch}, peak memory", peak_gib, "GiB", most=25)
    del ecg, leads

    classifier = ClassifierBench("scorer")
    score = classifier.score(_CLASSIFIER_EPOCHS)
    score()
    seconds = statistics.median(measure(score, classifier.device).seconds for _ in range(repeats))
    yield Row("classifier, a night at once", 1e3 * seconds / _CLASSIFIER_EPOCHS, "ms/epoch", most=0.1)


def count_flops(llm: PreTrainedModel, num_tokens: int, mean_length: float) -> float:
    """Count the floating-point operations of a training step through a frozen language model.

    Each weight and token needs two operations forward and two backward, as frozen weights have no gradient. The two
    products of causal attention are computed once forward and twice backward. Word embeddings, head, adapters and
    encoder are not counted.

    Args:
        llm: the causal language model.
        num_tokens: real positions of the batch.
        mean_length: positions of a sample.
    """
    config: Any = llm.config
    layers: Any = llm.base_model.layers
    named = [(name, param) for name, param in layers.named_parameters() if "lora_" not in name]
    num_weights = sum(param.numel() for _, param in named if param.ndim == 2)
    attention = 6 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * mean_length
    return num_tokens * (4 * num_weights + attention)


def _build(work: GpuWork, tokenizer_of: str, num_series: int) -> TextBench:
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(work.llm, dtype=torch.bfloat16).requires_grad_(False)
    lead_tokens = 188 + 20 * (num_series - 1)
    num_samples = 3000 if num_series == 1 else _ECG_SAMPLES
    return TextBench(
        tokenizer_of,
        ("model.encoder.max_patches=1024",),
        lead_tokens=lead_tokens,
        num_series=num_series,
        num_samples=num_samples,
        language_model=llm,
    )
