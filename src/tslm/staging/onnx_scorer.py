"""Whole nights answered by the ONNX graphs of a classifier (tslm.training.checkpoints.onnx_graphs), without torch.

Shape letters: W epochs of a run without gaps, C channels, L signal samples, D encoder width, K classes.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tslm.config.checkpoint import CONTEXT_GRAPH, ENCODER_GRAPH, load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.runs import compute_run_logits
from tslm.predictions.calibration import Calibration, load_calibration, scale_scores

_EPOCHS_AT_ONCE = 8  # what lies in a processor's cache is quickest


@dataclass(frozen=True)
class OnnxScorer:
    """A classifier as ONNX graphs; `score` gives what `NightScorer.score` gives."""

    folder: Path
    config: RunConfig
    calibration: Calibration = Calibration()
    each_alone: bool = False  # use the head that reads each epoch without its neighbours

    @property
    def temperature(self) -> float | None:
        """Temperature of the probabilities; None without neighbours, where none was fitted."""
        return None if self.each_alone else self.calibration.classifier

    def score(self, recording: Recording) -> np.ndarray:
        """Calibrated probabilities of every epoch, (num_epochs, num_classes) float32; see `NightScorer.score`."""
        logits_EK = compute_run_logits(recording, self.config, self.compute_logits)
        return scale_scores(logits_EK, self.temperature).astype(np.float32)

    def compute_logits(
        self, epochs_WCL: np.ndarray, channel_mask_C: np.ndarray, inputs_WF: np.ndarray | None
    ) -> np.ndarray:
        """(W, C, L) normalised epochs of a run without gaps, and (W, F) numbers beside them -> logits (W, K)."""
        pooled, alone = [], []
        for start in range(0, len(epochs_WCL), _EPOCHS_AT_ONCE):
            some_WCL = epochs_WCL[start : start + _EPOCHS_AT_ONCE]
            mask_WC = np.repeat(channel_mask_C[None], len(some_WCL), axis=0)
            read = {"epochs": some_WCL, "channel_mask": mask_WC}
            if inputs_WF is not None:
                read["inputs"] = inputs_WF[start : start + _EPOCHS_AT_ONCE]
            pooled_WD, alone_WK = self._encoder.run(None, read)
            pooled.append(pooled_WD)
            alone.append(alone_WK)
        if self.each_alone:
            return np.concatenate(alone)
        return self._context.run(None, {"pooled": np.concatenate(pooled)[None]})[0][0]

    @cached_property
    def _encoder(self) -> Any:
        return _open_session(self.folder / ENCODER_GRAPH)

    @cached_property
    def _context(self) -> Any:
        return _open_session(self.folder / CONTEXT_GRAPH)


def open_onnx_scorer(folder: Path, each_alone: bool = False) -> OnnxScorer:
    """The scorer of a folder that `tslm export --format onnx` wrote.

    Raises:
        FileNotFoundError: no graph there.
        ImportError: the extra `export` is not installed.
        ValueError: a file is damaged, or the folder is of a newer version.
    """
    scorer = OnnxScorer(folder, load_checkpoint_config(folder), load_calibration(folder), each_alone)
    scorer._encoder, scorer._context  # noqa: B018 - errors come before a night is read
    return scorer


def _open_session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"--runtime onnx needs the extra `export`: pip install 'tslm-sleep[export]' ({error})"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no {path.name}; write it: tslm export CHECKPOINT --format onnx --out {path.parent}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # 0: as many as there are cores
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads starve a busy machine
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its classes of errors share no other base
        raise ValueError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); export it again") from error
