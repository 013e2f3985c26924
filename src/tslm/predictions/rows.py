"""test_predictions.jsonl: one JSON object a line, the answer of one system to one epoch (or question).

A file may hold several systems, each with its own rows. It has the raw text of a language model, which is parsed
(tslm.answers.grammar) each time it is scored; a change of the answer grammar needs no second generation. What the text
says is written beside it for other readers (`DERIVED_KEYS`), and left out when a file is read.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NotRequired, TypedDict

import numpy as np

from tslm.answers.grammar import parse_answer, remove_special_tokens, split_response
from tslm.data.prepared.recordings import Recording
from tslm.evidence.events import parse_events
from tslm.files import to_plain, write_text
from tslm.labels import ANSWER_NAMES, LabelSet

LANGUAGE_MODEL, CLASSIFIER = "language_model", "classifier"
SAMPLE_KEYS = (
    "sample_id",
    "recording",
    "subject",
    "epoch_idx",
    "onset_s",
    "truth",
    "options",
    "fold",
    "leaky",
    "within_subject",
)  # facts of the sample, the same for every system
DERIVED_KEYS = ("generated_stage", "reasoning")  # of a text: its parsed answer, and what stands before the answer
_REQUIRED: dict[str, tuple[type, ...]] = {
    "system": (str,),
    "sample_id": (str,),
    "options": (list, tuple),
}
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "truth": (str, NoneType),
    "recording": (str,),
    "subject": (str,),
    "epoch_idx": (int, np.integer),
    "onset_s": (int, float, np.number),
    "fold": (int, np.integer),
    "temperature": (int, float, np.number, NoneType),
    "smoothing": (Mapping,),
    "evidence": (Mapping,),
    "inputs": (str,),
    "events": (list, tuple),
    "leaky": (bool, np.bool_),
    "within_subject": (bool, np.bool_),
    "first_generated": (str,),
    "tries": (int, np.integer),
    "struck": (list, tuple),
    "claims_before": (Mapping,),
    "claims_after": (Mapping,),
    "sampling": (Mapping,),
    "texts": (list, tuple),
}
VERIFICATION_KEYS = ("first_generated", "tries", "struck", "claims_before", "claims_after")
_OLD_PREFIXES = ("label_", "classifier_", "smoothed_")  # of keys when one row held two systems
_SUM_TOLERANCE = 1e-4  # files keep six digits, others' perhaps five
_DIGITS = 6


class PredictionRow(TypedDict):
    """One line of test_predictions.jsonl; either `generated` or `answer` gives the answer."""

    system: str  # language_model, classifier, yasa, ...; classifier+hmm: its answers smoothed over time
    sample_id: str
    truth: str | None  # answer name, one of `options`; None: no reference answer; a line may lack the key
    options: list[str]  # answer names the task allows; empty for captions
    generated: NotRequired[str]  # raw text of a language model, which holds the answer; `answer` is then ignored
    sampling: NotRequired[
        dict[str, Any]
    ]  # of a sampled text: temperature, top_p and seed; absent: the likeliest tokens
    texts: NotRequired[list[str]]  # where several were sampled: all of them, the first one is `generated`
    answer: NotRequired[str | None]  # of a system that writes no text; None: no answer, which counts as wrong
    probabilities: NotRequired[list[float] | None]  # in the order of `options`
    temperature: NotRequired[float | None]  # that they were calibrated with; None: not calibrated
    log_likelihoods: NotRequired[list[float]]  # language model, of each option as written; before calibration
    forced: NotRequired[bool]  # decoding inserted `Answer:`, at the end of the text or of the token budget
    corrected: NotRequired[bool]  # the answer differs from the model's unconstrained one
    first_generated: NotRequired[str]  # of a verified text (tslm.explain.verify): the text before verification
    tries: NotRequired[int]  # how often it was written again
    struck: NotRequired[list[tuple[int, str]]]  # (offset in `generated` where it stood, sentence that was struck)
    claims_before: NotRequired[dict[str, int]]  # supported, contradicted, not_checkable claims of `first_generated`
    claims_after: NotRequired[dict[str, int]]  # the same of `generated`, which is without the struck sentences
    smoothing: NotRequired[dict[str, Any]]  # of a smoothed system: the method
    target: NotRequired[str]  # reference response
    recording: NotRequired[str]
    subject: NotRequired[str]  # of the recording; intervals are over subjects
    epoch_idx: NotRequired[int]
    onset_s: NotRequired[float]
    evidence: NotRequired[dict[str, Any]]  # measured facts of the epoch, by name
    inputs: NotRequired[str]  # what the prompt held of the epoch: all (signal and facts), facts or series (the signal)
    events: NotRequired[list[list[Any]]]  # [kind, onset in s, duration in s] (tslm.evidence.events.render_events)
    fold: NotRequired[int]  # of a cross-validation: the one that tested it
    leaky: NotRequired[bool]  # True: training may hold other epochs of this subject, or the same series
    within_subject: NotRequired[bool]  # True, with `leaky`: only epochs of an earlier time (tslm.data.splits.folds)


def write_predictions(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows beside `path`, then rename. NaN becomes null, numpy values become plain ones.

    Raises:
        ValueError: a row that `read_predictions` would refuse; nothing is written then.
    """
    lines = []
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        _check_new(check_row(row, f"row {number}"), number, seen, "row")
        lines.append(json.dumps(to_plain(_add_derived(_name_truth(row))), ensure_ascii=False, allow_nan=False) + "\n")
    write_text("".join(lines), path)


