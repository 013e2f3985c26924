"""Scores on the page: tables with one column per system, and charts of the probabilities as inline SVG.

Shapes and dashes of the charts say the same as colours: before calibration is hollow and dashed, after is filled; the
second system of the selection chart has squares.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tslm.report.format import format_number
from tslm.scoring.display import list_class_rows, list_score_rows, list_structure_rows
from tslm.scoring.intervals import render_unit
from tslm.table import Table


def render_scores(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Render agreement, probabilities and F1 per class, with intervals; further scores per class are folded."""
    scored = {name: values for name, values in metrics.items() if "accuracy" in values}
    if not scored:
        return ""
    parts, columns = list(scored.values()), ["Measure", *scored]
    intervals = next((values["intervals"] for values in parts if "intervals" in values), None)
    absent = parts[0].get("absent_labels", [])
    notes = [
        f"Small figures: {render_unit(intervals)}."
        if intervals
        else "Share of the samples answered as in the reference."
    ]
    notes += [f"Not in the reference, so not in macro-F1: {', '.join(absent)}."] * bool(absent)
    table = Table(columns, list_score_rows(parts), notes=notes).html("scores")
    more = ""
    if rows := list_class_rows(parts):
        classes = Table(columns, rows, notes=["Each class against the others."]).html("classes")
        more = f"<details><summary>More of each class: precision, recall, probabilities</summary>{classes}</details>"
    return f'<section aria-labelledby="scores"><h2 id="scores">Scores</h2>{table}{more}</section>'


def render_structure(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Render the structure of predicted nights; empty if no whole night was scored."""
    scored = {name: values for name, values in metrics.items() if (values.get("structure") or {}).get("num_recordings")}
    if not scored:
        return ""
    parts = list(scored.values())
    num_recordings = format_number(parts[0]["structure"]["num_recordings"], "recording")
    notes = [
        f"Over {num_recordings}. Epoch-wise agreement does not see any of this. Errors: predicted less expert; "
        "of several recordings their mean and, small, 95 % limits of agreement."
    ]
    table = Table(["Measure", *scored], list_structure_rows(parts), notes=notes).html("structure")
    return f'<section aria-labelledby="structure"><h2 id="structure">Does it look like sleep?</h2>{table}</section>'


_WIDTH, _HEIGHT = 320, 264
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 308, 12, 222
_SHAPES = ("circle", "square")
_MAX_RADIUS = 8.0


def render_probability_charts(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Render one reliability diagram per system and a chart of selective accuracy; empty without probabilities."""
    scored = {name: values["probabilities"] for name, values in metrics.items() if values.get("probabilities")}
    if not scored:
        return ""
    figures = [_render_reliability(name, values) for name, values in scored.items()]
    selections = {name: values["selection"]["entropy"] for name, values in scored.items() if "selection" in values}
    if selections:
        figures.append(_render_selection(selections))
    return (
        '<section aria-labelledby="trust"><h2 id="trust">How far the probabilities can be trusted</h2>'
        f'<div class="figures">{"".join(figures)}</div></section>'
    )


def _render_reliability(name: str, scores: Mapping[str, Any]) -> str:
    before, after = scores.get("uncalibrated"), scores
    curves = [("after", after["reliability"]["top"])]
    if before is not None:
        curves.insert(0, ("before", before["reliability"]["top"]))
    most = max((max(curve["count"]) for _, curve in curves), default=1) or 1
    marks = []
    for kind, curve in curves:
        points = [
            (_x(confidence), _y(share), max(_MAX_RADIUS * (count / most) ** 0.5, 2.0))
            for confidence, share, count in zip(
                curve["mean_confidence"], curve["share_right"], curve["count"], strict=True
            )
            if count
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>' for x, y, radius in points)
        marks.append(f'<g class="{kind}"><polyline points="{line}"/>{circles}</g>')
    words = f"calibration error {after['ece']:.3f}"
    temperatures = ", ".join(f"{value:.2f}" for value in scores.get("temperatures") or [])
    legend = (
        _legend("after", f"{words}")
        if before is None
        else (
            _legend("before", f"as the model gives them, {'calibration error'} {before['ece']:.3f}")
            + _legend("after", f"after temperature {temperatures}, {after['ece']:.3f}")
        )
    )
    return (
        f"<figure><h3>{escape(name)}</h3>"
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Reliability of the '
        f'{escape(name.lower())}: {words}.">{_axes("probability of the answer", "share that was right")}'
        f'<path class="diagonal" d="M{_x(0):.0f} {_y(0):.0f}L{_x(1):.0f} {_y(1):.0f}"/>{"".join(marks)}</svg>'
        f"<figcaption>{legend}On the diagonal, promises are kept; below it, they are too bold. A larger dot stands for "
        "more epochs.</figcaption></figure>"
    )


def _render_selection(selections: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    lowest = min(value for curve in selections.values() for value in curve["accuracy"])
    floor = max(int(lowest * 10 - 0.5), 0) / 10
    lines, legend = [], []
    for idx, (name, curve) in enumerate(selections.items()):
        points = [
            (_x(left), _y(value, floor)) for left, value in zip(curve["share_left"], curve["accuracy"], strict=True)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        kind = _SHAPES[idx % len(_SHAPES)]
        marks = "".join(_mark(kind, x, y) for x, y in points[::2])
        lines.append(f'<g class="system-{idx}"><polyline points="{line}"/>{marks}</g>')
        at_fifth = curve["accuracy"][curve["share_left"].index(0.2)]
        legend.append(
            _legend(
                f"system-{idx} {kind}",
                f"{name}: {100 * curve['accuracy'][0]:.1f}&#8239;% of all epochs, "
                f"{100 * at_fifth:.1f}&#8239;% without the least certain fifth",
                is_html=True,
            )
        )
    return (
        "<figure><h3>When the least certain epochs go to a human</h3>"
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Accuracy of the epochs that are '
        f'kept, by the share left to a human.">{_axes("share left to a human", "accuracy of the rest", floor)}'
        f"{''.join(lines)}</svg><figcaption>{''.join(legend)}Least certain by entropy.</figcaption></figure>"
    )


def _axes(x_title: str, y_title: str, floor: float = 0.0) -> str:
    middle_x, middle_y = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    ticks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = floor + share * (1 - floor)
        x, y = _x(share), _y(value, floor)
        ticks.append(
            f'<path class="second" d="M{_LEFT} {y:.1f}H{_RIGHT}M{x:.1f} {_TOP}V{_BOTTOM}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.0f}</text>'
            f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{100 * share:.0f}</text>'
        )
    return (
        f'{"".join(ticks)}<text x="{middle_x}" y="{_HEIGHT - 8}" text-anchor="middle">{x_title}, %</text>'
        f'<text transform="translate(13 {middle_y}) rotate(-90)" text-anchor="middle">{y_title}, %</text>'
    )


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    return f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"/>'


def _legend(kind: str, text: str, is_html: bool = False) -> str:
    return f'<span class="legend {kind}">{text if is_html else escape(text)}</span>'


def _x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _y(value: float, floor: float = 0.0) -> float:
    return _BOTTOM - (value - floor) / (1 - floor) * (_BOTTOM - _TOP)
