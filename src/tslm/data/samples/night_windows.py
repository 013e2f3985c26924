"""Nights for models: recordings of a split, what is typical of them, and windows of their epochs.

What a model asks of a night (channels, rate, length of an epoch) is checked here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tslm.batch import IGNORE_INDEX, NightWindow, Reference
from tslm.config.schema import AugmentConfig, ModelConfig
from tslm.data.prepared.recordings import Recording, check_subject_splits, read_participants, read_recording
from tslm.data.splits.folds import choose_fold
from tslm.data.splits.within_subject import draw_recording_splits, keep_epochs, keep_time
from tslm.evidence.muscle import find_emg_channel
from tslm.labels import LabelSet
from tslm.signals.augment import NUM_DRAWS, add_noise, cut_notch, drop_electrode, jitter_spectrum, shift_time
from tslm.signals.muscle_tone import measure_tone_scale
from tslm.signals.normalize import measure_reference


def load_recordings(cohort_dir: Path, split: str, channels: Sequence[str], fold: int = -1) -> list[Recording]:
    """The prepared recordings of one split, with the channels asked for.

    Args:
        cohort_dir: folder of the cohort.
        split: train, val or test.
        channels: names of the channels to read.
        fold: where the cohort has folds, the one that `split` refers to; ignored where it has none.

    Raises:
        FileNotFoundError: there is no cohort.
        ValueError: a subject in two splits or folds, a missing channel, or no such fold.
    """
    return list(read_nights(cohort_dir, split, channels, fold))


def read_nights(cohort_dir: Path, split: str, channels: Sequence[str], fold: int = -1) -> Iterator[Recording]:
    """As `load_recordings`, one recording at a time: for cohorts that memory does not hold."""
    participants = choose_fold(read_participants(cohort_dir), fold)
    check_subject_splits(participants)
    by_time = draw_recording_splits([row for row in participants if row.split.is_within_subject], cohort_dir, fold)
    for row in participants:
        if not row.split.serves(split) or (row.split.is_within_subject and split not in by_time[row.recording]):
            continue
        night = replace(read_recording(cohort_dir / f"{row.recording}.parquet", list(channels)), split=row.split)
        yield keep_time(night, by_time[row.recording], split) if row.recording in by_time else keep_epochs(night, split)


def measure_references(recording: Recording, channels: Sequence[str]) -> tuple[Reference, ...]:
    """What is typical of each channel of a recording; an EMG is told by its name."""
    return tuple(
        Reference(tone=measure_tone_scale(recording.channels[name], recording.fs_hz))
        if find_emg_channel([name])
        else measure_reference(recording.channels[name])
        for name in channels
    )


def check_timing(recordings: Sequence[Recording], model: ModelConfig) -> None:
    """ValueError where rate or epoch length of a recording is not the model's; what the model leaves at 0 fits any."""
    for recording in recordings:
        for name, unit in (("fs_hz", "Hz"), ("epoch_s", "s")):
            has, wanted = getattr(recording, name), getattr(model, name)
            if wanted and has != wanted:
                raise ValueError(
                    f"{recording.recording} has {name}={has:g} {unit}, the model reads {wanted:g} {unit}; "
                    f"prepare the recordings with {name}={wanted:g}"
                )


def cut_window(
    recording: Recording,
    channels: Sequence[str],
    sleep_stage_idx: np.ndarray,
    centre: int,
    window_epochs: int,
    references: tuple[Reference, ...],
    target_EK: np.ndarray | None = None,
) -> NightWindow:
    """Epochs around `centre`; those outside the recording or beyond a gap in it are masked and zero.

    `target_EK` is what the loss aims at in each epoch of the recording (tslm.data.samples.soft_targets).
    """
    inside_W, mask_W = _window_indices(recording, centre, window_epochs)
    values_WCL = np.stack([recording.channels[name][inside_W] for name in channels], axis=1)
    return NightWindow(
        values_WCL=np.where(mask_W[:, None, None], values_WCL, np.float32(0)),
        epoch_mask_W=mask_W,
        sleep_stage_idx_W=cut_sleep_stage_indices(recording, sleep_stage_idx, centre, window_epochs),
        scored_idx=window_epochs // 2,
        references=references,
        target_WK=None if target_EK is None else target_EK[inside_W],
    )


