import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tslm.batch import Batch
from tslm.training.progress import Meter, Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as a list of one number that a test moves on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def build_meter(device: str = "cpu", **progress: Any) -> Meter:
    return Meter(SimpleNamespace(device=torch.device(device)), Progress(**progress))  # type: ignore[arg-type]


def slow_batches(clock: list[float], seconds: float, count: int) -> Any:
    for number in range(count):
        clock[0] += seconds
        yield Batch([str(number)])


def test_speeds_are_those_since_the_last_reading(clock: list[float]) -> None:
    meter, progress = build_meter(num_samples=50), Progress(num_samples=50)
    for num_samples, seconds in ((60, 2.0), (70, 2.0)):
        progress.num_samples, clock[0] = num_samples, clock[0] + seconds
        meter.add(progress, {"num_tokens": 400.0})
    speeds = meter.read()
    assert (speeds["samples_s"], speeds["tokens_s"]) == (5.0, 200.0)
    clock[0] += 1
    progress.num_samples = 73
    assert meter.add(progress, {"num_tokens": 0.0}) == 3.0
    assert meter.read()["tokens_s"] == 0


def test_waiting_for_data_is_told_as_a_share(clock: list[float]) -> None:
    meter = build_meter()
    for _ in meter.watch(slow_batches(clock, 1.0, 3)):
        clock[0] += 4.0
    assert meter.read()["data_wait_share"] == pytest.approx(3 / 15)


@pytest.mark.parametrize(("device", "wait_s", "said"), [("cuda", 1.0, True), ("cuda", 0.1, False), ("cpu", 1.0, False)])
def test_a_gpu_that_waits_too_long_is_said_once(
    device: str,
    wait_s: float,
    said: bool,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3e9)
    meter = build_meter(device)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for _ in meter.watch(slow_batches(clock, wait_s, 2)):
                clock[0] += 2.0
            speeds = meter.read()
    assert caplog.text.count("waits for data") == said
    assert ("train.num_workers" in caplog.text) == said
    assert (speeds["memory_gb"] == 3) == (device == "cuda")
    assert speeds["memory_gb"] > 0


def test_a_run_that_goes_on_counts_the_time_it_took_before(clock: list[float]) -> None:
    meter = build_meter(wall_s=30.0)
    clock[0] += 12.0
    assert meter.wall_s == 42.0
    assert meter.minutes_since_save == 0.2
    meter.note_save()
    assert meter.minutes_since_save == 0
