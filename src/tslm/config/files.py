"""Settings put together, read and written; an unknown key is an error that names the nearest valid one."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from tslm.config.schema import RunConfig

CONFIG_FILE = "config.yaml"
Config = TypeVar("Config")
# Settings of older versions, group and name -> name now and value from the old one.
_RENAMED: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("stage", "balanced"): ("sampling", lambda balanced: "balanced" if balanced else "natural"),
}


def merge_config(*layers: Any) -> RunConfig:
    """RunConfig from dict-like layers, later ones first in precedence; ValueError on a bad key or value."""
    return build_config(RunConfig, *layers)


def build_config(kind: type[Config], *layers: Any, prefix: str = "") -> Config:
    """A frozen dataclass of settings from dict-like layers, later ones first in precedence.

    Args:
        kind: the dataclass; its own fields may be dataclasses.
        layers: mappings, each with some of the fields.
        prefix: where this dataclass stands in a larger one ("channels.EEG."), for messages only.

    Raises:
        ValueError: an unknown key (the nearest valid one is named) or a bad value.
    """
    merged: Any = _unlock(OmegaConf.structured(kind))
    try:
        for layer in layers:
            plain = OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer  # drop the layer's own flags
            merged = OmegaConf.merge(merged, plain)
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(prefix + (error.full_key or str(error.key)), kind, prefix)) from error
    except (ValidationError, OmegaConfBaseException) as error:
        key = f" for {prefix}{error.full_key}" if getattr(error, "full_key", None) else ""
        raise ValueError(f"bad value{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, kind)
    return config


def load_config(path: Path) -> RunConfig:
    """Read a saved config; ValueError for keys this version does not know."""
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}; a run's folder holds one named {CONFIG_FILE}")
    try:
        loaded = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error
    try:
        return merge_config(upgrade_settings(OmegaConf.to_container(loaded)))
    except ValueError as error:
        said = "it was written by another version of tslm, perhaps a newer one than this"
        raise ValueError(f"{path}: {error}; {said}") from error


def upgrade_settings(saved: Any) -> Any:
    """Settings that an older version saved, by the names they have now; what is no mapping stays as it is."""
    if not isinstance(saved, Mapping):
        return saved
    upgraded = dict(saved)
    for (group, old), (new, convert) in _RENAMED.items():
        section = upgraded.get(group)
        if isinstance(section, Mapping) and old in section:
            others = {name: value for name, value in section.items() if name != old}
            upgraded[group] = {new: convert(section[old]), **others}
    return upgraded


def save_config(config: RunConfig, path: Path) -> None:
    """Write the whole resolved config as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(to_plain(config)), encoding="utf-8")


def valid_keys(kind: type = RunConfig, prefix: str = "") -> list[str]:
    """All dotted keys of the configuration."""
    hints = get_type_hints(kind)
    keys: list[str] = []
    for item in fields(kind):
        name = f"{prefix}{item.name}"
        keys += valid_keys(hints[item.name], f"{name}.") if is_dataclass(hints[item.name]) else [name]
    return keys


def to_plain(config: RunConfig) -> DictConfig:
    """The settings as nested mappings."""
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(config)))  # type: ignore[return-value]


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        flat |= flatten_settings(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return flat


def _unlock(node: DictConfig) -> DictConfig:
    # OmegaConf marks frozen dataclasses read-only, which would forbid merging into them.
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _unlock(child)
    return node


def _unknown_key(key: str, kind: type, prefix: str) -> str:
    group, _, name = key.rpartition(".")
    if kind is RunConfig and (group, name) in _RENAMED:
        return f"unknown key {key!r}; it is {group}.{_RENAMED[group, name][0]!s} now"
    valid = valid_keys(kind, prefix)
    nearest = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    same_leaf = [name for name in valid if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    return f"unknown key {key!r}; the nearest valid one is {(same_leaf or nearest)[0]!r}"


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())
