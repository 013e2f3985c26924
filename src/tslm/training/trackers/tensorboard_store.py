"""A run in TensorBoard, through accelerate's tracker: event files in the run's folder."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.tracking import TensorBoardTracker
from omegaconf import OmegaConf

from tslm.config.files import to_plain
from tslm.config.schema import RunConfig
from tslm.training.runs.folder import TENSORBOARD_DIR

if TYPE_CHECKING:
    from tslm.training.trackers.figures import Figure


class TensorBoardStore:
    """Numbers and drawings as event files; checkpoints stay where they are. A resumed run adds a file."""

    run_id = ""

    def __init__(self, config: RunConfig, run_dir: Path, tags: Mapping[str, str]) -> None:
        if find_spec("tensorboard") is None:
            raise ImportError("tracking=tensorboard needs its package: pip install 'tslm-sleep[tensorboard]'")
        self._tracker = TensorBoardTracker(TENSORBOARD_DIR, run_dir)
        self._tracker.start()
        self._writer.add_text("config", _quote(OmegaConf.to_yaml(to_plain(config))))
        self._writer.add_text("tags", _quote("".join(f"{name}: {value}\n" for name, value in tags.items())))

    @property
    def _writer(self) -> Any:
        return self._tracker.tracker

    def log_metrics(self, metrics: Mapping[str, float], step: int, time_s: float) -> None:
        """Add numbers."""
        self._tracker.log(dict(metrics), step=step, walltime=time_s)

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Keep a drawing."""
        self._writer.add_figure(name, figure)

    def keep_checkpoint(self, checkpoint_dir: Path, step: int, score: float) -> None:
        """Nothing: event files hold no folders."""

    def close(self, is_finished: bool) -> None:  # noqa: ARG002  # an event file does not say how it ended
        """Write what is buffered."""
        self._tracker.finish()


def _quote(text: str) -> str:
    """Text in the manner of Markdown's code, which keeps its lines."""
    return "\n".join(f"    {line}" for line in text.splitlines())