def check_num_channels(channels: Sequence[str], num_channels: int) -> None:
    """Raise ValueError where more or fewer channels are named than the model reads."""
    if len(channels) != num_channels:
        raise ValueError(f"{len(channels)} channels ({', '.join(channels)}) for a model that reads {num_channels}")


def _window_indices(recording: Recording, centre: int, window_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """(W,) epochs around `centre`, clipped to the recording, and whether each is truly that neighbour."""
    offsets_W = np.arange(window_epochs) - window_epochs // 2
    idx_W = centre + offsets_W
    inside_W = np.clip(idx_W, 0, recording.num_epochs - 1)
    expected_s = recording.onset_s[centre] + offsets_W * recording.epoch_s
    on_time_W = np.abs(recording.onset_s[inside_W] - expected_s) < recording.epoch_s / 2
    return inside_W, (idx_W == inside_W) & on_time_W


def cut_sleep_stage_indices(
    recording: Recording, sleep_stage_idx: np.ndarray, centre: int, window_epochs: int
) -> np.ndarray:
    """(W,) class indices around `centre`, IGNORE_INDEX where unscored or outside the recording."""
    inside_W, mask_W = _window_indices(recording, centre, window_epochs)
    return np.where(mask_W, sleep_stage_idx[inside_W], IGNORE_INDEX)


def index_sleep_stages(recording: Recording, label_set: LabelSet) -> np.ndarray:
    """(num_epochs,) int64 class index of each epoch, IGNORE_INDEX where the label set has none for it."""
    idx = np.array([label_set.index(sleep_stage) for sleep_stage in recording.sleep_stages], dtype=np.int64)
    return np.where(idx < 0, IGNORE_INDEX, idx)


def count_classes(sleep_stage_idx: Sequence[np.ndarray], label_set: LabelSet) -> np.ndarray:
    """(num_classes,) scored epochs per class, over the indices of several recordings."""
    scored = np.concatenate(sleep_stage_idx)
    return np.bincount(scored[scored != IGNORE_INDEX], minlength=len(label_set.answers))


def augment_window(window: NightWindow, fs_hz: float, config: AugmentConfig) -> NightWindow:
    """The window with its signals changed, each channel by draws of its own; all are shifted in time alike.

    Numbers come from torch's generator. What is switched off draws none; rows outside the night stay zero.
    """
    import torch

    shift = float(torch.rand(())) if config.max_shift_s else 0.0
    channels = [_augment(values_WL, fs_hz, config, shift) for values_WL in np.moveaxis(window.values_WCL, 1, 0)]
    inside_W = window.epoch_mask_W[:, None, None]
    return replace(window, values_WCL=np.where(inside_W, np.stack(channels, axis=1), np.float32(0)))


def _augment(values_WL: np.ndarray, fs_hz: float, config: AugmentConfig, shift: float) -> np.ndarray:
    import torch

    if config.gain_jitter or config.band_jitter:
        values_WL = jitter_spectrum(values_WL, config.gain_jitter, config.band_jitter, torch.randn(NUM_DRAWS).numpy())
    if config.max_shift_s:
        values_WL = shift_time(values_WL, round(config.max_shift_s * fs_hz), shift)
    if config.max_notch_hz:
        values_WL = cut_notch(values_WL, config.max_notch_hz / fs_hz, torch.rand(2).numpy())
    if config.max_noise:
        normal_WL = torch.randn(values_WL.shape).numpy()
        values_WL = add_noise(values_WL, config.max_noise, float(torch.rand(())), normal_WL)
    if config.electrode_loss:
        values_WL = drop_electrode(values_WL, config.electrode_loss, torch.rand(3).numpy())
    return values_WL
