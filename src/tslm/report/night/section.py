"""The section of a night: elements that the page's scripts fill, and the Plotly library."""

import gzip
from collections.abc import Mapping
from functools import cache
from html import escape
from typing import Any


def render_night_section(night: Mapping[str, Any], static_night: str, epoch_panel_extra: str) -> str:
    """Charts of the night, the panel of one epoch below; `static_night` and the extra are HTML of ours."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in night["notes"])
    return (
        '<section id="night" aria-labelledby="night-title">'
        f'<div class="night-head"><h2 id="night-title">The night, epoch by epoch</h2>{_render_tools(night)}</div>'
        '<p id="page-status" class="note" role="status">Unpacking the charts …</p>'
        '<noscript><p class="warning">The charts need JavaScript; what follows does not.</p></noscript>'
        f'<div id="night-static">{static_night}</div>'
        '<div id="night-chart" class="chart" hidden></div><div id="night-tip" class="tip" hidden></div>'
        f'<p class="help">{_KEYS}{_MARKS if night["events"] else ""}</p>'
        f"{_render_panel(epoch_panel_extra)}" + (f'<ul class="notes">{notes}</ul>' if notes else "") + "</section>"
    )


_KEYS = (
    "Click an epoch, or use the keys: <kbd>←</kbd> <kbd>→</kbd> by one; <kbd>p</kbd> <kbd>n</kbd> (here also "
    "<kbd>↑</kbd> <kbd>↓</kbd>) through the list chosen above; <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd> zoom. "
    "Drag across to zoom, double-click for all."
)
_MARKS = (
    " Point at a claim of the text to see its waveforms in the trace; click a mark to see the claims that rest on it, "
    "<kbd>Esc</kbd> to end that."
)


def _render_tools(night: Mapping[str, Any]) -> str:
    shown = [system["name"] for system in night["systems"] if system["probabilities"] is not None]
    choices = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in shown)
    lists = "".join(
        f'<option value="{idx}">{escape(listed["name"])} ({len(listed["positions"]):,})</option>'
        for idx, listed in enumerate(night["lists"])
    )
    probabilities = (
        f'<label>Probabilities of <select id="density-system">{choices}</select></label>' if len(shown) > 1 else ""
    )
    step = f'<label>Step through <select id="epoch-list">{lists}</select></label>' if lists else ""
    return (
        f'<div class="tools">{probabilities}{step}<span class="zoom" role="group" aria-label="Zoom">'
        '<button type="button" id="zoom-in" aria-label="Zoom in">+</button>'
        '<button type="button" id="zoom-out" aria-label="Zoom out">−</button>'
        '<button type="button" id="zoom-all">Whole night</button></span></div>'
    )


def _render_panel(extra: str) -> str:
    return (
        '<div id="epoch" tabindex="-1" role="group" aria-labelledby="epoch-title">'
        '<header><button type="button" id="epoch-back" aria-label="Epoch before">←</button>'
        '<h3 id="epoch-title" aria-live="polite">Epoch</h3>'
        '<button type="button" id="epoch-next" aria-label="Next epoch">→</button>'
        '<dl class="stages" id="epoch-stages"></dl></header>'
        '<div id="wave" class="chart"><div id="wave-lanes" class="lanes"></div>'
        '<div class="wave-frame"><div id="wave-chart"></div><div id="wave-bands" aria-hidden="true"></div></div></div>'
        '<p id="wave-note" class="fine"></p><p id="event-note" class="fine" role="status"></p>'
        '<div class="epoch-grid"><div id="epoch-text"></div><div id="epoch-probabilities"></div>'
        f'<div id="epoch-measured"></div></div><aside id="epoch-extra">{extra}</aside></div>'
    )


@cache
def pack_plotly() -> bytes:
    """plotly.min.js (MIT licence, its notice stands at its head) as gzip.

    Raises:
        ImportError: the package is missing.
    """
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), mtime=0)
