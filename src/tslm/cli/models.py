"""`tslm models`: the trained models of the package."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tslm.metric_names import METRICS, build_cell
from tslm.table import Cell, Row, Table

if TYPE_CHECKING:
    from tslm.pretrained.table import PackagedModel, Score

_METRICS = ("cohen_kappa", "precision")
_NONE_YET = "this version comes without trained models; name a checkpoint, or a folder of results, by --model FOLDER"


def list_models(arguments: argparse.Namespace) -> str:
    """The table of trained models as text or JSON; ValueError where it is damaged."""
    from tslm.pretrained.table import read_models

    models = list(read_models().values())
    if arguments.json:
        return json.dumps([asdict(model) | {"folder": str(model.folder)} for model in models], indent=1)
    return build_table(models).text() if models else _NONE_YET


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `tslm models`."""
    parser.add_argument("--json", action="store_true", help="everything, with each folder, as JSON")


def build_table(models: "list[PackagedModel]") -> Table:
    """A line a model and a further one for each of its other scores."""
    rows: list[Row] = []
    for model in models:
        first, *others = model.scores
        rows.append([model.name, model.kind, Cell(model.num_bytes / 1e6, 1), _describe_inputs(model), *_cells(first)])
        rows += [["", "", "", "", *_cells(score)] for score in others]
    notes = [
        f"{model.name} adds to {model.base} (SHA-256 {model.base_sha256[:12]}), which is fetched at its first use"
        for model in models
        if model.base
    ]
    return Table(
        ["model", "kind", "MB", "reads", "scored on", *(METRICS[key].name for key in _METRICS)], rows, notes=notes
    )


def _cells(score: "Score") -> list[Cell]:
    metrics = {**score.metrics, "intervals": score.intervals}
    return [Cell(score.data, detail=f"{score.num_samples:,} epochs"), *(build_cell(key, metrics) for key in _METRICS)]


def _describe_inputs(model: "PackagedModel") -> str:
    optional = f", may lack {', '.join(model.optional_channels)}" if model.optional_channels else ""
    return f"{', '.join(model.channels)}{optional}; {model.species}, {model.label_set}, {model.epoch_s:g}-s epochs"
