"""Figures of the report as text: rounded, with intervals, shares and counts in words."""

from collections.abc import Mapping
from typing import Any


def format_value(value: float | None) -> str:
    """Two decimals; a dash where there is no value."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def format_interval(metrics: Mapping[str, Any], key: str) -> str:
    """The small figures behind a value; empty where the metrics have no interval of it."""
    low, high = metrics.get("intervals", {}).get(key, (None, None))
    return "" if low is None or high is None else f" <small>{format_value(low)} to {format_value(high)}</small>"


def format_percent(share: float | None) -> str:
    """A share with one decimal, as HTML with a narrow space."""
    return "–" if share is None else f"{100 * share:.1f}&#8239;%"


def format_number(count: int, noun: str) -> str:
    """A count and what is counted."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
