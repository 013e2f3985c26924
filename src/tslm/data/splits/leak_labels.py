"""What outputs say of scores on people whom training knows: one wording for every command, page and card."""

from collections.abc import Mapping
from typing import Any

LEAKY, WITHIN_SUBJECT = "LEAKY", "WITHIN-SUBJECT"


def render_leak(facts: Mapping[str, Any]) -> str:
    """A line for people; empty where test and training share nobody.

    Args:
        facts: metrics or a row of predictions: `leaky`, and `within_subject` where time divides training from test.
    """
    if facts.get("within_subject"):
        return (
            f"{WITHIN_SUBJECT}: trained on earlier and tested on later time of the same people; says nothing of others"
        )
    if facts.get("leaky"):
        return f"{LEAKY}: trained and tested on the same people or series; says nothing about others"
    return ""
