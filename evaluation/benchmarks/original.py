"""Benchmark of the original OpenTSLM soft-prompt model, in a process of its own.

The package is not part of this project. Its wheel requires Python 3.12 and open_flamingo, which the soft-prompt class
does not use; stubs replace the names that it imports but does not call, so any interpreter with torch, transformers
and peft runs it. A request to the worker is one line of JSON on stdin, the reply one line on stdout.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import torch

PEAK_GIB = 18.0  # measured at batch 4: its logits exist at every position, its attention weights in float32
_STUBS = {
    "open_flamingo": ("Flamingo",),
    "open_flamingo.src": (),
    "open_flamingo.src.flamingo_lm": ("FlamingoLMMixin", "FlamingoLayer"),
    "open_flamingo.src.utils": ("extend_instance",),
    "einops": ("rearrange", "repeat"),
}


@dataclass(frozen=True)
class Work:
    """One sample as text; `num_samples` signal samples stand between the last two texts of the prompt."""

    pre_prompt: str
    series_text: str
    post_prompt: str
    response: str
    num_samples: int
    num_threads: int


class Original:
    """Client of the worker, which measures the seconds of each call by itself."""

    def __init__(self, packages_dir: Path, llm_dir: Path, work: Work) -> None:
        command = [sys.executable, "-m", "evaluation.benchmarks.original", str(packages_dir), str(llm_dir)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._ask(asdict(work))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def train_step(self, batch_size: int) -> float:
        """Return the seconds of one step: loss, gradient, clipping and AdamW."""
        return self._ask(["train_step", batch_size])

    def generate(self, batch_size: int, num_tokens: int) -> float:
        """Return the seconds of greedy answers of exactly `num_tokens` tokens to every sample."""
        return self._ask(["generate", batch_size, num_tokens])

    def _ask(self, request: Any) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())["seconds"]
        except (BrokenPipeError, json.JSONDecodeError) as error:
            status = self._process.wait()
            if status == -signal.SIGKILL:
                raise OSError("the original's process was killed, most likely for want of memory") from error
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise OSError(f"the original's process ended with {status}: {last}") from error


def find_obstacle(packages_dir: Path | None) -> str:
    """Return why the original cannot run here, in one line; empty if it can."""
    install = "pip install --no-deps --ignore-requires-python --target DIR opentslm==0.1.0, then --original DIR"
    if packages_dir is None or not (packages_dir / "opentslm").is_dir():
        return f"opentslm is not there ({install})"
    free_gib = psutil.virtual_memory().available / 2**30
    if free_gib < PEAK_GIB:
        return f"it takes {PEAK_GIB:.0f} GiB of memory at batch 4 and {free_gib:.1f} are free"
    return ""


def _serve(packages_dir: str, llm_dir: str) -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the package prints
        work = Work(**json.loads(sys.stdin.readline()))
        bench = _Bench(packages_dir, llm_dir, work)
        print(json.dumps({"seconds": 0.0}), file=answers, flush=True)
        for line in sys.stdin:
            method, *arguments = json.loads(line)
            started = time.perf_counter()
            getattr(bench, method)(*arguments)
            print(json.dumps({"seconds": time.perf_counter() - started}), file=answers, flush=True)


class _Bench:
    """The model with rank-16 adapters on all projections (its own default) and its optimizer."""

    def __init__(self, packages_dir: str, llm_dir: str, work: Work) -> None:
        torch.set_num_threads(work.num_threads)
        torch.manual_seed(0)
        sys.path.append(packages_dir)
        for name, attributes in _STUBS.items():
            _add_stub(name, attributes)
        from opentslm.model.llm.OpenTSLMSP import OpenTSLMSP

        self.model = OpenTSLMSP(llm_dir, device="cuda" if torch.cuda.is_available() else "cpu")
        self.model.enable_lora()
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.optimizer = torch.optim.AdamW(self.params, lr=2e-4, weight_decay=1e-2)
        self.sample = {
            "pre_prompt": work.pre_prompt,
            "time_series_text": [work.series_text],
            "time_series": torch.randn(1, work.num_samples),
            "post_prompt": work.post_prompt,
            "answer": work.response,
        }

    def train_step(self, batch_size: int) -> None:
        self.model.train()
        loss = self.model.compute_loss([self.sample] * batch_size)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()  # waits for an accelerator

    def generate(self, batch_size: int, num_tokens: int) -> None:
        self.model.eval()
        limits = {"max_new_tokens": num_tokens, "min_new_tokens": num_tokens}
        with torch.no_grad():
            self.model.generate([self.sample] * batch_size, **limits, do_sample=False)


def _add_stub(name: str, attributes: tuple[str, ...]) -> None:
    try:
        __import__(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update({attribute: type(attribute, (), {}) for attribute in attributes})
        module.__path__ = []
        sys.modules[name] = module


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
