"""What the benchmark runs: one sample with texts and series, our models, and measured time and memory.

The sample has 188 tokens of prompt, 3,000 signal samples (750 patches of 4) and an answer of 129 tokens, the end
token included.
"""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tslm.batch import Batch, Example, Series
from tslm.config.compose import compose_config
from tslm.config.schema import OptimConfig
from tslm.data.samples.collate import Collator, tokenize_labels
from tslm.data.samples.sampling import TrainData
from tslm.labels import LABEL_SETS
from tslm.models import build_classifier, build_text_model, build_tokenizer
from tslm.models.interface import ModelOutput
from tslm.models.llm.backbone import LanguageModel, merge_lora
from tslm.models.text_model import TextModel
from tslm.predictions.night_scorer import open_autocast
from tslm.training.optim import build_optimizer, set_trained_parts

NUM_SAMPLES = 3000
PROMPT_TOKENS, RESPONSE_TOKENS = 188, 129
_SERIES_TEXT_TOKENS, _POST_PROMPT_TOKENS = 20, 68  # of the prompt's
_AS_ORIGINAL = "model.encoder.max_patches=1024"  # the guide's position table is longer than the original's
NUM_STEPS = 200  # of the loop around an idle model
_WORD = " wave"  # begins with a space; one token of smollm2 and of most vocabularies


@dataclass(frozen=True)
class Timing:
    """Time and memory of one measured call."""

    seconds: float
    peak_gib: float  # of this process on a CPU, of what torch allocated on a GPU


