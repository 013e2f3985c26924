"""A night for a network: normalised, and read in runs without gaps; torch is not needed.

Shape letters: E epochs of a night, C channels, L signal samples, W epochs of a run without gaps, K classes.
"""

from collections.abc import Callable

import numpy as np

from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.night_windows import stack_channels
from tslm.data.samples.references import measure_references
from tslm.hypnogram import split_at_gaps
from tslm.signals.normalize import normalize_channels

ComputeLogits = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (W, C, L) normalised, (C,) is there -> (W, K)


def compute_run_logits(recording: Recording, config: RunConfig, compute_logits: ComputeLogits) -> np.ndarray:
    """Logits of every epoch, (num_epochs, num_classes); the context never crosses a gap.

    Raises:
        ValueError: a channel that the model needs is missing.
    """
    references = measure_references(recording, config)
    values_ECL = stack_channels(recording, config.stage.channels)
    normalized_ECL = normalize_channels(values_ECL, config.model.normalization, references)
    channel_mask_C = np.array([reference is not None for reference in references])
    runs = split_at_gaps(recording.onset_s, recording.epoch_s)
    return np.concatenate([compute_logits(normalized_ECL[run], channel_mask_C) for run in runs])
