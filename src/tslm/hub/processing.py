"""Processor of transformers: from raw signals to model inputs, and from answers to rationales and sleep stages."""

import logging
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
from tslm.data.cohorts.montage import MIN_EEG_FS_HZ
from tslm.data.cohorts.units import parse_voltage_unit
from tslm.data.epochs import cut_epochs
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.data.samples.collate import Collator
from tslm.data.samples.dataset import find_task
from tslm.data.samples.inputs import measure_inputs, normalize_inputs
from tslm.data.samples.night_windows import cut_window
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.data.samples.references import measure_references
from tslm.hub.repository import fetch_checkpoint
from tslm.hypnogram import split_at_gaps
from tslm.labels import LABEL_SETS, SleepStage
from tslm.models import build_tokenizer
from tslm.signals.channel_names import read_channel_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedEpoch:
    """Answer of a language model to one epoch."""

    text: str  # as written
    rationale: str
    sleep_stage: SleepStage | None  # None where the text does not end in one clear label of the checkpoint's set


class TSLMProcessor:
    """Resamples, cuts and normalises nights as in training, with the text around them.

    Give the whole night: epochs are normalised by the night's typical spectrum, and neighbours of an epoch are read
    with it. NaN are missing samples: short gaps are interpolated, epochs of which more than a tenth is missing are left
    out and not counted. A logged warning says what was changed; `cut_night` gives the onset of each remaining epoch.
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
        if (folder / "tokenizer_config.json").is_file():  # a model of the package has its base model's
            return cls(config, AutoTokenizer.from_pretrained(folder))
        return cls(config, build_tokenizer(config))

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
        """Inputs of a model's `generate`, `score_labels` or call, to be passed as `**inputs`.

        Args:
            signals: (num_samples,) of the night from the start of its first epoch, NaN where missing; a mapping from
                channel to signal where the model reads several (EOG and EMG may lack where it was trained with
                `model.channel_dropout`).
            fs_hz: their sampling rate, one or one a channel; they are resampled to the model's.
            epoch_idx: language models: which epochs to ask for, a prompt each; None: all. A classifier reads the
                whole night at once, or each stretch without a gap as one row of the batch; `epoch_mask_BW` selects the
                epochs in time order.
            unit: of the signals: uV, mV, V or nV.
            name: of the night; with an epoch's number it names a sample.

        Raises:
            ValueError: a channel is missing, empty or shorter than an epoch; no such epoch or unit; or a checkpoint
                that reads no nights or does not say at which rate.
        """
        recording = self.cut_night(signals, fs_hz, unit, name)
        for note in recording.notes:
            logger.warning("%s: %s", name, note)
        if self.tokenizer is None:
            if epoch_idx is not None:
                raise ValueError("a classifier reads the whole night at once; leave epoch_idx out")
            stretches = split_at_gaps(recording.onset_s, recording.epoch_s)
            longest = max(stretch.stop - stretch.start for stretch in stretches)
            examples = [self._build_stretch(recording, stretch, longest) for stretch in stretches]
        else:
            night = SleepDataset([recording], self.config)
            examples = [night.build_example(0, epoch) for epoch in _choose_epochs(epoch_idx, recording.num_epochs)]
        batch = self._collate(examples)
        found = {item.name: getattr(batch, item.name) for item in fields(batch)}
        return BatchFeature({key: value for key, value in found.items() if value is not None})

    def decode(self, token_ids: Any) -> StagedEpoch:
        """Rationale and sleep stage of one answer's token ids, up to its end token."""
        assert self.tokenizer is not None, "a classifier writes no text"
        ids = [int(idx) for idx in token_ids]
        end_id = self._collate.end_token_id
        ended = ids.index(end_id) if end_id in ids else len(ids)
        text = str(self.tokenizer.decode(ids[:ended], skip_special_tokens=True)).strip()
        answer = parse_answer(text, self.label_set.answers)
        sleep_stage = None if answer is None else self.label_set.from_answer(answer)
        return StagedEpoch(text, split_response(text)[0], sleep_stage)

    def batch_decode(self, token_ids_BT: Any) -> list[StagedEpoch]:
        """`decode` of each row of what `generate` gave."""
        return [self.decode(ids) for ids in token_ids_BT]

    def cut_night(
        self,
        signals: np.ndarray | Mapping[str, np.ndarray],
        fs_hz: float | Mapping[str, float],
        unit: str = "uV",
        name: str = "night",
    ) -> Recording:
        """The night that a call reads, cut into epochs: onsets, artefact flags, and notes on what was changed.

        Arguments and errors as the call's.
        """
        model, channels = self.config.model, self.config.stage.channels
        if not find_task(self.config.stage).stages_sleep:
            raise ValueError(f"the checkpoint is of {self.config.stage.name}, which reads no nights; give a later one")
        if not model.fs_hz or not model.epoch_s:
            raise ValueError("the checkpoint does not say at which rate it reads; train it again with this version")
        if not isinstance(signals, Mapping):
            signals = {channels[0]: signals}
        missing = [channel for channel in channels if channel not in signals]
        if needed := [channel for channel in missing if channel not in self.config.optional_channels]:
            raise ValueError(f"the model reads {', '.join(channels)}; there is no signal {needed[0]!r}")
        channels = tuple(channel for channel in channels if channel in signals)
        uv_per_unit = parse_voltage_unit(str(unit))
        if uv_per_unit is None:
            raise ValueError(f"unknown unit {unit!r}; give uV, mV or V")
        rates = fs_hz if isinstance(fs_hz, Mapping) else dict.fromkeys(channels, fs_hz)
        rates_hz = {channel: _check_rate(channel, rates.get(channel), model.fs_hz) for channel in channels}
        raw = RawRecording(
            recording=name,
            subject=name,
            signals={
                channel: RawSignal(_convert_signal(channel, signals[channel], uv_per_unit), rates_hz[channel])
                for channel in channels
            },
            sleep_stages=(),
            epoch_s=model.epoch_s,
            species=LABEL_SETS[model.label_set].species,
        )
        return cut_epochs(raw, model.fs_hz)

    def _build_stretch(self, recording: Recording, stretch: slice, num_epochs: int) -> Example:
        """A classifier's example: a stretch without a gap in a window of `num_epochs`."""
        channels = self.config.stage.channels
        measured_EF = measure_inputs(recording, self.config)
        window: NightWindow = cut_window(
            recording,
            channels,
            np.full(recording.num_epochs, -1),
            stretch.start + (stretch.stop - stretch.start) // 2,
            num_epochs,
            measure_references(recording, self.config),
            inputs_EF=None if measured_EF is None else normalize_inputs(measured_EF, self.config.model.inputs),
        )
        return Example(recording.name_epoch(stretch.start), "", (), "", "", "", self.label_set.answers, window)


