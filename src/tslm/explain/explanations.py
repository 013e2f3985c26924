"""Explanations for JSON: every claim of a generated text, its verdict, what was measured and where that lies."""

from collections.abc import Mapping
from typing import Any

from tslm.explain.claims.checks import CheckedClaim
from tslm.explain.faithfulness import EventRows, check_rationale


def describe_claims(
    text: str, evidence_row: Mapping[str, float | None], event_rows: EventRows | None = None
) -> list[dict[str, Any]]:
    """The claims of a text in its order, ready for JSON.

    Args:
        text: rationale, with or without its answer.
        evidence_row: measured values of the epoch; empty: nothing can be checked.
        event_rows: events of the epoch, as in a row of predictions; None: times cannot be checked.

    Returns:
        Of each claim `text`, which stands from `start` to `stop`; `feature` and `relation`; `value`, `upper` and `unit`
        of the figure or time that it names (null, empty without); `negated` and `hedged`; `verdict` (`supported`,
        `contradicted`, `not checkable`); `column` of evidence and its `measured` value (empty, null where there is
        none); and `places`, [onset_s, duration_s] of each event that it rests on.

    Raises:
        ValueError: something that is no event.
    """
    return [_describe_claim(text, checked) for checked in check_rationale(text, evidence_row, event_rows).claims]


def _describe_claim(text: str, checked: CheckedClaim) -> dict[str, Any]:
    claim = checked.claim
    return {
        "text": text[claim.start : claim.stop],
        "start": claim.start,
        "stop": claim.stop,
        "feature": claim.feature.value,
        "relation": claim.relation.value,
        "value": claim.value,
        "upper": claim.upper,
        "unit": claim.unit,
        "negated": claim.negated,
        "hedged": claim.hedged,
        "verdict": checked.verdict.value,
        "column": checked.column,
        "measured": checked.measured,
        "places": [list(place) for place in checked.places],
    }
