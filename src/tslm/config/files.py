"""Settings: merged, read from YAML, written, and changed by `key=value` words of a command line.

`key` may have dots (`model.encoder.patch_size=4`). `value` is text; a list, a mapping or quoted text is YAML
(`[EOG horizontal,EMG submental]`, `{REM: 2}`, `''`). The dataclass that takes the value converts it to the field's
type (`build_config`). An unknown key is an error that names the nearest valid one.

Settings are data: a downloaded file may hold them. Interpolation of OmegaConf (`${oc.env:NAME}`) would put secrets of
the environment into them, so `${` is refused in every value.
"""

import copy
import difflib
import functools
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from tslm.config.schema import RunConfig
from tslm.files import write_text

CONFIG_FILE = "config.yaml"
Config = TypeVar("Config")
_YAML_BEGINS = ("[", "{", "'", '"')
_PLACEHOLDER = re.compile(r"\{\w+\}")  # begins a pattern of file names, such as {stem}.txt
_RANGE = re.compile(r"range\((-?\d+),(-?\d+)\)")
_MAX_LISTED = 20
_MAX_VALUES, _MAX_DEPTH = 100_000, 40  # of a file of settings


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
    merged = copy.deepcopy(_build_schema(kind))  # type: ignore[arg-type]  # a class is hashable
    try:
        for layer in layers:
            plain = OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer  # drop the layer's own flags
            _check_layer(kind, plain, prefix)
            merged.merge_with(plain)
        config = _freeze_lists(OmegaConf.to_object(merged))
    except ConfigKeyError as error:
        key = prefix + (error.full_key or str(error.key))
        raise ValueError(f"unknown key {key!r}; {suggest(key, valid_keys(kind, prefix))}") from error
    except (ValidationError, OmegaConfBaseException) as error:
        key = f" for {prefix}{error.full_key}" if getattr(error, "full_key", None) else ""
        raise ValueError(f"bad value{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, kind)
    return config


def parse_options(kind: type[Config], words: Sequence[str]) -> Config:
    """A frozen dataclass of options from `key=value` words; errors as `build_config`."""
    config = build_config(kind, apply_overrides({}, words))
    paths = {item.name: getattr(config, item.name) for item in fields(kind)}  # type: ignore[arg-type]
    expanded = {name: path.expanduser() for name, path in paths.items() if isinstance(path, Path)}
    return replace(config, **expanded)  # type: ignore[type-var]


def load_config(path: Path) -> RunConfig:
    """Read a saved config; ValueError for keys this version does not know."""
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}; a run's folder holds one named {CONFIG_FILE}")
    try:
        return merge_config(read_yaml(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; another version of tslm wrote it, perhaps a newer one") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of settings; ValueError where it is no mapping."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise ValueError(f"{path} is no YAML file: {one_line(error)[:300]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings; wanted `key: value` lines")
    return content


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML document, which others may have written.

    Raises:
        ValueError: it is no YAML, or is nested too deeply, or its anchors multiply to more values than a file can mean.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None and _count_values(node, {}) > _MAX_VALUES:
            raise ValueError(f"its anchors multiply to more than {_MAX_VALUES} values; write them out")
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, TypeError, OverflowError) as error:
        raise ValueError(one_line(error)) from error


def _count_values(node: yaml.Node, known: dict[int, float]) -> float:
    """Values of a node with its anchors written out; infinite where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        below = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        parts = below if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_count_values(part, known) for part in parts)
    return known[id(node)]


def save_config(config: RunConfig, path: Path) -> None:
    """Write the whole resolved config as YAML."""
    write_text(OmegaConf.to_yaml(to_plain(config)), path)


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
    return OmegaConf.create(asdict(config))


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        flat |= flatten_settings(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return flat


@functools.cache
def _build_schema(kind: type) -> DictConfig:
    """Types and defaults of a dataclass; shared, so never to be changed."""
    return _unlock(OmegaConf.structured(kind))


def _freeze_lists(config: Any) -> Any:
    """The dataclass with tuples in its tuple fields, where OmegaConf returns lists."""
    hints = get_type_hints(type(config))
    for item in fields(config):
        value = getattr(config, item.name)
        if get_origin(hints[item.name]) is tuple:
            object.__setattr__(config, item.name, tuple(value))
        elif is_dataclass(value):
            _freeze_lists(value)
    return config


def _check_layer(kind: type, content: Any, prefix: str) -> None:
    """Raise ValueError for interpolation, and for a list or a single value where a group of settings stands."""
    _check_groups(kind, content, prefix)
    for key, value in _list_values(content, prefix):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{key}={value} refers to another value, which settings may not; write the value itself")


def _check_groups(kind: type, content: Any, prefix: str) -> None:
    if not isinstance(content, Mapping):
        name = f"{prefix.rstrip('.')} is" if prefix else "the settings are"
        raise ValueError(f"{name} {reprlib.repr(content)}; wanted a mapping such as {fields(kind)[0].name}: ...")
    hints = get_type_hints(kind)
    for name, value in content.items():
        below = hints.get(name)
        if isinstance(below, type) and is_dataclass(below):
            _check_groups(below, value, f"{prefix}{name}.")
        elif get_origin(below) is tuple and isinstance(value, list):
            nested = [item for item in value if isinstance(item, Mapping | list)]
            if nested:
                raise ValueError(f"{prefix}{name} holds {reprlib.repr(nested[0])}; wanted a list of single values")


def _list_values(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The values of nested settings with their keys; ValueError where they are nested too deeply."""
    pending = [(prefix, content, 0)]
    while pending:
        key, value, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f"settings are nested in more than {_MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            pending += [(f"{key}{name}.", item, depth + 1) for name, item in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(key, item, depth + 1) for item in value]
        else:
            yield key.rstrip("."), value


def _unlock(node: DictConfig) -> DictConfig:
    # OmegaConf marks frozen dataclasses read-only, which would forbid merging into them.
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _unlock(child)
    return node


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Dotted key to value; values are text, lists or mappings of text.

    Raises:
        ValueError: a word is not key=value, or its value begins as YAML and is none.
    """
    return {key: _parse_value(word, text) for word in words for key, text in [_split_word(word)]}


def apply_overrides(content: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A copy of nested settings with `key=value` words put into it; errors as `parse_overrides`."""
    changed = dict(content)
    for key, value in parse_overrides(words).items():
        *parents, leaf = key.split(".")
        group = changed
        for parent in parents:
            below = group.get(parent)
            group[parent] = dict(below) if isinstance(below, Mapping) else {}
            group = group[parent]
        group[leaf] = value
    return changed


def parse_sweeps(words: Sequence[str]) -> dict[str, list[str]]:
    """Key to the values of `key=a,b` or `key=range(0,5)`; ValueError for a word that is not key=value."""
    sweeps = {}
    for key, text in map(_split_word, words):
        between = _RANGE.fullmatch(text.replace(" ", ""))
        values = map(str, range(int(between[1]), int(between[2]))) if between else map(str.strip, text.split(","))
        sweeps[key] = list(values)
        if not sweeps[key] or not all(sweeps[key]):
            raise ValueError(f"{key}={text} is no choice of values; wanted {key}=value,value or {key}=range(0,5)")
    return sweeps


def suggest(word: str, known: Sequence[str]) -> str:
    """The nearest known name as a question, or all names where none is near."""
    leaf = word.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    cutoff = 0.6 if len(known) <= _MAX_LISTED else 0.0
    nearest = same_leaf or difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean {nearest[0]!r}?" if nearest else f"choose one of: {', '.join(known)}"


def _split_word(word: str) -> tuple[str, str]:
    key, equals, text = word.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ValueError(f"{word!r} is not key=value; quote a value with blanks, such as 'stage.channel=EEG Fpz-Cz'")
    return key.strip(), text.strip()


def _parse_value(word: str, text: str) -> Any:
    if not text.startswith(_YAML_BEGINS) or _PLACEHOLDER.match(text):
        return text
    try:
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506  # builds text, lists and mappings alone
    except yaml.YAMLError as error:
        raise ValueError(f"{word}: the value is no YAML: {' '.join(str(error).split())}") from error
