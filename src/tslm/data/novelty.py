"""How unlike the recordings of the training a recording is, by the spectra of its channels.

1. A channel's features are its typical spectrum and how much that varies over its epochs.
2. Its novelty is the root mean square of their z-scores among the training's recordings, which have about 1 themselves.
3. The limit is what `SHARE_BELOW` of the training and validation recordings stay below, each measured by a fit without
   its subject and the others of its fold.

An EMG is left out: models read the rank of its tone. What is fitted stands in the checkpoint's novelty.json; no labels
and no network are needed. A distance by the covariance of the features separated less
(docs/experiments/models.md).

Shape letters: E epochs, L samples of an epoch, F features, K knots of a spectrum, R recordings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.night_windows import read_nights
from tslm.evidence.muscle import find_emg_channel
from tslm.files import parse_json, write_json
from tslm.signals.normalize import NUM_KNOTS, measure_spectra

NOVELTY_FILE = "novelty.json"
SHARE_BELOW = 0.95  # of the recordings that a limit is fitted on
LEAST_SUBJECTS = 10  # fewer say nothing about how much their kind varies
_NUM_FEATURES = 2 * NUM_KNOTS
_LEAST_EPOCHS = 5  # with a signal
_MOST_EPOCHS = 120  # of a recording, evenly spread
_LEAST_SPREAD = 0.02  # ln amplitude: differences of 2 % are none
_NUM_FOLDS = 5
_DIGITS = 4


@dataclass(frozen=True)
class ChannelNovelty:
    """What is typical of a channel in the training, and how much of a difference is no longer typical.

    Raises:
        ValueError: other features than this version measures, a spread or limit of 0 or less, no recordings, or no such
            share.
    """

    mean_F: np.ndarray
    spread_F: np.ndarray  # standard deviation over recordings
    limit: float
    num_recordings: int  # that it was fitted on
    share_below: float = SHARE_BELOW  # of them, those below the limit

    def __post_init__(self) -> None:
        for name in ("mean_F", "spread_F"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.shape != (_NUM_FEATURES,) or not np.isfinite(values).all():
                raise ValueError(f"{name} must be {_NUM_FEATURES} numbers")
        if not (self.spread_F > 0).all() or not self.limit > 0 or self.num_recordings < 1:
            raise ValueError("spread_F, limit and num_recordings must be above 0")
        if not 0 < self.share_below < 1:
            raise ValueError("share_below must lie between 0 and 1")

    def measure(self, features_F: np.ndarray) -> float:
        """Root mean square of the z-scores of `measure_spectral_features`."""
        return float(np.sqrt(np.mean(np.square((features_F - self.mean_F) / self.spread_F))))


def measure_spectral_features(epochs_EL: np.ndarray) -> np.ndarray | None:
    """(F,) features of a channel: medians over epochs of ln amplitude at the knots, then interquartile ranges of it.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite; evenly spread ones of many are used.

    Returns:
        None where fewer than five epochs have a signal.
    """
    spectra_EK = measure_spectra(epochs_EL[:: max(1, len(epochs_EL) // _MOST_EPOCHS)])
    spectra_EK = spectra_EK[np.isfinite(spectra_EK[:, 0])]
    if len(spectra_EK) < _LEAST_EPOCHS:
        return None
    lower_K, median_K, upper_K = np.percentile(spectra_EK, (25, 50, 75), axis=0)
    return np.concatenate([median_K, upper_K - lower_K])


def fit_novelty(recordings: Iterable[Recording], channels: Sequence[str]) -> dict[str, ChannelNovelty]:
    """What is typical of each channel but an EMG.

    Args:
        recordings: of the training, one at a time; some may lack a channel.
        channels: of the model.

    Returns:
        By channel; without those that fewer than `LEAST_SUBJECTS` subjects have.
    """
    features: dict[str, list[np.ndarray]] = {name: [] for name in channels if not find_emg_channel([name])}
    subjects: dict[str, list[str]] = {name: [] for name in features}
    for recording in recordings:
        for name in features.keys() & recording.channels.keys():
            if (features_F := measure_spectral_features(recording.channels[name])) is not None:
                features[name].append(features_F)
                subjects[name].append(recording.subject)
    return {
        name: _fit_channel(np.array(features[name]), subjects[name])
        for name in features
        if len(set(subjects[name])) >= LEAST_SUBJECTS
    }


def fit_run_novelty(config: RunConfig) -> dict[str, ChannelNovelty]:
    """`fit_novelty` of the recordings that a run trains on and is validated on; errors as `read_nights`."""
    stage = config.stage
    channels = [name for name in stage.channels if not find_emg_channel([name])]
    nights = (read_nights(stage.data_dir(split), split, channels, stage.fold) for split in ("train", "val"))
    return fit_novelty(chain.from_iterable(nights), channels)


def _fit_channel(features_RF: np.ndarray, subjects: Sequence[str]) -> ChannelNovelty:
    fold_of = {subject: idx % _NUM_FOLDS for idx, subject in enumerate(dict.fromkeys(subjects))}
    fold_R = np.array([fold_of[subject] for subject in subjects])
    novelty_R = np.zeros(len(features_RF))
    for fold in range(_NUM_FOLDS):
        others = _describe(features_RF[fold_R != fold], 1.0)
        novelty_R[fold_R == fold] = [others.measure(features_F) for features_F in features_RF[fold_R == fold]]
    return _describe(features_RF, float(np.quantile(novelty_R, SHARE_BELOW)))


def _describe(features_RF: np.ndarray, limit: float) -> ChannelNovelty:
    spread_F = features_RF.std(axis=0, ddof=1) + _LEAST_SPREAD
    return ChannelNovelty(
        features_RF.mean(axis=0).round(_DIGITS), spread_F.round(_DIGITS), round(limit, _DIGITS), len(features_RF)
    )


def find_novel_channels(
    novelty: Mapping[str, ChannelNovelty], recording: Recording
) -> dict[str, tuple[float, ChannelNovelty]]:
    """Channels of a recording that are unlike those of the training, each with its novelty and what that is above."""
    found = {}
    for name in novelty.keys() & recording.channels.keys():
        features_F = measure_spectral_features(recording.channels[name])
        if features_F is not None and (measured := novelty[name].measure(features_F)) > novelty[name].limit:
            found[name] = measured, novelty[name]
    return {name: found[name] for name in novelty if name in found}


def save_novelty(novelty: Mapping[str, ChannelNovelty], checkpoint_dir: Path) -> None:
    """Write novelty.json into a checkpoint's folder."""
    plain = {
        name: {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(each).items()}
        for name, each in novelty.items()
    }
    write_json(plain, checkpoint_dir / NOVELTY_FILE)


def load_novelty(checkpoint_dir: Path) -> dict[str, ChannelNovelty]:
    """What was fitted for a checkpoint; empty where nothing was, as for older ones.

    Raises:
        ValueError: the file is damaged.
    """
    path = checkpoint_dir / NOVELTY_FILE
    if not path.is_file():
        return {}
    loaded = parse_json(path.read_bytes(), str(path))
    try:
        return {name: ChannelNovelty(**each) for name, each in loaded.items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it, or delete it to go without") from error
