"""What the fields of a row of predictions may hold. Rows that others wrote are checked field by field as our own are.

Numbers are finite. Bounds are far beyond a recording; they keep a damaged number from asking for all memory.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tslm.evidence.events import parse_events

VERIFICATION_KEYS = ("first_generated", "tries", "struck", "claims_before", "claims_after")
_SUM_TOLERANCE = 1e-4  # files keep six digits, others' perhaps five
_MAX_NUMBER, _MAX_COUNT = 1e9, 10_000_000


@dataclass(frozen=True)
class Field:
    """What one field of a row holds."""

    wanted: str  # for the message; of a mapping, what its values are
    holds: Callable[[Any], bool]
    is_mapping: bool = False  # from names to values that `holds` checks
    is_required: bool = False
    may_be_null: bool = False  # null says something; of other fields, it is as if they were absent


def check_fields(row: Mapping[str, Any], where: str) -> None:
    """Check every field of a row, which holds plain values; unknown fields are those of later versions.

    Raises:
        ValueError: a field lacks or holds something else; the message begins with `where` and names the field.
    """
    for name, field in FIELDS.items():
        if name not in row:
            if field.is_required:
                raise ValueError(f"{where} has no {name!r}; wanted {field.wanted}")
        elif field.is_mapping and isinstance(row[name], Mapping):
            for key, value in row[name].items():
                _check_value(f"{name}.{key}", value, field, where)
        elif field.is_mapping:
            raise ValueError(f"{where}: {name} is {reprlib.repr(row[name])}, which is no mapping of names")
        elif not (row[name] is None and field.may_be_null):
            _check_value(name, row[name], field, where)
    if "generated" not in row and "answer" not in row:
        raise ValueError(f"{where} has neither 'generated' nor 'answer'")
    options = row["options"]
    for name in ("truth", "answer"):
        if options and row.get(name) is not None and row[name] not in options:
            raise ValueError(f"{where}: {name} {row[name]!r} is none of its options: {', '.join(options)}")
    try:
        parse_events(row.get("events", ()))
    except ValueError as error:
        raise ValueError(f"{where}: events: {error}") from error
    for name in ("probabilities", "log_likelihoods"):
        if row.get(name) is not None and not (len(row[name]) == len(options) and all(map(_is_number, row[name]))):
            raise ValueError(f"{where}: {name} must be {len(options)} finite numbers")
    if row.get("probabilities"):
        _check_sum(row["probabilities"], f"{where}: probabilities")
    _check_verification(row, where)


def _check_value(name: str, value: Any, field: Field, where: str) -> None:
    if not field.holds(value):
        raise ValueError(f"{where}: {name} is {reprlib.repr(value)}, which is no {field.wanted}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_figure(value: Any) -> bool:
    """A measured number, a truth value, or null where it was not measured."""
    return value is None or _is_flag(value) or _is_number(value)


_TEXT = Field("text", _is_text)
_FLAG = Field("truth value (true or false)", _is_flag)
_COUNT = Field("whole number of 0 or more", _is_count)
_COUNTS = Field("whole number of 0 or more", _is_count, is_mapping=True)
_SETTINGS = Field("text or number", lambda value: _is_text(value) or _is_figure(value), is_mapping=True)
FIELDS: dict[str, Field] = {
    "system": Field("text", _is_text, is_required=True),
    "sample_id": Field("text", _is_text, is_required=True),
    "options": Field("list of texts", _is_list_of_texts, is_required=True),
    "truth": Field("text", _is_text, may_be_null=True),
    "answer": Field("text", _is_text, may_be_null=True),
    "generated": _TEXT,
    "target": _TEXT,
    "question": _TEXT,
    "recording": _TEXT,
    "subject": _TEXT,
    "epoch_idx": _COUNT,
    "onset_s": Field("number of seconds", _is_number),
    "fold": Field("number of a fold", lambda value: value == -1 or _is_count(value)),
    "leaky": _FLAG,
    "within_subject": _FLAG,
    "probabilities": Field("list of numbers", _is_list, may_be_null=True),
    "log_likelihoods": Field("list of numbers", _is_list),
    "temperature": Field("number above 0", lambda value: _is_number(value) and value > 0, may_be_null=True),
    "smoothing": _SETTINGS,
    "sampling": _SETTINGS,
    "evidence": Field("number", _is_figure, is_mapping=True),
    "inputs": _TEXT,
    "events": Field("list of events", _is_list),
    "forced": _FLAG,
    "corrected": _FLAG,
    "first_generated": _TEXT,
    "tries": _COUNT,
    "struck": Field("list of offsets with sentences", _is_list),
    "claims_before": _COUNTS,
    "claims_after": _COUNTS,
    "texts": Field("list of texts", lambda value: bool(value) and _is_list_of_texts(value)),
}


def _check_sum(values: list[float], where: str) -> None:
    total = math.fsum(values)
    if min(values) < 0 or abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{where} must be 0 or more and sum to 1, not {total:.6g}")


def _check_verification(row: Mapping[str, Any], where: str) -> None:
    """Raise ValueError unless the row has all keys of a verified text or none of them."""
    lacking = [name for name in ("generated", *VERIFICATION_KEYS) if name not in row]
    if not lacking:
        for struck in row["struck"]:
            offset, sentence = struck if isinstance(struck, list) and len(struck) == 2 else (None, None)
            if (
                offset is None
                or not _is_count(offset)
                or offset > len(row["generated"])
                or not isinstance(sentence, str)
            ):
                raise ValueError(
                    f"{where}: struck holds {reprlib.repr(struck)}, which is no offset in 'generated' with a sentence"
                )
    elif set(VERIFICATION_KEYS) & row.keys():
        raise ValueError(f"{where} has keys of a verified text but no {lacking[0]!r}")
