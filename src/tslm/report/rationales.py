"""A rationale for the page: its text cut where claims begin and end, and every claim beside what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tslm.answers.grammar import ANSWER_PREFIX, remove_special_tokens, split_response
from tslm.explain.claims.checks import CheckedClaim, Verdict
from tslm.explain.faithfulness import check_rationale
from tslm.report.format import describe_measurement

VERDICTS = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_CHECKABLE)
MAX_CHARACTERS = 3000  # of a text; what runs away beyond is cut, and says so


def describe_rationale(generated: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one generated text, ready for JSON.

    Args:
        generated: raw text of the model.
        evidence: measured values of the epoch by column; empty: nothing can be checked.

    Returns:
        `pieces`: [text, positions of the claims that rest on it] whose texts joined are the rationale;
        `claims`: [verdict (position in `VERDICTS`), hedged (0 or 1), what was measured in words] of each, in the
        order of the text; `answer`: what stands after `Answer:`, empty without; `cut`: how many characters
        were cut off.
    """
    text = remove_special_tokens(generated).strip()
    rationale, answer = split_response(text)
    rationale, num_cut = rationale[:MAX_CHARACTERS], max(len(rationale) - MAX_CHARACTERS, 0)
    checked = check_rationale(rationale, evidence).claims
    return {
        "pieces": cut_text(rationale, [(item.claim.start, item.claim.stop) for item in checked]),
        "claims": [_describe_claim(item) for item in checked],
        "answer": answer[:MAX_CHARACTERS] if ANSWER_PREFIX in text else "",
        "cut": num_cut,
    }


def cut_text(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """(piece of text, positions of the spans that cover it); the pieces joined are the text."""
    edges = sorted({0, len(text), *(min(edge, len(text)) for span in spans for edge in span)})
    return [
        (text[start:stop], [idx for idx, (first, last) in enumerate(spans) if first <= start and stop <= last])
        for start, stop in zip(edges, edges[1:], strict=False)
    ]


def _describe_claim(checked: CheckedClaim) -> tuple[int, int, str]:
    measured = ""
    if checked.column and checked.measured is not None:
        measured = " ".join(describe_measurement(checked.column, checked.measured))
    return VERDICTS.index(checked.verdict), int(checked.claim.hedged), measured
