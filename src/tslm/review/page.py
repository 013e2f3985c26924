"""The review page: the report's page of one night with the review form in its epoch panel."""

import base64
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from pathlib import Path

from tslm.data.prepared.recordings import read_recording
from tslm.predictions.nights import STAGE_OF_ANSWER, short_label
from tslm.predictions.scorings import render_system, select_recording
from tslm.report.night.document import NightDocument
from tslm.report.night.section import pack_plotly
from tslm.report.page import build_page, render_page
from tslm.review.records import (
    MAX_COMMENT_LENGTH,
    MAX_NAME_LENGTH,
    RATING_QUESTIONS,
    RATING_TITLES,
    RATING_VALUES,
    RATINGS,
)
from tslm.review.run_epochs import NotInRunError, ReviewRun, hide_expert
from tslm.scoring.systems import score_systems

_SCRIPTS = ("form.js", "outbox.js", "queue.js")
_NUM_CACHED_PAGES = 4  # of some 6 MB


class ReviewPages:
    """The pages of a run, one per recording, built on demand."""

    def __init__(
        self, run: ReviewRun, first_recording: str, data_dir: Path | None, *, blinded: bool, checks_shown: bool = True
    ) -> None:
        """Set up the pages.

        Args:
            run: the reviewed run.
            first_recording: shown by default.
            data_dir: prepared cohort, for the signals; None: no signals.
            blinded: hide the expert's label.
            checks_shown: mark whether the measurements support each claim of a text.

        Raises:
            FileNotFoundError: the cohort lacks one of the run's recordings.
        """
        names = {row.get("recording", "") for row in run.rows} if data_dir is not None else set()
        lacking = sorted(name for name in names if data_dir and not (data_dir / f"{name}.parquet").is_file())
        if lacking:
            raise FileNotFoundError(f"{data_dir} lacks {lacking[0]}.parquet; give the scored cohort with --data")
        self._run, self._first, self._data_dir = run, first_recording, data_dir
        self._blinded, self._checks_shown = blinded, checks_shown
        self._render = lru_cache(_NUM_CACHED_PAGES)(self._build)

    def render(self, recording: str | None = None) -> str:
        """HTML of one recording's page.

        Raises:
            NotInRunError: the run has none of that name.
            OSError, ValueError: its signals cannot be read.
        """
        return self._render(self._first if recording is None else recording)

    def _build(self, name: str) -> str:
        scorings = select_recording(self._run.scorings, name)
        if not scorings:
            raise NotInRunError(f"this run has no recording {name[:80]!r}")
        path = None if self._data_dir is None else self._data_dir / f"{name}.parquet"
        recording = None if path is None else read_recording(path)
        if self._blinded:
            scorings = hide_expert(scorings)
        page = build_page(
            scorings,
            {} if self._blinded else score_systems(scorings),
            title="Review of explanations",
            facts={"Recording": name, "Expert’s label": "hidden" if self._blinded else "shown"},
            recording=recording,
            show_expert=not self._blinded,
        )
        if page.night is not None and not self._checks_shown:
            page = replace(page, night=_hide_checks(page.night))
        head = f"<style>\n{_read_part('form.css')}</style>\n<script>{_read_scripts()}</script>\n"
        return render_page(
            page, head, render_form(self._run.options, self._blinded, render_system(self._run.reviewed.system))
        )


def build_content_policy(page: str) -> str:
    """Build a Content-Security-Policy that allows the page's own scripts only."""
    own = [_read_scripts(), page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]]
    scripts = [text.encode() for text in own] + [gzip.decompress(pack_plotly())]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hide_checks(night: NightDocument) -> NightDocument:
    """Remove the verdicts on the claims, and the sentences struck for them, from a night."""
    plain = [
        text
        | {
            "pieces": [(piece, []) for place, (piece, _) in enumerate(text["pieces"]) if place not in text["struck"]],
            "claims": [],
            "struck": [],
        }
        for text in night.data["rationales"]
    ]
    return replace(night, data={**night.data, "rationales": plain})


def _read_scripts() -> str:
    """The form's scripts, in one scope of their own."""
    return f'(() => {{\n"use strict";\n{"".join(map(_read_part, _SCRIPTS))}}})();\n'


def _read_part(name: str) -> str:
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")


