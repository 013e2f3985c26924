"""Answers to be compared: of the same epochs as the truth and no others, in its order, whatever they come from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tslm.labels import LabelSet
from tslm.predictions.rows import PredictionRow, parse_predictions, pick_classifier_answers
from tslm.predictions.truth import TrueEpoch, align_rows

_SHOWN = 5  # epochs that an error names


@dataclass(frozen=True)
class Answers:
    """One system's answers to the epochs of a Truth, in its order."""

    answers: tuple[str | None, ...]  # None: no answer could be read
    probabilities: tuple[tuple[float, ...], ...] | None  # in the order of the label set; None: it gives none
    is_leaky: bool = False


def check_rows(
    name: str, rows: Sequence[PredictionRow], truth: Mapping[str, TrueEpoch], wanted: Collection[str]
) -> list[PredictionRow]:
    """The rows of the wanted epochs in the truth's order.

    Args:
        name: of the system, for messages.
        rows: its predictions: of all epochs of the truth, or of exactly the wanted ones.
        truth: all epochs of the test nights (`tslm.predictions.truth.read_truth`).
        wanted: those that are compared.

    Raises:
        ValueError: rows of other epochs, epochs without a row or with several, or another truth; the message names
            them.
    """
    sample_ids = [sample_id for sample_id in truth if sample_id in wanted]
    is_part = len(rows) == len(sample_ids) < len(truth)
    try:
        aligned = align_rows(rows, sample_ids if is_part else list(truth), "the test data")
    except ValueError as error:
        raise ValueError(f"{name}: {error}; systems are compared on the same epochs only") from error
    if other := [row["sample_id"] for row in aligned if row["truth"] != truth[row["sample_id"]]["truth"]]:
        raise ValueError(
            f"{name}: {len(other)} of {len(aligned)} epochs have another expert's stage than the test data: "
            f"{', '.join(other[:_SHOWN])}; generate the predictions again, or name the data they are of"
        )
    return [row for row in aligned if row["sample_id"] in wanted]


def read_answers(rows: Sequence[PredictionRow], label_set: LabelSet) -> Answers:
    """Main answers of predictions, with the probabilities that they come from."""
    prefix = "classifier_" if _are_of_classifier(rows) else ""
    return _build_answers(rows, parse_predictions(rows), prefix, label_set)


def read_classifier_answers(rows: Sequence[PredictionRow], label_set: LabelSet) -> Answers | None:
    """Answers of the classifier beside a language model; None where there is none, or where it is the main one."""
    answers = pick_classifier_answers(rows)
    if answers is None or _are_of_classifier(rows):
        return None
    return _build_answers(rows, answers, "classifier_", label_set)


def _are_of_classifier(rows: Sequence[PredictionRow]) -> bool:
    """Whether the main answers, smoothed or not, are the classifier's."""
    has_own = any(row.get("label_probabilities") is not None for row in rows)
    return not has_own and pick_classifier_answers(rows) == parse_predictions(rows)


def _build_answers(
    rows: Sequence[PredictionRow], answers: Sequence[str | None], prefix: str, label_set: LabelSet
) -> Answers:
    probabilities = _read_probabilities(rows, prefix, label_set)
    return Answers(tuple(answers), probabilities, any(row.get("leaky") for row in rows))


def _read_probabilities(
    rows: Sequence[PredictionRow], prefix: str, label_set: LabelSet
) -> tuple[tuple[float, ...], ...] | None:
    """Of smoothed rows the smoothed ones, as their answers; None where any row has none."""
    is_smoothed = any("smoothing" in row for row in rows)
    key = f"{prefix}smoothed_probabilities" if is_smoothed else f"{prefix or 'label_'}probabilities"
    found = []
    for row in rows:
        values = row.get(key)
        if not isinstance(values, list | tuple):
            return None
        of_option = dict(zip(row["options"], values, strict=True))
        if set(of_option) != set(label_set.answers):
            raise ValueError(
                f"{row['sample_id']} has the options {', '.join(row['options'])}; wanted {', '.join(label_set.answers)}"
            )
        found.append(tuple(of_option[answer] for answer in label_set.answers))
    return tuple(found)
