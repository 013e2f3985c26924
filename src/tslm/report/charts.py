"""Charts of the report as inline SVG and HTML: hypnogram, strip of differences, waveform, confusion matrix.

An SVG stretches with the page (`preserveAspectRatio="none"`, strokes that do not scale) and holds
no text; words stand around it as HTML, so that they keep their size on a phone. Colours are CSS
classes of page.css.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from tslm.evidence.events import Event
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage
from tslm.predictions.nights import SHORT_NAMES, STAGE_OF_ANSWER, short_label
from tslm.report.events import draw_bands, render_lanes

_TICK_STEPS_H = (1 / 12, 1 / 6, 0.5, 1, 2, 4, 8, 24)
_MAX_TICKS = 13
_WAVE_WIDTH, _WAVE_HEIGHT = 1000, 100
_MAX_COLUMNS = 1000
_MAX_TINT = 55  # percent of colour in a full cell; the text on it keeps a contrast above 4.5


def draw_hypnogram(hypnogram: Hypnogram, levels: Sequence[SleepStage], description: str) -> str:
    """Step line with a coloured bar a bout, and the names of the levels; gaps where unscored."""
    y_of = {sleep_stage: 10 * idx + 5 for idx, sleep_stage in enumerate(levels)}
    bars: dict[SleepStage, list[str]] = {sleep_stage: [] for sleep_stage in levels}
    steps: list[str] = []
    for bout in hypnogram.bouts:
        start, stop = bout.start_idx, bout.start_idx + bout.num_epochs
        if bout.sleep_stage not in y_of:
            continue
        y = y_of[bout.sleep_stage]
        is_joined = start > 0 and hypnogram.sleep_stages[start - 1] in y_of
        steps.append(f"V{y}H{stop}" if is_joined else f"M{start} {y}H{stop}")
        bars[bout.sleep_stage].append(f"M{start} {y}H{stop}")
    grid = "".join(f"M0 {y}H{hypnogram.num_epochs}" for y in y_of.values())
    paths = "".join(f'<path class="bar {_css(sleep_stage)}" d="{"".join(d)}"/>' for sleep_stage, d in bars.items() if d)
    names = "".join(f"<span>{SHORT_NAMES[sleep_stage]}</span>" for sleep_stage in levels)
    return (
        f'<div class="levels" aria-hidden="true">{names}</div>'
        f'<svg class="hypnogram" style="--levels:{len(levels)}" viewBox="0 0 {max(hypnogram.num_epochs, 1)} '
        f'{10 * len(levels)}" preserveAspectRatio="none" role="img" aria-label="{escape(description)}">'
        f'<path class="grid" d="{grid}"/><path class="steps" d="{"".join(steps)}"/>{paths}</svg>'
    )


def draw_differences(expert: Hypnogram, scorer: Hypnogram, description: str) -> str:
    """Strip under a hypnogram: where it differs from the expert, and where its answer did not parse."""
    marks: dict[str, list[tuple[int, int]]] = {"differs": [], "unread": []}
    for idx, (truth, answer) in enumerate(zip(expert.sleep_stages, scorer.sleep_stages, strict=True)):
        if truth is answer or truth is SleepStage.UNSCORED:
            continue
        runs = marks["unread" if answer is SleepStage.UNSCORED else "differs"]
        if runs and runs[-1][1] == idx:
            runs[-1] = (runs[-1][0], idx + 1)
        else:
            runs.append((idx, idx + 1))
    paths = "".join(
        f'<path class="{name}" d="{"".join(f"M{start} 0H{stop}V1H{start}Z" for start, stop in runs)}"/>'
        for name, runs in marks.items()
        if runs
    )
    return (
        f'<svg class="strip" viewBox="0 0 {max(expert.num_epochs, 1)} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(description)}">{paths}</svg>'
    )


def draw_time_axis(start_s: float, stop_s: float) -> str:
    """Ticks in hours at round times between two moments of the recording; a narrow page hides every other one."""
    span_h = (stop_s - start_s) / 3600
    step_h = pick_tick_step_h(span_h)
    first = int(np.ceil(start_s / 3600 / step_h - 1e-9))
    ticks = []
    for idx in range(first, int(np.floor(stop_s / 3600 / step_h + 1e-9)) + 1):
        left = 100 * (idx * step_h - start_s / 3600) / span_h
        minutes = round(idx * step_h * 60)
        kind = "tick" if (idx - first) % 2 == 0 else "tick minor"
        ticks.append(f'<span class="{kind}" style="left:{left:.3f}%">{minutes // 60}:{minutes % 60:02d}</span>')
    return f'<div class="axis" aria-hidden="true">{"".join(ticks)}</div>'


def pick_tick_step_h(span_h: float) -> float:
    """Hours from one tick to the next on an axis of time: a round step that gives no more than a dozen."""
    return next((step for step in _TICK_STEPS_H if span_h / step < _MAX_TICKS), _TICK_STEPS_H[-1])


def pick_wave_limit_uv(waveforms_uv: Sequence[np.ndarray]) -> float:
    """One round amplitude that holds nearly all of the waveforms, so that their sizes compare."""
    if not waveforms_uv:
        return 100.0
    peak = max(float(np.percentile(np.abs(values), 99)) for values in waveforms_uv)
    return next((limit for limit in (25.0, 50.0, 75.0, 100.0, 150.0, 200.0) if peak <= limit), 250.0)


def draw_waveform(values_uv: np.ndarray, epoch_s: float, limit_uv: float, events: Sequence[Event] = ()) -> str:
    """One epoch's signal between -limit and +limit (clipped beyond), a faint line a second.

    Args:
        values_uv: (samples,) microvolt; long signals keep their minimum and maximum per pixel column.
        epoch_s: length of the epoch.
        limit_uv: half the height of the chart.
        events: waveforms found in it, marked behind the trace and in lanes above it.
    """
    values_uv = np.asarray(values_uv, dtype=np.float64)
    middle_uv = float(np.median(values_uv))
    y = _WAVE_HEIGHT / 2 * (1 - np.clip((values_uv - middle_uv) / limit_uv, -1, 1))
    if len(y) > 2 * _MAX_COLUMNS:
        edges = np.linspace(0, len(y), _MAX_COLUMNS + 1).astype(int)[:-1]
        y = np.stack([np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)], axis=1).ravel()
    x = np.linspace(0, _WAVE_WIDTH, len(y))
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    seconds = [(second, _WAVE_WIDTH * second / epoch_s) for second in range(1, int(np.ceil(epoch_s)))]
    minor = "".join(f"M{a:.1f} 0V{_WAVE_HEIGHT}" for second, a in seconds if second % 5)
    major = "".join(f"M{a:.1f} 0V{_WAVE_HEIGHT}" for second, a in seconds if second % 5 == 0)
    rms_uv = float(np.sqrt(np.mean((values_uv - values_uv.mean()) ** 2)))
    return (
        f'<div class="wave{" marked" if events else ""}">{render_lanes(events, epoch_s)}'
        f'<svg viewBox="0 0 {_WAVE_WIDTH} {_WAVE_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Signal of this epoch, {epoch_s:g} seconds, root mean square {rms_uv:.0f} microvolt">'
        f"{draw_bands(events, epoch_s, _WAVE_WIDTH, _WAVE_HEIGHT)}"
        f'<path class="second" d="{minor}"/><path class="five" d="{major}M0 50H{_WAVE_WIDTH}"/>'
        f'<polyline points="{line}"/></svg>'
        f'<div class="wave-scale" aria-hidden="true"><span>0 s</span><span>full height ±{limit_uv:g} µV</span>'
        f"<span>{epoch_s:g} s</span></div></div>"
    )


def render_confusion(metrics: Mapping[str, Any], system: str) -> str:
    """Confusion matrix as a table: counts, shaded by the share of the row."""
    labels, columns, confusion = metrics["labels"], metrics["confusion_columns"], metrics["confusion_matrix"]
    has_unparsed = any(row[-1] for row in confusion)
    shown = len(columns) if has_unparsed else len(columns) - 1
    names = [(name, short_label(name)) for name in labels] + [("answer could not be read", "?")]
    heads = "".join(
        f'<th scope="col"><abbr title="{escape(name)}">{escape(short)}</abbr></th>' for name, short in names[:shown]
    )
    body = []
    for idx, (label, row) in enumerate(zip(labels, confusion, strict=True)):
        total = sum(row)
        cells = []
        for column, count in enumerate(row[:shown]):
            share = count / total if total else 0.0
            kind = "same" if column == idx else "other"
            text = f"{count}<small>{100 * share:.0f}&#8239;%</small>" if count else '<span class="zero">0</span>'
            cells.append(f'<td class="{kind}" style="--share:{_MAX_TINT * share:.0f}%">{text}</td>')
        head = f'<th scope="row"><abbr title="{escape(label)}">{escape(short_label(label))}</abbr></th>'
        body.append(f'<tr>{head}{"".join(cells)}<td class="total">{total}</td></tr>')
    question = " “?” = answer could not be read." if has_unparsed else ""
    return (
        f'<div class="scroll"><table class="confusion"><caption><b>{escape(system)}</b> Rows: expert. Columns: '
        f"{escape(system.lower())}. Percent of the row.{question}</caption>"
        f'<thead><tr><th scope="col"><span class="hidden">Expert</span></th>{heads}'
        f'<th scope="col">all</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def render_stage_chip(label: str | None) -> str:
    """A label with the colour of its stage; a label that is None could not be read."""
    if label is None:
        return '<span class="chip">not readable</span>'
    sleep_stage = STAGE_OF_ANSWER.get(label)
    css = f" {_css(sleep_stage)}" if sleep_stage is not None else ""
    return f'<span class="chip{css}">{escape(label)}</span>'


def _css(sleep_stage: SleepStage) -> str:
    return f"stage-{sleep_stage.value.lower()}"
