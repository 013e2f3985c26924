"""Composition of a run's settings: dataclass defaults, YAML groups, preset and `key=value`.

Order of precedence: dataclass default < YAML groups (llm, model, stage) < preset (`demo`, `guide`
or a user's file) < the preset's `per_stage` entry < the YAML of a model that is asked for < `key=value`.

A preset may begin with `defaults`: a list of presets that it changes and of groups that it chooses, as in
`defaults: [demo, {model: cnn}]`. Presets and groups are looked for in the folder that `--config_dir` names, then in
the package's (presets in `preset/`): a stage, model or language model is added by a YAML file in that folder.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tslm.config.files import apply_overrides, merge_config, parse_overrides, read_yaml, valid_keys
from tslm.config.schema import RunConfig

GROUPS = ("llm", "model", "stage")


def configs_dir() -> Path:
    """Folder of the YAML groups: inside the installed package, or the checkout's top level."""
    packaged = Path(__file__).parents[1] / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "configs"


def list_group(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that a YAML group offers, e.g. the curriculum stages; those in a user's own folder too."""
    return sorted({path.stem for folder in _list_folders(config_dir) for path in (folder / group).glob("*.yaml")})


def resolve_source(llm: str) -> str:
    """Hub id, folder or embedded name behind a short name of configs/llm; any other text stays as it is."""
    if llm not in list_group("llm"):
        return llm
    return str(read_yaml(configs_dir() / "llm" / f"{llm}.yaml").get("llm", {}).get("source", llm))


def compose_config(
    curriculum_stage: str,
    preset: str = "config",
    llm: str = "",
    model: str = "",
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
) -> RunConfig:
    """Resolve the settings of one curriculum stage.

    Args:
        curriculum_stage: a name from configs/stage.
        preset: a name in configs/preset (config, demo, guide) or a path to a YAML file.
        llm: short name from configs/llm, hub id or folder; empty for the preset's.
        model: a name from configs/model; empty for the preset's. A curriculum stage that trains a model of another
            kind (`stage.own_model`) keeps its own.
        overrides: `key=value` (tslm.config.files).
        config_dir: a folder like the package's configs/, which is looked into first; None: there is none.

    Raises:
        ValueError: unknown curriculum stage, model, preset or key (naming the nearest valid one), or a bad value.
        NotADirectoryError: `config_dir` is no folder.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise NotADirectoryError(
            f"no folder {config_dir}; wanted one with presets, or with stage/, model/ or llm/ in it"
        )
    layers, choices = _read_preset(preset, _list_folders(config_dir), ())
    custom: dict[str, Any] = {}
    if llm and llm not in list_group("llm", config_dir):
        llm, custom = "custom", {"llm": {"source": llm}}
    asked = {group: name for group, name in (("llm", llm), ("model", model), ("stage", curriculum_stage)) if name}
    names = {group: getattr(RunConfig(), group).name for group in GROUPS} | choices | asked
    groups = {group: _read_group(group, names[group], config_dir) for group in GROUPS}
    per_stage = [layer.pop("per_stage", {}) for layer in layers]
    for name in {name: None for entries in per_stage for name in entries}:
        _read_group("stage", name, config_dir)
    merged = merge_config(
        *groups.values(),
        *layers,
        custom,
        *(entries.get(curriculum_stage, {}) for entries in per_stage),
        groups["model"] if model else {},
        _parse_settings(overrides),
    )
    return _name_custom_llm(_choose_own_model(merged))


def _list_folders(config_dir: Path | None) -> list[Path]:
    return [*([config_dir] if config_dir else []), configs_dir()]


def _parse_settings(overrides: Sequence[str]) -> dict[str, Any]:
    for key in parse_overrides(overrides):
        if key in GROUPS:
            raise ValueError(f"{key}= chooses a YAML group; use --{'stages' if key == 'stage' else key} instead")
        if inside := [name for name in valid_keys() if name.startswith(f"{key}.")]:
            raise ValueError(f"{key} is a group of settings; set one of them: {', '.join(inside)}")
    return apply_overrides({}, overrides)


def _read_preset(
    preset: str, folders: Sequence[Path], inside: tuple[Path, ...]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Settings of a preset after those of the presets it changes, and the YAML of each group that they choose."""
    path, folders = _find_preset(preset, folders)
    if path in inside:
        raise ValueError(f"{path}: its `defaults` name it again")
    content = read_yaml(path)
    layers: list[dict[str, Any]] = []
    choices: dict[str, str] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str):
            below, chosen = _read_preset(entry, folders, (*inside, path))
            layers += below
            choices |= chosen
        else:
            choices |= entry
    return [*layers, content], choices


def _find_preset(preset: str, folders: Sequence[Path]) -> tuple[Path, Sequence[Path]]:
    """The file of a preset, and the folders where those that it names are looked for."""
    places = [*(folder for folder in folders[:-1]), folders[-1] / "preset"]
    for path in [folder / f"{preset}.yaml" for folder in places]:
        if path.is_file():
            return path, folders
    if (path := Path(preset)).is_file():
        return path, [path.parent, *folders]
    names = sorted({path.stem for folder in places for path in folder.glob("*.yaml")})
    raise ValueError(f"no preset {preset!r}; give a YAML file or one of: {', '.join(names)}")


def _read_group(group: str, name: str, config_dir: Path | None) -> dict[str, Any]:
    paths = [path for folder in _list_folders(config_dir) if (path := folder / group / f"{name}.yaml").is_file()]
    if not paths:
        raise ValueError(f"unknown {group} {name!r}; one of: {', '.join(list_group(group, config_dir))}")
    return read_yaml(paths[0])


def _choose_own_model(config: RunConfig) -> RunConfig:
    """The curriculum stage's own model in place of one that is of another kind than it trains."""
    if not config.stage.own_model:
        return config
    own = replace(config.model, name=config.stage.own_model)
    return config if config.model.kind.role == own.kind.role else replace(config, model=own)


def _name_custom_llm(config: RunConfig) -> RunConfig:
    if config.llm.name != "custom":
        return config
    name = Path(config.llm.source).name.lower() or "custom"
    return replace(config, llm=replace(config.llm, name=name))
