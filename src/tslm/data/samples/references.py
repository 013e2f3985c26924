"""References of recordings and of parts of them, by which their epochs are normalised.

1. A `ReferenceMeter` looks at every epoch of a recording once.
2. `measure` makes the references of the whole recording or of a part. In training a window may be normalised as part of
   a shorter recording (`augment.excerpt_share`): what is typical of half an hour is not what is typical of a night.
3. What a short recording cannot tell is taken from the nights of training (`model.prior_epochs`). Their typical spectra
   stand in the model's config (`model.typical_spectrum`), so they go wherever the checkpoint goes.

Shape letters: E epochs, C channels, K knots of a spectrum, W epochs of a window, L samples of an epoch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tslm.batch import IGNORE_INDEX, NightWindow, Reference
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.evidence.muscle import Tones, build_tone_scale, find_emg_channel, measure_tones
from tslm.signals.augment import NUM_DRAWS, interpolate_gain
from tslm.signals.normalize import (
    KNOTS_K,
    NUM_KNOTS,
    build_reference,
    find_typical,
    measure_reference,
    measure_spectra,
    normalize_channels,
)

SHORTEST_EXCERPT = 20  # epochs

ChannelReferences = tuple[Reference | None, ...]  # of the model's channels; None: the recording lacks the channel


class ReferenceMeter:
    """Makes references of a recording's channels, those that the model reads; an EMG is known by its name."""

    def __init__(self, recording: Recording, config: RunConfig) -> None:
        """Look at every epoch of a recording.

        Raises:
            ValueError: a channel is missing that the model needs.
        """
        check_channels(recording.channels, config, recording.recording)
        self.prior_epochs = config.model.prior_epochs
        self.channels, self.stored = config.stage.channels, recording.channels
        there = [(idx, name) for idx, name in enumerate(config.stage.channels) if name in recording.channels]
        self.tones = {
            idx: measure_tones(recording.channels[name], recording.fs_hz)
            for idx, name in there
            if find_emg_channel([name])
        }
        # Without a prior, references are those of `measure_reference`, as they were before there was one.
        self.spectra_EK = {
            idx: measure_spectra(recording.channels[name])
            for idx, name in there
            if (self.prior_epochs or config.model.context.causal) and idx not in self.tones
        }

    def measure(
        self,
        typical_spectrum: Sequence[float] = (),
        part: slice = slice(None),
        log_gains_CG: np.ndarray | None = None,
    ) -> ChannelReferences:
        """References of the whole recording, or of a part of it.

        Args:
            typical_spectrum: `model.typical_spectrum`; empty: the recording's own spectra count alone.
            part: epochs of the recording.
            log_gains_CG: of another amplifier that the recording is taken to come from; None: its own.
        """
        priors_CK = np.reshape(typical_spectrum, (-1, NUM_KNOTS)) if typical_spectrum else None
        return tuple(
            None
            if self.channels[idx] not in self.stored
            else self._measure_channel(
                idx,
                part,
                None if priors_CK is None else priors_CK[idx],
                0.0 if log_gains_CG is None else interpolate_gain(KNOTS_K, log_gains_CG[idx]),
            )
            for idx in range(len(self.channels))
        )

    def _measure_channel(
        self, idx: int, part: slice, prior_K: np.ndarray | None, log_gain_K: np.ndarray | float
    ) -> Reference:
        if idx in self.tones:
            return Reference(tone=build_tone_scale(self.tones[idx], part))
        if idx in self.spectra_EK:
            return build_reference(self.spectra_EK[idx][part] + log_gain_K, prior_K, self.prior_epochs)
        reference = measure_reference(self.stored[self.channels[idx]][part])
        if reference.log_amplitude_K is None:
            return reference
        return replace(reference, log_amplitude_K=reference.log_amplitude_K + log_gain_K)

    def draw_gains(self, jitter: float) -> np.ndarray | None:
        """(C, NUM_DRAWS) ln gains of an amplifier drawn by torch's generator; 0 for an EMG; None without jitter."""
        import torch

        if not jitter:
            return None
        log_gains_CG = jitter * torch.randn(len(self.channels), NUM_DRAWS).numpy()
        log_gains_CG[list(self.tones)] = 0
        return log_gains_CG


def measure_references(recording: Recording, config: RunConfig) -> ChannelReferences:
    """References of a whole recording; errors as `ReferenceMeter`."""
    return ReferenceMeter(recording, config).measure(config.model.typical_spectrum)


