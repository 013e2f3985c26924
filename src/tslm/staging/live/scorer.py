"""Scoring of a live recording: an epoch's sleep stage as soon as it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tslm.data.epochs import MAX_MISSING_SHARE
from tslm.data.samples.references import CausalNormalizer
from tslm.labels import LABEL_SETS, SleepStage
from tslm.predictions.calibration import scale_scores
from tslm.signals.filters import bridge_gaps
from tslm.staging.live.buffer import ChannelBuffer
from tslm.staging.models import StagingModels, find_models

if TYPE_CHECKING:
    from tslm.predictions.night_scorer import NightScorer


@dataclass(frozen=True)
class LiveEpoch:
    """One epoch of a live recording; `probabilities` is None and the stage UNSCORED where the signal was missing."""

    epoch_idx: int
    onset_s: float  # from the first sample
    sleep_stage: SleepStage
    probabilities: np.ndarray | None  # (num_classes,) float32, in the order of the label set


class StreamingScorer:
    """Stages a live recording by a causal classifier (`model.context.causal`).

    Fed in chunks of any size, it gives what `tslm.score_night` gives by the same checkpoint for the samples so far,
    whatever the chunks.

    Args:
        model: a scorer of the package by name, a checkpoint, or a folder of results.
        fs_hz: sampling rate of the chunks; where channels differ, of each.
        channels: for each channel of the model the name in the chunks; None: the model's own names.
        device: cpu, cuda ...

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is not causal, a channel of the model is not named, or a rate is not positive.
    """

    def __init__(
        self,
        model: Path | str,
        fs_hz: float | Mapping[str, float],
        channels: Mapping[str, str] | None = None,
        device: str = "cpu",
    ) -> None:
        models = find_models(model, with_texts=False)
        config = models.classifier
        check_causal(models)
        wanted = config.stage.channels
        self.channels = dict.fromkeys(wanted) | dict(channels or {name: name for name in wanted})
        if missing := [name for name in models.classifier.stage.channels if self._lacks(name, models.needed_channels)]:
            raise ValueError(
                f"the model needs a channel for {missing[0]!r}; name it in channels={{{missing[0]!r}: NAME}}"
            )
        if unknown := [name for name in self.channels if name not in wanted]:
            raise ValueError(f"the model has no channel {unknown[0]!r}; it reads: {', '.join(wanted)}")
        from tslm.predictions.stager import open_stager

        self.scorer: NightScorer = open_stager(models.classifier_dir, device)  # type: ignore[assignment]
        self.config, self.label_set = self.scorer.config, LABEL_SETS[config.model.label_set]
        self.epoch_s = config.model.epoch_s
        epoch_samples = round(config.model.fs_hz * config.model.epoch_s)
        self._rates_hz = {
            source: float(fs_hz[source] if isinstance(fs_hz, Mapping) else fs_hz) for source in self.sources
        }
        if bad := [rate for rate in self._rates_hz.values() if not 0 < rate < np.inf]:
            raise ValueError(f"fs_hz={bad[0]:g}; wanted a positive sampling rate")
        self._buffers = {
            source: ChannelBuffer(rate_hz, config.model.fs_hz, epoch_samples)
            for source, rate_hz in self._rates_hz.items()
        }
        self._normalizer = CausalNormalizer(self.config, config.model.fs_hz)
        self._state: Any = None
        self._num_epochs = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the channels that a chunk must hold."""
        return tuple(dict.fromkeys(source for source in self.channels.values() if source is not None))

    @property
    def delay_s(self) -> float:
        """Seconds of signal after its end for which an epoch waits: 0 at the model's own rate."""
        return max(buffer.delay_s for buffer in self._buffers.values())

    def feed(
        self, chunk: Mapping[str, np.ndarray], fs_hz: float | Mapping[str, float] | None = None
    ) -> list[LiveEpoch]:
        """Take the next samples and give the epochs that they end.

        Args:
            chunk: samples of each channel by name in microvolt, (num_samples,), NaN where none was recorded; other
                channels in it are not read.
            fs_hz: rate of the chunk, which must be that of the stream; None: it is.

        Raises:
            ValueError: a channel is missing, samples are infinite, or the rate is another than the stream's.
        """
        for source, rate_hz in self._rates_hz.items():
            if source not in chunk:
                raise ValueError(f"a chunk holds no channel {source!r}; it has: {', '.join(chunk) or 'none'}")
            given_hz = fs_hz.get(source, rate_hz) if isinstance(fs_hz, Mapping) else fs_hz
            if given_hz is not None and given_hz != rate_hz:
                raise ValueError(
                    f"{source!r} changed its rate from {rate_hz:g} to {given_hz:g} Hz; start a new StreamingScorer"
                )
        taken = {source: np.asarray(chunk[source], dtype=np.float32) for source in self._buffers}
        for source, values in taken.items():
            if values.ndim != 1 or np.isinf(values).any():
                raise ValueError(
                    f"a chunk of {source!r} has shape {values.shape} or infinite values; wanted (num_samples,)"
                )
        for source, values in taken.items():
            self._buffers[source].append(values)
        done = []
        while all(buffer.has_epoch() for buffer in self._buffers.values()):
            done.append(self._score_next())
        return done

    def _score_next(self) -> LiveEpoch:
        epochs = {source: buffer.cut() for source, buffer in self._buffers.items()}
        idx, self._num_epochs = self._num_epochs, self._num_epochs + 1
        if any(np.isnan(epoch_L).mean() > MAX_MISSING_SHARE for epoch_L in epochs.values()):
            self._state = None  # the context never crosses a gap
            return LiveEpoch(idx, idx * self.epoch_s, SleepStage.UNSCORED, None)
        values = [None if source is None else bridge_gaps(epochs[source]) for source in self.channels.values()]
        epoch_CL = self._normalizer.normalize(values)
        mask_C = np.array([each is not None for each in values])
        logits_K, self._state = self.scorer.step(epoch_CL, mask_C, self._state)
        probability_K = scale_scores(logits_K, self.scorer.temperature).astype(np.float32)
        stage = self.label_set.sleep_stages[int(probability_K.argmax())]
        return LiveEpoch(idx, idx * self.epoch_s, stage, probability_K)

    def _lacks(self, name: str, needed: set[str]) -> bool:
        return name in needed and self.channels[name] is None


def check_causal(models: StagingModels) -> None:
    """Raise ValueError for a classifier that looks at later epochs, or at the whole recording."""
    context = models.classifier.model.context
    if context.sees_neighbours and not context.causal:
        raise ValueError(
            f"{models.classifier_dir} looks at later epochs, so it cannot stage a live recording; train one with "
            "model.context.causal=true"
        )
    if inputs := models.classifier.model.inputs:
        raise ValueError(
            f"{models.classifier_dir} reads {', '.join(inputs)} beside the signal, measured on a whole recording; "
            "train one without model.inputs"
        )
