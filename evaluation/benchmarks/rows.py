"""Rows of the benchmark: what is timed, with which batch, and the target of each figure."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, LlamaConfig

from evaluation.benchmarks.original import Original, Work, find_obstacle
from evaluation.benchmarks.work import (
    NUM_SAMPLES,
    NUM_STEPS,
    IdleModel,
    RepeatedBatch,
    TextBench,
    Timing,
    build_classification,
    choose_device,
    count_flops,
    count_tokens,
    count_trained,
    measure,
    measure_median,
)
from tslm.batch import Batch
from tslm.command import Row
from tslm.config.compose import resolve_source
from tslm.config.schema import OptimConfig, RunConfig, TrainConfig
from tslm.models.llm.backbone import compile_layers
from tslm.models.llm.store import fetch_llm
from tslm.training.checkpoints.resume import CheckpointSaver
from tslm.training.loop import RunData, Trainer
from tslm.training.optim import build_optimizer
from tslm.training.progress import Progress
from tslm.training.runs.folder import LAST, checkpoint_dir
from tslm.training.runs.recorder import RunContext

_TRAIN_BATCH, _ANSWER_BATCH, _ORIGINAL_ANSWER_BATCH, _ANSWER_TOKENS = 4, 16, 4, 100
# name: model.projector.merge, and how many times as fast as the original training and answers should be
_MERGES = {"guide's config": (1, 3.0, 3.5), "merge 10": (10, 8.0, 7.0)}
_CLASSIFIERS = {"guide's encoder": ("guide", 50.0), "compact encoder": ("scorer", 1.0)}  # name: (preset, target in ms)
_CLASSIFIER_BATCH, _NIGHT_EPOCHS = 32, 960
_NUM_LEADS, _ECG_SAMPLES = 12, 1000  # 10 s at 100 Hz
_PEAK_FLOPS = 790e12  # of an H200 in bfloat16 without sparsity, as far as matrix products reach it
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


@dataclass(frozen=True)
class BenchOptions:
    """Options of the benchmark."""

    llm: str
    original: Path | None
    repeats: int
    compile: bool = False


def run_bench(options: BenchOptions) -> Iterator[Row | str]:
    """Yield the lines of the table; the classifier comes first, as it needs no language model."""
    llm_dir = fetch_llm(resolve_source(options.llm))
    yield f"{options.llm} on {choose_device()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    for name, (preset, most) in _CLASSIFIERS.items():
        what = f"classifier, {name}, batch {_CLASSIFIER_BATCH}"
        yield measure_classifier(what, preset, _CLASSIFIER_BATCH, most, options.repeats)
    if choose_device().type == "cuda":
        yield from measure_gpu(LLAMA_1B, options.llm, options.repeats)
    else:
        yield Row("one H200", None, note="no GPU here")
    benches = {
        name: TextBench(options.llm, (f"model.projector.merge={merge}",)) for name, (merge, *_) in _MERGES.items()
    }
    for part, count in count_trained(benches["guide's config"].model).items():
        yield Row(f"trained parameters, {part}", count / 1e6, "M")
    obstacle = find_obstacle(options.original)
    if obstacle or options.original is None:
        yield Row("the original", None, note=obstacle)
        client: Any = nullcontext()
    else:
        client = _start_original(options.original, llm_dir, benches["guide's config"])
    with client as original:
        yield from measure_training(options, benches, original)
        if not options.compile:
            yield from measure_engine(benches["merge 10"], options.repeats)
            yield from measure_answers(options, benches, original)
            yield measure_labels(benches["merge 10"], options.repeats)


def measure_classifier(what: str, preset: str, num_epochs: int, most: float, repeats: int) -> Row:
    """Measure milliseconds per epoch of the classifier over `num_epochs` epochs of one night."""
    seconds = measure_median(build_classification(preset, num_epochs), choose_device(), repeats)
    return Row(what, 1e3 * seconds / num_epochs, "ms/epoch", most=most)


def measure_training(
    options: BenchOptions, benches: Mapping[str, TextBench], original: Original | None
) -> Iterator[Row]:
    """Measure seconds per sample of a training step, ours and the original's in turn."""
    batches = {name: bench.batch(_TRAIN_BATCH, with_response=True) for name, bench in benches.items()}
    runs = {name: partial(bench.train_step, batches[name]) for name, bench in benches.items()}
    for name, bench in benches.items():
        if options.compile:
            compile_layers(bench.model.llm)
        runs[name]()
    theirs = None
    if original is not None:
        original.train_step(1)
        theirs = partial(original.train_step, _TRAIN_BATCH)
    num_tokens = {name: count_tokens(batch) for name, batch in batches.items()}
    what = f"training step, batch {_TRAIN_BATCH}"
    yield from _compare(what, runs, theirs, (_TRAIN_BATCH, _TRAIN_BATCH), num_tokens, 1, options.repeats)


