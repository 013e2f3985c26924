"""MLflow: parameters, metrics, tags, drawings and the best checkpoints of a run (`tracking=mlflow`).

The log (tslm.training.runs.folder) is the record of a run; MLflow holds a copy. An unreachable server stops a run
before it starts, but never later: a thread sends the metrics, repeats what failed, and warns of what was not sent by
the end. Nothing goes to any other place than the configured store: MLflow's telemetry is switched off.

accelerate's MLflow tracker is not used: it depends on the active run of one thread, and tags the whole experiment.
MLflow's asynchronous logging is not used: it drops what it cannot send.
"""

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tslm import __version__
from tslm.config.files import flatten_settings, one_line, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import RESUME_FILES

NUM_CHECKPOINTS = 3
RETRY_AFTER_S = 30.0
MAX_DRAIN_S = 60.0  # at the end of a run, the longest wait for unsent metrics
CHECKPOINTS_DIR = "checkpoints"  # among the artefacts
_DATABASE, _ARTIFACTS_DIR = "mlflow.db", "mlflow_artifacts"  # of the local store, in the results folder
_MAX_PARAMS = 100  # in one call
_MAX_PARAM_LENGTH = 6000
_CHECKPOINT = re.compile(rf"{CHECKPOINTS_DIR}/kappa_(-?[0-9.]+)_step_[0-9]+$")

logger = logging.getLogger(__name__)


