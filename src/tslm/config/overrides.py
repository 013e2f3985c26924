"""The grammar of `key=value` on every command line, and the help for a mistyped name.

`key` may have dots (`model.encoder.patch_size=4`). `value` is text; a list, a mapping or quoted text is YAML
(`[EOG horizontal,EMG submental]`, `{REM: 2}`, `''`). The dataclass that takes the value converts it to the field's
type (tslm.config.files.build_config).
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_YAML_BEGINS = ("[", "{", "'", '"')
_RANGE = re.compile(r"range\((-?\d+),(-?\d+)\)")
_MAX_LISTED = 20


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
        raise ValueError(f"{word!r} is not key=value")
    return key.strip(), text.strip()


def _parse_value(word: str, text: str) -> Any:
    if not text.startswith(_YAML_BEGINS):
        return text
    try:
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506  # builds text, lists and mappings alone
    except yaml.YAMLError as error:
        raise ValueError(f"{word}: the value is no YAML: {' '.join(str(error).split())}") from error
