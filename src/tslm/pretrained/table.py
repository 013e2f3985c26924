"""The table of trained models in the package, and the folder behind a name or a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tslm import __version__
from tslm.config.files import read_yaml

FOLDER = Path(__file__).parent
TABLE_FILE = "table.yaml"
DEFAULT_SCORER = "human"
KINDS = ("scorer", "explainer")
MAX_BYTES = 16_000_000  # of all models together


@dataclass(frozen=True)
class Score:
    """Agreement of a model with experts on one set of recordings.

    Attributes:
        data: what was scored, in words.
        num_samples: scored epochs.
        metrics: value by the metric's name in metrics.json.
        intervals: lower and upper bound of each that has one.
        note: what the intervals are over, in words.
    """

    data: str
    num_samples: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    note: str = ""


@dataclass(frozen=True)
class PackagedModel:
    """A row of the table.

    Attributes:
        name: for `--model`, and of its folder.
        kind: scorer, which stages a night, or explainer, a language model that writes texts.
        species: group of species, as in tslm.labels.
        channels: those it needs, as the training named them.
        optional_channels: those that a recording may lack.
        fs_hz: sampling rate that recordings are resampled to.
        epoch_s: length of an epoch.
        label_set: name of its sleep stages.
        num_bytes: of its folder.
        scores: measured on recordings that its training has not seen.
        base: short name of an explainer's language model; empty for a scorer.
        base_sha256: of the weights of `base` that it was trained on.
    """

    name: str
    kind: str
    species: str
    channels: tuple[str, ...]
    optional_channels: tuple[str, ...]
    fs_hz: float
    epoch_s: float
    label_set: str
    num_bytes: int
    scores: tuple[Score, ...]
    base: str = ""
    base_sha256: str = ""

    @property
    def folder(self) -> Path:
        """Where its checkpoint lies."""
        return FOLDER / self.name


def read_models(folder: Path | None = None) -> dict[str, PackagedModel]:
    """The trained models by name; None: those of the package. ValueError where the table is damaged."""
    path = (folder or FOLDER) / TABLE_FILE
    try:
        return {name: _read_row(name, row) for name, row in read_yaml(path).items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}; install tslm-sleep again") from error


def find_model(model: Path | str, kind: str = "") -> Path:
    """The folder of a model: of the package where that has one of this name, else the folder itself.

    Args:
        model: name or folder. A folder that is called as a model of the package is written ./NAME.
        kind: scorer or explainer, if one of the package must be of this kind; empty: either.

    Raises:
        FileNotFoundError: neither.
        ValueError: a model of the package of the other kind.
    """
    models = read_models()
    row = models.get(str(model))
    if row is None:
        if not Path(model).is_dir():
            raise FileNotFoundError(f"there is no folder {model}, and {_list_names(models, str(model))}")
        return Path(model)
    if kind and row.kind != kind:
        option = {"scorer": "--model", "explainer": "--llm"}[row.kind]
        raise ValueError(f"{model} is no {kind} but the {row.kind} of the package; name it by {option}")
    return row.folder


def find_default_scorer() -> Path:
    """The folder of the scorer that is taken where none is named.

    Raises:
        FileNotFoundError: this version of the package has none.
    """
    models = read_models()
    if DEFAULT_SCORER not in models:
        raise FileNotFoundError(
            f"{_list_names(models, DEFAULT_SCORER)}; name a checkpoint, or a folder of results, by --model FOLDER"
        )
    return models[DEFAULT_SCORER].folder


def find_explainer(scorer_dir: Path, llm: str = "") -> Path:
    """The folder of the explainer that goes with a scorer of the package: of its species, label set and epochs.

    Args:
        scorer_dir: of the scorer.
        llm: short name of the explainer's language model; empty: any.

    Raises:
        FileNotFoundError: there is none; the message says how to do without.
    """
    models = read_models()
    scorer = models[scorer_dir.resolve().name]
    for row in models.values():
        is_alike = (row.species, row.label_set, row.epoch_s) == (scorer.species, scorer.label_set, scorer.epoch_s)
        if row.kind == "explainer" and is_alike and llm in ("", row.base):
            return row.folder
    of_llm = f" of {llm}" if llm else ""
    raise FileNotFoundError(
        f"tslm-sleep {__version__} comes with no language model{of_llm} that explains what {scorer.name} stages; name "
        "a checkpoint (--llm FOLDER), or stage without texts (--explain none)"
    )


def is_packaged(folder: Path) -> bool:
    """Whether a checkpoint's folder is one of the package."""
    return folder.resolve().parent == FOLDER.resolve()


def describe_folder(folder: Path) -> str:
    """What outputs name a checkpoint by: the folder, or the name and version of one of the package."""
    return f"{folder.name} (tslm-sleep {__version__})" if is_packaged(folder) else str(folder)


def _list_names(models: Mapping[str, PackagedModel], missing: str) -> str:
    known = f"it has {', '.join(models)}" if models else "it has none yet"
    return f"tslm-sleep {__version__} comes without a model {missing!r} ({known})"


def _read_row(name: str, row: Mapping[str, Any]) -> PackagedModel:
    scores = tuple(
        Score(**score | {"intervals": {key: tuple(pair) for key, pair in score["intervals"].items()}})
        for score in row["scores"]
    )
    lists = {key: tuple(row[key]) for key in ("channels", "optional_channels")}
    return PackagedModel(name, **{**row, **lists, "scores": scores})
