"""The settings of a run put together: dataclass defaults, YAML groups, preset and `key=value`.

Order of precedence: dataclass default < YAML groups (llm, model, stage) < preset (`demo`, `guide`
or a user's file) < the preset's `per_stage` entry < `key=value`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from tslm.config import RunConfig, merge_config, one_line, to_plain, valid_keys

GROUPS = ("llm", "model", "stage")


def configs_dir() -> Path:
    """Folder of the YAML groups: inside the installed package, or the checkout's top level."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def list_group(group: str) -> list[str]:
    """Names that a YAML group offers, e.g. the curriculum stages."""
    return sorted(path.stem for path in (configs_dir() / group).glob("*.yaml"))


def resolve_source(llm: str) -> str:
    """Hub id, folder or embedded name behind a short name of configs/llm; any other text stays as it is."""
    if llm not in list_group("llm"):
        return llm
    return str(OmegaConf.select(OmegaConf.load(configs_dir() / "llm" / f"{llm}.yaml"), "source", default=llm))


def compose_config(
    stage: str, preset: str = "config", llm: str = "", model: str = "", overrides: Sequence[str] = ()
) -> RunConfig:
    """Resolve the settings of one curriculum stage.

    Args:
        stage: a name from configs/stage.
        preset: `config`, a name in configs/ (demo, guide) or a path to a YAML file.
        llm: short name from configs/llm, hub id or folder; empty for the preset's.
        model: a name from configs/model; empty for the preset's.
        overrides: `key=value` in Hydra's grammar.

    Raises:
        ValueError: unknown stage, model, preset or key (naming the nearest valid one), or a bad value.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    groups = [f"stage={_known('stage', stage)}"]
    if model:
        groups.append(f"model={_known('model', model)}")
    if llm:
        groups += [f"llm={llm}"] if llm in list_group("llm") else ["llm=custom", f"llm.source='{llm}'"]
    ConfigStore.instance().store(name="defaults", node=to_plain(RunConfig()))
    preset_dir, preset_name, search = _find_preset(preset)
    try:
        with initialize_config_dir(str(preset_dir), version_base="1.3"):
            composed = compose(preset_name, overrides=[*search, *groups])
    except (HydraException, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {preset!r}: {one_line(error)}{_hint(error)}") from error
    OmegaConf.set_struct(composed, False)
    per_stage = composed.pop("per_stage", {})
    for name in per_stage:
        _known("stage", name)
    merged = merge_config(composed, per_stage.get(stage, {}), _parse_overrides(overrides))
    return _name_custom_llm(merged)


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


def _find_preset(preset: str) -> tuple[Path, str, list[str]]:
    own = configs_dir()
    if preset in list_group("."):
        return own, preset, []
    path = Path(preset)
    if path.is_file():
        return path.resolve().parent, path.stem, [f"hydra.searchpath=[file://{own}]"]
    raise ValueError(f"no preset {preset!r}; give a YAML file or one of: {', '.join(list_group('.'))}")


def _known(group: str, name: str) -> str:
    names = list_group(group)
    if name not in names:
        raise ValueError(f"unknown {group} {name!r}; one of: {', '.join(names)}")
    return name


def _name_custom_llm(config: RunConfig) -> RunConfig:
    if config.llm.name != "custom":
        return config
    name = Path(config.llm.source).name.lower() or "custom"
    return replace(config, llm=replace(config.llm, name=name))


def _hint(error: Exception) -> str:
    return "; begin the file with `defaults: [config, _self_]`" if "defaults list" in str(error) else ""