class CausalNormalizer:
    """Normalises the epochs of a live recording one after another, each by the recording up to its own end.

    What the first epochs cannot tell is taken from the nights of training, where the model has a prior
    (`model.prior_epochs`). Whether an EMG is an envelope is decided on its first epoch.
    """

    def __init__(self, config: RunConfig, fs_hz: float) -> None:
        self.config, self.fs_hz, self.num_epochs = config, fs_hz, 0
        typical = config.model.typical_spectrum
        self._priors_CK = np.reshape(typical, (-1, NUM_KNOTS)) if typical else None
        self._is_emg = [bool(find_emg_channel([name])) for name in config.stage.channels]
        self._seen: list[np.ndarray] = [np.empty((0, 0))] * len(self._is_emg)  # spectra, or tones of an EMG
        self._first_tones: dict[int, Tones] = {}

    def normalize(self, epoch_C: Sequence[np.ndarray | None]) -> np.ndarray:
        """The next epoch, (L,) microvolt a channel, None for one that lacks -> (C, L) or (C, V, L) float32."""
        self.num_epochs += 1
        length = next(len(values_L) for values_L in epoch_C if values_L is not None)
        values_1CL = np.stack([np.zeros(length, np.float32) if each is None else each for each in epoch_C])[None]
        references = [None if each is None else self._measure(idx, each) for idx, each in enumerate(epoch_C)]
        return normalize_channels(values_1CL, self.config.model.normalization, references)[0]

    def _measure(self, idx: int, values_L: np.ndarray) -> Reference:
        if self._is_emg[idx]:
            first = self._first_tones.get(idx)
            tones = measure_tones(values_L[None], self.fs_hz, None if first is None else first.is_envelope)
            first = self._first_tones.setdefault(idx, tones)
            seen_ES = self._keep(idx, tones.log_envelope_ES)
            return Reference(tone=build_tone_scale(replace(first, log_envelope_ES=seen_ES)))
        prior_K = None if self._priors_CK is None else self._priors_CK[idx]
        return build_reference(
            self._keep(idx, measure_spectra(values_L[None])), prior_K, self.config.model.prior_epochs
        )

    def _keep(self, idx: int, row_1X: np.ndarray) -> np.ndarray:
        """All rows so far; room for them is doubled when it is used up."""
        if self.num_epochs > len(self._seen[idx]):
            grown = np.empty((2 * self.num_epochs, row_1X.shape[1]))
            grown[: self.num_epochs - 1] = self._seen[idx][: self.num_epochs - 1] if self.num_epochs > 1 else 0
            self._seen[idx] = grown
        self._seen[idx][self.num_epochs - 1] = row_1X[0]
        return self._seen[idx][: self.num_epochs]


def check_channels(names: Iterable[str], config: RunConfig, recording: str) -> None:
    """Raise ValueError where a recording lacks a channel that the model needs."""
    needed = [name for name in config.stage.channels if name not in config.optional_channels]
    if missing := [name for name in needed if name not in names]:
        raise ValueError(
            f"{recording} has no channel {missing[0]!r}, which the model needs; it has: {', '.join(names)}"
        )


def average_spectra(meters: Sequence[ReferenceMeter]) -> tuple[float, ...]:
    """`model.typical_spectrum`: the mean of the recordings' spectra, channel by channel; 0 for a channel without one.

    It is empty where the model takes nothing from the nights of training.
    """
    if not meters or not any(meter.spectra_EK for meter in meters):
        return ()
    spectra = []
    for idx in range(len(meters[0].channels)):
        found = [find_typical(meter.spectra_EK[idx]) for meter in meters if idx in meter.spectra_EK]
        known = [typical_K for typical_K in found if typical_K is not None]
        spectra.append(np.mean(known, axis=0) if known else np.zeros(NUM_KNOTS))
    return tuple(np.concatenate(spectra).round(4).tolist())


def draw_excerpt(centre: int, num_epochs: int, share: float) -> slice:
    """The recording as a whole, or with probability `share` a part of it with `centre` in it.

    The length of a part is drawn evenly in its logarithm, from SHORTEST_EXCERPT to the recording. Numbers come from
    torch's generator; none is drawn where `share` is 0.
    """
    import torch

    if not share or num_epochs <= SHORTEST_EXCERPT:
        return slice(0, num_epochs)
    chosen, size, place = torch.rand(3).tolist()
    if chosen >= share:
        return slice(0, num_epochs)
    length = round(SHORTEST_EXCERPT * math.exp(size * math.log(num_epochs / SHORTEST_EXCERPT)))
    first, last = max(0, centre - length + 1), min(centre, num_epochs - length)
    start = first + int(place * (last - first + 1))
    return slice(start, start + length)


def keep_excerpt(window: NightWindow, centre: int, part: slice) -> NightWindow:
    """The window around `centre` as it is cut from a recording that is `part` of the one it was cut from."""
    idx_W = centre + np.arange(len(window.epoch_mask_W)) - window.scored_idx
    inside_W = (idx_W >= part.start) & (idx_W < part.stop)
    return replace(
        window,
        values_WCL=np.where(inside_W[:, None, None], window.values_WCL, np.float32(0)),
        epoch_mask_W=window.epoch_mask_W & inside_W,
        sleep_stage_idx_W=np.where(inside_W, window.sleep_stage_idx_W, IGNORE_INDEX),
    )
