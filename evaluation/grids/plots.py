"""Plots of a grid's report as SVG files, without a drawing library."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evaluation.grids.table import KAPPA

_ROW_PX, _LEFT_PX, _WIDTH_PX = 18, 330, 520
_NIGHT_PX, _LEVEL_PX = 800, 18


def draw_kappas(table: Mapping[str, Any]) -> str:
    """Kappa of each row: its folds as grey dots, the mean as a black one, the interval as a line."""
    rows, parts = table["rows"], []
    values = [value for row in rows for value in row["folds"].get(KAPPA, {}).values()]
    low = min([0.0, *values])

    def x_of(value: float) -> float:
        return _LEFT_PX + _WIDTH_PX * (min(max(value, low), 1.0) - low) / (1.0 - low)

    for number, row in enumerate(rows):
        y = _ROW_PX * (number + 1)
        name = ", ".join(str(row[axis]) for axis in table["axes"])
        parts.append(f'<text x="{_LEFT_PX - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        found = row["metrics"].get(KAPPA)
        for value in row["folds"].get(KAPPA, {}).values():
            parts.append(f'<circle cx="{x_of(value):.1f}" cy="{y}" r="2.5" fill="#999"/>')
        if found and found["mean"] is not None:
            if found["low"] is not None:
                ends = f'x1="{x_of(found["low"]):.1f}" x2="{x_of(found["high"]):.1f}"'
                parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="#000"/>')
            parts.append(f'<circle cx="{x_of(found["mean"]):.1f}" cy="{y}" r="4"/>')
    bottom = _ROW_PX * (len(rows) + 1)
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="8" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x_of(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    return _wrap_svg(_LEFT_PX + _WIDTH_PX + 20, bottom + 24, parts)


def draw_hypnograms(stages_of: Mapping[str, Sequence[str | None]], labels: Sequence[str]) -> str:
    """Hypnograms one above the other, by their titles; an epoch whose stage is none of `labels` is skipped."""
    parts = []
    height = _LEVEL_PX * len(labels) + 30
    for number, (title, stages) in enumerate(stages_of.items()):
        top = 20 + number * height
        parts.append(f'<text x="4" y="{top - 6}">{escape(title)}</text>')
        for idx, label in enumerate(labels):
            parts.append(f'<text x="{_NIGHT_PX + 8}" y="{top + _LEVEL_PX * idx + 12}">{escape(label)}</text>')
        step = _NIGHT_PX / max(len(stages), 1)
        points = [
            f"{step * (idx + side):.1f},{top + _LEVEL_PX * labels.index(stage) + 8}"
            for idx, stage in enumerate(stages)
            if stage in labels
            for side in (0, 1)
        ]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="#000" stroke-width="0.8"/>')
    return _wrap_svg(_NIGHT_PX + 140, len(stages_of) * height, parts)


def _wrap_svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