_TITLES = {RATING_VALUES[0]: "1, poor", RATING_VALUES[-1]: "5, excellent"}
_KEYS = (
    "<kbd>1</kbd>–<kbd>5</kbd> rate, one question after the other; stage by <kbd>w</kbd> <kbd>1</kbd> <kbd>2</kbd> "
    "<kbd>3</kbd> <kbd>r</kbd>; <kbd>c</kbd> comment; <kbd>Enter</kbd> next (<kbd>Ctrl</kbd>+<kbd>Enter</kbd> in the "
    "comment), <kbd>Shift</kbd>+<kbd>Enter</kbd> back in the list; <kbd>←</kbd> <kbd>→</kbd> neighbouring epochs"
)


def render_form(options: Sequence[str], blinded: bool, system: str) -> str:
    """Render the form and the dialog that asks who is reviewing; `system` is the name of the reviewed system."""
    ratings = "".join(
        _render_choices(
            rating,
            f"{escape(RATING_TITLES[rating])} <small>{escape(RATING_QUESTIONS[rating])}</small>",
            [(str(value), str(value), _TITLES.get(value, str(value)), str(value), "") for value in RATING_VALUES],
            '<div class="ends" aria-hidden="true"><span>1 poor</span><span>5 excellent</span></div>',
        )
        for rating in RATINGS
    )
    sleep_stages = [
        (option, short_label(option), option, _stage_key(option), str(STAGE_OF_ANSWER[option])) for option in options
    ]
    hidden = '<span class="blinded">expert hidden</span>' if blinded else ""
    return (
        f'<form id="review" autocomplete="off" aria-label="Review of this epoch" data-system="{escape(system)}">'
        f'<header><h4>Your review {hidden}</h4><button type="button" id="review-who" title="Change the reviewer">who?'
        '</button></header><label class="hidden" for="review-queue">Epochs to review</label>'
        '<select id="review-queue"></select><p class="fine"><span id="review-count"></span>'
        '<progress aria-label="Complete reviews" max="1" value="0"></progress></p>'
        f'<fieldset id="review-fields" disabled>{ratings}'
        + _render_choices("corrected_stage", "The stage in your opinion", sleep_stages, "")
        + f'<label for="review-comment"><b>Comment</b></label><textarea id="review-comment" name="comment" '
        f'maxlength="{MAX_COMMENT_LENGTH}"></textarea></fieldset>'
        '<p id="review-done" class="note" role="status" hidden>All epochs of the list are complete. Thank you.</p>'
        '<div id="review-bar"><p id="review-state" role="status">Loading …</p>'
        '<button type="button" id="review-back">Back</button>'
        '<button type="button" id="review-next">Save and next</button>'
        f'</div><p id="review-keys">{_KEYS}</p>'
        '<p class="fine"><a id="review-export" download="reviews.csv">Your reviews as a table (CSV)</a></p></form>'
        '<dialog id="review-name" aria-labelledby="review-name-title"><form method="dialog"><h4 id="review-name-title">'
        "Who is reviewing?</h4><label>Your name or initials, the same every time"
        f'<input name="name" required maxlength="{MAX_NAME_LENGTH}" autocomplete="name"></label>'
        "<button>Begin</button></form></dialog>"
    )


def _render_choices(group: str, legend: str, choices: Sequence[tuple[str, str, str, str, str]], ends: str) -> str:
    """A group of radio buttons; `choices` are (value, label, in full, key, code of a stage)."""
    labels = "".join(
        f'<label title="{escape(title)}"><input type="radio" name="{group}" value="{escape(value)}" '
        f'data-key="{escape(key)}" data-code="{escape(code)}" aria-label="{escape(title)}">{escape(label)}</label>'
        for value, label, title, key, code in choices
    )
    return (
        f'<fieldset data-group="{group}" tabindex="-1"><legend>{legend}</legend>'
        f'<div class="choices">{labels}</div>{ends}</fieldset>'
    )


def _stage_key(option: str) -> str:
    """Key of a sleep stage: the digit of N1 to N3, otherwise the first letter (`s` for NREM, as `n` means next)."""
    code = str(STAGE_OF_ANSWER[option])
    return "s" if code == "NREM" else code[-1].lower() if code[0] == "N" else code[0].lower()
