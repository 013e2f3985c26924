"""Measure what users wait for: a training step, a generated rationale, a classified night.

Example:
    python -m evaluation.bench --llm smollm2-135m
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

_EXAMPLE = "example: python -m evaluation.bench --llm smollm2-135m --repeats 3"


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line a measurement; 0 done, 2 a mistake in the call."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench", description="Measure speed and memory on this machine.", epilog=_EXAMPLE
    )
    parser.add_argument("--llm", default="smollm2-135m", help="short name, hub id or folder")
    parser.add_argument("--config", default="demo", help="preset or YAML file")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions; the median is printed")
    arguments = parser.parse_args(argv)
    try:
        for line in measure(arguments.llm, arguments.config, arguments.repeats):
            print(line)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def measure(llm: str, preset: str, repeats: int) -> list[str]:
    """Run the measurements on random series and return one line each."""
    import numpy as np
    import torch

    from tslm.batch import Batch, Example, NightWindow, Reference, Series
    from tslm.compose import compose_config
    from tslm.data.collate import Collator
    from tslm.models import build_model, build_tokenizer
    from tslm.models.backbone import merge_lora
    from tslm.training.checkpoint import set_trained_parts

    config = compose_config("stage4_sleep_cot", preset, llm)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    model, tokenizer = build_model(config).to(device), build_tokenizer(config)
    assert tokenizer is not None
    set_trained_parts(model, config)
    use_bf16 = config.train.precision == "bf16"

    def example(num_words: int) -> Example:
        width = config.model.context.window_epochs
        window = NightWindow(
            rng.standard_normal((width, 1, 3000)).astype(np.float32),
            np.ones(width, bool),
            np.zeros(width, int),
            width // 2,
            (Reference(),),
        )
        series = Series(rng.standard_normal(3000).astype(np.float32), "\nEEG:")
        return Example("bench", "Stage this epoch.", (series,), "\nRationale:", " wave" * num_words, "", (), window)

    def batch(size: int, num_tokens: int, with_response: bool) -> "Batch":
        collator = Collator(config.model, tokenizer, with_response)
        fixed = Collator(config.model, tokenizer)([example(1)]).input_ids_BT
        assert fixed is not None
        return collator([example(max(1, num_tokens - fixed.shape[1] + 1)) for _ in range(size)]).to(device)

    def timed(run: Callable[[], object]) -> float:
        run()
        seconds = []
        for _ in range(repeats):
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    train_batch, prompt_batch = batch(config.train.batch_size, 300, True), batch(16, 0, False)
    assert train_batch.input_ids_BT is not None
    num_tokens = train_batch.input_ids_BT.shape[1]

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            output = model(train_batch)
        (output.loss_sum / output.weight_sum).backward()
        model.zero_grad()

    def generate() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            model.generate(prompt_batch, 80, [-1], 0)  # type: ignore[operator]  # no token ends it: always 80

    classifier = build_model(compose_config("stage0_encoder", preset, llm)).to(device).eval()
    night = torch.randn(1, 960, 1, 3000, device=device)
    mask = torch.ones(1, 960, dtype=torch.bool, device=device)

    def classify() -> None:
        with torch.inference_mode():
            classifier.logits(night, mask)  # type: ignore[operator]

    model.train()
    step_s = timed(step) / len(train_batch.sample_ids)
    model.eval()
    model.llm = merge_lora(model.llm)  # type: ignore[arg-type]  # as load_checkpoint does
    generate_s = timed(generate) / 16
    classify_ms = 1000 * timed(classify) / 960
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        f"{config.llm.name} on {device}, {torch.get_num_threads()} threads, {'bf16' if use_bf16 else 'fp32'}",
        f"training step, {num_tokens} tokens a sample, batch {config.train.batch_size}: {step_s:.3f} s a sample",
        f"generation of 80 tokens, batch 16: {generate_s:.3f} s an epoch",
        f"classifier on a night of 960 epochs: {classify_ms:.2f} ms an epoch",
        f"peak memory: {peak_gib:.2f} GiB",
    ]


if __name__ == "__main__":
    sys.exit(main())
