"""Benchmark of training, answers and classification, compared with the original OpenTSLM if it can run.

Example:
    python -m evaluation.bench --llm smollm2-135m --original build/original
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.benchmarks.original import Original, Work, why_not
from tslm.command import Row, run_to_code

if TYPE_CHECKING:
    from evaluation.benchmarks.work import TextBench, Timing

_TRAIN_BATCH, _ANSWER_BATCH, _ORIGINAL_ANSWER_BATCH, _ANSWER_TOKENS = 4, 16, 4, 100
_MERGES = {"guide's config": 1, "merge 10": 10}  # name: model.projector.merge
_TRAIN_WANTED = {"guide's config": 3.0, "merge 10": 8.0}  # times as fast as the original
_ANSWER_WANTED = {"guide's config": 3.5, "merge 10": 7.0}
_CLASSIFIERS = {"guide's encoder": ("guide", 50.0), "compact encoder": ("scorer", 1.0)}  # name: (preset, ms wanted)
_CLASSIFIER_BATCH = 32
_LABELS_MOST_S = 0.25  # an epoch
_EXAMPLE = "example: python -m evaluation.bench --llm smollm2-135m --original build/original"


@dataclass(frozen=True)
class BenchOptions:
    """Options of the benchmark."""

    llm: str
    original: Path | None
    repeats: int
    compile: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table row by row; the exit code is that of `tslm.command.run_to_code`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench", description="Measure speed and memory on this machine.", epilog=_EXAMPLE
    )
    parser.add_argument("--llm", default="smollm2-135m", help="short name, hub id or folder")
    parser.add_argument("--original", type=Path, metavar="DIR", help="folder in which pip installed opentslm==0.1.0")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions; the median counts (default 3)")
    parser.add_argument("--compile", action="store_true", help="measure training only, ours with train.compile=true")
    options = BenchOptions(**vars(parser.parse_args(argv)))
    return run_to_code(lambda: _print_rows(options), "run the same command again")


def _print_rows(options: BenchOptions) -> int:
    if options.repeats < 1:
        raise ValueError("--repeats must be 1 or more")
    for row in run_bench(options):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    return 0


def run_bench(options: BenchOptions) -> Iterator[Row | str]:
    """Yield the lines of the table; the classifier comes first, as it needs no language model."""
    import torch

    from evaluation.benchmarks.gpu import LLAMA_1B, GpuWork, measure_gpu
    from evaluation.benchmarks.work import TextBench, choose_device, count_trained
    from tslm.config.compose import resolve_source
    from tslm.models.llm.store import fetch_llm

    llm_dir = fetch_llm(resolve_source(options.llm))
    yield f"{options.llm} on {choose_device()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    yield from measure_classifiers(options)
    if choose_device().type == "cuda":
        yield from measure_gpu(GpuWork(LLAMA_1B), options.llm, options.repeats)
    else:
        yield Row("one H200", None, note="no GPU here")
    benches = {name: TextBench(options.llm, (f"model.projector.merge={merge}",)) for name, merge in _MERGES.items()}
    for part, count in count_trained(benches["guide's config"].model).items():
        yield Row(f"trained parameters, {part}", count / 1e6, "M")
    reason = why_not(options.original)
    if reason:
        yield Row("the original", None, note=reason)
        yield from _measure_text(options, benches, None)
        return
    assert options.original is not None
    with _start_original(options.original, llm_dir, benches["guide's config"]) as original:
        yield from _measure_text(options, benches, original)


def _measure_text(options: BenchOptions, benches: dict[str, "TextBench"], original: Original | None) -> Iterator[Row]:
    yield from measure_training(options, benches, original)
    if not options.compile:
        yield from measure_engine(options, benches["merge 10"])
        yield from measure_answers(options, benches, original)
        yield from measure_labels(options, benches["merge 10"])


def measure_classifiers(options: BenchOptions) -> Iterator[Row]:
    """Measure milliseconds per epoch of the classifier."""
    from evaluation.benchmarks.work import ClassifierBench, measure

    for name, (preset, most) in _CLASSIFIERS.items():
        bench = ClassifierBench(preset)
        score = bench.score(_CLASSIFIER_BATCH)
        score()
        seconds = statistics.median(measure(score, bench.device).seconds for _ in range(options.repeats))
        yield Row(
            f"classifier, {name}, batch {_CLASSIFIER_BATCH}", 1e3 * seconds / _CLASSIFIER_BATCH, "ms/epoch", most=most
        )


def measure_training(
    options: BenchOptions, benches: dict[str, "TextBench"], original: Original | None
) -> Iterator[Row]:
    """Measure seconds per sample of a training step, ours and the original's in turn; ratios are taken by pair."""
    from evaluation.benchmarks.work import count_tokens, measure

    batches = {name: bench.batch(_TRAIN_BATCH, with_response=True) for name, bench in benches.items()}
    for name, bench in benches.items():
        if options.compile:
            bench.compile_layers()
        bench.train_step(batches[name])
    if original is not None:
        original.train_step(1)
    theirs: list[float] = []
    ours: dict[str, list[Timing]] = {name: [] for name in benches}
    for _ in range(options.repeats):
        if original is not None:
            theirs.append(original.train_step(_TRAIN_BATCH) / _TRAIN_BATCH)
        for name, bench in benches.items():
            ours[name].append(measure(partial(bench.train_step, batches[name]), bench.device))
    num_tokens = {name: count_tokens(batch) for name, batch in batches.items()}
    yield from _compare(f"training step, batch {_TRAIN_BATCH}", ours, theirs, _TRAIN_BATCH, num_tokens, _TRAIN_WANTED)


