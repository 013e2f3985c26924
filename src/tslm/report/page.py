"""The page of a report: its sections in one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tslm.files import write_beside
from tslm.report.sections import (
    render_confusions,
    render_footer,
    render_header,
    render_nights,
    render_rationales,
    render_scores,
)
from tslm.scoring.nights import CLASSIFIER, LANGUAGE_MODEL, is_staging
from tslm.scoring.predictions import PredictionRow

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Cpath d='M0 2h3v3h2v-2h3' fill='none' stroke='%230b62a8'/%3E%3C/svg%3E"
)


def write_report(
    rows: Sequence[PredictionRow],
    metrics: Mapping[str, Mapping[str, Any]],
    path: Path,
    title: str = "",
    facts: Mapping[str, str] | None = None,
    waveforms: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the page beside `path`, then rename.

    Args:
        rows: predictions of one curriculum stage.
        metrics: what `score_predictions` or `compute_metrics` gave, by the system's name; the first
            one heads the page. See `name_systems`.
        path: of the HTML file.
        title: heading of the page; empty: the question that the page answers.
        facts: for the foot of the page, by name: config, seed, checkpoint, data source, licence. A
            text of several lines folds away.
        waveforms: sample_id -> (samples,) microvolt, for the rationales.

    Raises:
        ValueError: no rows, no metrics, or two rows for one epoch.
    """
    if not rows or not metrics:
        raise ValueError("a report needs at least one prediction and the metrics of one system")
    if not all(isinstance(values, Mapping) for values in metrics.values()):
        raise ValueError("metrics are not by system; pass name_systems(score_predictions(rows))")
    title = title or f"How well does the model {'stage sleep' if is_staging(rows) else 'answer'}?"
    sections = [
        render_header(title, rows, metrics),
        render_scores(metrics),
        render_nights(rows),
        render_confusions(metrics),
        render_rationales(rows, waveforms or {}),
    ]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="{_ICON}">\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{sections[0]}\n<main>\n"
        + "\n".join(filter(None, sections[1:]))
        + f"\n</main>\n{render_footer(facts or {})}\n"
        "</body>\n</html>\n"
    )
    with write_beside(path) as partial:
        partial.write_text(page, encoding="utf-8")


def name_systems(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Systems by name from the one dict that `score_predictions` returns."""
    systems: dict[str, Mapping[str, Any]] = {LANGUAGE_MODEL: metrics}
    if "classifier" in metrics:
        systems[CLASSIFIER] = metrics["classifier"]
    return systems
