"""Training that is killed goes on as if it had not been: `pytest tests/curriculum/test_kills.py --kills 100`."""

import gc
import json
import os
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.factories.launching import FORKS
from tests.factories.tiny_run import command
from tslm.predictions.journal import PredictionJournal

STAGES = {"stage0_encoder": "no_llm/classifier", "stage4_sleep_cot": "tiny/soft_prompt"}
SETTINGS = (
    "train.train_epochs=3",
    "train.batch_size=2",
    "train.checkpoint_every_steps=1",
    "stage.num_calibration_samples=4",
    "stage.num_test_samples=4",
    "model.encoder.dropout=0.1",
    "optim.warmup_fraction=0.5",
)
pytestmark = pytest.mark.kill
TIMES = {"wall_s", "samples_s", "tokens_s", "data_wait_share", "memory_gb"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def _run(data_dir: Path, stage: str, results: Path, environment: dict[str, str], more: tuple[str, ...]) -> None:
    gc.freeze()  # of what the server loaded
    os.environ |= environment
    os.setpgid(0, 0)
    raise SystemExit(command(data_dir, [stage], "--from_scratch", f"results_dir={results}", *SETTINGS, *more))


def begin(data_dir: Path, stage: str, results: Path, *more: str) -> BaseProcess:
    process = FORKS.Process(target=_run, args=(data_dir, stage, results, dict(os.environ), more))
    process.start()
    return process


def run_to_the_end(data_dir: Path, stage: str, results: Path, *more: str) -> float:
    started = time.monotonic()
    process = begin(data_dir, stage, results, *more)
    process.join(timeout=300)
    assert process.exitcode == 0
    return time.monotonic() - started


def read_end(results: Path, stage: str) -> dict[str, Any]:
    """Everything a run leaves, but for times and how often it was begun."""
    folder = results / STAGES[stage] / stage
    end: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(("checkpoints/previous", "checkpoints/damaged")):
            continue
        if path.suffix == ".safetensors":
            end[name] = path.read_bytes()
        elif path.name in ("metrics.json", "calibration.json", "state.json"):
            end[name] = json.loads(path.read_text())
        elif path.name == "README.md":
            end[name] = path.read_text()
    training = json.loads((folder / "checkpoints" / "last" / "training.json").read_text())["progress"]
    end["progress"] = without_times(training)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    end["log"] = [without_times(line) for line in lines if line.get("event") not in ("start", "resume")]
    end["predictions"] = (folder / "results" / "test_predictions.jsonl").read_text()
    return end


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in TIMES}


def assert_equal_ends(end: dict[str, Any], whole: dict[str, Any]) -> None:
    assert end.keys() == whole.keys()
    for name in whole:
        assert end[name] == whole[name], name


@pytest.fixture(scope="module")
def whole_runs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, float]]:
    """Results of each stage when nothing happens, and how long it takes."""
    runs = {}
    for stage in STAGES:
        results = tmp_path_factory.mktemp(stage)
        runs[stage] = (results, run_to_the_end(data_dir, stage, results))
    return runs


def copy_unscored(whole_runs: dict[str, tuple[Path, float]], stage: str, results: Path) -> Path:
    """A stage's folder in a copy of its run, as if it had been stopped before the evaluation."""
    shutil.copytree(whole_runs[stage][0], results, dirs_exist_ok=True)
    folder = results / STAGES[stage] / stage
    (folder / "results" / "metrics.json").unlink()
    return folder


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(
    data_dir: Path, tmp_path: Path, whole_runs: dict, request: pytest.FixtureRequest
) -> None:
    num_kills = request.config.getoption("--kills")
    rng, num_resumed = random.Random(num_kills), 0
    for number in range(num_kills):
        stage = list(STAGES)[number % len(STAGES)]
        whole, seconds = whole_runs[stage]
        results = tmp_path / str(number)
        process = begin(data_dir, stage, results)
        process.join(timeout=rng.uniform(0.2, 1.0) * seconds)
        assert process.pid is not None
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join(timeout=60)
        num_resumed += (results / STAGES[stage] / stage / "checkpoints" / "last").is_dir()
        run_to_the_end(data_dir, stage, results, "--resume")
        assert_equal_ends(read_end(results, stage), read_end(whole, stage))
        shutil.rmtree(results)
    assert num_resumed >= num_kills // 10, "nearly all were killed before their first checkpoint"


class Killed(BaseException):
    """Ends a run where it stands; nothing catches it."""


