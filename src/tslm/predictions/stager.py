"""Stagers: trained models, from a checkpoint or in memory, that give prediction rows.

A scorer (a classifier) answers whole nights at once. A writer (a language model) answers epoch by epoch, with
calibrated probabilities and an optional rationale. The table STAGERS has a row for each.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.splits.leakage import check_leakage
from tslm.predictions.calibration import Calibration, load_calibration
from tslm.predictions.night_scorer import NightScorer, Source
from tslm.predictions.rows import PredictionRow
from tslm.pretrained.table import find_model
from tslm.training.checkpoints.checkpoint import load_checkpoint, read_unmoved

_DEVICE_NAME = re.compile(r"cpu|(?:cuda|mps|xpu)(?::\d+)?")


def open_stager(
    folder: Path | str,
    device: torch.device | str = "cpu",
    config: RunConfig | None = None,
    merge_adapter: bool = True,
    each_alone: bool = False,
    unscored: str = "none",
) -> "Stager":
    """The stager of a checkpoint's folder, or of a model of the package.

    Args:
        folder: the checkpoint, or the name of a model of the package (`tslm models`).
        device: where the model runs.
        config: settings of data and decoding that replace the checkpoint's; those of the model stay.
        merge_adapter: add the adapters into the language model's weights, which answers faster.
        each_alone: let a classifier score each epoch without its neighbours.
        unscored: which epochs without an expert's stage it answers where none are named (`night_windows.UNSCORED`).

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is damaged, of a newer version, or an encoder without a head.
        OSError: its language model cannot be loaded.
    """
    folder = find_model(folder)
    check_answers(load_checkpoint_config(folder), folder)
    (model, saved), calibration = read_unmoved(
        folder, lambda: (load_checkpoint(folder, merge_adapter, device), load_calibration(folder))
    )
    if config is None:
        config = saved
    else:
        train = replace(config.train, precision=saved.train.precision)
        config = replace(config, model=saved.model, llm=saved.llm, train=train)
    return build_stager(model.to(device), config, calibration, each_alone, unscored)


def build_stager(
    model: nn.Module,
    config: RunConfig,
    calibration: Calibration | None = None,
    each_alone: bool = False,
    unscored: str = "none",
) -> "Stager":
    """The stager of a model in memory, as `config` built it; arguments as `open_stager`."""
    return STAGERS[config.model.kind.role](model, config, calibration or Calibration(), each_alone, unscored)


def check_answers(config: RunConfig, folder: Path | str) -> None:
    """Raise ValueError for a checkpoint that gives no answers."""
    if config.model.kind.role not in STAGERS:
        raise ValueError(
            f"{folder} holds an encoder without a head; train stage0_encoder from it, with "
            "stage.predecessor=stage0_masked"
        )


def choose_device(name: str) -> str:
    """The device of that name; without a name a GPU if there is one, otherwise the CPU.

    Raises:
        ValueError: no name of a device, or one that this machine or this build of torch does not have.
    """
    if not name:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not _DEVICE_NAME.fullmatch(name):
        raise ValueError(f"--device {name}: wanted cpu, cuda or cuda:N")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter of a build without CUDA
        found = f"torch {torch.__version__} finds {torch.cuda.device_count()} CUDA GPUs"
        raise ValueError(f"--device {name}: there is no such device ({found}); --device cpu runs without") from error
    return name


def find_test_leak(trained: RunConfig, test_dir: Path | str, fold: int) -> bool:
    """Whether a checkpoint was trained on other epochs of the test subjects; ValueError as `check_leakage`."""
    curriculum_stage = replace(trained.stage, test_dir=str(test_dir), fold=fold)
    return bool(check_leakage([replace(trained, stage=curriculum_stage)], may_lack_data=True))


class Stager(Protocol):
    """A trained model that answers for epochs of nights, or for samples of a corpus."""

    model: Any
    config: RunConfig
    calibration: Calibration
    each_alone: bool  # a scorer scores each epoch without its neighbours
    unscored: str  # which epochs without an expert's stage it answers where none are named; one of UNSCORED

    def read_split(self, split: str) -> Source:
        """The run's data of a split; errors as `build_dataset`."""

    def list_units(self, source: Source, num_samples: int = 0) -> list[int]:
        """Units of a split for `answer`: nights for a scorer, `num_samples` spread samples for a writer."""

    def list_blocks(self, source: Source, units: Sequence[int], num_batches: int = 1) -> list[list[int]]:
        """The units in the order of the work, in blocks that are answered one by one.

        A scorer's block is a night, a writer's `num_batches` batches.
        """

    def answer(
        self,
        source: Source,
        units: Sequence[int] | None = None,
        explain: bool = True,
        rows_at_once: int = 0,
        show_progress: bool = False,
    ) -> Iterator[PredictionRow]:
        """Prediction rows, in the order of `units`.

        Args:
            source: a recording, or what `read_split` gives.
            units: epochs of a recording, or some of `list_units`; None: all that have a reference answer, and those
                that `unscored` adds.
            explain: whether a writer gives a rationale; otherwise it chooses among the options directly.
            rows_at_once: rows that a writer yields at a time; 0: all.
            show_progress: whether a writer shows a progress bar.

        Raises:
            ValueError: samples that do not fit the model, or without options where `explain` is False.
        """

    def score(self, recording: Recording) -> np.ndarray:
        """Calibrated probabilities of every epoch, (num_epochs, num_classes) float32, in the label set's order."""

    def fit_calibration(self, show_progress: bool = True) -> Calibration:
        """Temperatures fitted on the validation data (`stage.num_calibration_samples`)."""

    def average_probabilities(self) -> np.ndarray | None:
        """Mean probability of each sleep stage over the validation nights, (num_classes,); None: not known.

        This is the prior of a scorer; smoothing divides the probabilities by it.
        """


def _build_writer(model: Any, config: RunConfig, calibration: Calibration, each_alone: bool, unscored: str) -> Stager:
    from tslm.predictions.epoch_writer import EpochWriter  # with transformers, which a scorer does not need

    return EpochWriter(model, config, calibration, each_alone, unscored)


STAGERS: dict[str, Callable[[Any, RunConfig, Calibration, bool, str], Stager]] = {
    "scorer": NightScorer,
    "writer": _build_writer,
}
