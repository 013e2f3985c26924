"""Sections of the report, each a piece of HTML; an empty string where a task has nothing to show."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from tslm.predictions.nights import build_nights, find_epoch_s, shown_levels
from tslm.predictions.rows import PredictionRow
from tslm.report.charts import render_confusion
from tslm.report.examples import choose_examples, is_right, render_examples
from tslm.report.faithfulness_section import render_faithfulness
from tslm.report.format import format_interval, format_number, format_value
from tslm.report.night.hypnograms import render_hypnograms, render_statistics
from tslm.report.score_tables import SUMMARY_METRICS

# Names of Landis & Koch 1977 up to each kappa.
_KAPPA_WORDS = (
    (0.0, "poor"),
    (0.2, "slight"),
    (0.4, "fair"),
    (0.6, "moderate"),
    (0.8, "substantial"),
    (1.0, "almost perfect"),
)
_LEAKY = (
    '<p class="warning" role="note"><b>Leaky split.</b> Training and test share people or series, or may do so (split '
    "by epoch). These figures say nothing about how well other people would be scored.</p>"
)
_WITHIN_SUBJECT = (
    '<p class="warning" role="note"><b>Within-subject.</b> Trained on earlier and tested on later time of the same '
    "people. These figures say nothing about how well other people would be scored.</p>"
)
_BLINDED = "The expert’s stages are hidden on this page, and so is every figure that rests on them."


def render_header(title: str, rows: Sequence[PredictionRow], metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Title, the result in plain words, and the first system's figures."""
    recordings = list(dict.fromkeys(row["recording"] for row in rows if row.get("recording")))
    name, main_metrics = next(iter(metrics.items()), ("", {}))
    listed = f"{', '.join(recordings[:5])}{' and others' if len(recordings) > 5 else ''}"
    what = f"{format_number(len(rows), 'sample')}" + (
        f" of {format_number(len(recordings), 'recording')} ({escape(listed)})" if recordings else ""
    )
    tiles = [
        f'<div class="tile"><dt>{words}</dt><dd>{format_value(main_metrics[key])}</dd>'
        f"{format_interval(main_metrics, key)}</div>"
        for key, words in SUMMARY_METRICS
        if key in main_metrics
    ]
    if "num_parse_failures" in main_metrics:
        share = 100 * main_metrics["num_parse_failures"] / main_metrics["num_samples"]
        tiles.append(
            f'<div class="tile"><dt>Unreadable answers</dt><dd>{main_metrics["num_parse_failures"]}</dd>'
            f"<small>{share:.1f}&#8239;%, count as wrong</small></div>"
        )
    return (
        f'<header class="page"><p class="eyebrow">Evaluation report</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{_summarise(metrics) if metrics else _BLINDED}</p>'
        f"{_render_leak(main_metrics)}"
        f'<p class="scope">{what}.{f" Figures in the boxes: {escape(name.lower())}." if tiles else ""}</p>'
        + (f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else "")
        + "</header>"
    )


def _render_leak(metrics: Mapping[str, Any]) -> str:
    if metrics.get("within_subject"):
        return _WITHIN_SUBJECT
    return _LEAKY if metrics.get("leaky") else ""


