from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from evaluation.bench import main
from evaluation.benchmarks import original as bench_original
from evaluation.benchmarks.original import Original, Work, find_obstacle
from evaluation.benchmarks.rows import (
    BenchOptions,
    measure_answers,
    measure_classifier,
    measure_engine,
    measure_gpu,
    measure_labels,
    measure_training,
)
from evaluation.benchmarks.work import (
    PROMPT_TOKENS,
    RESPONSE_TOKENS,
    TextBench,
    count_flops,
    count_tokens,
    count_trained,
    measure,
)
from tslm.config.schema import LLMConfig
from tslm.models.llm.backbone import load_llm

# A stand-in for the original's package: the same import path, names and calls, and nothing in them.
_PACKAGE = """
import torch
import open_flamingo

open_flamingo.Flamingo.attention_type = "set as the original does"


class OpenTSLMSP(torch.nn.Module):
    def __init__(self, llm_id, device):
        super().__init__()
        print("it prints")
        self.weight = torch.nn.Parameter(torch.ones(()))

    def enable_lora(self):
        pass

    def compute_loss(self, batch):
        assert len(batch) == 2 and batch[0]["time_series"].shape == (1, 12)
        return self.weight

    def generate(self, batch, max_new_tokens, min_new_tokens, do_sample):
        if max_new_tokens > 9:
            raise RuntimeError("too long")
"""
_WORK = Work("a", "b", "c", "d", num_samples=12, num_threads=1)


@pytest.fixture
def packages_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "opentslm" / "model" / "llm"
    folder.mkdir(parents=True)
    (folder / "OpenTSLMSP.py").write_text(_PACKAGE)
    return tmp_path


@pytest.fixture
def small_bench(monkeypatch: pytest.MonkeyPatch) -> TextBench:
    monkeypatch.setattr("evaluation.benchmarks.work._WORD", " ")  # the tiny vocabulary has one token a byte
    llm = load_llm(LLMConfig(source="tiny", name="tiny"), torch.bfloat16)
    overrides = ("model.projector.merge=10", "model.encoder.num_layers=1", "model.encoder.d_ff=16")
    return TextBench("tiny", overrides, num_samples=40, language_model=llm)


def test_the_sample_has_the_tokens_that_the_original_was_measured_with(small_bench: TextBench) -> None:
    batch = small_bench.batch(2, with_response=True)
    assert batch.labels_BT is not None
    assert count_tokens(batch) == 2 * (PROMPT_TOKENS + 1 + RESPONSE_TOKENS)
    assert int((batch.labels_BT >= 0).sum()) == 2 * RESPONSE_TOKENS


def test_trained_parameters_are_counted_by_part(small_bench: TextBench) -> None:
    counts = count_trained(small_bench.model)
    total = sum(param.numel() for param in small_bench.model.parameters() if param.requires_grad)
    assert sum(counts.values()) == total and min(counts.values()) > 0


def test_a_vocabulary_without_the_word_is_refused() -> None:
    with pytest.raises(ValueError, match="not one token"):
        TextBench("tiny", ("model.encoder.num_layers=1",))


def test_ours_and_the_original_are_compared_pair_by_pair(small_bench: TextBench, packages_dir: Path) -> None:
    options = BenchOptions("tiny", packages_dir, repeats=2)

    class Slow(Original):
        def __init__(self) -> None:
            pass

        def train_step(self, batch_size: int) -> float:
            return 1e6 * batch_size

        def generate(self, batch_size: int, num_tokens: int) -> float:
            return 1e6 * batch_size

    benches = {"merge 10": small_bench}
    for compare in (measure_training, measure_answers):
        rows = list(compare(options, benches, Slow()))
        assert [row.unit for row in rows] == ["s/sample", "s/sample", "x"]
        assert rows[0].value == 1e6 and "met" in str(rows[2]) and "tokens/s" in rows[1].note
    row = measure_labels(small_bench, repeats=2)
    assert row.unit == "s/epoch" and row.most == 0.25 and 0 < (row.value or 0) < 60


def test_what_the_engine_adds_is_measured_beside_the_models_own_step(small_bench: TextBench) -> None:
    rows = list(measure_engine(small_bench, repeats=1))
    assert [row.unit for row in rows] == ["ms", "%", "s", "s"]
    assert 0 < (rows[0].value or 0) < 1e3
    written, stalled = (row.value or 0 for row in rows[2:])
    assert 0 < stalled <= written < 60


def test_a_worker_answers_for_the_original(packages_dir: Path, tmp_path: Path) -> None:
    with Original(packages_dir, tmp_path, _WORK) as original:
        assert 0 < original.train_step(2) < 60
        assert 0 <= original.generate(1, 5) < 60
        with pytest.raises(OSError, match=r"ended with 1: RuntimeError: too long"):
            original.generate(1, 10)


def test_why_the_original_cannot_run_is_one_line(packages_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pip install" in find_obstacle(None) and "\n" not in find_obstacle(None)
    monkeypatch.setattr(bench_original, "PEAK_GIB", 1e9)
    assert "of memory" in find_obstacle(packages_dir)
    monkeypatch.setattr(bench_original, "PEAK_GIB", 0.0)
    assert find_obstacle(packages_dir) == ""


def test_peak_memory_is_what_the_block_held() -> None:
    import numpy as np

    def hold(num_mib: int) -> None:
        held = np.ones(num_mib << 17)
        for _ in range(300 // num_mib):
            held += 1

    cpu = torch.device("cpu")
    before, after = measure(lambda: hold(1), cpu), measure(lambda: hold(200), cpu)
    assert after.peak_gib > before.peak_gib + 0.15 or before.peak_gib == 0


def test_a_mistake_in_the_call_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--repeats", "0"]) == 2
    assert main(["--llm", "no/such/place/at/all"]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


_SMALL_LLAMA = LlamaConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    vocab_size=300,
)


def test_operations_of_a_step_are_those_of_its_weights_and_its_attention() -> None:
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(_SMALL_LLAMA)
    a_layer = 32 * (32 + 2 * 16 + 32) + 3 * 32 * 48
    a_token = 4 * 2 * a_layer + 6 * 2 * 32 * 50.0  # two layers; attention over 50 positions
    assert count_flops(llm, 100, 50.0) == 100 * a_token


def test_the_rows_of_a_gpu_can_be_measured_wherever_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.benchmarks.work._WORD", " ")
    monkeypatch.setattr("evaluation.benchmarks.rows._NIGHT_EPOCHS", 4)
    monkeypatch.setattr("evaluation.benchmarks.rows._ECG_SAMPLES", 40)
    rows = list(measure_gpu(_SMALL_LLAMA, "tiny", repeats=1, train_batch=1, ecg_batch=1))
    assert [row.unit for row in rows] == ["%", "GiB", "ms/epoch"]
    assert all(row.value is not None and row.value > 0 for row in rows)


@pytest.mark.parametrize("preset", ["guide", "scorer"])
def test_the_classifier_is_measured_with_all_its_channels(preset: str) -> None:
    assert measure_classifier("two epochs", preset, 2, most=50.0, repeats=1).value
