"""The page at `/`: a person drops a file there, and sees how far it is and the report."""

import base64
import hashlib
from functools import cache
from pathlib import Path

_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src 'self' data:; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report is a page of its own without an origin: its scripts run, and cannot ask this service for anything.
REPORT_HEADERS = {
    "content-security-policy": "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; script-src "
    "'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
}


@cache
def render_page() -> str:
    """The page, with its style and its script inside."""
    return _read("page.html").replace("/*STYLE*/", _read("page.css")).replace("/*SCRIPT*/", _read("page.js"))


def build_content_policy() -> str:
    """A Content-Security-Policy that allows the page's own script and style only."""
    return _POLICY.format(script=_hash(_read("page.js")), style=_hash(_read("page.css")))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")
