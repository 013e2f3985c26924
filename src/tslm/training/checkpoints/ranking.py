"""The best checkpoints of a run: which of two is better, and the folders `top_1` to `top_3`.

A scorer is ranked by Cohen's kappa on the validation nights, and by validation loss where kappa is equal or unknown
(validation nights of one sleep stage, sharded models). Other models are ranked by validation loss: the guide does so,
and kappa of a language model is measured for a tracker alone, which must not change the result of a run.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tslm.config.schema import RunConfig
from tslm.files import read_json
from tslm.training.runs.folder import NUM_TOP, STATE_FILE, TOP_PREFIX

_UNKNOWN_KAPPA = -1.0  # the lowest there is


@dataclass(frozen=True)
class Standing:
    """What the checkpoints of one run are ranked by.

    Attributes:
        val_loss: validation loss.
        val_kappa: Cohen's kappa on the validation nights; None: not what this run is ranked by, or unknown.
    """

    val_loss: float
    val_kappa: float | None = None

    @classmethod
    def read(cls, figures: Mapping[str, Any], config: RunConfig) -> Self:
        """Take the figures of a pass, or of a checkpoint's state.json, that rank a run of `config`."""
        return cls(figures["val_loss"], figures.get("val_kappa") if config.model.kind.role == "scorer" else None)

    def is_better(self, other: "Standing | None", min_delta: float) -> bool:
        """Return whether this is better than another, in loss by more than `min_delta`; all are better than None."""
        if other is None:
            return True
        ours, theirs = (_UNKNOWN_KAPPA if it.val_kappa is None else it.val_kappa for it in (self, other))
        return ours > theirs or (ours == theirs and self.val_loss < other.val_loss - min_delta)


def find_place(checkpoints_dir: Path, state: Mapping[str, Any], config: RunConfig) -> int | None:
    """Return the place from 1 of a checkpoint among the best `NUM_TOP` of its run; None if it is not one of them.

    Kept checkpoints of this step or a later one are deleted first: a resumed run makes them again.

    Args:
        checkpoints_dir: of the run.
        state: of the new checkpoint, as in its state.json.
        config: of the run.
    """
    ranked = []
    for folder in _list_top(checkpoints_dir):
        kept = read_json(folder / STATE_FILE)
        if kept["step"] >= state["step"]:
            shutil.rmtree(folder)
        else:
            ranked.append(Standing.read(kept, config))
    new = Standing.read(state, config)
    better = (place for place, old in enumerate(ranked, 1) if new.is_better(old, config.train.min_delta))
    place = next(better, len(ranked) + 1)
    return place if place <= NUM_TOP else None


def insert_top(folder: Path, checkpoints_dir: Path, place: int) -> None:
    """Rename a complete checkpoint to its place among the best; those behind it move on, and the last one is deleted.

    A run killed in between leaves a gap, which the next call closes.
    """
    ranked = _list_top(checkpoints_dir)
    for dropped in ranked[NUM_TOP - 1 :]:
        shutil.rmtree(dropped)
    for number, kept in enumerate(ranked[: NUM_TOP - 1], 1):
        kept.rename(_name_top(checkpoints_dir, number))
    for number in range(len(ranked[: NUM_TOP - 1]), place - 1, -1):
        _name_top(checkpoints_dir, number).rename(_name_top(checkpoints_dir, number + 1))
    folder.rename(_name_top(checkpoints_dir, place))


def _list_top(checkpoints_dir: Path) -> list[Path]:
    folders = (_name_top(checkpoints_dir, number) for number in range(1, NUM_TOP + 1))
    return [folder for folder in folders if folder.is_dir()]


def _name_top(checkpoints_dir: Path, number: int) -> Path:
    return checkpoints_dir / f"{TOP_PREFIX}{number}"
