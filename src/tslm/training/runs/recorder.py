"""What a run writes while it trains: its manifest, its log and, with `tracking=mlflow`, a copy in MLflow."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from tslm.config.files import one_line
from tslm.config.schema import RunConfig
from tslm.training.checkpoints.model_card import CARD_METRICS
from tslm.training.runs.folder import LOG_FILE, RunLog, pick_main_metrics, run_dir
from tslm.training.runs.manifest import Launch, RunManifest, read_manifest, write_manifest
from tslm.training.tracking import Tracker, open_tracker

logger = logging.getLogger(__name__)

_SENT = (*CARD_METRICS, "loss", "explained_variance")  # of the test split; metrics.json has all metrics


@dataclass(frozen=True)
class RunContext:
    """One run in progress, passed whole to the parts that train it."""

    config: RunConfig
    accelerator: Accelerator
    recorder: "RunRecorder | None" = None  # on the main process only
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the state.json of every checkpoint

    def log(self, record: Mapping[str, Any]) -> None:
        """Add one record to the log; does nothing on other processes than the main one."""
        if self.recorder is not None:
            self.recorder.add(record)


class RunRecorder:
    """Record of one run, kept by the main process.

    Args:
        config: of the run.
        launch: the current launch.
        data_sha256: checksums of the data (`tslm.data.splits.provenance`).
        leaky: whether the test data leak into the training data.
        is_resumed: continue the existing manifest and MLflow run.

    Raises:
        ImportError: MLflow is not installed.
        OSError: MLflow cannot be reached.
        ValueError: run.json is damaged, or MLflow no longer has the run.
    """

    def __init__(
        self,
        config: RunConfig,
        launch: Launch,
        data_sha256: Mapping[str, str],
        leaky: bool = False,
        is_resumed: bool = False,
    ) -> None:
        self._run_dir = run_dir(config)
        known = read_manifest(self._run_dir) if is_resumed else None
        manifest = known.resume(launch) if known else RunManifest(config.seed, (launch,), {})
        self.log, self._tracker = RunLog(self._run_dir / LOG_FILE), None
        if config.tracking != "none":
            self._tracker = open_known_tracker(config, manifest, leaky)
            manifest = replace(manifest, tracker_runs={**manifest.tracker_runs, config.tracking: self._tracker.run_id})
        self.manifest = replace(manifest, data_sha256=data_sha256)
        write_manifest(self.manifest, self._run_dir)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one record to the log and send its numbers."""
        self.log.append(record)
        if self._tracker is not None:
            self._tracker.log(record)

    def send_checkpoint(self, checkpoint_dir: Path, state: Mapping[str, Any]) -> None:
        """Send a checkpoint if its state has a validation kappa that is among the best."""
        if self._tracker is not None and state.get("val_kappa") is not None:
            self._tracker.send_checkpoint(checkpoint_dir, int(state["step"]), float(state["val_kappa"]))

    def close(self, now: datetime, is_finished: bool) -> None:
        """Record the end of the run; a run that is not finished has no end, as it may be resumed."""
        if is_finished:
            self.manifest = replace(self.manifest, ended_at=now.isoformat(timespec="seconds"))
            write_manifest(self.manifest, self._run_dir)
        if self._tracker is not None:
            self._tracker.close(is_finished)


def record_test(config: RunConfig, metrics: Mapping[str, Any], step: int, drawings: Mapping[str, str]) -> None:
    """Send the test scores of the best checkpoint: metrics, and drawings such as the hypnograms of each night.

    Metrics of the first system are named `test/NAME`, those of further systems `test/SYSTEM/NAME`. An unreachable
    tracker causes a warning.

    Args:
        config: of the run; nothing is sent with `tracking=none`.
        metrics: of the predictions of the test split.
        step: of the checkpoint.
        drawings: HTML pages by name.

    Raises:
        ImportError, ValueError: as `RunRecorder`.
    """
    if config.tracking == "none":
        return
    try:
        tracker = open_known_tracker(config, read_manifest(run_dir(config)), bool(metrics.get("leaky")))
    except OSError as error:  # the scores are on disk; only the copy is missing
        logger.warning("tracker: the scores of the test split were not sent: %s", one_line(error))
        return
    main, systems = pick_main_metrics(metrics), metrics.get("systems", {})
    sent: dict[str, Any] = {name: main[name] for name in _SENT if name in main}
    for system in list(systems)[1:]:
        sent[system] = {name: systems[system][name] for name in _SENT if name in systems[system]}
    tracker.log({"step": step, "test": sent})
    for name, page in drawings.items():
        tracker.log_page(name, page)
    tracker.close()


def open_known_tracker(config: RunConfig, manifest: RunManifest | None, leaky: bool) -> Tracker:
    """Open the tracker of a run, continuing the MLflow run that the manifest names, if any."""
    run_id = manifest.tracker_runs.get(config.tracking, "") if manifest else ""
    tags = {"stage": config.stage.name, "model": config.model.name, "leaky": str(leaky).lower()}
    if config.stage.fold >= 0:
        tags["fold"] = str(config.stage.fold)
    if manifest:
        last = manifest.launches[-1]
        changed = " with changed files" if last.git_dirty else ""
        tags["git_commit"] = f"{last.git_commit}{changed}" if last.git_commit else "unknown"
    return open_tracker(config, run_id, tags)