def _summarise(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    sentences = []
    for idx, (name, values) in enumerate(metrics.items()):
        if "accuracy" not in values:
            continue
        right = f"{values['num_correct']:,} of {values['num_samples']:,}"
        share = f"{100 * values['accuracy']:.1f}&#8239;%"
        kappa = values.get("cohen_kappa")
        word = f", {_kappa_word(kappa)} agreement by Cohen’s kappa ({format_value(kappa)})" if kappa is not None else ""
        is_sleep = "Wake" in values.get("labels", ())
        same = f"agreed with the expert on {right} epochs" if is_sleep else f"gave the reference answer {right} times"
        first = f"The {escape(name.lower())} {same} ({share}){word}."
        sentences.append(first if idx == 0 else f"The {escape(name.lower())}: {right} ({share}){word}.")
    if any("Non-REM stage 2" in values.get("labels", ()) for values in metrics.values()):
        sentences.append("Two human scorers of the same night typically reach a kappa of about 0.76 (Lee et al. 2022).")
    return " ".join(sentences) or "These samples have no options to choose from, so nothing is scored here."


def render_nights(rows: Sequence[PredictionRow], links: Mapping[str, str] | None = None) -> str:
    """Hypnograms and sleep statistics of every recording, the first one unfolded.

    `links` leads from a recording's name to the page of its night.
    """
    nights = build_nights(rows)
    if not nights:
        return ""
    levels = shown_levels([row for row in rows if row["options"]])
    parts = []
    for idx, night in enumerate(nights):
        same = ", ".join(
            f"{scorer}: same stage in {100 * night.count_same(scorer) / night.num_predicted:.1f}&#8239;%"
            for scorer in list(night.hypnograms)[1:]
        )
        parts.append(
            f'<details class="recording"{" open" if idx == 0 else ""}><summary>'
            f"<h3>{escape(night.recording or 'Recording')}</h3> <small>{same}</small></summary>"
            f"{_render_link(links, night.recording)}{render_hypnograms(night, levels)}"
            f"{render_statistics(night, levels)}</details>"
        )
    return f'<section aria-labelledby="nights"><h2 id="nights">The night, epoch by epoch</h2>{"".join(parts)}</section>'


def _render_link(links: Mapping[str, str] | None, recording: str) -> str:
    if not links or recording not in links:
        return ""
    return f'<p><a href="{escape(links[recording])}">Epoch by epoch, with signals and rationales</a></p>'


def render_static_night(rows: Sequence[PredictionRow], scorer: str) -> str:
    """Hypnograms of the one night of a page, for paper and for browsers that cannot draw it."""
    (night,) = build_nights(rows, scorer)
    return render_hypnograms(night, shown_levels(rows))


def render_night_statistics(rows: Sequence[PredictionRow], scorer: str) -> str:
    """Sleep statistics of the one night of a page."""
    (night,) = build_nights(rows, scorer)
    return (
        '<section aria-labelledby="statistics"><h2 id="statistics">Sleep statistics</h2>'
        f"{render_statistics(night, shown_levels(rows))}</section>"
    )


def render_confusions(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Confusion matrices side by side."""
    tables = [render_confusion(values, name) for name, values in metrics.items() if "confusion_matrix" in values]
    if not tables:
        return ""
    return (
        '<section aria-labelledby="confusions"><h2 id="confusions">What is taken for what</h2>'
        f'<div class="side-by-side">{"".join(tables)}</div></section>'
    )


def render_rationales(rows: Sequence[PredictionRow], waveforms: Mapping[str, np.ndarray]) -> str:
    """How far the model's texts tell what was measured, and examples of them."""
    examples = choose_examples(rows)
    num_wrong = sum(not is_right(row) for row in examples)
    rule = (
        f"{format_number(len(examples), 'text')}, picked by a fixed rule and not by hand: of each reference answer one "
        f"right and one wrong case where there are both. So the share of wrong answers here ({num_wrong} of "
        f"{len(examples)}) is not that of the scores above."
    )
    return (
        '<section aria-labelledby="rationales"><h2 id="rationales">What the model wrote</h2>'
        f"{render_faithfulness(rows)}"
        f"<p>{rule}</p>{render_examples(examples, waveforms, find_epoch_s(rows))}</section>"
    )


def render_text_scores(rows: Sequence[PredictionRow]) -> str:
    """How far the model's texts tell what was measured; the texts themselves stand in the panel of the epoch."""
    return (
        '<section aria-labelledby="rationales"><h2 id="rationales">What the model wrote</h2>'
        f"{render_faithfulness(rows)}</section>"
    )


def render_footer(facts: Mapping[str, str]) -> str:
    """Where the figures come from, and what they are not for."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{_render_fact(text)}</dd></div>" for name, text in facts.items())
    listed = f"<dl>{items}</dl>" if facts else "<p>Config, seed, checkpoint and data source were not stated.</p>"
    return (
        f'<footer><h2>Where these figures come from</h2>{listed}<p class="fine">For research. Not a medical device and '
        "not for diagnosis. Sleep statistics after the AASM manual; agreement words after "
        "Landis &amp; Koch 1977.</p></footer>"
    )


def _render_fact(text: str) -> str:
    if "\n" in text.strip():
        return f"<details><summary>show</summary><pre>{escape(text.strip())}</pre></details>"
    return escape(text)


def _kappa_word(kappa: float) -> str:
    return next((word for limit, word in _KAPPA_WORDS if kappa <= limit), _KAPPA_WORDS[-1][1])