def measure_answers(
    options: BenchOptions, benches: Mapping[str, TextBench], original: Original | None
) -> Iterator[Row]:
    """Measure seconds per answer; the adapters are merged first, as in a loaded checkpoint."""
    runs = {}
    for name, bench in benches.items():
        batch = bench.batch(_ANSWER_BATCH, with_response=False)
        bench.merge_adapters()
        bench.generate(batch, 2)
        runs[name] = partial(bench.generate, batch, _ANSWER_TOKENS)
    theirs = None
    if original is not None:
        original.generate(1, 2)
        theirs = partial(original.generate, _ORIGINAL_ANSWER_BATCH, _ANSWER_TOKENS)
    what = f"answer of {_ANSWER_TOKENS} tokens, batch {_ANSWER_BATCH}"
    num_tokens = dict.fromkeys(benches, _ANSWER_BATCH * _ANSWER_TOKENS)
    sizes = (_ANSWER_BATCH, _ORIGINAL_ANSWER_BATCH)
    yield from _compare(what, runs, theirs, sizes, num_tokens, 2, options.repeats)


def measure_labels(bench: TextBench, repeats: int) -> Row:
    """Measure seconds per epoch of stage probabilities without a rationale; call after `measure_answers`."""
    seconds = measure_median(bench.score_labels(_ANSWER_BATCH), bench.device, repeats)
    what = f"stage probabilities, no rationale, batch {_ANSWER_BATCH}, merge 10"
    return Row(what, seconds / _ANSWER_BATCH, "s/epoch", most=0.25)


def _compare(
    what: str,
    runs: Mapping[str, Callable[[], object]],
    theirs: Callable[[], float] | None,
    batch_sizes: tuple[int, int],  # ours, the original's
    num_tokens: Mapping[str, int],
    target: int,  # column of _MERGES
    repeats: int,
) -> Iterator[Row]:
    """Time ours and the original in turn; ratios are taken by pair."""
    their_s: list[float] = []
    timings: dict[str, list[Timing]] = {name: [] for name in runs}
    for _ in range(repeats):
        if theirs is not None:
            their_s.append(theirs() / batch_sizes[1])
        for name, run in runs.items():
            timings[name].append(measure(run, choose_device()))
    if their_s:
        note = _list(their_s, "s")
        yield Row(f"{what.split(',')[0]}, the original", statistics.median(their_s), "s/sample", note=note)
    for name, timed in timings.items():
        seconds = statistics.median(timing.seconds for timing in timed)
        note = f"{num_tokens[name] / seconds:.0f} tokens/s, peak {max(timing.peak_gib for timing in timed):.2f} GiB"
        yield Row(f"{what}, {name}", seconds / batch_sizes[0], "s/sample", note=note)
        if their_s:
            ratios = [one / (timing.seconds / batch_sizes[0]) for one, timing in zip(their_s, timed, strict=True)]
            median = statistics.median(ratios)
            yield Row("  times as fast as the original", median, "x", _MERGES[name][target], note=_list(ratios, ""))


def measure_gpu(
    shape: LlamaConfig, tokenizer_of: str, repeats: int, train_batch: int = 32, ecg_batch: int = 4
) -> Iterator[Row]:
    """Measure the rows of one H200: training throughput, memory of a 12-lead ECG, and a night at once.

    The language model has random weights, which do not change speed and memory.

    Args:
        shape: of the language model.
        tokenizer_of: short name of a language model whose tokenizer is used.
        repeats: timed repetitions; the median counts.
        train_batch: samples of a training step.
        ecg_batch: samples of a training step on 12-lead ECGs.
    """
    bench = _build_random(shape, tokenizer_of, num_series=1, num_samples=NUM_SAMPLES)
    batch = bench.batch(train_batch, with_response=True)
    seconds = measure_median(partial(bench.train_step, batch), bench.device, repeats)
    num_tokens = count_tokens(batch)
    share = count_flops(bench.model.causal_lm, num_tokens, num_tokens / train_batch) / seconds / _PEAK_FLOPS
    note = f"{num_tokens / seconds:.0f} tokens/s, batch {train_batch}"
    yield Row("training step, share of 790 TFLOP/s", 100 * share, "%", least=35, note=note)
    del bench, batch

    bench = _build_random(shape, tokenizer_of, num_series=_NUM_LEADS, num_samples=_ECG_SAMPLES)
    batch = bench.batch(ecg_batch, with_response=True)
    bench.train_step(batch)
    peak_gib = measure(partial(bench.train_step, batch), bench.device).peak_gib
    yield Row(f"12-lead ECG, soft prompt, batch {ecg_batch}, peak memory", peak_gib, "GiB", most=25)
    del bench, batch
    yield measure_classifier("classifier, a night at once", "scorer", _NIGHT_EPOCHS, 0.1, repeats)


