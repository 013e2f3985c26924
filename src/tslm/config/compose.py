"""The settings of a run put together: dataclass defaults, YAML groups, preset and `key=value`.

Order of precedence: dataclass default < YAML groups (llm, model, stage) < preset (`demo`, `guide`
or a user's file) < the preset's `per_stage` entry < the YAML of a model that is asked for < `key=value`.

Presets and groups are looked for in the folder that `--config_dir` names, then in the package's (presets in
`preset/`): a stage, model or language model is added by a YAML file in a folder of one's own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from tslm.config.files import merge_config, one_line, to_plain, valid_keys
from tslm.config.schema import MODEL_KINDS, RunConfig

GROUPS = ("llm", "model", "stage")
_ASKED_FOR = "asked_for"  # where a composed config holds the YAML of the model that was asked for


def configs_dir() -> Path:
    """Folder of the YAML groups: inside the installed package, or the checkout's top level."""
    packaged = Path(__file__).parents[1] / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "configs"


def list_group(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that a YAML group offers, e.g. the curriculum stages; those in a user's own folder too."""
    folders = [configs_dir() / group, *([config_dir / group] if config_dir else [])]
    return _list_yaml(folders)


def resolve_source(llm: str) -> str:
    """Hub id, folder or embedded name behind a short name of configs/llm; any other text stays as it is."""
    if llm not in list_group("llm"):
        return llm
    return str(OmegaConf.select(OmegaConf.load(configs_dir() / "llm" / f"{llm}.yaml"), "source", default=llm))


def compose_config(
    stage: str,
    preset: str = "config",
    llm: str = "",
    model: str = "",
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
) -> RunConfig:
    """Resolve the settings of one curriculum stage.

    Args:
        stage: a name from configs/stage.
        preset: a name in configs/preset (config, demo, guide) or a path to a YAML file.
        llm: short name from configs/llm, hub id or folder; empty for the preset's.
        model: a name from configs/model; empty for the preset's. A stage that trains a model of another kind
            (`stage.own_model`) keeps its own.
        overrides: `key=value` in Hydra's grammar.
        config_dir: a folder like the package's configs/, which is looked into first; None: there is none.

    Raises:
        ValueError: unknown stage, model, preset or key (naming the nearest valid one), or a bad value.
        NotADirectoryError: `config_dir` is no folder.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise NotADirectoryError(
            f"no folder {config_dir}; wanted one with presets, or with stage/, model/ or llm/ in it"
        )
    groups = [f"stage={_known('stage', stage, config_dir)}"]
    if model:
        groups += [f"model={_known('model', model, config_dir)}", f"+model@{_ASKED_FOR}={model}"]
    if llm:
        groups += [f"llm={llm}"] if llm in list_group("llm", config_dir) else ["llm=custom", f"llm.source='{llm}'"]
    composed = _compose(preset, groups, config_dir)
    asked_for = {"model": composed.pop(_ASKED_FOR, {})}
    per_stage = composed.pop("per_stage", {})
    for name in per_stage:
        _known("stage", name, config_dir)
    merged = merge_config(composed, per_stage.get(stage, {}), asked_for, _parse_overrides(overrides))
    return _name_custom_llm(_settle_model(merged))


def _compose(preset: str, groups: list[str], config_dir: Path | None) -> DictConfig:
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    ConfigStore.instance().store(name="defaults", node=to_plain(RunConfig()))
    (first, *others), name = _find_preset(preset, config_dir)
    search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in others)}]"] if others else []
    try:
        with initialize_config_dir(str(first), version_base="1.3"):
            composed = compose(name, overrides=[*search, *groups])
    except (HydraException, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {preset!r}: {one_line(error)}{_hint(error)}") from error
    OmegaConf.set_struct(composed, False)
    return composed


def _parse_overrides(overrides: Sequence[str]) -> DictConfig:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    values = OmegaConf.create({})
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ValueError(f"cannot read an override (wanted key=value): {one_line(error)}") from error
    for override in parsed:
        key = override.key_or_group
        if key in GROUPS:
            raise ValueError(f"{key}= chooses a YAML group; use --{'stages' if key == 'stage' else key} instead")
        if not key or override.is_add() or override.is_delete() or override.is_sweep_override():
            raise ValueError(f"{override.input_line!r}: only plain key=value is understood here")
        inside = [name for name in valid_keys() if name.startswith(f"{key}.")]
        if inside:
            raise ValueError(f"{key} is a group of settings; set one of them: {', '.join(inside)}")
        OmegaConf.update(values, key, override.value(), force_add=True)
    return values


def _find_preset(preset: str, config_dir: Path | None) -> tuple[list[Path], str]:
    """Folders to look into, the first one first, and the preset's name in one of them."""
    users = [config_dir.resolve()] if config_dir else []
    own = [*users, configs_dir() / "preset", configs_dir()]
    presets = _list_yaml([*users, configs_dir() / "preset"])
    if preset in presets:
        return own, preset
    path = Path(preset)
    if path.is_file():
        return [path.resolve().parent, *own], path.stem
    raise ValueError(f"no preset {preset!r}; give a YAML file or one of: {', '.join(presets)}")


def _list_yaml(folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def _known(group: str, name: str, config_dir: Path | None) -> str:
    names = list_group(group, config_dir)
    if name not in names:
        raise ValueError(f"unknown {group} {name!r}; one of: {', '.join(names)}")
    return name


def _settle_model(config: RunConfig) -> RunConfig:
    """The stage's own model in place of one that is of another kind than it trains."""
    own = config.stage.own_model
    of_other_kind = any(config.model.name in kind and own not in kind for kind in MODEL_KINDS)
    return replace(config, model=replace(config.model, name=own)) if own and of_other_kind else config


def _name_custom_llm(config: RunConfig) -> RunConfig:
    if config.llm.name != "custom":
        return config
    name = Path(config.llm.source).name.lower() or "custom"
    return replace(config, llm=replace(config.llm, name=name))


def _hint(error: Exception) -> str:
    return "; begin the file with `defaults: [config, _self_]`" if "defaults list" in str(error) else ""
