"""MLflow: parameters, metrics, tags, drawings and the best checkpoints of a run (`tracking=mlflow`).

The log (tslm.training.runs.folder) is the record of a run; MLflow holds a copy. An unreachable server stops a run
before it starts, but never later: metrics are sent by a thread and kept while the server is down, and what could not be
sent by the end is warned of. Nothing goes to any other place than the configured store: telemetry is switched off.

accelerate's MLflow tracker depends on the active run of one thread and tags the whole experiment; MLflow's asynchronous
logging drops what it cannot send. So both are not used.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tslm import __version__
from tslm.config.files import flatten_settings, one_line, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import NUM_TOP, RESUME_FILES

CHECKPOINTS_DIR = "checkpoints"  # among the artefacts
_DATABASE, _ARTIFACTS_DIR = "mlflow.db", "mlflow_artifacts"  # of the local store, in the results folder
_FILE = "sqlite:///"  # begins the address of a store in a file
_MAX_PARAM_LENGTH = 6000
_CHECKPOINT = re.compile(rf"{CHECKPOINTS_DIR}/kappa_(-?[0-9.]+)_step_[0-9]+$")

logger = logging.getLogger(__name__)


def open_tracker(config: RunConfig, run_id: str = "", tags: Mapping[str, str] | None = None) -> "Tracker":
    """Open a run in the configured MLflow store; called on the main process only.

    Args:
        config: of the run.
        run_id: of an MLflow run to continue; empty: create one.
        tags: of a created run.

    Raises:
        ImportError: a package is missing; names the extra to install.
        OSError: MLflow cannot be reached.
        ValueError: MLflow has no run with the given id.
    """
    mlflow = _import_mlflow()
    results_dir = Path(config.results_dir).resolve()
    uri = config.mlflow.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    artifacts_uri = None  # a server chooses its artefact folder
    uri = uri or f"{_FILE}{results_dir / _DATABASE}"
    if uri.startswith(_FILE):
        folder = Path(uri.removeprefix(_FILE)).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        artifacts_uri = (folder / _ARTIFACTS_DIR).as_uri()
    try:
        client = mlflow.MlflowClient(uri)
        if run_id:
            client.update_run(run_id, "RUNNING")
        else:
            run_id = _create_run(client, config, artifacts_uri, tags or {})
    except mlflow.exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise ValueError(f"MLflow at {uri}: {error.message}; it was deleted, or mlflow.uri has changed") from error
        raise OSError(f"MLflow at {uri} failed: {error.message}") from error
    logger.info("MLflow run %s at %s", run_id, uri)
    return Tracker(client, run_id)


class Tracker:
    """An MLflow run. Training never waits for the server to take metrics, and never fails because of it.

    Args:
        client: of the MLflow store.
        run_id: identifier of the run in the store.
        retry_after_s: how long unsent metrics wait before the next try.
    """

    def __init__(self, client: Any, run_id: str, retry_after_s: float = 30.0) -> None:
        self.run_id, self._client, self._retry_after_s = run_id, client, retry_after_s
        self._mlflow = _import_mlflow()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracker")
        self._unsent: list[Any] = []
        self._retry_at: float | None = None  # None while the server answers

    def log(self, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record that has a step; events are not sent."""
        if "step" in record and "event" not in record:
            numbers = list_numbers({key: value for key, value in record.items() if key != "step"})
            time_ms, step, build = int(1000 * time.time()), int(record["step"]), self._mlflow.entities.Metric
            metrics = [build(name, value, time_ms, step) for name, value in numbers.items()]
            self._thread.submit(self._send_metrics, metrics)

    def log_page(self, name: str, page: str) -> None:
        """Send an HTML page, e.g. `hypnograms/SC4001E0`, which MLflow shows as it is."""
        self._send(name, lambda: self._client.log_text(self.run_id, page, f"{name}.html"))

    def send_checkpoint(self, checkpoint_dir: Path, step: int, kappa: float) -> None:
        """Send a checkpoint if it is among the best three by validation kappa, and delete the fourth.

        The name of a copy contains its kappa, so a resumed run can rank the earlier copies.
        """
        name = f"{CHECKPOINTS_DIR}/kappa_{kappa:.4f}_step_{step}"
        self._send(str(checkpoint_dir), lambda: self._send_ranked(checkpoint_dir, name))

    def close(self, is_finished: bool = True) -> None:
        """Send what is left and end the run as finished or failed."""
        self._thread.submit(self._send_metrics, [], is_last=True)
        self._thread.shutdown()
        if self._unsent:
            logger.warning("tracker: not all figures could be sent; the run's log has them")
        self._retry_at = None
        status = "FINISHED" if is_finished else "FAILED"
        self._send("the end of the run", lambda: self._client.set_terminated(self.run_id, status))

    def _send_metrics(self, metrics: list[Any], is_last: bool = False) -> None:
        self._unsent += metrics
        is_waiting = self._retry_at is not None and time.monotonic() < self._retry_at
        if not self._unsent or (is_waiting and not is_last):
            return
        error = self._try(lambda: self._client.log_batch(self.run_id, metrics=self._unsent))
        if error is None:
            self._unsent, self._retry_at = [], None
            return
        if self._retry_at is None:
            logger.warning("tracker: %s; tried again after %g s", error, self._retry_after_s)
        self._retry_at = time.monotonic() + self._retry_after_s

    def _send(self, what: str, call: Callable[[], None]) -> None:
        """Send at once; while the server is down, give up without waiting for it."""
        error = "it does not answer" if self._retry_at is not None else self._try(call)
        if error is not None:
            logger.warning("tracker: %s was not sent: %s", what, error)

    def _try(self, call: Callable[[], None]) -> str | None:
        """Return the error of a call in one line, or None."""
        try:
            call()
        except (OSError, self._mlflow.exceptions.MlflowException) as error:
            return one_line(error)
        return None

    def _send_ranked(self, checkpoint_dir: Path, name: str) -> None:
        others = [file.path for file in self._client.list_artifacts(self.run_id, CHECKPOINTS_DIR)]
        found = [match for path in {*others, name} if (match := _CHECKPOINT.match(path))]
        ranked = [match[0] for match in sorted(found, key=lambda match: float(match[1]), reverse=True)]
        if name not in ranked[:NUM_TOP]:
            return
        for path in sorted(checkpoint_dir.iterdir()):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), f"{name}/{path.name}")
            elif path.name not in RESUME_FILES:
                self._client.log_artifact(self.run_id, str(path), name)
        for displaced in ranked[NUM_TOP:]:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            root = self._client.get_run(self.run_id).info.artifact_uri
            get_artifact_repository(root, tracking_uri=self._client.tracking_uri).delete_artifacts(displaced)


