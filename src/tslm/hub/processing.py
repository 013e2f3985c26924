"""From raw signals to what a checkpoint reads, and from what it writes to a rationale and a sleep stage."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase

from tslm.answers.grammar import parse_answer, split_response
from tslm.batch import Example, NightWindow
from tslm.config.checkpoint import load_checkpoint_config, save_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.units import parse_voltage_unit
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import SleepDataset
from tslm.data.samples.night_windows import cut_window, measure_references
from tslm.hub.repository import fetch_checkpoint
from tslm.labels import LABEL_SETS, SleepStage
from tslm.signals.resample import resample_polyphase


@dataclass(frozen=True)
class StagedEpoch:
    """What a language model wrote about an epoch."""

    text: str  # as written
    rationale: str
    sleep_stage: SleepStage | None  # None where the text does not end in one clear label of the checkpoint's set


class TSLMProcessor:
    """Resamples, cuts and normalises nights as in training, with the text around them.

    The whole night should be given: its typical spectrum is what its epochs are normalised by, and neighbours
    of an epoch are read with it.
    """

    def __init__(self, config: RunConfig, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.label_set = LABEL_SETS[config.model.label_set]
        self._collate = Collator(config.model, tokenizer, with_response=False)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, **options: Any) -> Self:
        """The processor of a checkpoint's folder or hub id; options and errors as the models' `from_pretrained`."""
        folder = fetch_checkpoint(os.fspath(name), **options)
        config = load_checkpoint_config(folder)
        return cls(config, AutoTokenizer.from_pretrained(folder) if config.writes_text else None)

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        """Write config.json and the tokenizer, all that a processor is made of."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint_config(self.config, folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(str(folder))

    def __call__(
        self,
        signals: np.ndarray | Mapping[str, np.ndarray],
        fs_hz: float | Mapping[str, float],
        epoch_idx: int | Sequence[int] | None = None,
        unit: str = "uV",
        name: str = "night",
    ) -> BatchFeature:
        """What a model's `generate`, `score_labels` or call takes as `**inputs`.

        Args:
            signals: (num_samples,) of the night from the start of its first epoch; a mapping from channel to signal
                where the model reads several.
            fs_hz: their sampling rate, one or one a channel; they are resampled to the model's.
            epoch_idx: language models: which epochs to ask for, a prompt each; None: all. A classifier reads the
                whole night at once.
            unit: of the signals: uV, mV, V or nV.
            name: of the night; with an epoch's number it names a sample.

        Raises:
            ValueError: a channel is missing, empty, shorter than an epoch or not finite; no such epoch or unit; or a
                checkpoint that reads no nights or does not say at which rate.
        """
        recording = self._read_night(signals, fs_hz, unit, name)
        if self.tokenizer is None:
            if epoch_idx is not None:
                raise ValueError("a classifier reads the whole night at once; leave epoch_idx out")
            examples = [self._whole_night(recording)]
        else:
            night = SleepDataset([recording], self.config)
            examples = [night.build_example(0, epoch) for epoch in _choose_epochs(epoch_idx, recording.num_epochs)]
        batch = self._collate(examples)
        found = {item.name: getattr(batch, item.name) for item in fields(batch)}
        return BatchFeature({key: value for key, value in found.items() if value is not None})

    def decode(self, token_ids: Any) -> StagedEpoch:
        """Rationale and stage of one answer's token ids, up to its end token."""
        assert self.tokenizer is not None, "a classifier writes no text"
        ids = [int(idx) for idx in token_ids]
        end_id = self._collate.end_token_id
        ended = ids.index(end_id) if end_id in ids else len(ids)
        text = str(self.tokenizer.decode(ids[:ended], skip_special_tokens=True)).strip()
        answer = parse_answer(text, self.label_set.answers)
        stage = None if answer is None else self.label_set.from_answer(answer)
        return StagedEpoch(text, split_response(text)[0], stage)

    def batch_decode(self, token_ids_BT: Any) -> list[StagedEpoch]:
        """`decode` of each row of what `generate` gave."""
        return [self.decode(ids) for ids in token_ids_BT]

    def _read_night(
        self, signals: np.ndarray | Mapping[str, np.ndarray], fs_hz: float | Mapping[str, float], unit: str, name: str
    ) -> Recording:
        model, channels = self.config.model, self.config.stage.channels
        if not self.config.stage.answers_for_nights:
            raise ValueError(f"the checkpoint is of {self.config.stage.name}, which reads no nights; give a later one")
        if not model.fs_hz or not model.epoch_s:
            raise ValueError("the checkpoint does not say at which rate it reads; train it again with this version")
        if not isinstance(signals, Mapping):
            signals = {channels[0]: signals}
        missing = [channel for channel in channels if channel not in signals]
        if missing:
            raise ValueError(f"the model reads {', '.join(channels)}; there is no signal {missing[0]!r}")
        uv_per_unit = parse_voltage_unit(unit)
        if uv_per_unit is None:
            raise ValueError(f"unknown unit {unit!r}; wanted uV, mV or V")
        resampled = {
            channel: resample_polyphase(
                _check_signal(channel, signals[channel]) * np.float32(uv_per_unit),
                fs_hz[channel] if isinstance(fs_hz, Mapping) else fs_hz,
                model.fs_hz,
            )
            for channel in channels
        }
        epoch_samples = round(model.epoch_s * model.fs_hz)
        num_epochs = min(len(values) for values in resampled.values()) // epoch_samples
        if not num_epochs:
            raise ValueError(f"the signal is shorter than one epoch of {model.epoch_s:g} s")
        return Recording(
            recording=name,
            subject=name,
            fs_hz=model.fs_hz,
            epoch_s=model.epoch_s,
            channels={
                channel: values[: num_epochs * epoch_samples].reshape(num_epochs, epoch_samples)
                for channel, values in resampled.items()
            },
            sleep_stages=(SleepStage.UNSCORED,) * num_epochs,
            onset_s=np.arange(num_epochs) * model.epoch_s,
        )

    def _whole_night(self, recording: Recording) -> Example:
        channels = self.config.stage.channels
        window: NightWindow = cut_window(
            recording,
            channels,
            np.full(recording.num_epochs, -1),
            recording.num_epochs // 2,
            recording.num_epochs,
            measure_references(recording, channels),
        )
        return Example(recording.recording, "", (), "", "", "", self.label_set.answers, window)


def _check_signal(channel: str, signal: np.ndarray) -> np.ndarray:
    values = np.asarray(signal, dtype=np.float32)
    if values.ndim != 1:
        raise ValueError(f"{channel}: wanted one dimension, the samples of the whole night; got shape {values.shape}")
    if not values.size:
        raise ValueError(f"{channel}: the series is empty")
    if not np.isfinite(values).all():
        raise ValueError(f"{channel}: the series holds NaN or infinite values; repair or drop it before scoring")
    return values


def _choose_epochs(epoch_idx: int | Sequence[int] | None, num_epochs: int) -> list[int]:
    if epoch_idx is None:
        return list(range(num_epochs))
    chosen = [int(epoch_idx)] if isinstance(epoch_idx, int | np.integer) else [int(idx) for idx in epoch_idx]
    beyond = [idx for idx in chosen if not 0 <= idx < num_epochs]
    if beyond or not chosen:
        raise ValueError(
            f"there is no epoch {beyond[0] if beyond else '(none given)'}; the night has 0 to {num_epochs - 1}"
        )
    return chosen
