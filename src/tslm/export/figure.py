"""hypnogram.png: the hypnogram of a night above its hypnodensity, the probabilities of the sleep stages over time.

Where an expert has scored the night, the expert's hypnogram stands above both.

Colours and order of the stages are those of the report's page.
"""

import re
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from tslm.export.night import NightResult
from tslm.files import DISCLAIMER, write_beside
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage
from tslm.predictions.nights import SHORT_NAMES, pick_levels
from tslm.report.charts import pick_tick_step_h

_COLOUR_OF = {
    SleepStage.WAKE: "wake",
    SleepStage.REM: "rem",
    SleepStage.NREM: "n2",
    SleepStage.N1: "n1",
    SleepStage.N2: "n2",
    SleepStage.N3: "n3",
    SleepStage.MOVEMENT: "move",
}  # variables of page.css
_SIZE_INCHES, _LANE_INCHES, _DPI = (11.0, 4.6), 2.2, 150


def write_figure(night: NightResult, path: Path) -> None:
    """Write hypnogram.png."""
    with write_beside(path) as partial:
        draw_night(night).savefig(partial, format="png", dpi=_DPI)


def draw_night(night: NightResult) -> Figure:
    """A figure of two panels: the hypnogram over the probabilities of the sleep stages; the expert's above, if any.

    Time is the clock's where the start of the recording is known, otherwise hours since the start of the file. Epochs
    that are not scored are gaps.
    """
    expert = night.expert_hypnogram
    width, height = _SIZE_INCHES
    figure = Figure(figsize=(width, height + (_LANE_INCHES if expert else 0)), layout="constrained")
    *lanes, bottom = figure.subplots(3 if expert else 2, 1, sharex=True, height_ratios=(3, 3, 2) if expert else (3, 2))
    if expert:
        _draw_hypnogram(lanes[0], night, expert)
        for axes, name in zip(lanes, ("expert", "model"), strict=True):
            axes.set_ylabel(name, color=_read_colours()["soft"])
    _draw_hypnogram(lanes[-1], night, night.hypnogram)
    top = lanes[0]
    _draw_probabilities(bottom, night)
    _label_time(bottom, night)
    top.set_title(night.file.name, loc="left", fontsize=11, fontweight="bold", color=_read_colours()["ink"])
    top.set_title(_describe(night), loc="right", fontsize=9, color=_read_colours()["soft"])
    figure.text(0.995, 0.012, DISCLAIMER, ha="right", va="bottom", fontsize=7, color=_read_colours()["soft"])
    return figure


def _draw_hypnogram(axes: Axes, night: NightResult, hypnogram: Hypnogram) -> None:
    levels, colours, epoch_h = pick_levels(night.label_set.sleep_stages), _read_colours(), _epoch_h(night)
    y_of = {sleep_stage: -idx for idx, sleep_stage in enumerate(levels)}
    edges_h = (np.arange(len(night.span) + 1) + night.span.start) * epoch_h
    heights = np.array([y_of.get(sleep_stage, np.nan) for sleep_stage in hypnogram.sleep_stages])
    axes.stairs(heights, edges_h, baseline=None, color=colours["soft"], linewidth=0.8)
    for bout in hypnogram.bouts:
        if bout.sleep_stage in y_of:
            ends_h = edges_h[[bout.start_idx, bout.start_idx + bout.num_epochs]]
            colour, y = colours[_COLOUR_OF[bout.sleep_stage]], y_of[bout.sleep_stage]
            axes.plot(ends_h, [y, y], color=colour, linewidth=4, solid_capstyle="butt")
    _clean(axes)
    axes.set_yticks(list(y_of.values()), [SHORT_NAMES[sleep_stage] for sleep_stage in levels])
    for label, sleep_stage in zip(axes.get_yticklabels(), levels, strict=True):
        label.set_color(colours[_COLOUR_OF[sleep_stage]])
        label.set_fontweight("bold")
    axes.set_ylim(-len(levels) + 0.4, 0.6)
    axes.grid(axis="both", color=colours["line"], linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_probabilities(axes: Axes, night: NightResult) -> None:
    levels, colours, epoch_h = pick_levels(night.label_set.sleep_stages), _read_colours(), _epoch_h(night)
    probabilities_EK = np.full((len(night.span), len(levels)), np.nan)
    order = [night.label_set.index(sleep_stage) for sleep_stage in levels]
    probabilities_EK[[epoch - night.span.start for epoch in night.epoch_idx]] = night.probabilities_EK[:, order]
    # An epoch is drawn from its first to its last moment, so also the one before a gap has a width.
    edges_h = np.repeat(np.arange(len(night.span) + 1) + night.span.start, 2)[1:-1] * epoch_h
    below_E = np.zeros(len(night.span))
    for idx, sleep_stage in reversed(list(enumerate(levels))):
        above_E = below_E + probabilities_EK[:, idx]
        colour = colours[_COLOUR_OF[sleep_stage]]
        axes.fill_between(edges_h, np.repeat(below_E, 2), np.repeat(above_E, 2), color=colour, linewidth=0)
        below_E = above_E
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_ylabel("probability", color=colours["soft"])
    _clean(axes)


def _label_time(axes: Axes, night: NightResult) -> None:
    start_h, stop_h = (edge * _epoch_h(night) for edge in (night.span.start, night.span.stop))
    axes.set_xlim(start_h, stop_h)
    start = night.start
    if start is not None:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        offset_h = (start - midnight) / timedelta(hours=1)
    else:
        offset_h = 0.0
    axes.xaxis.set_major_locator(MultipleLocator(pick_tick_step_h(stop_h - start_h), offset=-offset_h))

    def render_time(time_h: float, _position: int | None = None) -> str:
        minutes = round((time_h + offset_h) * 60)
        hours = minutes // 60
        return f"{hours % 24:02d}:{minutes % 60:02d}" if start is not None else f"{hours}:{minutes % 60:02d}"

    axes.xaxis.set_major_formatter(FuncFormatter(render_time))
    axes.set_xlabel("time of day" if start is not None else "hours since the start of the recording")
    axes.xaxis.label.set_color(_read_colours()["soft"])


def _describe(night: NightResult) -> str:
    hypnogram = night.hypnogram
    efficiency = hypnogram.sleep_efficiency_percent
    hours, minutes = divmod(round(hypnogram.total_sleep_min), 60)
    parts = [f"total sleep {hours} h {minutes} min"]
    parts += [f"sleep efficiency {efficiency:.0f} %"] * (efficiency is not None)
    parts += [f"WASO {hypnogram.waso_min:.0f} min"]
    parts += [f"smoothed: {night.smoothing}"] * (night.unsmoothed is not None)
    if night.expert:
        kappa = next(iter(night.scores["systems"].values()))["cohen_kappa"]
        parts += [f"kappa with the expert {kappa:.2f}"] * (kappa is not None)
    return " · ".join(parts)


def _clean(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_read_colours()["line"])
    axes.tick_params(color=_read_colours()["line"], labelcolor=_read_colours()["soft"], labelsize=9)


def _epoch_h(night: NightResult) -> float:
    return night.recording.epoch_s / 3600


@cache
def _read_colours() -> dict[str, str]:
    """The page's colours on a light screen, by the name of their variable."""
    style = files("tslm.report").joinpath("static", "page.css").read_text(encoding="utf-8")
    light, _, _ = style.partition("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