def read_predictions(path: Path) -> list[PredictionRow]:
    """All rows in file order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or of the form of earlier versions, or a line is cut off, lacks a key or repeats
            a sample_id of the same system; the message names the line.
    """
    rows, bad_lines = _read_lines(path)
    if bad_lines:
        raise ValueError(
            f"{path}, {next(iter(bad_lines.values()))}; "
            "mend it or generate the file again (evaluation.score --skip_bad leaves it out)"
        )
    return rows


def read_intact_predictions(path: Path) -> tuple[list[PredictionRow], list[int]]:
    """(intact rows, numbers of the lines left out, from 1); for files cut off by a crash.

    A repeated sample_id is still a ValueError, as is a file without one intact line.
    """
    rows, bad_lines = _read_lines(path)
    if not rows:
        raise ValueError(f"{path}: none of {len(bad_lines)} lines is a prediction; generate the file again")
    return rows, list(bad_lines)


def check_row(row: object, where: str) -> PredictionRow:
    """The row itself; ValueError for an invalid row, with a message that begins with `where`."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} is not a JSON object")
    for name, types in _REQUIRED.items():
        if not isinstance(row.get(name), types):
            raise ValueError(f"{where} has no {name!r} of type {types[0].__name__}")
    for name, types in _OPTIONAL.items():
        is_flag = isinstance(row.get(name), bool) and bool not in types  # in Python a truth value is a number, too
        if name in row and (is_flag or not isinstance(row[name], types)):
            raise ValueError(f"{where}: {name} is {row[name]!r}, which is no {types[0].__name__}")
    if "generated" not in row and "answer" not in row:
        raise ValueError(f"{where} has neither 'generated' nor 'answer'")
    if not isinstance(row.get("generated", ""), str) or not isinstance(row.get("answer"), str | None):
        raise ValueError(f"{where}: 'generated' and 'answer' must be texts")
    options = row["options"]
    for name in ("truth", "answer"):
        if options and row.get(name) is not None and row[name] not in options:
            raise ValueError(f"{where}: {name} {row[name]!r} is none of its options: {', '.join(map(str, options))}")
    try:
        parse_events(row.get("events", ()))
    except ValueError as error:
        raise ValueError(f"{where}: events: {error}") from error
    if row.get("probabilities") is not None:
        _check_probabilities(row["probabilities"], len(options), f"{where}: probabilities")
    _check_verification(row, where)
    if "texts" in row and (not row["texts"] or not all(isinstance(text, str) for text in row["texts"])):
        raise ValueError(f"{where}: texts is {row['texts']!r}, which is no list of texts")
    return row  # type: ignore[return-value]


def parse_row_answer(row: PredictionRow) -> str | None:
    """The answer of a row: parsed from its text where it has one; None for captions."""
    if not row["options"]:
        return None
    return parse_answer(row["generated"], row["options"]) if "generated" in row else row.get("answer")


def pick_likeliest(probabilities_NK: np.ndarray) -> np.ndarray:
    """Class of the largest probability or logit of each row, (N,) int64: the one place where they become answers.

    Raises:
        ValueError: A value is NaN or infinite, which has no largest one.
    """
    bad_N = ~np.isfinite(probabilities_NK).all(axis=-1)
    if bad_N.any():
        raise ValueError(
            f"the model gives no finite probabilities for {int(bad_N.sum())} of {len(bad_N)} epochs (the first is "
            f"{int(bad_N.argmax())}), so they have no answer; look for values in the signal that cannot be, or take "
            "another checkpoint"
        )
    return np.argmax(probabilities_NK, axis=-1)


def build_night_rows(
    recording: Recording,
    probabilities_EK: np.ndarray,
    label_set: LabelSet,
    temperature: float | None = None,
    system: str = CLASSIFIER,
    epochs: Iterable[int] | None = None,
) -> Iterator[PredictionRow]:
    """One row per epoch; the most probable sleep stage is the answer. Errors as `pick_likeliest`.

    Args:
        recording: the night, with the expert's sleep stages where there are some.
        probabilities_EK: (num_epochs, num_stages) of all its epochs, in the label set's order.
        label_set: the sleep stages.
        temperature: that they were calibrated with; None: not calibrated.
        system: name of the scorer.
        epochs: the epochs to give; None: those whose sleep stage is one of the label set's.
    """
    assert len(probabilities_EK) == recording.num_epochs
    if epochs is None:
        epochs = [idx for idx, sleep_stage in enumerate(recording.sleep_stages) if label_set.index(sleep_stage) >= 0]
    likeliest_E = pick_likeliest(probabilities_EK)
    for epoch in epochs:
        probability_K, sleep_stage = probabilities_EK[epoch], recording.sleep_stages[epoch]
        row: PredictionRow = {
            "system": system,
            "sample_id": recording.name_epoch(epoch),
            "recording": recording.recording,
            "subject": recording.subject,
            "epoch_idx": epoch,
            "onset_s": float(recording.onset_s[epoch]),
            "truth": ANSWER_NAMES[sleep_stage] if label_set.index(sleep_stage) >= 0 else None,
            "options": list(label_set.answers),
            "answer": label_set.answers[int(likeliest_E[epoch])],
            "probabilities": [round(float(value), _DIGITS) for value in probability_K],
            "temperature": temperature,
            "leaky": recording.split.leaks,
        }
        if recording.split.is_within_subject:
            row["within_subject"] = True
        yield row


def _read_lines(path: Path) -> tuple[list[PredictionRow], dict[int, str]]:
    """Intact rows, and the error of each bad line by its number."""
    if not path.is_file():
        raise FileNotFoundError(f"no predictions at {path}; make them with: python -m evaluation.generate")
    rows: list[PredictionRow] = []
    bad_lines: dict[int, str] = {}
    seen: dict[tuple[str, str], int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                loaded = _load_line(line, number)
                row = None if _is_of_old_form(loaded) else check_row(loaded, f"line {number}")
            except ValueError as error:
                bad_lines[number] = str(error)
                continue
            if row is None:
                raise ValueError(
                    f"{path} was written by an earlier version, two systems in a row; generate the predictions again: "
                    "python -m evaluation.generate, or curriculum/train.py --eval_only for those of a run"
                )
            _check_new(row, number, seen, f"{path}, line")
            rows.append(_drop_derived(_name_truth(row)))
    if not rows and not bad_lines:
        raise ValueError(f"{path} is empty; generate the predictions again")
    return rows, bad_lines


def _name_truth(row: Mapping[str, Any]) -> PredictionRow:
    """The row with `truth` None where it has no reference answer: where the key is absent or, of captions, empty."""
    return row if row.get("truth") else {**row, "truth": None}  # type: ignore[return-value, typeddict-item]


def _add_derived(row: PredictionRow) -> dict[str, Any]:
    """The row with DERIVED_KEYS where it has a text; captions have no answer and so no `generated_stage`."""
    if "generated" not in row:
        return {**row}
    reasoning, _ = split_response(remove_special_tokens(row["generated"]))
    return {**row, **({"generated_stage": parse_row_answer(row)} if row["options"] else {}), "reasoning": reasoning}


def _drop_derived(row: PredictionRow) -> PredictionRow:
    return {key: value for key, value in row.items() if key not in DERIVED_KEYS}  # type: ignore[return-value]


def _is_of_old_form(row: object) -> bool:
    if not isinstance(row, Mapping) or "sample_id" not in row or "truth" not in row:
        return False
    return "system" not in row or any(str(name).startswith(_OLD_PREFIXES) for name in row)


def _load_line(line: bytes, number: int) -> object:
    try:
        return json.loads(line)
    except ValueError as error:  # also bytes that are not UTF-8, where a line was cut inside a letter
        raise ValueError(f"line {number} is not whole JSON (cut off?)") from error


def _check_verification(row: Mapping[str, Any], where: str) -> None:
    """Raise ValueError unless the row has all keys of a verified text or none of them."""
    lacking = [name for name in ("generated", *VERIFICATION_KEYS) if name not in row]
    if not lacking:
        for struck in row["struck"]:
            offset, sentence = struck if isinstance(struck, list | tuple) and len(struck) == 2 else (None, None)
            if type(offset) is not int or not 0 <= offset <= len(row["generated"]) or not isinstance(sentence, str):
                raise ValueError(f"{where}: struck holds {struck!r}, which is no offset in 'generated' with a sentence")
    elif set(VERIFICATION_KEYS) & row.keys():
        raise ValueError(f"{where} has keys of a verified text but no {lacking[0]!r}")


def _check_probabilities(values: Any, num_options: int, where: str) -> None:
    is_list = isinstance(values, list | tuple | np.ndarray) and len(values) == num_options
    if not is_list or not all(
        isinstance(value, int | float | np.floating) and math.isfinite(value) for value in values
    ):
        raise ValueError(f"{where} must be {num_options} finite numbers")
    total = sum(values)
    if num_options and (min(values) < 0 or abs(total - 1) > _SUM_TOLERANCE):
        raise ValueError(f"{where} must be 0 or more and sum to 1, not {total:.6g}")


def _check_new(row: PredictionRow, number: int, seen: dict[tuple[str, str], int], where: str) -> None:
    key = row["system"], row["sample_id"]
    if seen.setdefault(key, number) != number:
        raise ValueError(
            f"{where} {number} repeats sample_id {row['sample_id']!r} of line {seen[key]}; keep one of them"
        )