def _build_random(shape: LlamaConfig, tokenizer_of: str, num_series: int, num_samples: int) -> TextBench:
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16).requires_grad_(False)
    return TextBench(tokenizer_of, (), num_series, num_samples, llm)


class _NoSaver(CheckpointSaver):
    def __call__(self, *_: object) -> None:
        """Save nothing."""


def measure_engine(bench: TextBench, repeats: int) -> Iterator[Row]:
    """Measure the overhead of the loop, the time to write a checkpoint, and how long training waits for it."""
    accelerator, batch = Accelerator(mixed_precision="no"), bench.batch(_TRAIN_BATCH, with_response=True)
    num_params = sum(len(group["params"]) for group in bench.optimizer.param_groups)
    in_loop = statistics.median(_time_loop(IdleModel(num_params), batch, accelerator) for _ in range(repeats))
    bare = statistics.median(_time_bare(IdleModel(num_params).to(accelerator.device), batch) for _ in range(repeats))
    step_s = measure_median(partial(bench.train_step, batch), bench.device, 1)
    yield Row(f"loop around {num_params} idle parameters, a step", 1e3 * (in_loop - bare), "ms")
    note = f"of a step of {step_s:.2f} s"
    yield Row("loop over bare forward, backward, step", 100 * (in_loop - bare) / step_s, "%", most=3.0, note=note)
    stalls, writes = [], []
    with tempfile.TemporaryDirectory() as folder:
        run = RunContext(replace(bench.config, results_dir=folder), accelerator)
        save = CheckpointSaver(run, bench.model, bench.optimizer)
        for _ in range(repeats + 1):
            started = time.monotonic()
            save(LAST, Progress(), {})
            stalls.append(time.monotonic() - started)
            save.finish()
            writes.append(time.monotonic() - started)
        size = sum(path.stat().st_size for path in checkpoint_dir(run.config, LAST).rglob("*") if path.is_file())
    note = f"{size / 1e6:.0f} MB, optimizer state included"
    yield Row("checkpoint, until it is on disk", statistics.median(writes[1:]), "s", most=0.5, note=note)
    yield Row("checkpoint, training stands still", statistics.median(stalls[1:]), "s", most=0.1)


def _time_loop(model: IdleModel, batch: Batch, accelerator: Accelerator) -> float:
    """Measure seconds per step in the training loop."""
    run = RunContext(RunConfig(train=TrainConfig(train_epochs=1)), accelerator)
    trainer = Trainer(run, model, RunData(RepeatedBatch(batch), [replace(batch)]))
    trainer.save = _NoSaver(run, model, trainer.save.optimizer)
    started = time.monotonic()
    trainer.fit()
    return (time.monotonic() - started) / NUM_STEPS


def _time_bare(model: IdleModel, batch: Batch) -> float:
    """Measure seconds per step of forward, backward, clipping and optimizer alone."""
    optimizer, params = build_optimizer(model.param_groups(OptimConfig()), OptimConfig()), list(model.parameters())
    started = time.monotonic()
    for _ in range(NUM_STEPS):
        output = model(batch)
        (output.loss_sum / output.weight_sum).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.monotonic() - started) / NUM_STEPS


def _list(values: list[float], unit: str) -> str:
    return f"({', '.join(f'{value:.2f}{unit}' for value in values)})"


def _start_original(packages_dir: Path, llm_dir: Path, bench: TextBench) -> Original:
    example = bench.example
    response = f" {example.response}{bench.tokenizer.eos_token}"
    texts = (example.pre_prompt, example.series[0].text, example.post_prompt, response)
    return Original(packages_dir, llm_dir, Work(*texts, NUM_SAMPLES, torch.get_num_threads()))
