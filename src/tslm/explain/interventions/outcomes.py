"""Outcomes of an edit: how often the text, and the answer, followed, before the edit and after it.

A text that always says the same follows an edit as often before it as after it; what counts is the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tslm.explain.controls import find_number
from tslm.explain.interventions.effects import Expectation
from tslm.labels import SleepStage
from tslm.metric_names import percent
from tslm.scoring.intervals import Resamples, Resampling, render_unit
from tslm.table import Cell, Table

INTERVENTIONS_FILE = "interventions.json"


class Answer(NamedTuple):
    """A sleep stage answered, None where it does not parse, and the probability of each; empty where not known."""

    sleep_stage: SleepStage | None
    probabilities: Mapping[SleepStage, float]


@dataclass(frozen=True)
class Outcome:
    """One epoch before and after an edit."""

    subject: str
    answers: Sequence[Answer]  # before, after
    expectation: Expectation | None = None
    claimed: Sequence[bool] = ()  # before, after: whether the text claims what it must after the edit; empty: no text


_SHARES = {  # name -> place of its numerator among the counts of `_count`; its denominator stands behind all of them
    "share_text_before": 0,
    "share_text_follows": 1,
    "share_answer_before": 2,
    "share_answer_follows": 3,
    "probability_change": 4,
    "share_answer_changed": 5,
}
_DIFFERENCES = {
    "text": ("share_text_before", "share_text_follows"),
    "answer": ("share_answer_before", "share_answer_follows"),
}


def describe_edit(
    name: str,
    what: str,
    condition: str,
    claim: str,
    answer: str,
    outcomes: Sequence[Outcome],
    num_skipped: int,
    resampling: Resampling,
) -> dict[str, Any]:
    """Count the outcomes of one edit under one condition.

    Args:
        name: of the edit.
        what: it does.
        condition: which part of the prompt followed it.
        claim: that the text must make after it; empty where the text was replaced.
        answer: expected after it; empty where none is.
        outcomes: of its epochs, in time order within a subject.
        num_skipped: epochs left out, as the detectors did not confirm the edit or the text could not be edited.
        resampling: of the intervals, over subjects.

    Returns:
        The labels as given; `num_epochs`, `num_skipped`, and `num_expected` of the epochs, for which a rule
        decides the answer; the shares of epochs whose text claims what the edit asks for
        (`share_text_follows`) and whose answer is as expected (`share_answer_follows`), the same without the edit
        (`share_text_before`, `share_answer_before`), `text_difference` and `answer_difference`; the mean change of the
        probability of what is expected (`probability_change`); `share_answer_changed`, whatever was expected; and
        `intervals` of these. None where no epoch has a text to judge or an answer to expect.
    """
    row: dict[str, Any] = {
        "edit": name,
        "what": what,
        "condition": str(condition),
        "claim": claim,
        "answer": answer,
        "num_epochs": len(outcomes),
        "num_skipped": num_skipped,
        "num_expected": sum(outcome.expectation is not None for outcome in outcomes),
    }
    names = [*_SHARES, *(f"{kind}_difference" for kind in _DIFFERENCES)]
    if not outcomes:
        return row | dict.fromkeys(names) | {"intervals": {}}
    counts_NM = np.array([_count(outcome) for outcome in outcomes])
    resamples = Resamples(len(outcomes), [outcome.subject for outcome in outcomes], resampling)
    shares = _measure(counts_NM.sum(0, keepdims=True))
    drawn = _measure(resamples.sum(counts_NM))
    intervals = {key: resamples.find_interval(drawn[key]) for key in names}
    return row | {key: find_number(shares[key][0]) for key in names} | {"intervals": intervals | resamples.describe()}


def _count(outcome: Outcome) -> list[float]:
    """The numerators of `_SHARES`, then their denominators."""
    before, after = outcome.answers
    expectation = outcome.expectation
    met = [float(expectation.is_met(answer.sleep_stage)) for answer in outcome.answers] if expectation else [0.0, 0.0]
    change, is_known = 0.0, bool(expectation and before.probabilities and after.probabilities)
    if expectation and is_known:
        change = expectation.measure(after.probabilities) - expectation.measure(before.probabilities)
    claimed = [float(one) for one in outcome.claimed] or [0.0, 0.0]
    has_text, is_expected = float(bool(outcome.claimed)), float(expectation is not None)
    return [
        *claimed,
        *met,
        change,
        float(before.sleep_stage != after.sleep_stage),
        *(has_text, has_text, is_expected, is_expected, float(is_known), 1.0),
    ]


def _measure(counts_RM: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) each share and difference of sums of counts; NaN where nothing was counted."""
    num = len(_SHARES)
    above, below = counts_RM[:, :num], counts_RM[:, num:]
    shares_RM = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    shares = {name: shares_RM[:, place] for name, place in _SHARES.items()}
    return shares | {f"{kind}_difference": shares[last] - shares[first] for kind, (first, last) in _DIFFERENCES.items()}


def build_table(rows: Sequence[Mapping[str, Any]], leak: str = "") -> Table:
    """The table of edits: what each does, what must follow, and the share that follows before and after it.

    Args:
        rows: of `describe_edit`.
        leak: a sentence for people who were also trained on; empty: none was.
    """
    notes = [
        "Text: share of texts that claim what must be claimed after the edit. Answer: share of answers as expected. "
        "Each before the edit and after it; what follows the edit is the difference.",
        "Condition all: signal and measured facts follow the edit; series: the prompt states no facts; facts: the line "
        "of facts follows, the signal does not. Skipped: the detectors did not confirm the edit.",
        "P: mean change of the probability of the answer expected, in percentage points.",
    ]
    intervals: Mapping[str, Any] = next((row["intervals"] for row in rows if row["intervals"]), {})
    notes += [f"[ ]: {render_unit(dict(intervals))}."] if intervals else []
    notes += [leak] if leak else []
    of_text = ("Text must claim", "text before", "text after")
    of_answer = ("Answer expected", "answer before", "answer after", "P", "answers that changed")
    return Table(["Edit", "Condition", "Epochs", *of_text, *of_answer], [_build_row(row) for row in rows], notes=notes)


def _build_row(row: Mapping[str, Any]) -> list[Cell]:
    def share(key: str, is_signed: bool = False) -> Cell:
        interval = row["intervals"].get(key)
        bounds = interval and [percent(bound) for bound in interval]
        has_interval = key in ("share_text_follows", "share_answer_follows", "probability_change")
        unit = "" if is_signed else "%"
        return Cell(percent(row[key]), 0, unit, bounds if has_interval else None, is_signed=is_signed)

    is_part = 0 < row["num_expected"] < row["num_epochs"]
    skipped = f"{row['num_skipped']} skipped" if row["num_skipped"] else ""
    return [
        Cell(row["edit"], hint=row["what"]),
        Cell(row["condition"]),
        Cell(row["num_epochs"], detail=skipped),
        Cell(row["claim"] or None),
        share("share_text_before"),
        share("share_text_follows"),
        Cell(row["answer"] or None, detail=f"{row['num_expected']} epochs" if is_part else ""),
        share("share_answer_before"),
        share("share_answer_follows"),
        share("probability_change", is_signed=True),
        share("share_answer_changed"),
    ]
