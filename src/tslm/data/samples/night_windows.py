"""Nights for models: recordings of a split, windows of their epochs, and soft targets.

Soft targets come from scorer votes and boundary smoothing.

Shape letters: E epochs of a recording, W epochs of a window, C channels, L samples of an epoch, K classes,
F numbers beside the signal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tslm.batch import IGNORE_INDEX, NightWindow, Reference
from tslm.config.schema import AugmentConfig, LossConfig, RunConfig, TrainConfig
from tslm.data.prepared.on_demand import BYTES_PER_GB, ChannelCache
from tslm.data.prepared.recordings import Recording, check_subject_splits, read_checked, read_participants
from tslm.data.splits.folds import choose_fold, draw_recording_splits, keep_epochs, keep_time
from tslm.labels import LabelSet, SleepStage
from tslm.signals.augment import NUM_DRAWS, add_noise, cut_notch, drop_electrode, jitter_spectrum, shift_time

VOTES_PREFIX = "votes_"  # of a recording's columns: votes_W, votes_N1, ...: how many scorers, or which share of them

# Which epochs without an expert's stage are asked about: none, those of nights without any scored epoch, all.
UNSCORED = ("none", "nights", "all")


def load_recordings(
    cohort_dir: Path, split: str, channels: Sequence[str], fold: int = -1, memory_gb: float = TrainConfig.memory_gb
) -> list[Recording]:
    """The prepared recordings of one split, with the channels asked for, which are read when they are needed.

    Args:
        cohort_dir: folder of the cohort.
        split: train, val or test.
        channels: names of the channels to read.
        fold: where the cohort has folds, the one that `split` refers to; ignored where it has none.
        memory_gb: what all signals together may take; those used last are kept.

    Raises:
        FileNotFoundError: there is no cohort.
        ValueError: a subject in two splits or folds, a missing channel, or no such fold.
    """
    return list(read_nights(cohort_dir, split, channels, fold, ChannelCache(memory_gb * BYTES_PER_GB)))


def read_nights(
    cohort_dir: Path, split: str, channels: Sequence[str], fold: int = -1, cache: ChannelCache | None = None
) -> Iterator[Recording]:
    """As `load_recordings`, one recording at a time; without a cache each is read as a whole."""
    participants = choose_fold(read_participants(cohort_dir), fold)
    check_subject_splits(participants)
    by_time = draw_recording_splits([row for row in participants if row.split.is_within_subject], cohort_dir, fold)
    for row in participants:
        if not row.split.serves(split) or (row.split.is_within_subject and split not in by_time[row.recording]):
            continue
        night = read_checked(row, cohort_dir, list(channels), cache)
        yield keep_time(night, by_time[row.recording], split) if row.recording in by_time else keep_epochs(night, split)


def stack_channels(
    recording: Recording, channels: Sequence[str], epochs: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """(num_epochs, num_channels, samples) of some epochs; a channel that the recording lacks is zero."""
    some_EL = next(iter(recording.channels.values()))[epochs]
    return np.stack(
        [
            recording.channels[name][epochs] if name in recording.channels else np.zeros_like(some_EL)
            for name in channels
        ],
        axis=1,
    )


def drop_channels(window: NightWindow, config: RunConfig) -> NightWindow:
    """The window without some of the channels that a night may lack, each by `model.channel_dropout`."""
    import torch

    optional = config.optional_channels
    if not optional:
        return window
    references = tuple(
        None if name in optional and float(torch.rand(())) < config.model.channel_dropout else reference
        for name, reference in zip(config.stage.channels, window.references, strict=True)
    )
    there_C = np.array([reference is not None for reference in references])
    return replace(window, values_WCL=window.values_WCL * there_C[:, None].astype(np.float32), references=references)


def cut_window(
    recording: Recording,
    channels: Sequence[str],
    sleep_stage_idx: np.ndarray,
    centre: int,
    window_epochs: int,
    references: tuple[Reference | None, ...],
    target_EK: np.ndarray | None = None,
    inputs_EF: np.ndarray | None = None,
) -> NightWindow:
    """Epochs around `centre`; those outside the recording or beyond a gap in it are masked and zero.

    `target_EK` holds the soft targets of the recording (`build_targets`), `inputs_EF` what is read beside the signal.
    """
    inside_W, mask_W = _window_indices(recording, centre, window_epochs)
    values_WCL = stack_channels(recording, channels, inside_W)
    return NightWindow(
        values_WCL=np.where(mask_W[:, None, None], values_WCL, np.float32(0)),
        epoch_mask_W=mask_W,
        sleep_stage_idx_W=cut_sleep_stage_indices(recording, sleep_stage_idx, centre, window_epochs),
        scored_idx=window_epochs // 2,
        references=references,
        target_WK=None if target_EK is None else target_EK[inside_W],
        inputs_WF=None if inputs_EF is None else np.where(mask_W[:, None], inputs_EF[inside_W], np.float32(0)),
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


def choose_epochs(sleep_stage_idx: np.ndarray, unscored: str = "none") -> np.ndarray:
    """(num_asked,) epochs of a recording to ask about: the scored ones, and those that `unscored` adds.

    Args:
        sleep_stage_idx: (num_epochs,) class of each epoch (`index_sleep_stages`).
        unscored: of UNSCORED.
    """
    is_scored_E = sleep_stage_idx != IGNORE_INDEX
    takes_all = {"none": False, "nights": not is_scored_E.any(), "all": True}[unscored]
    return np.flatnonzero(is_scored_E | takes_all)


def index_sleep_stages(recording: Recording, label_set: LabelSet) -> np.ndarray:
    """(num_epochs,) int64 class index of each epoch, IGNORE_INDEX where the label set has none for it."""
    idx = np.array([label_set.index(sleep_stage) for sleep_stage in recording.sleep_stages], dtype=np.int64)
    return np.where(idx < 0, IGNORE_INDEX, idx)


def augment_window(
    window: NightWindow,
    fs_hz: float,
    config: AugmentConfig,
    log_gains_CG: np.ndarray | None = None,
    channels: Sequence[str] = (),
) -> NightWindow:
    """The window with its signals changed, each channel by draws of its own; all are shifted in time alike.

    Numbers come from torch's generator. What is switched off draws none; rows outside the night stay zero. The gains
    of an amplifier, which the window's references know, are `log_gains_CG` (`ReferenceMeter.draw_gains`). `channels`
    names the channels, for what is set by channel (`augment.electrode_loss_of`); empty: nothing is.
    """
    import torch

    shift = float(torch.rand(())) if config.max_shift_s else 0.0
    known_CG = np.zeros((len(window.references), NUM_DRAWS)) if log_gains_CG is None else log_gains_CG
    names = channels or [""] * len(known_CG)
    changed = [
        _augment(values_WL, fs_hz, config, shift, known_G, config.electrode_loss_of.get(name, config.electrode_loss))
        for values_WL, known_G, name in zip(np.moveaxis(window.values_WCL, 1, 0), known_CG, names, strict=True)
    ]
    inside_W = window.epoch_mask_W[:, None, None]
    return replace(window, values_WCL=np.where(inside_W, np.stack(changed, axis=1), np.float32(0)))


def _augment(
    values_WL: np.ndarray,
    fs_hz: float,
    config: AugmentConfig,
    shift: float,
    log_gains_G: np.ndarray,
    electrode_loss: float,
) -> np.ndarray:
    import torch

    if config.gain_jitter or config.band_jitter:
        spread_G = np.array([config.gain_jitter, *[config.band_jitter] * (NUM_DRAWS - 1)])
        log_gains_G = log_gains_G + spread_G * torch.randn(NUM_DRAWS).numpy()
    if log_gains_G.any():
        values_WL = jitter_spectrum(values_WL, log_gains_G)
    if config.max_shift_s:
        values_WL = shift_time(values_WL, round(config.max_shift_s * fs_hz), shift)
    if config.max_notch_hz:
        values_WL = cut_notch(values_WL, config.max_notch_hz / fs_hz, torch.rand(2).numpy())
    if config.max_noise:
        normal_WL = torch.randn(values_WL.shape).numpy()
        values_WL = add_noise(values_WL, config.max_noise, float(torch.rand(())), normal_WL)
    if electrode_loss:
        values_WL = drop_electrode(values_WL, electrode_loss, torch.rand(3).numpy())
    return values_WL


def find_domains(recordings: Sequence[Recording], loss: LossConfig) -> tuple[str, ...]:
    """Sites of the recordings by `loss.domain_by`, sorted; none with `loss.domain_weight=0`.

    Raises:
        ValueError: a recording states no site, or all are of one.
    """
    if not loss.domain_weight:
        return ()
    site_of = {recording.recording: getattr(recording, loss.domain_by) for recording in recordings}
    if silent := [name for name, site in site_of.items() if not site]:
        raise ValueError(f"{silent[0]} states no {loss.domain_by}, by which loss.domain_weight tells sites apart")
    sites = tuple(sorted(set(site_of.values())))
    if len(sites) < 2:
        raise ValueError(
            f"all recordings of the training have {loss.domain_by}={sites[0]!r}; loss.domain_weight needs two sites or "
            "more, or another loss.domain_by"
        )
    return sites


def build_targets(
    recordings: Sequence[Recording], sleep_stage_idx: Sequence[np.ndarray], label_set: LabelSet, loss: LossConfig
) -> Sequence[np.ndarray | None]:
    """Soft targets of each recording, (E, K) float32 with rows that sum to 1; None where hard labels are enough.

    Args:
        recordings: of one split.
        sleep_stage_idx: for each the classes of its epochs, IGNORE_INDEX where not scored (such rows mean nothing).
        label_set: of these classes.
        loss: `scorer_votes` and `boundary_smoothing`.

    Raises:
        ValueError: a column of votes is of no known sleep stage, or holds what cannot be counted.
    """
    voted = loss.scorer_votes and any(_vote_columns(recording) for recording in recordings)
    if not (voted or loss.boundary_smoothing):
        return [None] * len(recordings)
    targets = []
    for recording, idx_E in zip(recordings, sleep_stage_idx, strict=True):
        target_EK = np.eye(len(label_set.answers))[np.where(idx_E == IGNORE_INDEX, 0, idx_E)]
        if loss.scorer_votes:
            target_EK = _count_votes(recording, target_EK, label_set)
        follows_E = np.abs(np.diff(recording.onset_s) - recording.epoch_s) < recording.epoch_s / 2
        target_EK = smooth_boundaries(target_EK, idx_E != IGNORE_INDEX, follows_E, loss.boundary_smoothing)
        targets.append(target_EK.astype(np.float32))
    return targets


def smooth_boundaries(
    target_EK: np.ndarray, is_scored_E: np.ndarray, follows_E: np.ndarray, share: float
) -> np.ndarray:
    """Targets of which each neighbour in time has half of `share`; an absent or unscored neighbour leaves its half.

    Scorers agree least where one sleep stage ends and another begins; within a bout nothing changes.

    Args:
        target_EK: rows that sum to 1.
        is_scored_E: epochs whose row means something.
        follows_E: (E - 1,) whether the next epoch follows without a gap.
        share: `loss.boundary_smoothing`.
    """
    smooth_EK = target_EK.copy()
    is_pair_E = follows_E & is_scored_E[:-1] & is_scored_E[1:]
    step_EK = share / 2 * np.where(is_pair_E[:, None], target_EK[1:] - target_EK[:-1], 0.0)
    smooth_EK[:-1] += step_EK
    smooth_EK[1:] -= step_EK
    return smooth_EK


def _vote_columns(recording: Recording) -> dict[SleepStage, np.ndarray]:
    names = {name: name.removeprefix(VOTES_PREFIX) for name in recording.columns if name.startswith(VOTES_PREFIX)}
    codes = [sleep_stage.value for sleep_stage in SleepStage]
    for name, code in names.items():
        if code not in codes:
            raise ValueError(
                f"{recording.recording}: column {name!r} counts votes for no known stage; one of: {', '.join(codes)}"
            )
    return {SleepStage(code): np.asarray(recording.columns[name], dtype=float) for name, code in names.items()}


def _count_votes(recording: Recording, target_EK: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Shares of the votes for the label set's sleep stages; an epoch without any keeps its class."""
    columns = _vote_columns(recording)
    none_E = np.zeros(len(target_EK))
    votes_EK = np.stack([columns.get(sleep_stage, none_E) for sleep_stage in label_set.sleep_stages], axis=1)
    if not (np.isfinite(votes_EK).all() and (votes_EK >= 0).all()):
        raise ValueError(f"{recording.recording}: votes must be 0 or more, and none may be missing")
    total_E1 = votes_EK.sum(axis=1, keepdims=True)
    return np.where(total_E1 > 0, votes_EK / np.where(total_E1 > 0, total_E1, 1.0), target_EK)