def _create_run(client: Any, config: RunConfig, artifacts_uri: str | None, tags: Mapping[str, str]) -> str:
    name = config.mlflow.experiment
    found = client.get_experiment_by_name(name)
    experiment_id = found.experiment_id if found else client.create_experiment(name, artifacts_uri)
    run_name = "/".join(filter(None, (config.llm.name if config.writes_text else "", config.model.name)))
    tags = {"mlflow.runName": f"{run_name}/{config.stage.name}", "tslm.version": __version__, **tags}
    run_id = str(client.create_run(experiment_id, tags=tags).info.run_id)
    settings: Any = OmegaConf.to_container(to_plain(config))
    build = _import_mlflow().entities.Param
    params = [build(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in flatten_settings(settings).items()]
    client.log_batch(run_id, params=params)
    return run_id


def _import_mlflow() -> Any:
    # MLflow reads these at import; the user's own values win.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the default waits for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds; bounds the wait at the end of a run
    try:
        import mlflow
        import sqlalchemy  # noqa: F401  # mlflow-skinny alone has no local store
    except ImportError as error:
        raise ImportError("tracking=mlflow needs its packages: pip install 'tslm-sleep[mlflow]'") from error
    return mlflow


def list_numbers(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """List the numbers of a nested record as `outer/inner`, those of a list by position; skip other values."""
    numbers: dict[str, float] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, list | tuple):
            value = {str(idx): item for idx, item in enumerate(value)}
        if isinstance(value, Mapping):
            numbers |= list_numbers(value, f"{name}/")
        elif isinstance(value, int | float):
            numbers[name] = float(value)
    return numbers
