"""The answer grammar: the one place that writes and reads `Answer: <label>`.

A text that does not end in one clear label parses to None. None is counted as a parse failure
and as a wrong answer; it is never replaced by a default stage.
"""

import re
from collections.abc import Sequence

from tslm.labels import ANSWER_NAMES, parse_sleep_stage

ANSWER_PREFIX = "Answer:"
SEVERAL_SEPARATOR = "; "  # between the answers of a question that has several; no comma, options may hold one
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>|</?s>|<bos>|<eos>|<pad>|<(?:start|end)_of_turn>")
_EDGE = " \t\r\n.,;:!?*_`'\""


def render_answer(answer: str) -> str:
    """The closing words of a response."""
    return f"{ANSWER_PREFIX} {answer}"


def render_answers(answers: Sequence[str], options: Sequence[str]) -> str:
    """Several answers as one, in the order of the options. ValueError when one is none of them or stands twice."""
    unknown = [answer for answer in answers if answer not in options]
    if unknown or not answers or len(set(answers)) != len(answers):
        raise ValueError(f"{list(answers)} are not different answers out of {list(options)}")
    return SEVERAL_SEPARATOR.join(sorted(answers, key=list(options).index))


def split_answers(answer: str, options: Sequence[str]) -> tuple[str, ...] | None:
    """Inverse of `render_answers`: the options that an answer consists of, or None where it is none of that form."""
    if answer in options:
        return (answer,)
    parts = tuple(answer.split(SEVERAL_SEPARATOR))
    return parts if len(set(parts)) == len(parts) and all(part in options for part in parts) else None


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


def parse_answer(response: str, options: Sequence[str], several: bool = False) -> str | None:
    """The one of `options` that the response answers with, or None.

    With `several` an answer may also consist of different options between semicolons, in any order;
    it is given as `render_answers` writes it.

    Only the text after the last `Answer:` counts, up to the end of its line. An option matches
    whole, to the letter or else regardless of case and edge punctuation; a lettered option
    "(a) text" also matches by its letter. Sleep-stage names match in any of their common spellings.
    """
    answer_text = remove_special_tokens(split_response(response)[1]).strip()
    first_line = answer_text.splitlines()[0].strip() if answer_text else ""
    found = _find_option(first_line, options)
    if found is not None or not several:
        return found
    parts = [_find_option(part.strip(), options) for part in first_line.split(SEVERAL_SEPARATOR.strip())]
    answers = [part for part in parts if part is not None]
    return render_answers(answers, options) if len(set(answers)) == len(parts) else None


def _find_option(first_line: str, options: Sequence[str]) -> str | None:
    if first_line in options:
        return first_line
    wanted = _fold(first_line)
    if not wanted:
        return None
    exact = [option for option in options if _fold(option) == wanted]
    if len(exact) == 1:
        return exact[0]
    lettered = [option for option in options if _letter(option) is not None and _letter(option) == _letter(first_line)]
    if len(lettered) == 1 and wanted.strip("()") == _letter(first_line):
        return lettered[0]
    sleep_stage = parse_sleep_stage(first_line)
    name = ANSWER_NAMES.get(sleep_stage) if sleep_stage is not None else None
    return name if name in options else None


def _fold(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip(_EDGE)).lower()


def _letter(option: str) -> str | None:
    match = re.match(r"\(?([a-z])\)|([a-z])$", option.strip(_EDGE).lower())
    return (match.group(1) or match.group(2)) if match else None
