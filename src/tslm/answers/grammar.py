"""The answer grammar: renders and parses `Answer: <label>`.

A text that does not end in one clear label parses to None, which counts as a parse failure and as a wrong answer.
"""

import re
from collections.abc import Sequence

from tslm.answers.lines import find_answer, is_answer_alone

ANSWER_PREFIX = "Answer:"
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>|</?s>|<bos>|<eos>|<pad>|<(?:start|end)_of_turn>")
_EDGE = " \t\r\n.,;:!?*_`'\""


def render_answer(answer: str) -> str:
    """The closing words of a response."""
    return f"{ANSWER_PREFIX} {answer}"


def render_response(rationale: str, answer: str) -> str:
    """Rationale followed by its answer; the rationale alone where a task has no answer."""
    if not answer:
        return rationale
    return f"{rationale} {render_answer(answer)}".strip()


def split_response(response: str) -> tuple[str, str]:
    """(rationale, answer text) of a response; the answer text is empty when there is none."""
    rationale, prefix, answer = response.rpartition(ANSWER_PREFIX)
    return (rationale.strip(), answer.strip()) if prefix else (response.strip(), "")


def remove_special_tokens(text: str) -> str:
    """The text with a tokenizer's markers, such as `<|im_end|>`, replaced by spaces."""
    return _SPECIAL_TOKEN.sub(" ", text)


def parse_answer(response: str, options: Sequence[str]) -> str | None:
    """The one of `options` that the response answers with, or None.

    An answer follows "Answer:", "The answer is" or "Final answer -", on the rest of that line or the next, or is the
    whole response. `tslm.answers.lines` reads the line: it matches an option exactly, or without regard to case, marks
    and filler words, a lettered option "(a) text" also by its letter or its text alone, and a sleep stage in any of its
    common spellings. Contradicting answers give None, unless the last one is called final, takes the others back, or is
    the first in the form of `render_answer`. A last repetition that is cut off is none.
    """
    text = remove_special_tokens(response).strip()
    cues = [*_CUE.finditer(text)]
    if not cues:
        return _parse_line(text, options) if is_answer_alone(text, options) else None
    if split_response(text)[1] in options:
        cues = [cue for cue in cues if cue.start() <= text.rindex(ANSWER_PREFIX)]
    stops = [*(cue.start() for cue in cues[1:]), len(text)]
    statements: list[tuple[bool, str | None]] = []  # whether it has the form of `render_answer`, and its answer
    begin, said = 0, list[str]()
    for cue, stop in zip(cues, stops, strict=True):
        line, is_exact = _first_line(text[cue.end() : stop]), cue.group().endswith(ANSWER_PREFIX)
        answer = _parse_line(line, options)
        if answer is None and stop == len(text) and any(before.startswith(_fold(line)) for before in said):
            continue
        said += [_fold(line), _fold(answer or "")]
        if answer is None and not (cue["mark"] and any(letter.isalnum() for letter in line)):
            continue  # cut off, or "the answer is" in the middle of an explanation
        if cue["final"] or _TAKEN_BACK.search(text, begin, cue.start()):
            statements = []
        statements = [*(pair for pair in statements if pair[0] >= is_exact), (is_exact, answer)]
        begin = cue.end()
    named = {answer for _, answer in statements if answer is not None}
    return statements[-1][1] if len(named) == 1 else None


# "**Answer:** N2", "Final answer - N2", "the answer is N2", {"answer": "N2"}
_CUE = re.compile(
    rf"(?P<final>final )?(?:(?<![^\W_])|(?=(?-i:{ANSWER_PREFIX})))answer[*_`\"'\s]*(?:(?P<mark>[:=>]|-(?=\s))|is\b)",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wrong|wait|actually|correction|mistaken?|reconsider\w*|revis\w+|scratch that|on second thoughts?)\b",
    re.IGNORECASE,
)


def _first_line(text: str) -> str:
    """The first line that holds a letter or digit, or else the first that holds anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if any(letter.isalnum() for letter in line)), lines[0] if lines else "")


def _parse_line(line: str, options: Sequence[str]) -> str | None:
    if line in options:
        return line
    folded = _fold(line)
    exact = [option for option in options if _fold(option) == folded] if folded else []
    if len(exact) == 1:
        return exact[0]
    found = None if exact else find_answer(line, options)
    return found if found in options else None


def _fold(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip(_EDGE)).lower()
