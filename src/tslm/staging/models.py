"""The checkpoints that stage a night: a classifier, and a language model that explains."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, load_checkpoint_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.pretrained.table import find_default_scorer, find_explainer, find_model, is_packaged, read_models

_BEST = "**/checkpoints/best"


@dataclass(frozen=True)
class StagingModels:
    """Checkpoints' folders and settings; `writer` is None where no texts are wanted."""

    classifier_dir: Path
    classifier: RunConfig
    writer_dir: Path | None = None
    writer: RunConfig | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels that the models read, the staged EEG first, by the classifier's name."""
        others = self.writer.stage.channels[1:] if self.writer else ()
        return tuple(dict.fromkeys((*self.classifier.stage.channels, *others)))

    @property
    def needed_channels(self) -> set[str]:
        """Channels that no recording may lack."""
        staged, *_ = self.classifier.stage.channels
        configs = [self.classifier, *([self.writer] if self.writer else [])]
        others = {
            name for config in configs for name in config.stage.channels[1:] if name not in config.optional_channels
        }
        return {staged} | others

    def name_for_writer(self, recording: Recording) -> Recording:
        """The recording with the staged EEG also by the name that the writer was trained with."""
        assert self.writer is not None
        eeg = recording.channels[self.classifier.stage.channels[0]]
        return replace(recording, channels={**recording.channels, self.writer.stage.channels[0]: eeg})

    def fetch_llm(self) -> None:
        """Fetch the language model that the writer was trained on, unless it is at hand; errors as `fetch_llm`."""
        if self.writer_dir is not None:
            from tslm.training.checkpoints.checkpoint import fetch_base  # with torch, which a scorer may do without

            fetch_base(self.writer_dir)


def find_models(model: Path | str | None = None, llm: str = "", with_texts: bool = True) -> StagingModels:
    """Find a classifier and, for texts, a language model of sleep.

    Args:
        model: a scorer of the package by name, a checkpoint of a classifier, or a folder below which the newest ones
            are taken; None: the package's default.
        llm: explainer of the package by name, checkpoint, or short name of a language model; empty: the one of the
            package that goes with its scorer, or the newest below a folder.
        with_texts: whether a language model is wanted.

    Raises:
        FileNotFoundError: no such model; the message says what to name, or how to do without texts.
        ValueError: a checkpoint of the wrong kind, or models of different rates, epochs or sleep stages.
    """
    folder = find_default_scorer() if model is None else find_model(model, "scorer")
    is_checkpoint = (folder / CHECKPOINT_CONFIG_FILE).is_file()
    classifier_dir = folder if is_checkpoint else next(_list_newest(folder, "scorer"), None)
    if classifier_dir is None:
        raise FileNotFoundError(f"there is no checkpoint of a classifier below {folder}; name one with --model")
    return load_models(classifier_dir, _find_writer(folder, llm) if with_texts else None)


def load_models(classifier_dir: Path, writer_dir: Path | None = None) -> StagingModels:
    """The settings of checkpoints; errors as `find_models`."""
    classifier = load_classifier_config(classifier_dir)
    if writer_dir is None:
        return StagingModels(classifier_dir, classifier)
    models = StagingModels(classifier_dir, classifier, writer_dir, load_checkpoint_config(writer_dir))
    _check_alike(models)
    return models


def load_classifier_config(checkpoint_dir: Path) -> RunConfig:
    """Config of a classifier's checkpoint.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: no classifier, a newer version, or an unknown sampling rate.
    """
    config = load_checkpoint_config(checkpoint_dir)
    if config.model.kind.role != "scorer":
        raise ValueError(
            f"{checkpoint_dir} holds the model {config.model.name!r}, no classifier; name one with --model"
        )
    if not config.model.fs_hz or not config.model.epoch_s:
        raise ValueError(f"{checkpoint_dir} does not say at which rate it reads; train it again with this version")
    return config


def _find_writer(folder: Path, llm: str) -> Path:
    if llm and (llm in read_models() or (Path(llm) / CHECKPOINT_CONFIG_FILE).is_file()):
        found = find_model(llm, "explainer")
        config = load_checkpoint_config(found)
        if not _explains_sleep(config):
            raise ValueError(f"{llm} holds {config.model.name!r} of {config.stage.name}, which explains no sleep")
        return found
    if is_packaged(folder):
        return find_explainer(folder, llm)
    for candidate in _list_newest(folder, "writer"):
        config = load_checkpoint_config(candidate)
        if _explains_sleep(config) and llm in ("", config.llm.name):
            return candidate
    named = f" of {llm}" if llm else ""
    raise FileNotFoundError(
        f"there is no language model{named} that explains sleep below {folder}; name one of the package or a "
        "checkpoint (--llm NAME|FOLDER), or stage without texts (--explain none)"
    )


def _explains_sleep(config: RunConfig) -> bool:
    return config.model.kind.role == "writer" and config.stage.task == "sleep"


def _list_newest(folder: Path, role: str) -> Iterator[Path]:
    """Best checkpoints of a role below a folder, the newest first."""
    found = [path.parent for path in folder.glob(f"{_BEST}/{CHECKPOINT_CONFIG_FILE}")]
    for path in sorted(found, key=lambda path: (path / CHECKPOINT_CONFIG_FILE).stat().st_mtime, reverse=True):
        if load_checkpoint_config(path).model.kind.role == role:
            yield path


def _check_alike(models: StagingModels) -> None:
    assert models.writer is not None
    for name in ("label_set", "fs_hz", "epoch_s"):
        ours, theirs = getattr(models.classifier.model, name), getattr(models.writer.model, name)
        if ours != theirs:
            raise ValueError(
                f"model.{name} is {ours} in {models.classifier_dir} and {theirs} in {models.writer_dir}; "
                "the two cannot stage one night"
            )