class TextBench:
    """A language model with adapters, its optimizer and the common sample, under the guide's settings."""

    def __init__(
        self,
        llm: str,
        overrides: tuple[str, ...] = (),
        num_series: int = 1,
        num_samples: int = NUM_SAMPLES,
        language_model: LanguageModel | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.config = compose_config("stage4_sleep_cot", "guide", llm, overrides=[_AS_ORIGINAL, *overrides])
        self.device = choose_device()
        self.model = build_text_model(self.config, language_model)
        tokenizer = build_tokenizer(self.config)
        assert tokenizer is not None
        self.tokenizer = tokenizer
        set_trained_parts(self.model, self.config)
        self.model.to(self.device)
        self.optimizer = build_optimizer(self.model.param_groups(self.config.optim), self.config.optim)
        self.example = build_example(self.tokenizer, num_series, num_samples)

    def batch(self, size: int, with_response: bool) -> Batch:
        """Build a batch that repeats the sample `size` times."""
        return Collator(self.config.model, self.tokenizer, with_response)([self.example] * size).to(self.device)

    def train_step(self, batch: Batch) -> None:
        """Run loss, gradient, clipping and AdamW, as in the training loop."""
        self.model.train()
        with open_autocast(self.device, self.config):
            output = self.model(batch)
        (output.loss_sum / output.weight_sum).backward()
        params = [param for group in self.optimizer.param_groups for param in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, self.config.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def merge_adapters(self) -> None:
        """Merge the adapters, as in a loaded checkpoint; the model cannot be trained afterwards."""
        self.model.llm = merge_lora(self.model.llm)
        self.model.requires_grad_(False).eval()

    def generate(self, batch: Batch, num_tokens: int) -> None:
        """Generate greedy answers of exactly `num_tokens` tokens."""
        with torch.inference_mode(), open_autocast(self.device, self.config):
            self.model.generate(batch, num_tokens, -1, 0)

    def score_labels(self, size: int) -> Callable[[], None]:
        """A call that scores every sleep stage directly after `size` prompts."""
        batch = self.batch(size, with_response=False)
        labels = tokenize_labels(self.tokenizer, LABEL_SETS[self.config.model.label_set].answers).labels

        def run() -> None:
            with torch.inference_mode(), open_autocast(self.device, self.config):
                self.model.score_labels(batch, [labels] * size)

        return run


class IdleModel(nn.Module):
    """A model that computes nothing, with as many trained parameters as a real one."""

    def __init__(self, num_params: int) -> None:
        super().__init__()
        self.parts = nn.ParameterList(torch.zeros(1) for _ in range(num_params))

    def forward(self, batch: Batch) -> ModelOutput:
        """Return a loss that depends on every parameter."""
        return ModelOutput(torch.cat(list(self.parts)).sum(), torch.tensor(float(len(batch.sample_ids))))

    def param_groups(self, _optim: OptimConfig) -> list[dict]:
        """Return one group of all parameters, which stay as they are."""
        return [{"name": "all", "params": list(self.parts), "lr": 0.0, "weight_decay": 0.0}]


@dataclass
class RepeatedBatch(TrainData):
    """One pass that repeats one batch."""

    batch: Batch

    def __len__(self) -> int:
        return NUM_STEPS

    def read_pass(self, train_epoch: int, first_batch: int = 0) -> list[Batch]:  # noqa: ARG002
        """Return the batches of the only pass."""
        return [self.batch] * (NUM_STEPS - first_batch)


def build_classification(preset: str, num_epochs: int) -> Callable[[], None]:
    """Build a call by which the classifier of a preset stages `num_epochs` epochs of one night."""
    torch.manual_seed(0)
    device, config = choose_device(), compose_config("stage0_encoder", preset, model="classifier")
    model = build_classifier(config).to(device).eval()
    night = torch.randn(1, num_epochs, len(config.stage.channels), NUM_SAMPLES, device=device)
    mask = torch.ones(1, num_epochs, dtype=torch.bool, device=device)

    def run() -> None:
        with open_autocast(device, config), torch.inference_mode():
            model.logits(night, mask)

    return run


def choose_device() -> torch.device:
    """Return the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(run: Callable[[], object], device: torch.device) -> Timing:
    """Measure time and peak memory of one call: memory counted by torch on a GPU, resident memory on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    with ResidentMemory() as memory:
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else memory.peak
    return Timing(seconds, peak / 2**30)


def measure_median(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Measure the median seconds of a call, after one call that does not count."""
    run()
    return statistics.median(measure(run, device).seconds for _ in range(repeats))


class ResidentMemory(threading.Thread):
    """Peak resident memory of this process during a block, in bytes, read every 5 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done, self.peak = threading.Event(), 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        """Read the memory until the block ends."""
        process = psutil.Process()
        while not self._done.wait(0.005):
            self.peak = max(self.peak, process.memory_info().rss)


def build_example(tokenizer: PreTrainedTokenizerBase, num_series: int, num_samples: int) -> Example:
    """Build the common sample: a prompt with the texts of all series, random series, and a response.

    Raises:
        ValueError: the repeated word of the texts is not a single token in this vocabulary.
    """
    if len(tokenizer(_WORD * 8, add_special_tokens=False)["input_ids"]) != 8:
        raise ValueError(f"{_WORD!r} is not one token of this language model, so texts of a set length cannot be made")
    begin = int(tokenizer.bos_token_id is not None)
    rng = np.random.default_rng(0)
    series = [
        Series(rng.standard_normal(num_samples).astype(np.float32), _WORD * _SERIES_TEXT_TOKENS)
        for _ in range(num_series)
    ]
    first = PROMPT_TOKENS - begin - _SERIES_TEXT_TOKENS - _POST_PROMPT_TOKENS  # further series only add their texts
    response = (_WORD * (RESPONSE_TOKENS - 1))[1:]  # the collator puts the space before it and an end token after
    return Example("bench", _WORD * first, tuple(series), _WORD * _POST_PROMPT_TOKENS, response, "", ())


def count_tokens(batch: Batch) -> int:
    """Count the positions of all samples without padding."""
    assert isinstance(batch.attention_mask_BT, Tensor)
    return int(batch.attention_mask_BT.sum())


def count_trained(model: TextModel) -> dict[str, int]:
    """Count the trained parameters of each part."""
    parts: dict[str, Any] = {"encoder": model.reader.encoder, "projector": model.fusion, "lora": model.llm}
    return {
        name: sum(param.numel() for param in part.parameters() if param.requires_grad) for name, part in parts.items()
    }


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
