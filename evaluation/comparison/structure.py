"""Structure of hypnograms as lines of a table of scores, a column a system."""

from collections.abc import Mapping
from typing import Any

_SHARES = (
    ("edit_distance_epochs", "edit distance, epochs"),
    ("edit_distance_bouts", "edit distance, bouts"),
    ("transition_distance", "transition distance"),
)
_ERRORS = (
    ("total_sleep_min", "TST error (min)"),
    ("sleep_efficiency_percent", "SE error (%)"),
    ("waso_min", "WASO error (min)"),
    ("sleep_onset_latency_min", "sleep latency error (min)"),
    ("rem_latency_min", "REM latency error (min)"),
)


def list_structure_rows(systems: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the rows, the name first; none where no system scored whole nights.

    An error of several nights is their mean and, in brackets, Bland and Altman's 95 % limits of agreement.
    """
    structures = [part.get("structure") for part in systems.values()]
    if not any(structure and structure["num_recordings"] for structure in structures):
        return []
    rows = [[name, *(_format(part and part[key]) for part in structures)] for key, name in _SHARES]
    experts = [part["impossible_transitions"]["expert"]["share"] for part in structures if part]
    name = f"impossible transitions (expert {_percent(experts[0])})"
    rows.append(
        [name, *(_percent(part and part["impossible_transitions"]["predicted"]["share"]) for part in structures)]
    )
    for key, name in _ERRORS:
        rows.append([name, *(_error(part and part["quantities"][key]) for part in structures)])
    return rows


def describe_structure(metrics: Mapping[str, Any]) -> list[str]:
    """What the reader of those rows must know: what brackets are, and which recordings are left out."""
    structure = metrics.get("structure")
    if not structure:
        return []
    num_nights, left_out = structure["num_recordings"], structure["left_out"]
    lines = []
    if num_nights:
        limits = structure.get("note", "[95 % limits of agreement]")
        lines.append(f"errors: predicted less expert over {num_nights} recording(s), {limits}")
    if left_out:
        first = next(iter(left_out))
        lines.append(f"no structure of {len(left_out)} recording(s), such as {first}: {left_out[first]}")
    return lines


def _error(agreement: Mapping[str, Any] | None) -> str:
    if not agreement or agreement["bias"] is None:
        return "-"
    if agreement["limits"] is None:
        return f"{agreement['bias']:+.1f}"
    low, high = agreement["limits"]
    return f"{agreement['bias']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
