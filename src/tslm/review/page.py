"""The page that reviewers see: the report's page of one night with the review form in its epoch panel."""

import base64
import gzip
import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tslm.data.prepared.recordings import read_recording
from tslm.predictions.scorings import render_system, select_recording
from tslm.report.night.document import NightDocument
from tslm.report.page import build_page, render_page
from tslm.report.plotly_bundle import pack_plotly
from tslm.review.form import render_form
from tslm.review.run_epochs import NotInRunError, ReviewRun, hide_expert
from tslm.scoring.systems import score_systems

_SCRIPTS = ("form.js", "outbox.js", "queue.js")
_KEPT_PAGES = 4  # of some 6 MB


class ReviewPages:
    """The pages of a run, a recording each, built when they are first asked for."""

    def __init__(
        self, run: ReviewRun, first_recording: str, data_dir: Path | None, *, blinded: bool, checks_shown: bool = True
    ) -> None:
        """Take what is shown.

        Args:
            run: whose epochs.
            first_recording: what is shown where nothing is asked for.
            data_dir: prepared cohort, for the signals; None: without.
            blinded: leave the expert's label out of everything.
            checks_shown: mark each claim of a text by whether the measurements support it.

        Raises:
            FileNotFoundError: the cohort lacks one of the run's recordings.
        """
        names = {row.get("recording", "") for row in run.rows} if data_dir is not None else set()
        lacking = sorted(name for name in names if data_dir and not (data_dir / f"{name}.parquet").is_file())
        if lacking:
            raise FileNotFoundError(f"{data_dir} lacks {lacking[0]}.parquet; give the cohort that was scored by --data")
        self._run, self._first, self._data_dir = run, first_recording, data_dir
        self._blinded, self._checks_shown = blinded, checks_shown
        self._render = lru_cache(_KEPT_PAGES)(self._build)

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
    """Content-Security-Policy under which the page's own scripts run and no others, whatever a model wrote into it."""
    own = [_read_scripts(), page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]]
    scripts = [text.encode() for text in own] + [gzip.decompress(pack_plotly())]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hide_checks(night: NightDocument) -> NightDocument:
    """The night with its texts as written, without what the measurements say of their claims."""
    plain = [
        text | {"pieces": [(piece, []) for piece, _ in text["pieces"]], "claims": []}
        for text in night.data["rationales"]
    ]
    return replace(night, data={**night.data, "rationales": plain})


def _read_scripts() -> str:
    """The form's scripts, in one scope of their own."""
    return f'(() => {{\n"use strict";\n{"".join(map(_read_part, _SCRIPTS))}}})();\n'


def _read_part(name: str) -> str:
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")