class Tracker:
    """An MLflow run behind a queue: training never waits for the server, and never fails because of it."""

    def __init__(
        self, store: "MLflowStore", retry_after_s: float = RETRY_AFTER_S, max_drain_s: float = MAX_DRAIN_S
    ) -> None:
        self._store, self._retry_after_s, self._max_drain_s = store, retry_after_s, max_drain_s
        self._pending: queue.Queue[tuple[dict[str, float], int, float] | None] = queue.Queue()
        self._closing, self._is_down = threading.Event(), threading.Event()
        self._sender = threading.Thread(target=self._send_pending, name="tracker", daemon=True)
        self._sender.start()

    @property
    def run_id(self) -> str:
        """Identifier by which MLflow finds the run again."""
        return self._store.run_id

    def log(self, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record that has a step; events are not sent."""
        if "step" in record and "event" not in record:
            metrics = list_numbers({key: value for key, value in record.items() if key != "step"})
            self._pending.put((metrics, int(record["step"]), time.time()))

    def log_page(self, name: str, page: str) -> None:
        """Send an HTML page, e.g. `hypnograms/SC4001E0`."""
        self._send_now(name, lambda: self._store.log_page(name, page))

    def send_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Send a checkpoint if it is among the best."""
        self._send_now(str(checkpoint_dir), lambda: self._store.send_checkpoint(checkpoint_dir, step, score))

    def close(self, is_finished: bool = True) -> None:
        """Send what is left and end the run as finished or failed."""
        self._closing.set()
        self._pending.put(None)
        self._sender.join(self._max_drain_s)
        if self._sender.is_alive() or not self._pending.empty():
            logger.warning("tracker: not all figures could be sent; the run's log has them")
        self._is_down.clear()
        self._send_now("the end of the run", lambda: self._store.close(is_finished))

    def _send_pending(self) -> None:
        while (item := self._pending.get()) is not None:
            while (error := _try(self._store.log_metrics, *item)) is not None:
                if not self._is_down.is_set():
                    logger.warning("tracker: %s; tried again every %g s", error, self._retry_after_s)
                self._is_down.set()
                if self._closing.is_set():
                    return
                self._closing.wait(self._retry_after_s)
            self._is_down.clear()

    def _send_now(self, what: str, send: Callable[[], None]) -> None:
        """Send once; while the server is down, give up without waiting for it."""
        error = "it does not answer" if self._is_down.is_set() else _try(send)
        if error is not None:
            logger.warning("tracker: %s was not sent: %s", what, error)


class MLflowStore:
    """One run of an MLflow experiment, in a database beside the results or on a server.

    Every method raises OSError if the store cannot be reached.

    Raises:
        ImportError: MLflow is not installed.
        OSError: the store cannot be reached.
        ValueError: the store has no run with the given id.
    """

    def __init__(self, config: RunConfig, run_id: str, tags: Mapping[str, str]) -> None:
        self._mlflow = _import_mlflow()
        results_dir = Path(config.results_dir).resolve()
        uri = config.mlflow.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        artifacts_uri = None  # a server chooses its artefact folder
        if not uri:
            results_dir.mkdir(parents=True, exist_ok=True)
            uri, artifacts_uri = f"sqlite:///{results_dir / _DATABASE}", (results_dir / _ARTIFACTS_DIR).as_uri()
        with self._reaching(f"MLflow at {uri}"):
            self._client = self._mlflow.MlflowClient(uri)
            self.run_id = run_id or self._create_run(config, artifacts_uri, tags)
            if run_id:
                self._client.update_run(run_id, "RUNNING")
        logger.info("MLflow run %s at %s", self.run_id, uri)

    def log_metrics(self, metrics: Mapping[str, float], step: int, time_s: float) -> None:
        """Add numbers that were measured at `time_s`, in seconds since 1970."""
        made = [self._mlflow.entities.Metric(name, value, int(1000 * time_s), step) for name, value in metrics.items()]
        with self._reaching("MLflow"):
            self._client.log_batch(self.run_id, metrics=made)

    def log_page(self, name: str, page: str) -> None:
        """Save an HTML page, which MLflow shows as it is."""
        with self._reaching("MLflow"):
            self._client.log_text(self.run_id, page, f"{name}.html")

    def send_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Save a copy if it is among the best three by validation kappa, and delete the fourth.

        The name of a copy contains its kappa, so a resumed run can rank the earlier copies.
        """
        name = f"{CHECKPOINTS_DIR}/kappa_{score:.4f}_step_{step}"
        with self._reaching("MLflow"):
            others = [file.path for file in self._client.list_artifacts(self.run_id, CHECKPOINTS_DIR)]
            ranked = sorted(filter(_CHECKPOINT.match, {*others, name}), key=_read_kappa, reverse=True)
            if name not in ranked[:NUM_CHECKPOINTS]:
                return
            for path in sorted(checkpoint_dir.iterdir()):
                if path.is_dir():
                    self._client.log_artifacts(self.run_id, str(path), f"{name}/{path.name}")
                elif path.name not in RESUME_FILES:
                    self._client.log_artifact(self.run_id, str(path), name)
            for displaced in ranked[NUM_CHECKPOINTS:]:
                self._delete_artifact(displaced)

    def close(self, is_finished: bool) -> None:
        """End the run."""
        with self._reaching("MLflow"):
            self._client.set_terminated(self.run_id, "FINISHED" if is_finished else "FAILED")

    def _create_run(self, config: RunConfig, artifacts_uri: str | None, tags: Mapping[str, str]) -> str:
        name = config.mlflow.experiment
        found = self._client.get_experiment_by_name(name)
        experiment_id = found.experiment_id if found else self._client.create_experiment(name, artifacts_uri)
        run_name = "/".join(filter(None, (config.llm.name if config.writes_text else "", config.model.name)))
        tags = {"mlflow.runName": f"{run_name}/{config.stage.name}", "tslm.version": __version__, **tags}
        run_id = str(self._client.create_run(experiment_id, tags=tags).info.run_id)
        settings: Any = OmegaConf.to_container(to_plain(config))
        params = [
            self._mlflow.entities.Param(key, str(value)[:_MAX_PARAM_LENGTH])
            for key, value in flatten_settings(settings).items()
        ]
        for first in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(run_id, params=params[first : first + _MAX_PARAMS])
        return run_id

    def _delete_artifact(self, path: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        root = self._client.get_run(self.run_id).info.artifact_uri
        get_artifact_repository(root, tracking_uri=self._client.tracking_uri).delete_artifacts(path)

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise ValueError(f"{what}: {error.message}; it was deleted, or mlflow.uri has changed") from error
            raise OSError(f"{what} failed: {error.message}") from error


def _read_kappa(path: str) -> float:
    match = _CHECKPOINT.match(path)
    assert match is not None
    return float(match[1])


def _import_mlflow() -> Any:
    # MLflow reads these at import; the user's own values win.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seconds; the default waits for minutes
    try:
        import mlflow
        import sqlalchemy  # noqa: F401  # mlflow-skinny alone has no local store
    except ImportError as error:
        raise ImportError("tracking=mlflow needs its packages: pip install 'tslm-sleep[mlflow]'") from error
    return mlflow


def open_tracker(config: RunConfig, run_id: str = "", tags: Mapping[str, str] | None = None) -> Tracker:
    """Open the MLflow run of a run with `tracking=mlflow`; called on the main process only.

    Args:
        config: sent as the parameters of the run.
        run_id: of the MLflow run to continue; empty for a new one.
        tags: of the run: commit, curriculum stage, fold.

    Raises:
        ImportError: a package is missing; names the extra to install.
        OSError: MLflow cannot be reached.
        ValueError: MLflow has no run with the given id.
    """
    return Tracker(MLflowStore(config, run_id, tags or {}))


def list_numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """List the numbers of a nested record as `outer/inner`, those of a list by position; skip other values."""
    numbers: dict[str, float] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            numbers |= list_numbers(value, f"{name}/")
        elif isinstance(value, list | tuple):
            numbers |= list_numbers({str(idx): item for idx, item in enumerate(value)}, f"{name}/")
        elif isinstance(value, int | float):
            numbers[name] = float(value)
    return numbers


def _try(send: Callable[..., None], *arguments: Any) -> str | None:
    """Return the error of a call in one line, or None."""
    try:
        send(*arguments)
    except OSError as error:
        return one_line(error)
    return None
