import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories.small import small_config
from tslm.config.files import merge_config
from tslm.config.schema import MLflowConfig, RunConfig
from tslm.training.runs.folder import NUM_TOP
from tslm.training.tracking import Tracker, list_numbers, open_tracker

TAGS = {"git_commit": "0c70bed", "stage": "stage0_encoder", "leaky": "False"}
RECORDS: list[dict[str, Any]] = [
    {"event": "start", "num_steps": 2},
    {"step": 1, "train_epoch": 1, "loss": 1.5, "lr": [1e-3, 2e-3]},
    {"step": 2, "train_epoch": 1, "loss": 0.5, "lr": [1e-4, 2e-4]},
    {"step": 2, "train_epoch": 1, "val_loss": 0.25, "val_accuracy": None},
]


class FakeClient:
    """Stands in for MLflow's client; its first `num_failures` batches of metrics fail."""

    def __init__(self, num_failures: float = 0) -> None:
        self.num_failures, self.num_tries = num_failures, 0
        self.metrics: list[tuple[str, float, int]] = []
        self.status = ""

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        self.num_tries += 1
        if self.num_tries <= self.num_failures:
            raise OSError("the line\nis dead")
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def log_text(self, run_id: str, text: str, name: str) -> None:
        raise OSError("no room")

    def set_terminated(self, run_id: str, status: str) -> None:
        self.status = status


def open_fake(client: FakeClient, retry_after_s: float = 0.0) -> Tracker:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    return Tracker(client, "here", retry_after_s)


def test_numbers_of_a_record_are_found_however_deep_they_stand() -> None:
    record = {"loss": 0.5, "lr": [1, 2.5], "seen": {"N1": 3, "text": "x"}, "none": None, "event": "start"}
    assert list_numbers(record) == {"loss": 0.5, "lr/0": 1.0, "lr/1": 2.5, "seen/N1": 3.0}


SENT = [
    *[("train_epoch", 1.0, 1), ("loss", 1.5, 1), ("lr/0", 1e-3, 1), ("lr/1", 2e-3, 1)],
    *[("train_epoch", 1.0, 2), ("loss", 0.5, 2), ("lr/0", 1e-4, 2), ("lr/1", 2e-4, 2)],
    *[("train_epoch", 1.0, 2), ("val_loss", 0.25, 2)],
]


def test_records_of_steps_are_sent_in_order_and_others_are_not() -> None:
    client = FakeClient()
    tracker = open_fake(client)
    for record in RECORDS:
        tracker.log(record)
    tracker.close()
    assert client.metrics == SENT
    assert client.status == "FINISHED"


