from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.factories.small import LAUNCH, small_config
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import read_log, run_dir
from tslm.training.runs.manifest import read_manifest
from tslm.training.runs.recorder import RunRecorder, record_test

LATER = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SCORES: dict[str, Any] = {
    "accuracy": 0.5,
    "per_class_f1": {"Wake": 0.6, "Non-REM stage 1": None},
    "confusion_matrix": [],
}
METRICS = {"leaky": True, "systems": {"classifier": SCORES, "classifier+hmm": SCORES | {"accuracy": 0.7}}}
DRAWINGS = {"hypnograms/n0": "<html>"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(config: RunConfig, data_sha256: dict[str, str], **changes: Any) -> RunRecorder:
    recorder = RunRecorder(config, changes.pop("launch", LAUNCH), data_sha256, **changes)
    recorder.log.clear()
    return recorder


class FakeTracker:
    """Keeps what it is told; `opened` are the arguments of all that were opened."""

    opened: list[tuple[str, dict[str, str]]] = []

    def __init__(self, config: Any, run_id: str, tags: dict[str, str]) -> None:
        FakeTracker.opened.append((run_id, tags))
        self.run_id = run_id or "fresh"
        self.calls: list[Any] = []
        FakeTracker.last = self  # type: ignore[attr-defined]

    def log(self, record: Any) -> None:
        self.calls.append(record)

    def log_page(self, name: str, page: str) -> None:
        self.calls.append((name, page))

    def send_checkpoint(self, *arguments: Any) -> None:
        self.calls.append(arguments)

    def close(self, is_finished: bool = True) -> None:
        self.calls.append(is_finished)


@pytest.fixture(autouse=True)
def _fake_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTracker.opened = []
    monkeypatch.setattr("tslm.training.runs.recorder.open_tracker", FakeTracker)


def test_a_run_without_tracker_writes_its_log_and_manifest(tmp_path: Path) -> None:
    config = small_config(seed=3)
    recorder = start(config, {"a": "1"})
    recorder.add({"step": 1})
    recorder.send_checkpoint(tmp_path, {"step": 1, "val_kappa": 0.5})
    manifest = read_manifest(run_dir(config))
    assert manifest is not None
    assert (manifest.seed, manifest.data_sha256, manifest.ended_at) == (3, {"a": "1"}, None)
    recorder.close(LATER, is_finished=True)
    ended = read_manifest(run_dir(config))
    assert ended == replace(manifest, ended_at="2026-11-22T09:00:00+00:00")
    assert read_log(run_dir(config) / "log.jsonl") == [{"step": 1}]
    assert FakeTracker.opened == []


def test_a_resumed_run_goes_on_with_its_manifest_and_its_tracked_run(tmp_path: Path) -> None:
    config = small_config(tracking="mlflow", stage__fold=2)
    first = start(config, {"a": "1"}, leaky=True)
    first.close(LATER, is_finished=False)
    assert FakeTracker.last.calls == [False]  # type: ignore[attr-defined]
    later = replace(LAUNCH, git_dirty=False)
    second = start(config, {"a": "1", "b": "2"}, launch=later, is_resumed=True)
    second.add({"step": 2})
    assert FakeTracker.last.calls == [{"step": 2}]  # type: ignore[attr-defined]
    assert [run_id for run_id, _ in FakeTracker.opened] == ["", "fresh"]
    tags = FakeTracker.opened[0][1]
    assert (tags["fold"], tags["leaky"], tags["git_commit"]) == ("2", "true", "0c70bedfacade with changed files")
    manifest = read_manifest(run_dir(config))
    assert manifest is not None
    assert manifest.launches == (LAUNCH, later)
    assert manifest.tracker_runs == {"mlflow": "fresh"}
    assert manifest.data_sha256 == {"a": "1", "b": "2"}
    assert manifest.ended_at is None


def test_checkpoints_are_kept_where_their_kappa_is_known(tmp_path: Path) -> None:
    recorder = start(small_config(tracking="mlflow"), {})
    recorder.send_checkpoint(tmp_path, {"step": 1, "val_loss": 0.3})
    recorder.send_checkpoint(tmp_path, {"step": 2, "val_kappa": 0.5})
    assert FakeTracker.last.calls == [(tmp_path, 2, 0.5)]  # type: ignore[attr-defined]


def test_a_run_begun_anew_forgets_the_one_before(tmp_path: Path) -> None:
    config = small_config(tracking="mlflow")
    for _ in range(2):
        start(config, {})
    assert [run_id for run_id, _ in FakeTracker.opened] == ["", ""]
    manifest = read_manifest(run_dir(config))
    assert manifest is not None
    assert len(manifest.launches) == 1


def test_scores_of_the_test_split_go_to_the_same_run_with_their_drawings(tmp_path: Path) -> None:
    config = small_config(tracking="mlflow", model__name="classifier")
    start(config, {})
    record_test(config, METRICS, 7, DRAWINGS)
    assert FakeTracker.opened[-1][0] == "fresh"
    record, *drawings, is_finished = FakeTracker.last.calls  # type: ignore[attr-defined]
    assert record["step"] == 7
    assert record["test"]["per_class_f1"]["Wake"] == 0.6
    assert "confusion_matrix" not in record["test"]
    assert (record["test"]["accuracy"], record["test"]["classifier+hmm"]["accuracy"]) == (0.5, 0.7)
    assert drawings == [("hypnograms/n0", "<html>")]
    assert is_finished


def test_a_stage_without_answers_has_no_drawings(tmp_path: Path) -> None:
    record_test(small_config(tracking="mlflow"), {"perplexity": 3.0}, 7, {})
    assert FakeTracker.last.calls == [{"step": 7, "test": {"perplexity": 3.0}}, True]  # type: ignore[attr-defined]


def test_without_tracker_scores_stay_where_they_are(tmp_path: Path) -> None:
    record_test(small_config(), METRICS, 7, DRAWINGS)
    assert FakeTracker.opened == []


def test_scores_that_cannot_be_sent_do_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("the line is dead")

    monkeypatch.setattr("tslm.training.runs.recorder.open_tracker", refuse)
    record_test(small_config(tracking="mlflow"), METRICS, 7, DRAWINGS)
    assert "were not sent: the line is dead" in caplog.text
