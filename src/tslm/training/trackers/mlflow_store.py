"""A run in MLflow: parameters, metrics by step, tags, drawings and the best checkpoints.

By MLflow's client rather than accelerate's tracker, which works on a run that is active in one thread alone, and sets a
run's tags on the whole experiment. Nothing is sent but to the store that the settings name: MLflow's own telemetry is
switched off.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from tslm import __version__
from tslm.config.files import flatten_settings, to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import RESUME_FILES

if TYPE_CHECKING:
    from tslm.training.trackers.figures import Figure

NUM_CHECKPOINTS = 3
CHECKPOINTS_DIR = "checkpoints"  # among the artefacts
_DATABASE, _ARTIFACTS_DIR = "mlflow.db", "mlflow_artifacts"  # of the local store, in the folder of results
_MAX_PARAMS = 100  # in one call
_MAX_PARAM_LENGTH = 6000
logger = logging.getLogger(__name__)

_KEPT = re.compile(rf"{CHECKPOINTS_DIR}/kappa_(-?[0-9.]+)_step_[0-9]+$")


class MLflowStore:
    """One run of an MLflow experiment, in a database beside the results or on a server.

    Raises:
        ImportError: MLflow is not installed.
        OSError: the store cannot be reached.
        ValueError: it has no run of that id.
    """

    def __init__(self, config: RunConfig, run_id: str, tags: Mapping[str, str]) -> None:
        self._mlflow = _import_mlflow()
        results_dir = Path(config.results_dir).resolve()
        uri = config.mlflow.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        artifacts_uri = None  # a server knows where its artefacts go
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
        """Add numbers."""
        made = [self._mlflow.entities.Metric(name, value, int(1000 * time_s), step) for name, value in metrics.items()]
        with self._reaching("MLflow"):
            self._client.log_batch(self.run_id, metrics=made)

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Keep a drawing as PNG."""
        with self._reaching("MLflow"):
            self._client.log_figure(self.run_id, figure, f"{name}.png")

    def keep_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Keep a copy if it is among the best three by validation kappa; the one that it displaces is removed.

        The names of the copies say how good they are, so a resumed run goes on with those of before.
        """
        name = f"{CHECKPOINTS_DIR}/kappa_{score:.4f}_step_{step}"
        with self._reaching("MLflow"):
            others = [file.path for file in self._client.list_artifacts(self.run_id, CHECKPOINTS_DIR)]
            ranked = sorted(filter(_KEPT.match, {*others, name}), key=_read_kappa, reverse=True)
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
                raise ValueError(f"{what}: {error.message}; it was taken away, or mlflow.uri is another") from error
            raise OSError(f"{what} failed: {error.message}") from error


def _read_kappa(path: str) -> float:
    match = _KEPT.match(path)
    assert match is not None
    return float(match[1])


def _import_mlflow() -> Any:
    # Set before the import, at which MLflow reads them; what the user has set counts.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where results stand
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # some seconds; the default waits for minutes
    try:
        import mlflow
        import sqlalchemy  # noqa: F401  # mlflow-skinny alone has no local store
    except ImportError as error:
        raise ImportError("tracking=mlflow needs its packages: pip install 'tslm-sleep[mlflow]'") from error
    return mlflow