@pytest.mark.parametrize(
    "write", ["test_predictions.jsonl", "best/state.json", "best/README.md", "results/metrics.json"]
)
def test_a_run_killed_before_any_write_of_its_evaluation_completes_it_when_resumed(
    write: str, data_dir: Path, tmp_path: Path, whole_runs: dict
) -> None:
    stage, replace = "stage0_encoder", os.replace

    def die_before(partial: Path, path: Path) -> None:
        if str(path).endswith(write):
            raise Killed
        replace(partial, path)

    arguments = ["--from_scratch", f"results_dir={tmp_path}", *SETTINGS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", die_before)
        with pytest.raises(Killed):
            command(data_dir, [stage], *arguments)
    assert command(data_dir, [stage], *arguments, "--resume") == 0
    assert_equal_ends(read_end(tmp_path, stage), read_end(whole_runs[stage][0], stage))


def test_a_run_killed_while_it_answers_keeps_the_answers_it_has(
    data_dir: Path, tmp_path: Path, whole_runs: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, answered = "stage4_sleep_cot", list[str]()
    folder, append = copy_unscored(whole_runs, stage, tmp_path), PredictionJournal.append

    def append_or_die(journal: PredictionJournal, rows: Any) -> None:
        if not answered and journal.num_blocks == 1:
            raise Killed
        append(journal, rows)

    arguments = ["--from_scratch", f"results_dir={tmp_path}", *SETTINGS, "train.eval_batch_size=3", "--eval_only"]
    arguments += ["--overwrite"]
    monkeypatch.setattr(PredictionJournal, "append", append_or_die)
    with pytest.raises(Killed):
        command(data_dir, [stage], *arguments)
    monkeypatch.setattr(
        PredictionJournal, "append", lambda journal, rows: append(journal, (answered.append("") or row for row in rows))
    )
    assert command(data_dir, [stage], *arguments) == 0
    assert len(answered) == 1  # of four samples, three had an answer
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["metrics.json", "test_predictions.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(
    number: signal.Signals, data_dir: Path, tmp_path: Path, whole_runs: dict
) -> None:
    folder = tmp_path / STAGES["stage0_encoder"] / "stage0_encoder"
    more = ["train.checkpoint_every_steps=0", "train.train_epochs=200", "train.patience=200"]
    process = begin(data_dir, "stage0_encoder", tmp_path, *more)
    while not (folder / "checkpoints" / "last").exists() and process.is_alive():
        process.join(0.02)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(timeout=60)
    assert process.exitcode == 1
    stopped = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert stopped["event"] == "stopped"
    training = json.loads((folder / "checkpoints" / "last" / "training.json").read_text())["progress"]
    assert training["step"] == stopped["step"] > 0
    assert not training["is_finished"]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    data_dir: Path, tmp_path: Path, whole_runs: dict, caplog: pytest.LogCaptureFixture
) -> None:
    stage = "stage4_sleep_cot"
    folder = copy_unscored(whole_runs, stage, tmp_path)
    weights = folder / "checkpoints" / "last" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert command(data_dir, [stage], "--from_scratch", f"results_dir={tmp_path}", *SETTINGS, "--resume") == 0
    assert "checkpoints/last is damaged" in caplog.text
    assert_equal_ends(read_end(tmp_path, stage), read_end(whole_runs[stage][0], stage))


def test_another_number_of_processes_is_refused(
    data_dir: Path, tmp_path: Path, whole_runs: dict, capsys: pytest.CaptureFixture
) -> None:
    stage = "stage0_encoder"
    folder = copy_unscored(whole_runs, stage, tmp_path)
    for path in folder.glob("checkpoints/*/training.json"):
        path.write_text(path.read_text().replace('"num_processes": 1', '"num_processes": 3'))
    assert command(data_dir, [stage], "--from_scratch", f"results_dir={tmp_path}", *SETTINGS, "--resume") == 2
    assert "accelerate launch --num_processes 3" in capsys.readouterr().err


def test_no_whole_checkpoint_is_an_error_that_loses_nothing(
    data_dir: Path, tmp_path: Path, whole_runs: dict, capsys: pytest.CaptureFixture
) -> None:
    stage = "stage0_encoder"
    folder = copy_unscored(whole_runs, stage, tmp_path)
    for which in ("last", "previous"):
        (folder / "checkpoints" / which / "optimizer.safetensors").unlink()
    before = sorted(folder.rglob("*"))
    assert command(data_dir, [stage], "--from_scratch", f"results_dir={tmp_path}", *SETTINGS, "--resume") == 2
    assert "optimizer.safetensors is damaged or missing" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before
