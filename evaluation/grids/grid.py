"""A grid of experiments: a YAML file of axes whose values are settings, expanded into runs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from evaluation.grids.launcher import Run
from tslm.config.compose import compose_config, configs_dir
from tslm.config.files import build_config, parse_sweeps, read_yaml
from tslm.config.schema import RunConfig
from tslm.predictions.smoothing import Smoothing
from tslm.training.runs.folder import METRICS_FILE, RESULTS_DIR

DEFAULT_LAUNCH = ("python", "-m", "curriculum.train")
_FOLD, _SEED = "fold", "seed"
_CHOICES = ("model", "llm")  # `model=NAME` among settings chooses a YAML group, as --model does


@dataclass(frozen=True)
class GridConfig:
    """Settings of configs/experiments/*.yaml."""

    name: str = ""
    stages: list[str] = field(default_factory=lambda: ["stage0_encoder"])  # one after the other; the last is compared
    preset: str = "config"  # as train.py's --config
    config_dir: str = ""  # as train.py's --config_dir: a folder with your own presets, stages and models
    settings: list[str] = field(default_factory=list)  # of every run, `key=value`, model=NAME or llm=NAME
    axes: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # axis -> value -> settings
    skip: list[dict[str, str]] = field(default_factory=list)  # cells with all of these values are left out
    smoothing: dict[str, dict[str, Any]] = field(default_factory=lambda: {"none": {"method": "none"}})
    folds: str = "-1"  # 0,1,2 or range(0,5); -1: the cohort has none
    seeds: str = "0"
    baseline: dict[str, str] = field(default_factory=dict)  # axis (or smoothing) -> value; others: the first
    results_dir: str = "results/experiments"
    launch: list[str] = field(default_factory=lambda: list(DEFAULT_LAUNCH))

    @property
    def folder(self) -> Path:
        """Where the runs and the table of the grid lie."""
        return Path(self.results_dir) / self.name

    @property
    def smoothings(self) -> dict[str, Smoothing]:
        """The smoothings to compare; they are applied to saved predictions, without training."""
        return {name: build_config(Smoothing, values) for name, values in self.smoothing.items()}


def load_grid(path: Path) -> GridConfig:
    """Read a grid.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, has an unknown key, no name, or a baseline that is not in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no grid of experiments at {path}; see configs/experiments")
    try:
        grid = build_config(GridConfig, {"name": path.stem}, read_yaml(path))
        smoothings = grid.smoothings
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not smoothings or not grid.stages or any(not values for values in grid.axes.values()):
        raise ValueError(f"{path}: stages, smoothing and every axis need at least one value")
    for axis, value in [*grid.baseline.items(), *(item for cell in grid.skip for item in cell.items())]:
        if value not in (grid.smoothing if axis == "smoothing" else grid.axes.get(axis, {})):
            raise ValueError(f"{path}: {axis}={value}, of the baseline or of skip, is no value of the grid")
    return grid


def expand_grid(grid: GridConfig, only: Sequence[str] = ()) -> list[Run]:
    """List all runs, fold by fold, so that cells can be compared before all folds are done.

    Args:
        grid: the grid.
        only: `axis=value,value`, `fold=0,1` or `seed=0`: restrict to these values.

    Raises:
        ValueError: an unknown axis or value.
    """
    sweeps = {_SEED: grid.seeds, _FOLD: grid.folds} | {axis: ",".join(values) for axis, values in grid.axes.items()}
    points = [
        point
        for point in _sweep([f"{name}={values}" for name, values in sweeps.items()])
        if not any(cell.items() <= point.items() for cell in grid.skip)
    ]
    for name, chosen in parse_sweeps(only).items():
        if name not in sweeps:
            raise ValueError(f"{name!r} is no axis of {grid.name}; one of: {', '.join(sweeps)}")
        known = list(dict.fromkeys(point[name] for point in points))
        if unknown := [value for value in chosen if value not in known]:
            raise ValueError(f"{name}={unknown[0]} is not in {grid.name}; one of: {', '.join(known)}")
        points = [point for point in points if point[name] in chosen]
    preset = _read_preset(grid)
    return [_build_run(grid, point, preset) for point in points]


def check_settings(grid: GridConfig) -> None:
    """Compose the settings of every cell before training, to find mistakes early.

    The checked cells cover every value of every axis, but not every combination.

    Raises:
        ValueError: a setting or choice that does not exist.
    """
    for number in range(max((len(values) for values in grid.axes.values()), default=1)):
        cell = {axis: list(values)[min(number, len(values) - 1)] for axis, values in grid.axes.items()}
        for curriculum_stage in grid.stages:
            try:
                compose_cell(grid, cell, curriculum_stage)
            except ValueError as error:
                raise ValueError(f"{', '.join(f'{axis}={value}' for axis, value in cell.items())}: {error}") from error


def compose_cell(grid: GridConfig, cell: Mapping[str, str], curriculum_stage: str) -> RunConfig:
    """Settings of a curriculum stage of a cell without fold and seed; ValueError for an unknown one."""
    choices, settings = _split_choices(list_settings(grid, cell))
    config_dir = Path(grid.config_dir) if grid.config_dir else None
    return compose_config(
        curriculum_stage, grid.preset, choices.get("llm", ""), choices.get("model", ""), settings, config_dir
    )


def list_settings(grid: GridConfig, cell: Mapping[str, str]) -> list[str]:
    """The settings of a cell: those of every run, then its axes' in the order of the grid."""
    return [*grid.settings, *(setting for axis, value in cell.items() for setting in grid.axes[axis][value])]


def _build_run(grid: GridConfig, point: Mapping[str, str], preset: str) -> Run:
    cell = {axis: point[axis] for axis in grid.axes}
    settings = list_settings(grid, cell)
    # Changed settings have a new folder, so that runs with the old settings are never taken for the new ones.
    settings_id = hashlib.sha256(repr([grid.stages, preset, settings]).encode()).hexdigest()[:6]
    fold, seed = int(point[_FOLD]), int(point[_SEED])
    folder = grid.folder / "-".join([*cell.values(), settings_id]) / f"fold{max(fold, 0)}-seed{seed}"
    choices, settings = _split_choices(settings)
    own = [f"seed={seed}", f"results_dir={folder}"] + [f"stage.fold={fold}"] * (fold >= 0)
    choices |= {"config_dir": grid.config_dir} if grid.config_dir else {}
    flags = [word for name, value in choices.items() for word in (f"--{name}", value)]
    arguments = ("--stages", *grid.stages, "--config", grid.preset, *flags, "--resume", *settings, *own)
    metrics_pattern = f"**/{grid.stages[-1]}/**/{RESULTS_DIR}/{METRICS_FILE}"
    return Run("/".join(folder.parts[-2:]), folder, arguments, fold, seed, metrics_pattern, cell)


def _read_preset(grid: GridConfig) -> str:
    """Read the preset without its comments; its name if there is no such file (`check_settings` reports that)."""
    folders = [Path(grid.config_dir)] * bool(grid.config_dir) + [configs_dir()]
    paths = [*(folder / f"{grid.preset}.yaml" for folder in folders), Path(grid.preset)]
    path = next((path for path in paths if path.is_file()), None)
    return grid.preset if path is None else repr(read_yaml(path))


def _split_choices(settings: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    pairs = [setting.partition("=") for setting in settings]
    choices = {name: value for name, _, value in pairs if name in _CHOICES}
    return choices, [setting for setting, (name, _, _) in zip(settings, pairs, strict=True) if name not in _CHOICES]


def _sweep(sweeps: Sequence[str]) -> list[dict[str, str]]:
    """Every combination, the last name changing fastest."""
    values = parse_sweeps(sweeps)
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]
