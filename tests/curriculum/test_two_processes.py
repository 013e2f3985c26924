import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from curriculum import processes
from curriculum.train_stage import train_stage
from tests.factories.launching import ACCELERATE_CONFIGS, end_ranks, shard_on_cpus, start_ranks
from tests.factories.tiny_run import command
from tslm.config.compose import compose_config
from tslm.config.schema import RunConfig
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.predictions.rows import read_predictions
from tslm.training.loop import TrainingStoppedError
from tslm.training.process import StopSignals
from tslm.training.runs.folder import pick_main_metrics

MODELS = (("stage0_encoder", ""), ("stage4_sleep_cot", "soft_prompt"), ("stage4_sleep_cot", "flamingo"))
TWO_STEPS = (
    "train.precision=fp32",
    "train.grad_accum=2",
    "model.context.dropout=0",
    "stage.predecessor=''",
    "stage.num_train_samples=5",
    "stage.num_val_samples=3",
    "stage.num_calibration_samples=0",
)


def compose_runs(data_dir: Path, *more: str) -> list[RunConfig]:
    """Both kinds of text model and the classifier: two steps of four samples and of one."""
    preset = str(data_dir / "small.yaml")
    return [compose_config(stage, preset, "tiny", model, [*TWO_STEPS, *more]) for stage, model in MODELS]


def train(configs: Sequence[RunConfig], stops: bool) -> None:
    """Train each model, with `stops` in two goes of a step each.

    The steps of AdamW are kept from blowing round-off in zero gradients up to its rate.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", functools.partial(torch.optim.AdamW, eps=1e-3))
        for config in configs:
            config = processes.apply_launch_options(config)
            if stops:
                accelerator = processes.build_accelerator(config)
                with patch.context() as stop:
                    stop.setattr(StopSignals, "is_set", lambda _: True)
                    with pytest.raises(TrainingStoppedError, match="step 1"):
                        train_stage(config, None, accelerator)
                accelerator.wait_for_everyone()  # the checkpoint is on disk
            train_stage(config, None, processes.build_accelerator(config), resume=stops)


def train_sharded(_rank: int, data_dir: Path, cache: str, results_dir: Path) -> None:
    os.environ["TSLM_CACHE_DIR"] = cache
    shard_on_cpus()
    train(compose_runs(data_dir, "train.batch_size=1", f"results_dir={results_dir}"), stops=True)


@pytest.mark.kill
def test_a_model_in_shares_is_trained_saved_and_resumed_as_one_in_one_piece(data_dir: Path, tmp_path: Path) -> None:
    ranks = start_ranks(train_sharded, (data_dir, os.environ["TSLM_CACHE_DIR"], tmp_path / "two"), tmp_path)
    train(compose_runs(data_dir, "train.batch_size=2", f"results_dir={tmp_path / 'one'}"), stops=False)
    assert end_ranks(ranks) == [0, 0], (tmp_path / "rank1.txt").read_text()[-3000:]
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("last/**/*.safetensors")]
    assert len(files) == 3 + 3 + 3  # weights, moments, and an adapter or (classifier) the state of its sampler
    for path in files:
        one, two = load_file(tmp_path / "one" / path), load_file(tmp_path / "two" / path)
        assert set(one) == set(two)
        for name, tensor in one.items():
            assert torch.allclose(tensor, two[name], atol=1e-5, equal_nan=True), (path, name)  # NaN: not seen yet


def train_long(rank: int, data_dir: Path, cache: str, results_dir: Path, breaks: bool) -> int:
    """Train the classifier for a long time; with `breaks` the second process cannot read its data any more."""
    os.environ["TSLM_CACHE_DIR"] = cache
    read, num_read = NightDataset.__getitem__, 0

    def read_few(self: NightDataset, idx: int) -> Any:
        nonlocal num_read
        num_read += 1
        if num_read > 20:
            raise OSError("night1.parquet: Input/output error")
        return read(self, idx)

    if breaks and rank == 1:
        NightDataset.__getitem__ = read_few  # type: ignore[method-assign]
    endless = ["train.train_epochs=9999", "train.patience=9999", "train.checkpoint_every_steps=5"]
    return command(data_dir, ["stage0_encoder"], *endless, "train.timeout_min=0.1", f"results_dir={results_dir}")


@pytest.mark.kill
@pytest.mark.parametrize("how", ["killed", "stopped", "broken"])
def test_who_loses_the_other_process_says_so_and_ends(how: str, data_dir: Path, tmp_path: Path) -> None:
    arguments = (data_dir, os.environ["TSLM_CACHE_DIR"], tmp_path / "results", how == "broken")
    ranks = start_ranks(train_long, arguments, tmp_path)
    checkpoint = tmp_path / "results" / "no_llm" / "classifier" / "stage0_encoder" / "checkpoints" / "last"
    while not checkpoint.is_dir() and ranks[0].is_alive():
        ranks[0].join(0.05)
    if how != "broken":
        os.kill(ranks[1].pid, {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}[how])
    ranks[0].join(120)
    codes = end_ranks(ranks, timeout_s=60 if how == "broken" else 0)
    assert codes == {"killed": [1, -signal.SIGKILL], "stopped": [1, None], "broken": [1, 1]}[how]  # None: still there
    said, others = ((tmp_path / f"rank{rank}.txt").read_text().splitlines() for rank in range(2))
    assert said[-1].startswith("error: another process of this run ended, or did not answer for train.timeout_min=0.1")
    assert "the checkpoint of step " in said[-1]
    assert "--resume" in said[-1]
    if how == "broken":
        assert others[-1] == "error: night1.parquet: Input/output error"


@pytest.mark.kill
def test_two_processes_by_accelerate_train_and_score_as_one_does(data_dir: Path, tmp_path: Path) -> None:
    """The command of the guide, both kinds of model; seven samples do not divide evenly."""
    stages, more = ["stage0_encoder", "stage4_sleep_cot"], ["train.precision=fp32", "stage.num_test_samples=7"]
    options = ["--from_scratch", "--llm", "tiny", "--config", data_dir / "small.yaml", *more, f"results_dir={tmp_path}"]
    launch = [Path(sys.executable).with_name("accelerate"), "launch", "-q", "--config_file"]
    launch += [ACCELERATE_CONFIGS / "cpu.yaml", "--num_processes", "2", Path("curriculum/train.py").resolve()]
    done = subprocess.run(
        [str(word) for word in [*launch, "--stages", *stages, *options]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("stage")] == stages
    folders = [path.parent for path in sorted(tmp_path.rglob("metrics.json"))]
    assert len(folders) == 2
    of_two = [read_scores(folder) for folder in folders]
    assert [len(rows) for rows, _ in of_two] == [10, 7]  # a classifier answers for the whole night
    assert command(data_dir, stages, "--eval_only", *more, f"results_dir={tmp_path}") == 0
    for folder, (rows, metrics) in zip(folders, of_two, strict=True):
        rows_of_one, metrics_of_one = read_scores(folder)
        assert metrics == pytest.approx(metrics_of_one)
        assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in rows_of_one]
        assert list(map(read_answer, rows)) == list(map(read_answer, rows_of_one))
        events = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]
        assert [event["event"] for event in events if "event" in event][-1] == "end"


def read_answer(row: dict[str, Any]) -> str:
    """The text of a language model, the sleep stage of a classifier."""
    return row["generated"] if "generated" in row else row["answer"]


def read_scores(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Prediction rows, and those metrics that are numbers."""
    metrics = pick_main_metrics(json.loads((folder / "metrics.json").read_text()))
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return list(read_predictions(folder / "test_predictions.jsonl")), numbers