@pytest.mark.parametrize("retry_after_s", [0.0, 1000.0])
def test_what_could_not_be_sent_is_sent_by_the_end_and_warned_of_once(
    retry_after_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    client = FakeClient(num_failures=1 if retry_after_s else 3)
    tracker = open_fake(client, retry_after_s)
    for record in RECORDS:
        tracker.log(record)
    tracker.close()
    assert client.metrics == SENT
    messages = [record.message for record in caplog.records]
    assert messages == [f"tracker: the line is dead; tried again after {retry_after_s:g} s"]


def test_training_goes_on_and_ends_when_the_tracker_never_answers(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient(num_failures=math.inf)
    tracker = open_fake(client, retry_after_s=1000)
    tracker.log(RECORDS[1])
    tracker._thread.submit(lambda: None).result(10)
    tracker.log(RECORDS[2])
    tracker.log_page("night", "<p>")
    tracker.send_checkpoint(Path("last"), 1, 0.5)  # not even tried, which would take its time
    tracker.close(is_finished=False)
    assert client.metrics == []
    assert (client.num_tries, client.status) == (2, "FAILED")  # at once, and at the end
    assert "night was not sent: it does not answer" in caplog.text
    assert "not all figures could be sent" in caplog.text


def test_a_drawing_that_could_not_be_sent_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tracker = open_fake(FakeClient())
    tracker.log_page("night", "<p>")
    tracker.close()
    assert "night was not sent: no room" in caplog.text


@pytest.mark.parametrize("kind", ["mlfow", "", "tensorboard"])
def test_an_unknown_tracker_is_refused_with_those_there_are(kind: str) -> None:
    with pytest.raises(ValueError, match="wanted one of: none, mlflow"):
        merge_config({"tracking": kind})


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"tslm-sleep\[mlflow\]"):
        open_tracker(small_config(tracking="mlflow"))


@pytest.fixture(scope="module")
def results_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def server_uri(results_dir: Path) -> Iterator[str]:
    """A true `mlflow server` on the loopback, whose database is also the one that runs without a server take."""
    for package in ("mlflow", "sqlalchemy", "flask", "flask_cors"):
        pytest.importorskip(package, reason=f"{package} is not installed, so there is no MLflow server to try")
    words = ["--backend-store-uri", f"sqlite:///{results_dir / 'mlflow.db'}", "--host", "127.0.0.1", "--port", "0"]
    words += ["--artifacts-destination", str(results_dir / "of_server"), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words],
        cwd=results_dir,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert server.stderr is not None
    try:
        line = next(line for line in server.stderr if "Uvicorn running on http://" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop the server
        uri = next(word for word in line.split() if word.startswith("http://"))
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture(params=[pytest.param("server", marks=pytest.mark.server), "local"])
def mlflow_config(request: pytest.FixtureRequest, results_dir: Path, server_uri: str) -> RunConfig:
    """Settings of runs that go to the server, and of runs that write its database themselves."""
    uri = server_uri if request.param == "server" else ""
    store = MLflowConfig(uri=uri, experiment=f"sleep by {request.param}")
    return small_config(tracking="mlflow", seed=17, results_dir=str(results_dir), mlflow=store)


def read_run(config: RunConfig, run_id: str) -> tuple[Any, Any]:
    """The run as a client of MLflow's sees it, straight from the database, and that client."""
    import mlflow

    client = mlflow.MlflowClient(config.mlflow.uri or f"sqlite:///{Path(config.results_dir).resolve()}/mlflow.db")
    return client.get_run(run_id), client


def test_mlflow_keeps_parameters_metrics_tags_and_drawings(mlflow_config: RunConfig, tmp_path: Path) -> None:
    tracker = open_tracker(mlflow_config, tags=TAGS)
    for record in RECORDS:
        tracker.log(record)
    tracker.log_page("hypnograms/night1", "<p>night</p>")
    tracker.close()
    run, client = read_run(mlflow_config, tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "17"
    assert run.data.params["model.encoder.d_model"] == "16"
    assert run.data.tags.items() >= TAGS.items()
    assert client.get_experiment(run.info.experiment_id).tags.keys() & TAGS.keys() == set()
    history = client.get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.5), (2, 0.5)]
    drawing = Path(client.download_artifacts(tracker.run_id, "hypnograms/night1.html", str(tmp_path)))
    assert drawing.read_text() == "<p>night</p>"


def test_mlflow_keeps_the_three_best_checkpoints_even_over_a_resume(mlflow_config: RunConfig, tmp_path: Path) -> None:
    tracker, run_id = None, ""
    for step, kappa in enumerate((0.5, 0.7, -0.1, 0.6, 0.4, 0.81), 1):
        if step in (1, 4):
            if tracker is not None:
                tracker.close(is_finished=False)
                assert read_run(mlflow_config, run_id)[0].info.status == "FAILED"
            tracker = open_tracker(mlflow_config, run_id)
            assert run_id in ("", tracker.run_id)
            run_id = tracker.run_id
        checkpoint = tmp_path / f"checkpoint{step}"
        checkpoint.mkdir()
        (checkpoint / "state.json").write_text(json.dumps({"step": step}))
        assert tracker is not None
        tracker.log({"step": step, "val_kappa": kappa})
        tracker.send_checkpoint(checkpoint, step, kappa)
    assert tracker is not None
    run, client = read_run(mlflow_config, run_id)
    assert run.info.status == "RUNNING"
    tracker.close()
    kept = sorted(file.path for file in client.list_artifacts(run_id, "checkpoints"))
    assert kept == [
        f"checkpoints/kappa_{kappa}_step_{step}" for kappa, step in (("0.6000", 4), ("0.7000", 2), ("0.8100", 6))
    ]
    assert len(kept) == NUM_TOP
    copy = Path(client.download_artifacts(run_id, f"{kept[-1]}/state.json", str(tmp_path)))
    assert json.loads(copy.read_text()) == {"step": 6}
    assert len(client.get_metric_history(run_id, "val_kappa")) == 6


def test_a_run_that_mlflow_does_not_know_is_refused(mlflow_config: RunConfig) -> None:
    with pytest.raises(ValueError, match="it was deleted, or mlflow.uri has changed"):
        open_tracker(mlflow_config, "0" * 32)


def test_a_server_that_is_not_there_stops_the_run_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    config = small_config(tracking="mlflow", mlflow=MLflowConfig(uri="http://127.0.0.1:9"))
    with pytest.raises(OSError, match="MLflow at http://127.0.0.1:9 failed"):
        open_tracker(config)


def test_nothing_is_sent_to_the_makers_of_mlflow() -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    code = (
        "import sys, threading; from tslm.training.tracking import _import_mlflow\n"
        "mlflow = _import_mlflow()\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "sys.exit(get_telemetry_client() is not None or threading.active_count() > 1)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST", "CI"))}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


def test_runs_may_share_a_file_whose_artefacts_lie_beside_it(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    uri = f"sqlite:///{tmp_path / 'grid' / 'mlflow.db'}"
    for cell in ("a", "b"):
        config = RunConfig(results_dir=str(tmp_path / cell), mlflow=MLflowConfig(uri, "grid"))
        tracker = open_tracker(config, tags=TAGS)
        artifact_uri = mlflow.MlflowClient(uri).get_run(tracker.run_id).info.artifact_uri
        tracker.close()
        assert artifact_uri.startswith((tmp_path / "grid" / "mlflow_artifacts").as_uri())
        assert not (tmp_path / cell).exists()
    experiment = mlflow.MlflowClient(uri).get_experiment_by_name("grid")
    assert len(mlflow.MlflowClient(uri).search_runs([experiment.experiment_id])) == 2
