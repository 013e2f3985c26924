"""test_predictions.jsonl: one JSON object a line, the answer of one system to one epoch (or question).

A file may hold several systems, each with its own rows. It has the raw text of a language model, which is parsed
(tslm.answers.grammar) each time it is scored; a change of the answer grammar needs no second generation. What the text
says is written beside it for other readers (`DERIVED_KEYS`), and left out when a file is read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from tslm.answers.grammar import parse_answer, remove_special_tokens, split_response
from tslm.command import advise
from tslm.data.prepared.recordings import Recording
from tslm.files import parse_json, to_plain, write_text
from tslm.labels import ANSWER_NAMES, LabelSet
from tslm.predictions.fields import FIELDS, check_fields

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
_OLD_PREFIXES = ("label_", "classifier_", "smoothed_")  # of keys when one row held two systems
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
    """Write rows beside `path`, then rename. NaN is null or left out, numpy values become plain ones.

    Raises:
        ValueError: a row that `read_predictions` would refuse; nothing is written then.
    """
    lines = []
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        checked = check_row(row, f"row {number}")
        _check_new(checked, number, seen, "row")
        lines.append(render_row(checked))
    write_text("".join(lines), path)


def render_row(row: PredictionRow) -> str:
    """The line of a valid row (`check_row`), with its line feed."""
    return json.dumps(_add_derived(row), ensure_ascii=False, allow_nan=False) + "\n"


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
            "mend it or generate the file again (--skip_bad leaves it out of scores)"
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
    """The row with plain values, without optional fields that are null.

    Raises:
        ValueError: an invalid row; the message begins with `where`.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"{where} is not a JSON object")
    plain = _drop_nulls(to_plain(row))
    check_fields(plain, where)
    # Captions have an empty reference answer, which is none.
    return {**plain, "truth": plain.get("truth") or None}  # type: ignore[typeddict-item]


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
        raise FileNotFoundError(f"no predictions at {path}; {advise('make them', 'evaluation.generate')}")
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
                    f"{path} was written by an earlier version, two systems in a row; generate the predictions again, "
                    "those of a run by training's --eval_only"
                )
            _check_new(row, number, seen, f"{path}, line")
            rows.append(_drop_derived(row))
    if not rows and not bad_lines:
        raise ValueError(f"{path} is empty; generate the predictions again")
    return rows, bad_lines


def _drop_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without fields that are null and cannot be, such as an onset that was NaN."""
    return {name: value for name, value in row.items() if value is not None or _may_be_null(name)}


def _may_be_null(name: str) -> bool:
    return name not in FIELDS or FIELDS[name].may_be_null or FIELDS[name].is_required


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
        loaded = parse_json(line, f"line {number}")
        if b"\\u" in line:
            json.dumps(loaded, ensure_ascii=False).encode()  # half a letter (a lone surrogate) cannot be written
    except UnicodeEncodeError as error:
        raise ValueError(f"line {number} is not whole text: half a letter stands in it") from error
    except ValueError as error:  # also bytes that are not UTF-8, where a line was cut inside a letter
        raise ValueError(f"line {number} is not whole JSON (cut off?)") from error
    return loaded


def _check_new(row: PredictionRow, number: int, seen: dict[tuple[str, str], int], where: str) -> None:
    key = row["system"], row["sample_id"]
    if seen.setdefault(key, number) != number:
        raise ValueError(
            f"{where} {number} repeats sample_id {row['sample_id']!r} of line {seen[key]}; keep one of them"
        )