def measure_engine(options: BenchOptions, bench: "TextBench") -> Iterator[Row]:
    """Measure the overhead of the training loop and its checkpoints."""
    from evaluation.benchmarks import training as bench_training

    yield from bench_training.measure_engine(bench, bench.batch(_TRAIN_BATCH, with_response=True), options.repeats)


def measure_answers(options: BenchOptions, benches: dict[str, "TextBench"], original: Original | None) -> Iterator[Row]:
    """Measure seconds per answer; the adapters are merged first, as in a loaded checkpoint."""
    from evaluation.benchmarks.work import measure

    batches = {name: bench.batch(_ANSWER_BATCH, with_response=False) for name, bench in benches.items()}
    for name, bench in benches.items():
        bench.merge_adapters()
        bench.generate(batches[name], 2)
    if original is not None:
        original.generate(1, 2)
    theirs: list[float] = []
    ours: dict[str, list[Timing]] = {name: [] for name in benches}
    for _ in range(options.repeats):
        if original is not None:
            theirs.append(original.generate(_ORIGINAL_ANSWER_BATCH, _ANSWER_TOKENS) / _ORIGINAL_ANSWER_BATCH)
        for name, bench in benches.items():
            ours[name].append(measure(partial(bench.generate, batches[name], _ANSWER_TOKENS), bench.device))
    what = f"answer of {_ANSWER_TOKENS} tokens, batch {_ANSWER_BATCH}"
    num_tokens = dict.fromkeys(benches, _ANSWER_BATCH * _ANSWER_TOKENS)
    yield from _compare(what, ours, theirs, _ANSWER_BATCH, num_tokens, _ANSWER_WANTED)


def measure_labels(options: BenchOptions, bench: "TextBench") -> Iterator[Row]:
    """Measure seconds per epoch of stage probabilities without a rationale; call after `measure_answers`."""
    from evaluation.benchmarks.work import measure

    score = bench.score_labels(_ANSWER_BATCH)
    score()
    seconds = statistics.median(measure(score, bench.device).seconds for _ in range(options.repeats))
    what = f"stage probabilities, no rationale, batch {_ANSWER_BATCH}, merge 10"
    yield Row(what, seconds / _ANSWER_BATCH, "s/epoch", most=_LABELS_MOST_S)


def _compare(
    what: str,
    ours: dict[str, list["Timing"]],
    theirs: list[float],
    batch_size: int,
    num_tokens: dict[str, int],
    wanted: dict[str, float],
) -> Iterator[Row]:
    if theirs:
        yield Row(f"{what.split(',')[0]}, the original", statistics.median(theirs), "s/sample", note=_list(theirs, "s"))
    for name, timings in ours.items():
        seconds = statistics.median(timing.seconds for timing in timings)
        note = f"{num_tokens[name] / seconds:.0f} tokens/s, peak {max(timing.peak_gib for timing in timings):.2f} GiB"
        yield Row(f"{what}, {name}", seconds / batch_size, "s/sample", note=note)
        ratios = [their_s / (timing.seconds / batch_size) for their_s, timing in zip(theirs, timings, strict=False)]
        if ratios:
            note = _list(ratios, "")
            yield Row("  times as fast as the original", statistics.median(ratios), "x", wanted[name], note=note)


def _list(values: list[float], unit: str) -> str:
    return f"({', '.join(f'{value:.2f}{unit}' for value in values)})"


def _start_original(packages_dir: Path, llm_dir: Path, bench: "TextBench") -> Original:
    import torch

    from evaluation.benchmarks.work import NUM_SAMPLES

    example = bench.example
    work = Work(
        example.pre_prompt,
        example.series[0].text,
        example.post_prompt,
        f" {example.response}{bench.tokenizer.eos_token}",
        NUM_SAMPLES,
        torch.get_num_threads(),
    )
    return Original(packages_dir, llm_dir, work)


if __name__ == "__main__":
    sys.exit(main())
