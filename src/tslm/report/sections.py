"""Sections of the report, each a piece of HTML; an empty string where a task has nothing to show."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tslm.data.splits.split import render_leak
from tslm.explain.interventions.outcomes import build_table
from tslm.files import DISCLAIMER
from tslm.metric_names import AGREEMENT, METRICS
from tslm.predictions.nights import build_nights, find_epoch_s, shown_levels
from tslm.predictions.scorings import (
    Scoring,
    collect_samples,
    render_system,
    render_unreferenced,
)
from tslm.report.charts import render_confusion
from tslm.report.examples import Excerpt, choose_examples, is_right, render_examples
from tslm.report.format import format_interval, format_number
from tslm.report.night.hypnograms import render_hypnograms, render_statistics
from tslm.report.rationales import render_faithfulness
from tslm.table import Cell

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


def render_header(title: str, samples: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any], lead: str = "") -> str:
    """Render the title, the result in a sentence, and the first system's figures; without metrics, a blinded page.

    With a `lead`, it is the header of a staged night.
    """
    recordings = list(dict.fromkeys(sample["recording"] for sample in samples if sample.get("recording")))
    systems: dict[str, dict[str, Any]] = {
        render_system(name): values for name, values in metrics.get("systems", {}).items()
    }
    name = next(iter(systems), "")
    main_metrics = systems.get(name, {})
    listed = f"{', '.join(recordings[:5])}{' and others' if len(recordings) > 5 else ''}"
    what = f"{format_number(len(samples), 'epoch' if lead else 'sample')}" + (
        f" of {format_number(len(recordings), 'recording')} ({escape(listed)})" if recordings else ""
    )
    tiles = [
        f'<div class="tile"><dt>{METRICS[key].name}</dt><dd>{Cell(main_metrics[key]).html()}</dd>'
        f"<small>{format_interval(main_metrics, key)}</small></div>"
        for key in AGREEMENT
        if key in main_metrics
    ]
    if "num_parse_failures" in main_metrics:
        share = 100 * main_metrics["num_parse_failures"] / main_metrics["num_samples"]
        tiles.append(
            f'<div class="tile"><dt>Unreadable answers</dt><dd>{main_metrics["num_parse_failures"]}</dd>'
            f"<small>{share:.1f}&#8239;%, count as wrong</small></div>"
        )
    told = _summarise(systems) if systems else ""
    return (
        f'<header class="page"><p class="eyebrow">{"Staged night" if lead else "Evaluation report"}</p>'
        f"<h1>{escape(title)}</h1>"
        f'<p class="lead">{" ".join(filter(None, [escape(lead), told])) or _BLINDED}</p>'
        f"{_render_leak(metrics)}"
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
        word = f", {_kappa_word(kappa)} agreement by Cohen’s kappa ({Cell(kappa).html()})" if kappa is not None else ""
        is_sleep = "Wake" in values.get("labels", ())
        same = f"agreed with the expert on {right} epochs" if is_sleep else f"gave the reference answer {right} times"
        first = f"The {escape(name.lower())} {same} ({share}){word}."
        sentences.append(first if idx == 0 else f"The {escape(name.lower())}: {right} ({share}){word}.")
    if any("Non-REM stage 2" in values.get("labels", ()) for values in metrics.values()):
        sentences.append("Two human scorers of the same night typically reach a kappa of about 0.76 (Lee et al. 2022).")
    if num_without := max(
        (values.get("without_reference", {}).get("num_samples", 0) for values in metrics.values()), default=0
    ):
        line = render_unreferenced(num_without)
        sentences.append(f"{line[0].upper()}{line[1:]}.")
    return " ".join(sentences) or "These samples have no options to choose from, so nothing is scored here."


def render_nights(scorings: Mapping[str, Scoring], links: Mapping[str, str] | None = None) -> str:
    """Hypnograms and sleep statistics of every recording, the first one unfolded.

    `links` leads from a recording's name to the page of its night.
    """
    nights = build_nights(scorings)
    if not nights:
        return ""
    levels = shown_levels([sample for sample in collect_samples(scorings) if sample["options"]])
    parts = []
    for idx, night in enumerate(nights):
        same = ", ".join(
            f"{scorer}: same stage in {100 * night.count_same(scorer) / num_compared:.1f}&#8239;%"
            for scorer, num_compared in night.num_compared.items()
            if num_compared
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


def render_static_night(scorings: Mapping[str, Scoring]) -> str:
    """Hypnograms of the one night of a page, for paper and for browsers that cannot draw it."""
    (night,) = build_nights(scorings)
    return render_hypnograms(night, shown_levels(collect_samples(scorings)))


def render_night_statistics(scorings: Mapping[str, Scoring]) -> str:
    """Sleep statistics of the one night of a page."""
    (night,) = build_nights(scorings)
    return (
        '<section aria-labelledby="statistics"><h2 id="statistics">Sleep statistics</h2>'
        f"{render_statistics(night, shown_levels(collect_samples(scorings)))}</section>"
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


def render_rationales(scorings: Mapping[str, Scoring], waveforms: Mapping[str, Excerpt]) -> str:
    """Render the faithfulness of each system's texts, and examples."""
    parts = []
    for scoring in list_writers(scorings):
        examples = choose_examples(scoring)
        num_wrong = sum(not is_right(row, answer) for row, answer in zip(examples.rows, examples.answers, strict=True))
        rule = f"{format_number(len(examples.rows), 'text')}, picked by a fixed rule and not by hand: of each "
        if any(row["truth"] for row in examples.rows):
            rule += (
                "reference answer one right and one wrong case where there are both. So the share of wrong answers "
                f"here ({num_wrong} of {len(examples.rows)}) is not that of the scores above."
            )
        else:
            rule += "answer some."
        cards = render_examples(examples, scorings, waveforms, find_epoch_s(scoring.rows))
        parts.append(f"{render_faithfulness(scoring)}<p>{rule}</p>{cards}")
    return _render_texts(scorings, parts)


