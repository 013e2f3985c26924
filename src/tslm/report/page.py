"""The page of a report as one HTML file that opens without a network, and how other parts add to it.

`build_page` puts a page together, `render_page` writes it as text, `write_report` as a file. One recording
is shown epoch by epoch; the page of several is an overview that leads to a page each (`plan_night_pages`).

What may be relied on by a command that serves the page and adds to it:

- `render_page(page, extra_head, epoch_panel_extra)` puts `extra_head` (styles, scripts) at the end of
  `<head>` and `epoch_panel_extra` (a form) into `<aside id="epoch-extra">` of the panel of the epoch.
  Both are HTML and go in as they are.
- the night is JSON in `<script type="application/json" id="tslm-document">` (`night_document`).
- `window.tslmPage` (there once the page's script has run, before `DOMContentLoaded` is over):
  `.night` the parsed document, `.position` the epoch shown, `.select(position)`, `.step(±1)` along time,
  `.stepList(±1)` along the list that the reader chose, `.ready` a promise that resolves when the charts
  stand (also where the browser cannot draw them), `.lastDrawMs` from choosing an epoch to its picture.
- every choice of an epoch dispatches `epoch` on `document`, a CustomEvent whose `detail` is {position, epoch_idx,
  onset_s, sample_id, recording, answers: {system: code or null}, uncertainty: {system: number or null}}
  and, unless hidden, {expert}. The first comes when the page opens.
- keys are left alone while an input, a select or a text area has the focus.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tslm.data.prepared.recordings import Recording
from tslm.files import write_beside
from tslm.predictions.nights import build_nights, is_staging, shown_levels
from tslm.predictions.scorings import Scoring, collect_samples, render_system
from tslm.report.charts import render_confusion
from tslm.report.examples import Excerpt
from tslm.report.night.document import NightDocument, build_night_document, embed_json, split_document
from tslm.report.night.hypnograms import render_hypnograms
from tslm.report.night.section import pack_plotly, render_night_section
from tslm.report.scores import render_probability_charts, render_scores, render_structure
from tslm.report.sections import (
    render_confusions,
    render_footer,
    render_header,
    render_interventions,
    render_night_statistics,
    render_nights,
    render_rationales,
    render_static_night,
    render_text_scores,
)

MAX_PAGE_BYTES = 6_000_000  # of a night
_RESERVED_BYTES = 250_000  # for style, scripts, tables and static drawings
_SCRIPTS = ("page.js", "night_chart.js", "epoch_panel.js", "event_marks.js", "start.js")
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Cpath d='M0 2h3v3h2v-2h3' fill='none' stroke='%230b62a8'/%3E%3C/svg%3E"
)


@dataclass(frozen=True)
class PageDocument:
    """What a page shows: sections of HTML in order, and the night that its scripts draw among them."""

    title: str
    header: str
    sections: Sequence[str]  # below the night
    footer: str
    night: NightDocument | None = None
    static_night: str = ""  # shown until the charts stand, and where they cannot


def build_page(
    scorings: Mapping[str, Scoring],
    metrics: Mapping[str, Any],
    *,
    title: str = "",
    facts: Mapping[str, str] | None = None,
    recording: Recording | None = None,
    waveforms: Mapping[str, Excerpt] | None = None,
    links: Mapping[str, str] | None = None,
    show_expert: bool = True,
    lead: str = "",
    interventions: Mapping[str, Any] | None = None,
) -> PageDocument:
    """Put a page together.

    Args:
        scorings: predictions of one curriculum stage by system; the first one heads the page. Of one recording, sorted
            or not, for a page with a night.
        metrics: of them (`tslm.scoring.systems.score_systems`); not looked at where the expert is hidden.
        title: heading of the page; empty: the question that the page answers.
        facts: for the foot of the page, by name: config, seed, checkpoint, data source, licence. A text of
            several lines folds away.
        recording: the signals of that one recording.
        waveforms: sample_id -> its signal, for examples on pages without a night.
        links: recording -> address of its own page, for a page of several.
        show_expert: False leaves out everything that rests on the expert's stages; the page must show a night.
        lead: first sentence of the page of a staged night; it has metrics where an expert has scored the night.
        interventions: on the checkpoint, as in interventions.json; None or empty: there were none.

    Raises:
        ValueError: no rows, no metrics, two samples of one epoch, or the expert is to be hidden where there is no
            night.
    """
    samples = collect_samples(scorings)
    if not samples or (show_expert and not lead and not metrics.get("systems")):
        raise ValueError("a report needs at least one prediction and the metrics of one system")
    if is_staging(samples) and not any(sample["truth"] for sample in samples):
        title = title or "Sleep stages by the model"
    title = title or f"How well does the model {'stage sleep' if is_staging(samples) else 'answer'}?"
    footer = render_footer(facts or {})
    names = {sample.get("recording", "") for sample in samples}
    has_night = is_staging(samples) and all("epoch_idx" in sample for sample in samples) and len(names) == 1
    if not show_expert:
        if not has_night:
            raise ValueError("the expert can be hidden on the page of one night only; give the rows of one recording")
        night = _build_night(scorings, recording, show_expert=False)
        return PageDocument(title, render_header(title, samples, {}), (), footer, night)
    if lead:
        if not has_night:
            raise ValueError("the page of a staged night shows one recording of sleep stages; give the rows of one")
        night = _build_night(scorings, recording, show_expert=True, number_from_file=True)
        of_all = {name: scoring for name, scoring in scorings.items() if len(scoring.rows) == len(samples)}
        by_name = {render_system(name): values for name, values in metrics.get("systems", {}).items()}
        staged = [
            render_scores(by_name),
            render_confusions(by_name),
            render_text_scores(scorings),
            render_night_statistics(of_all),
        ]
        header = render_header(title, samples, metrics, lead)
        return PageDocument(title, header, staged, footer, night, render_static_night(of_all))
    header = render_header(title, samples, metrics)
    by_name = {render_system(name): values for name, values in metrics["systems"].items()}
    if not has_night:
        sections = [
            render_scores(by_name),
            render_nights(scorings, links),
            render_confusions(by_name),
            render_probability_charts(by_name),
            render_structure(by_name),
            render_rationales(scorings, waveforms or {}),
            render_interventions(interventions or {}),
        ]
        return PageDocument(title, header, sections, footer)
    night = _build_night(scorings, recording, show_expert=True)
    sections = [
        render_text_scores(scorings),
        render_interventions(interventions or {}),
        render_scores(by_name),
        render_confusions(by_name),
        render_probability_charts(by_name),
        render_night_statistics(scorings),
        render_structure(by_name),
    ]
    return PageDocument(title, header, sections, footer, night, render_static_night(scorings))


def render_page(page: PageDocument, extra_head: str = "", epoch_panel_extra: str = "") -> str:
    """The page as text; see the head of this file for what may be added."""
    sections = [*page.sections]
    scripts = ""
    if page.night is not None:
        sections.insert(0, render_night_section(page.night.data, page.static_night, epoch_panel_extra))
        embedded, packed = split_document(page.night)
        blobs = {"plotly": pack_plotly(), **packed}
        scripts = "".join(
            f'<script type="application/octet-stream" id="tslm-blob-{name}">{_encode(blob)}</script>\n'
            for name, blob in blobs.items()
        )
        scripts += (
            f'<script type="application/json" id="tslm-document">{embed_json(embedded)}</script>\n'
            f'<script>\n(() => {{\n"use strict";\n{"".join(_read_part(name) for name in _SCRIPTS)}}})();\n</script>\n'
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(page.title)}</title>\n<link rel="icon" href="{_ICON}">\n'
        f"<style>\n{_read_part('page.css')}</style>\n{extra_head}</head>\n<body>\n"
        f"{page.header}\n<main>\n" + "\n".join(filter(None, sections)) + f"\n</main>\n{page.footer}\n{scripts}"
        "</body>\n</html>\n"
    )


def write_report(
    scorings: Mapping[str, Scoring],
    metrics: Mapping[str, Any],
    path: Path,
    title: str = "",
    facts: Mapping[str, str] | None = None,
    waveforms: Mapping[str, Excerpt] | None = None,
    load_recording: Callable[[str], Recording | None] | None = None,
    links: Mapping[str, str] | None = None,
    interventions: Mapping[str, Any] | None = None,
) -> None:
    """Write the page beside `path`, then rename.

    Args:
        scorings: see `build_page`, as are `metrics`, `title`, `waveforms` and `links`.
        metrics: of the scorings.
        path: of the HTML file.
        title: heading of the page.
        facts: for the foot of the page.
        waveforms: for examples on pages without a night.
        load_recording: gives the signals of a recording by its name; None: a page without signals.
        links: for pages of several recordings, see `plan_night_pages`.
        interventions: see `build_page`.

    Raises:
        ValueError: as `build_page`.
    """
    names = {sample.get("recording", "") for sample in collect_samples(scorings)}
    one = load_recording(names.pop()) if load_recording is not None and len(names) == 1 else None
    page = build_page(
        scorings,
        metrics,
        title=title,
        facts=facts,
        recording=one,
        waveforms=waveforms,
        links=links,
        interventions=interventions,
    )
    with write_beside(path) as partial:
        partial.write_text(render_page(page), encoding="utf-8")


def build_drawings(scorings: Mapping[str, Scoring], metrics: Mapping[str, Any]) -> dict[str, str]:
    """Small pages for trackers: the confusion matrix of each system, and the hypnograms of each night.

    Args:
        scorings: predictions by system; empty if nothing was answered.
        metrics: of them.
    """
    drawings = {
        f"confusion_matrices/{system}": render_confusion(values, render_system(system))
        for system, values in metrics.get("systems", {}).items()
        if "confusion_matrix" in values
    }
    nights = build_nights(scorings)
    levels = shown_levels(collect_samples(scorings)) if nights else []
    drawings |= {f"hypnograms/{night.recording}": render_hypnograms(night, levels) for night in nights}
    pages = {name: PageDocument(name.rpartition("/")[2], "", [drawing], "") for name, drawing in drawings.items()}
    return {name: render_page(page) for name, page in pages.items()}


def plan_night_pages(scorings: Mapping[str, Scoring], path: Path) -> dict[str, Path]:
    """Recording -> file of its own page, in a folder beside the report at `path`; none where there are not several."""
    samples = collect_samples(scorings)
    names = list(dict.fromkeys(sample.get("recording", "") for sample in samples))
    if len(names) < 2 or not is_staging(samples) or not all("epoch_idx" in sample for sample in samples):
        return {}
    folder, files = path.with_name(f"{path.stem}_nights"), dict[str, Path]()
    for idx, name in enumerate(names):
        plain = re.sub(r"[^\w.-]", "_", name) or "night"
        files[name] = folder / f"{plain}.html"
        if files[name] in list(files.values())[:idx]:
            files[name] = folder / f"{plain}_{idx}.html"
    return files


def _build_night(
    scorings: Mapping[str, Scoring], recording: Recording | None, show_expert: bool, number_from_file: bool = False
) -> NightDocument:
    budget = MAX_PAGE_BYTES - len(pack_plotly()) * 4 // 3 - _RESERVED_BYTES
    return build_night_document(
        scorings, recording, show_expert=show_expert, max_bytes=budget, number_from_file=number_from_file
    )


def _encode(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _read_part(name: str) -> str:
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")