def _check_rate(channel: str, fs_hz: object, model_hz: float) -> float:
    """The rate of a channel; of an EEG, one at which spindles are seen or that of the model."""
    if not isinstance(fs_hz, int | float | np.number) or not 0 < fs_hz < np.inf:
        raise ValueError(f"{channel}: its rate fs_hz is {fs_hz!r}; wanted a number of Hz above 0")
    least_hz = min(MIN_EEG_FS_HZ, model_hz)
    if read_channel_name(channel).role == "eeg" and fs_hz < least_hz:
        raise ValueError(f"{channel}: it has {fs_hz:g} Hz; the model needs an EEG of {least_hz:g} Hz or more")
    return float(fs_hz)


def _convert_signal(channel: str, signal: object, uv_per_unit: float) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # of fill values that float32 does not hold
            values = np.asarray(signal, dtype=np.float32) * np.float32(uv_per_unit)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{channel}: wanted numbers, one a sample; got {type(signal).__name__} ({error})") from error
    if values.ndim != 1:
        raise ValueError(f"{channel}: give one dimension, the samples of the whole night; got shape {values.shape}")
    if not values.size:
        raise ValueError(f"{channel}: the series is empty")
    return values


def _choose_epochs(epoch_idx: int | Sequence[int] | None, num_epochs: int) -> list[int]:
    if epoch_idx is None:
        return list(range(num_epochs))
    chosen = np.atleast_1d(np.asarray(epoch_idx))
    if chosen.dtype.kind not in "iu" and chosen.size:
        raise ValueError(f"epoch_idx is {epoch_idx!r}; wanted a whole number, or a list of them")
    beyond = [idx for idx in chosen if not 0 <= idx < num_epochs]
    if beyond or not chosen.size:
        raise ValueError(
            f"there is no epoch {beyond[0] if beyond else '(none given)'}; the night has 0 to {num_epochs - 1}"
        )
    return chosen.tolist()
