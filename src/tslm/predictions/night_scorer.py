"""Whole nights answered by a classifier.

Shape letters: E epochs of a night, C channels, L signal samples, B nights (one), W epochs of a run without gaps,
K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tslm.config.schema import RunConfig
from tslm.data.cohorts.suitability import check_recordings
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.dataset import TaskDataset
from tslm.data.samples.night_windows import (
    check_num_channels,
    choose_epochs,
    index_sleep_stages,
    load_recordings,
)
from tslm.data.samples.runs import compute_run_logits
from tslm.labels import LABEL_SETS
from tslm.models.classifier import Classifier
from tslm.predictions.calibration import Calibration, fit_row_temperature, scale_scores
from tslm.predictions.rows import PredictionRow, build_night_rows

Source = Recording | Sequence[Recording] | TaskDataset  # input of a stager


@dataclass
class NightScorer:
    """A classifier that reads a whole night and scores all its epochs."""

    model: Classifier
    config: RunConfig
    calibration: Calibration = Calibration()
    each_alone: bool = False  # use the head that reads each epoch without its neighbours
    unscored: str = "none"  # of UNSCORED

    @property
    def temperature(self) -> float | None:
        """Temperature of the probabilities; None without neighbours, where none was fitted."""
        return None if self.each_alone else self.calibration.classifier

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def read_split(self, split: str) -> list[Recording]:
        """The recordings of a split."""
        stage = self.config.stage
        memory_gb = self.config.train.memory_gb
        return load_recordings(stage.data_dir(split), split, stage.channels, stage.fold, memory_gb)

    def list_units(self, source: Source, num_samples: int = 0) -> list[int]:  # noqa: ARG002 - it takes all epochs
        """Indices of the nights."""
        return list(range(len(_list_nights(source))))

    def list_blocks(self, source: Source, units: Sequence[int], num_batches: int = 1) -> list[list[int]]:  # noqa: ARG002
        """A block for each night."""
        return [[unit] for unit in units]

    def answer(
        self,
        source: Source,
        units: Sequence[int] | None = None,
        explain: bool = True,  # noqa: ARG002 - it writes no text
        rows_at_once: int = 0,  # noqa: ARG002
        show_progress: bool = False,  # noqa: ARG002
    ) -> Iterator[PredictionRow]:
        """Rows of a recording's epochs, or of some nights; see `Stager.answer`."""
        label_set, nights = LABEL_SETS[self.config.model.label_set], _list_nights(source)
        if isinstance(source, Recording):
            chosen, asked = [0], units
        else:
            chosen, asked = list(range(len(nights)) if units is None else units), None
        check_recordings([nights[idx] for idx in chosen], self.config.model)
        for idx in chosen:
            with open_autocast(self.device, self.config):
                probabilities_EK = self.score(nights[idx])
            epochs = asked
            if epochs is None:
                epochs = choose_epochs(index_sleep_stages(nights[idx], label_set), self.unscored).tolist()
            yield from build_night_rows(nights[idx], probabilities_EK, label_set, self.temperature, epochs=epochs)

    def score(self, recording: Recording) -> np.ndarray:
        """Calibrated probabilities of every epoch, (num_epochs, num_classes) float32, in the label set's order.

        The whole night is read at once; the context never crosses a gap in the recording.

        Raises:
            ValueError: another number of channels than the model reads, a channel that it needs is missing, an input
                beside the signal that the recording does not state, or epochs longer than its position table.
        """
        check_num_channels(self.config.stage.channels, self.model.reader.num_channels)
        self.model.eval()
        logits_EK = compute_run_logits(recording, self.config, self._compute_run)
        return scale_scores(logits_EK, self.temperature).astype(np.float32)

    def _compute_run(
        self, epochs_WCL: np.ndarray, channel_mask_C: np.ndarray, inputs_WF: np.ndarray | None
    ) -> np.ndarray:
        window_BWCL = torch.from_numpy(epochs_WCL).to(self.device)[None]
        mask_BW = torch.ones(window_BWCL.shape[:2], dtype=torch.bool, device=self.device)
        channel_mask_BC = torch.from_numpy(channel_mask_C).to(self.device)[None]
        inputs_BWF = None if inputs_WF is None else torch.from_numpy(inputs_WF).to(self.device)[None]
        with torch.inference_mode():
            return self.compute_logits(window_BWCL, mask_BW, channel_mask_BC, inputs_BWF)[0].cpu().numpy()

    def step(self, epoch_CL: np.ndarray, channel_mask_C: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Logits (K,) of the next epoch of a live night, and what is kept; arguments as `Classifier.step`."""
        self.model.eval()
        epoch, mask = (torch.from_numpy(each).to(self.device) for each in (epoch_CL, channel_mask_C))
        with torch.inference_mode():
            logits_K, state = self.model.step(epoch, mask, state)
        return logits_K.cpu().numpy(), state

    def compute_logits(
        self,
        window_BWCL: Tensor,
        mask_BW: Tensor,
        channel_mask_BC: Tensor | None = None,
        inputs_BWF: Tensor | None = None,
    ) -> Tensor:
        """Logits of the epochs in normalised windows, (B, W, K).

        Args:
            window_BWCL: (B, W, C, L).
            mask_BW: True for epochs that are no padding.
            channel_mask_BC: False where a recording lacks a channel; None: all are there.
            inputs_BWF: numbers beside the signal, of a model with `model.inputs`.
        """
        alone_BWK, in_context_BWK = self.model.logits(window_BWCL, mask_BW, channel_mask_BC, inputs_BWF)
        return alone_BWK if self.each_alone else in_context_BWK

    def fit_calibration(self, show_progress: bool = True) -> Calibration:  # noqa: ARG002 - it takes seconds
        """The temperature of all validation epochs."""
        plain = replace(self, calibration=Calibration(), unscored="none")
        rows = list(plain.answer(self.read_split("val")))
        scores = [np.log(np.clip(row["probabilities"] or [], 1e-6, 1.0)) for row in rows]
        return Calibration(classifier=fit_row_temperature(rows, scores))

    def average_probabilities(self) -> np.ndarray | None:
        """Mean over all validation epochs; None where none is scored."""
        rows = list(replace(self, unscored="none").answer(self.read_split("val")))
        return np.mean([row["probabilities"] or [] for row in rows], axis=0) if rows else None


def open_autocast(device: torch.device, config: RunConfig) -> torch.autocast:
    """The precision of a run, for inference."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16")


def _list_nights(source: Source) -> Sequence[Recording]:
    return [source] if isinstance(source, Recording) else getattr(source, "recordings", source)  # type: ignore[arg-type]
