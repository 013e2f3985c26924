"""Verification of rationales while they are written: a text that is false, or argues for another answer, is rewritten.

1. check all claims of a text against the measurements of its epoch           (faithfulness.check_rationale),
   and whether its arguments speak for its answer                             (claims.arguments.find_misused)
2. write each text with a fault again, sampled, `MAX_TRIES` times at most
3. take the first text of the same answer without one, else the one with the fewest, and strike the sentences that
   hold one

Verification changes no answer and no probability: a row keeps those of its first text, and the text itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tslm.answers.grammar import split_response
from tslm.explain.claims.arguments import find_misused, read_arguments
from tslm.explain.claims.checks import Verdict
from tslm.explain.claims.read import split_sentences
from tslm.explain.faithfulness import CheckedRationale, EventRows, check_rationale
from tslm.labels import ANSWER_NAMES, parse_sleep_stage
from tslm.predictions.rows import PredictionRow, parse_row_answer

MAX_TRIES = 3
TEMPERATURE = 0.6  # as good as 0.5, fewer odd words than 0.7 (docs/concepts/faithfulness.md)


class Writer(Protocol):
    """A language model that can write a text again (tslm.predictions.epoch_writer)."""

    def rewrite(
        self, source: Any, units: Sequence[int], attempt: int, temperature: float, show_progress: bool = False
    ) -> list[PredictionRow]:
        """Rows with sampled texts; see `EpochWriter.rewrite`."""


def verify_rows(
    writer: Writer, source: Any, units: Sequence[int], rows: Sequence[PredictionRow], show_progress: bool = False
) -> list[PredictionRow]:
    """The rows with verified texts; one without text, options or evidence stays as it is.

    Args:
        writer: that wrote the rows.
        source: of the samples.
        units: the sample of each row.
        rows: with texts that end in one of the options.
        show_progress: whether to show progress bars.
    """
    texts = {
        place: _Candidates(row)
        for place, row in enumerate(rows)
        if "generated" in row and row["options"] and row.get("evidence")
    }
    for attempt in range(1, MAX_TRIES + 1):
        failing = [place for place, candidates in texts.items() if not candidates.has_true_text]
        if not failing:
            break
        rewritten = writer.rewrite(source, [units[place] for place in failing], attempt, TEMPERATURE, show_progress)
        for place, row in zip(failing, rewritten, strict=True):
            texts[place].add(row)
    return [texts[place].choose() if place in texts else row for place, row in enumerate(rows)]


def find_faults(text: str, checked: CheckedRationale) -> list[int]:
    """Where in a text its faults start: contradicted claims, and arguments that do not speak as they are cited."""
    false = {item.claim.start for item in checked.claims if item.verdict == Verdict.CONTRADICTED}
    answer = parse_sleep_stage(split_response(text)[1])
    if answer in ANSWER_NAMES:
        arguments = read_arguments(text, [item.claim for item in checked.claims])
        false |= {argument.claim.start for argument in find_misused(arguments, answer)}
    return sorted(false)


def strike_faults(
    text: str, evidence: Mapping[str, Any], events: EventRows | None = None
) -> tuple[str, list[tuple[int, str]]]:
    """Strike the sentences that hold a fault (`find_faults`); `Answer:` and what follows it stay.

    Returns:
        The text without them, and each struck sentence with the offset in that text at which it stood.
    """
    false = find_faults(text, check_rationale(text, evidence, events))
    kept, struck, start = "", list[tuple[int, str]](), 0
    for sentence in split_sentences(text):
        stop = start + len(sentence)
        if any(start <= place < stop for place in false):
            struck.append((len(kept), sentence))
        else:
            kept += sentence
        start = stop
    return kept + text[start:], struck


def restore_struck(text: str, struck: Sequence[tuple[int, str]]) -> tuple[str, list[tuple[int, int]]]:
    """The text with its struck sentences, and where each stands in it: the inverse of `strike_faults`."""
    restored, spans, start = "", list[tuple[int, int]](), 0
    for offset, sentence in struck:
        restored += text[start:offset]
        spans.append((len(restored), len(restored) + len(sentence)))
        restored, start = restored + sentence, offset
    return restored + text[start:], spans


class _Candidates:
    """The first text of a row and its rewrites of the same answer."""

    def __init__(self, row: PredictionRow) -> None:
        self.row, self.answer, self.num_tries = row, parse_row_answer(row), 0
        self.texts = [row["generated"]]
        self.checks = [self._check(row["generated"])]

    @property
    def has_true_text(self) -> bool:
        """Whether the last text has no fault."""
        return not find_faults(self.texts[-1], self.checks[-1])

    def add(self, row: PredictionRow) -> None:
        """Take a rewrite, if it has the same answer."""
        self.num_tries += 1
        if parse_row_answer(row) == self.answer:
            self.texts.append(row["generated"])
            self.checks.append(self._check(row["generated"]))

    def choose(self) -> PredictionRow:
        """The row with the text of the fewest faults, the earliest of several, and these struck."""
        text, check = min(zip(self.texts, self.checks, strict=True), key=lambda pair: len(find_faults(*pair)))
        generated, struck = strike_faults(text, self.row["evidence"], self.row.get("events"))
        return self.row | {
            "generated": generated,
            "first_generated": self.texts[0],
            "tries": self.num_tries,
            "struck": struck,
            "claims_before": _count_verdicts(self.checks[0]),
            "claims_after": _count_verdicts(self._check(generated) if struck else check),
        }

    def _check(self, text: str) -> CheckedRationale:
        return check_rationale(text, self.row["evidence"], self.row.get("events"))


def _count_verdicts(check: CheckedRationale) -> dict[str, int]:
    return {verdict.name.lower(): check.count(verdict) for verdict in Verdict}
