"""A night for a network: normalised, and read in runs without gaps; torch is not needed.

Shape letters: E epochs of a night, C channels, L signal samples, W epochs of a run without gaps,
F numbers of an epoch beside its signal, K classes.
"""

from collections.abc import Callable

import numpy as np

from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.inputs import measure_inputs, normalize_inputs
from tslm.data.samples.night_windows import stack_channels
from tslm.data.samples.references import CausalNormalizer, check_channels, measure_references
from tslm.hypnogram import split_at_gaps
from tslm.signals.normalize import normalize_channels

# (W, C, L) normalised, (C,) is there, (W, F) beside the signal or None -> (W, K)
ComputeLogits = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def normalize_night(recording: Recording, config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Normalised epochs, (E, C, L) or (E, C, V, L) float32, and (C,) which channels are there.

    Each is normalised by the whole recording, for a causal context by the recording up to its own end.
    """
    check_channels(recording.channels, config, recording.recording)
    if config.model.context.causal:
        normalizer = CausalNormalizer(config, recording.fs_hz)
        channels = [recording.channels.get(name) for name in config.stage.channels]
        epochs = [
            normalizer.normalize([None if each is None else each[epoch] for each in channels])
            for epoch in range(recording.num_epochs)
        ]
        return np.stack(epochs), np.array([each is not None for each in channels])
    references = measure_references(recording, config)
    values_ECL = stack_channels(recording, config.stage.channels)
    normalized_ECL = normalize_channels(values_ECL, config.model.normalization, references)
    return normalized_ECL, np.array([reference is not None for reference in references])


def compute_run_logits(recording: Recording, config: RunConfig, compute_logits: ComputeLogits) -> np.ndarray:
    """Logits of every epoch, (num_epochs, num_classes); the context never crosses a gap.

    Raises:
        ValueError: a channel that the model needs is missing, or what it reads beside the signal.
    """
    measured_EF = measure_inputs(recording, config)
    inputs_EF = None if measured_EF is None else normalize_inputs(measured_EF, config.model.inputs)
    normalized_ECL, channel_mask_C = normalize_night(recording, config)
    runs = split_at_gaps(recording.onset_s, recording.epoch_s)
    return np.concatenate(
        [
            compute_logits(normalized_ECL[run], channel_mask_C, None if inputs_EF is None else inputs_EF[run])
            for run in runs
        ]
    )
