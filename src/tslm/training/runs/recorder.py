"""What is written down of a run while it trains: its manifest, its log and, where one is named, its tracker."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tslm.config.files import one_line
from tslm.config.schema import RunConfig
from tslm.predictions.nights import build_nights, shown_levels
from tslm.predictions.scorings import Scoring, collect_samples
from tslm.training.checkpoints.model_card import CARD_METRICS
from tslm.training.runs.folder import pick_main_metrics
from tslm.training.runs.log import RunLog
from tslm.training.runs.manifest import Launch, RunManifest, read_manifest, write_manifest
from tslm.training.trackers.tracking import Tracker, open_tracker

logger = logging.getLogger(__name__)

_SENT = (*CARD_METRICS, "loss", "explained_variance")  # of the test split; metrics.json has them all


class RunRecorder:
    """The main process' record of one run; a run has one writer.

    Args:
        config: of the run.
        run_dir: its folder.
        log: that of the run, where it goes on.
        launch: this start of it.
        data_sha256: checksums of its data (`tslm.data.splits.provenance`).
        leaky: whether its test data leak into its training data.
        is_resumed: go on with the manifest and the tracker's run that are there.

    Raises:
        ImportError: the tracker's package is missing.
        OSError: the tracker cannot be reached.
        ValueError: run.json is damaged, or the tracker does not know the run any more.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        log: RunLog,
        launch: Launch,
        data_sha256: Mapping[str, str],
        leaky: bool = False,
        is_resumed: bool = False,
    ) -> None:
        known = read_manifest(run_dir) if is_resumed else None
        manifest = known.resume(launch) if known else RunManifest(config.seed, (launch,), {})
        self._run_dir, self._log, self._tracker = run_dir, log, None
        if config.tracking != "none":
            self._tracker = open_known_tracker(config, run_dir, manifest, leaky)
            manifest = replace(manifest, tracker_runs={**manifest.tracker_runs, config.tracking: self._tracker.run_id})
        self.manifest = replace(manifest, data_sha256=data_sha256)
        write_manifest(self.manifest, run_dir)

    def log(self, record: Mapping[str, Any]) -> None:
        """Add one record to the log, and send its numbers."""
        self._log.append(record)
        if self._tracker is not None:
            self._tracker.log(record)

    def count_records(self) -> int:
        """How long the log is."""
        return self._log.count()

    def keep_checkpoint(self, checkpoint_dir: Path, state: Mapping[str, Any]) -> None:
        """Send a checkpoint, if its state has a validation kappa that is among the best."""
        if self._tracker is not None and state.get("val_kappa") is not None:
            self._tracker.keep_checkpoint(checkpoint_dir, int(state["step"]), float(state["val_kappa"]))

    def close(self, now: datetime, is_finished: bool) -> None:
        """Write down when the run ended; one that did not finish has no end, for it may go on."""
        if is_finished:
            self.manifest = replace(self.manifest, ended_at=now.isoformat(timespec="seconds"))
            write_manifest(self.manifest, self._run_dir)
        if self._tracker is not None:
            self._tracker.close(is_finished)


def record_test(
    config: RunConfig, run_dir: Path, scorings: Mapping[str, Scoring], metrics: Mapping[str, Any], step: int
) -> None:
    """Send what a run's best checkpoint scores on the test split: figures, confusion matrices, a drawing a night.

    The first system's figures stand as `test/NAME`, those of further systems as `test/SYSTEM/NAME`.

    Args:
        config: of the run; nothing is sent where it names no tracker.
        run_dir: its folder.
        scorings: predictions by system; none where the stage answers nothing.
        metrics: of them.
        step: at which the checkpoint was written.

    A tracker that cannot be reached is warned of.

    Raises:
        ImportError, ValueError: as `RunRecorder`.
    """
    if config.tracking == "none":
        return
    from tslm.training.trackers.figures import draw_confusion, draw_night  # only here a drawing is wanted

    try:
        tracker = open_known_tracker(config, run_dir, read_manifest(run_dir), bool(metrics.get("leaky")))
    except OSError as error:  # the scores are on disk; only their copy is missing
        logger.warning("tracker: the scores of the test split were not sent: %s", one_line(error))
        return
    main, systems = pick_main_metrics(metrics), metrics.get("systems", {})
    sent: dict[str, Any] = {name: main[name] for name in _SENT if name in main}
    for system in list(systems)[1:]:
        sent[system] = {name: systems[system][name] for name in _SENT if name in systems[system]}
    tracker.log({"step": step, "test": sent})
    for system, values in systems.items():
        if "confusion_matrix" in values:
            title = f"{config.stage.name}, {system.replace('_', ' ')}"
            tracker.log_figure(f"confusion_matrices/{system}", draw_confusion(values, title))
    levels = shown_levels(collect_samples(scorings)) if (nights := build_nights(scorings)) else []
    for night in nights:
        tracker.log_figure(f"hypnograms/{night.recording}", draw_night(night, levels))
    tracker.close()


def open_known_tracker(config: RunConfig, run_dir: Path, manifest: RunManifest | None, leaky: bool) -> Tracker:
    """The tracker of a run, which goes on with the run that the manifest names, if it names one."""
    run_id = manifest.tracker_runs.get(config.tracking, "") if manifest else ""
    tags = {"stage": config.stage.name, "model": config.model.name, "leaky": str(leaky).lower()}
    if config.stage.fold >= 0:
        tags["fold"] = str(config.stage.fold)
    if manifest:
        last = manifest.launches[-1]
        changed = " with changed files" if last.git_dirty else ""
        tags["git_commit"] = f"{last.git_commit}{changed}" if last.git_commit else "unknown"
    return open_tracker(config, run_dir, run_id, tags)
