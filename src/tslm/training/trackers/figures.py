"""Drawings of test predictions for MLflow: hypnograms of each night, confusion matrix (extra `mlflow`)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage
from tslm.predictions.nights import EXPERT, SHORT_NAMES, Night, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES, _TRACK_INCHES = 10.0, 1.9
_DIFFERS = "#c0392b"
_DARK = 0.6  # share of a row from which on text is white
_MAX_NAME = 24  # characters of a label in full


def draw_night(night: Night, levels: Sequence[SleepStage]) -> "Figure":
    """Draw the hypnograms of one night in rows on a common time axis, with marks where a scorer differs.

    Args:
        night: as scored by the expert and by each system.
        levels: stages from top to bottom (`tslm.predictions.nights.shown_levels`).
    """
    figure = _build_figure(_WIDTH_INCHES, 0.8 + _TRACK_INCHES * len(night.hypnograms))
    tracks: Any = figure.subplots(len(night.hypnograms), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (scorer, hypnogram) in zip(tracks, night.hypnograms.items(), strict=True):
        hours = (night.onset_s + hypnogram.epoch_s * np.arange(hypnogram.num_epochs + 1)) / 3600
        _draw_track(axes, hypnogram, hours, levels)
        axes.set_title(scorer, loc="left", fontsize=10)
        if scorer != EXPERT:
            pairs = zip(night.expert.sleep_stages, hypnogram.sleep_stages, strict=True)
            differs = [idx for idx, (truth, answer) in enumerate(pairs) if truth is not answer and truth in levels]
            spans = [(hours[idx], hours[idx + 1] - hours[idx]) for idx in differs]
            axes.broken_barh(spans, (len(levels) - 0.35, 0.35), color=_DIFFERS, linewidth=0)
            share = night.count_same(scorer) / max(night.num_predicted[scorer], 1)
            axes.set_title(f"same as the expert in {share:.1%}; red: differs", loc="right", fontsize=9)
    tracks[-1].set_xlabel("hours since the start of the recording")
    figure.suptitle(night.recording)
    return figure


def draw_confusion(metrics: Mapping[str, Any], title: str = "") -> "Figure":
    """Draw a confusion matrix: counts, shaded by their share of the row.

    Args:
        metrics: with `labels`, `confusion_columns` (these, and that of answers that could not be read) and
            `confusion_matrix`, as `tslm.scoring.metrics` gives them.
        title: above it.
    """
    counts = np.array(metrics["confusion_matrix"])
    shown = counts.shape[1] if counts[:, -1].any() else len(metrics["labels"])  # the last column: not readable
    counts = counts[:, :shown]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _build_figure(2.5 + 0.75 * shown, 1.8 + 0.6 * len(counts))
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if share[row, column] > _DARK else "black"
        axes.text(column, row, f"{count}\n{share[row, column]:.0%}", ha="center", va="center", color=color, fontsize=8)
    names = [*(short_label(label) for label in metrics["labels"]), "not\nreadable"][:shown]
    axes.set_xticks(range(shown), names)
    axes.set_yticks(range(len(counts)), [label[:_MAX_NAME] for label in metrics["labels"]])
    axes.set_xlabel("model")
    axes.set_ylabel("expert")
    axes.set_title(title)
    return figure


def _draw_track(axes: "Axes", hypnogram: Hypnogram, hours: np.ndarray, levels: Sequence[SleepStage]) -> None:
    """Draw a step line; epochs without a level leave a gap."""
    position = {sleep_stage: float(idx) for idx, sleep_stage in enumerate(levels)}
    heights = [position.get(sleep_stage, np.nan) for sleep_stage in hypnogram.sleep_stages]
    axes.step(hours, [*heights, heights[-1] if heights else np.nan], where="post", color="black", linewidth=0.8)
    axes.set_yticks(range(len(levels)), [SHORT_NAMES[sleep_stage] for sleep_stage in levels], fontsize=8)
    axes.set_ylim(len(levels), -0.5)
    axes.grid(axis="y", alpha=0.25)
    axes.margins(x=0.005)


def _build_figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps state and may need a display
    except ImportError as error:
        raise ImportError("drawings need matplotlib: pip install 'tslm-sleep[mlflow]'") from error
    return Figure(figsize=(width, height), layout="constrained", dpi=110)
