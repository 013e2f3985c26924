"""Options of a cohort from `key=value` words; an unknown key is an error, never ignored."""

import difflib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

Options = TypeVar("Options")


def parse_options(kind: type[Options], assignments: Sequence[str]) -> Options:
    """Build a frozen dataclass of options.

    Raises:
        ValueError: A word without `=`, an unknown key (the nearest valid one is named) or a value of the wrong kind.
    """
    type_of = {option.name: option.type for option in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is not key=value; options are: {', '.join(type_of)}")
        if key not in type_of:
            raise ValueError(f"unknown option {key!r}; {suggest(key, list(type_of))}")
        values[key] = _parse_value(key, text, type_of[key])
    return kind(**values)


def suggest(word: str, known: Sequence[str]) -> str:
    """The nearest known word as a question, or all of them."""
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"choose one of: {', '.join(known)}"


def _parse_value(key: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text}: wanted true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            wanted = "a whole number" if kind is int else "a number"
            raise ValueError(f"{key}={text}: wanted {wanted}") from error
    return Path(text).expanduser() if kind in (Path, Path | None) else text