def render_text_scores(scorings: Mapping[str, Scoring]) -> str:
    """Render the faithfulness of each system's texts; the texts themselves are in the panel of the epoch."""
    return _render_texts(scorings, [render_faithfulness(scoring) for scoring in list_writers(scorings)])


def render_interventions(found: Mapping[str, Any]) -> str:
    """Render the table of interventions on a checkpoint (interventions.json); empty where there were none."""
    if not found:
        return ""
    table = build_table(found["edits"], render_leak(found)).html("interventions")
    return (
        '<section aria-labelledby="interventions"><h2 id="interventions">Do text and answer follow an edit?</h2>'
        f"<p>Signal, stated facts or rationale were edited, one at a time, in {escape(found['data'])}.</p>"
        f"{table}</section>"
    )


def list_writers(scorings: Mapping[str, Scoring]) -> list[Scoring]:
    """Systems that write texts."""
    return [scoring for scoring in scorings.values() if scoring.writes_text]


def _render_texts(scorings: Mapping[str, Scoring], parts: Sequence[str]) -> str:
    """The section on texts, a part a system that writes; empty where none does."""
    writers = list_writers(scorings)
    if not writers:
        return ""
    if len(writers) > 1:
        names = (escape(render_system(scoring.system)) for scoring in writers)
        parts = [f"<h3>{name}</h3>{part}" for name, part in zip(names, parts, strict=True)]
    return (
        f'<section aria-labelledby="rationales"><h2 id="rationales">What the model wrote</h2>{"".join(parts)}</section>'
    )


def render_footer(facts: Mapping[str, str]) -> str:
    """Render the sources of the figures, and the limits of use."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{_render_fact(text)}</dd></div>" for name, text in facts.items())
    listed = f"<dl>{items}</dl>" if facts else "<p>Config, seed, checkpoint and data source were not stated.</p>"
    return (
        f'<footer><h2>Where these figures come from</h2>{listed}<p class="fine">For research. {DISCLAIMER} '
        "Sleep statistics after the AASM manual; agreement words after "
        "Landis &amp; Koch 1977.</p></footer>"
    )


def _render_fact(text: str) -> str:
    if "\n" in text.strip():
        return f"<details><summary>show</summary><pre>{escape(text.strip())}</pre></details>"
    return escape(text)


def _kappa_word(kappa: float) -> str:
    return next((word for limit, word in _KAPPA_WORDS if kappa <= limit), _KAPPA_WORDS[-1][1])
