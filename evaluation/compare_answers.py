"""Answers to be compared: of the same epochs as the truth and no others, in its order, whatever they come from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tslm.labels import ANSWER_NAMES, LabelSet
from tslm.scoring.baseline_material import Nights
from tslm.scoring.predictions import PredictionRow, parse_predictions, pick_classifier_answers
from tslm.scoring.smoothed_predictions import is_classifier_alone

_SHOWN = 5  # epochs that an error names


@dataclass(frozen=True)
class Truth:
    """Every epoch of the test nights that the label set can answer, in time order."""

    sample_ids: tuple[str, ...]
    answers: tuple[str, ...]
    subjects: tuple[str, ...]
    recordings: tuple[str, ...]
    epoch_s: float

    def keep(self, wanted: Collection[str]) -> "Truth":
        """The same for some of the epochs."""
        columns = (self.sample_ids, self.answers, self.subjects, self.recordings)
        return _build_truth([row for row in zip(*columns, strict=True) if row[0] in wanted], self.epoch_s)


@dataclass(frozen=True)
class Answers:
    """One system's answers to the epochs of a Truth, in its order."""

    answers: tuple[str | None, ...]  # None: no answer could be read
    probabilities: tuple[tuple[float, ...], ...] | None  # in the order of the label set; None: it gives none
    is_leaky: bool = False


def read_truth(nights: Nights, label_set: LabelSet) -> Truth:
    """The expert's stages.

    Raises:
        ValueError: no epoch that the label set can answer, or epochs of several lengths.
    """
    epochs, lengths_s = [], set()
    for night in nights.read(with_signals=False):
        lengths_s.add(night.epoch_s)
        for idx, stage in enumerate(night.sleep_stages):
            if label_set.index(stage) >= 0:
                epochs.append((night.name_epoch(idx), ANSWER_NAMES[stage], night.subject, night.recording))
    if not epochs:
        raise ValueError(f"{nights.cohort_dir} has no epoch in split {nights.split!r} that {label_set.name} can answer")
    if len(lengths_s) > 1:
        raise ValueError(f"{nights.cohort_dir} has epochs of {sorted(lengths_s)} s; compare those of one length")
    return _build_truth(epochs, lengths_s.pop())


def check_rows(name: str, rows: Sequence[PredictionRow], truth: Truth, wanted: Collection[str]) -> list[PredictionRow]:
    """The rows of the wanted epochs in the truth's order.

    Args:
        name: of the system, for messages.
        rows: its predictions: of all epochs of the truth, or of exactly the wanted ones.
        truth: all epochs of the test nights.
        wanted: those that are compared.

    Raises:
        ValueError: rows of other epochs, epochs without a row or with several, or another truth; the message names
            them.
    """
    by_id: dict[str, PredictionRow] = {}
    repeated = []
    for row in rows:
        if row["sample_id"] in by_id:
            repeated.append(row["sample_id"])
        by_id[row["sample_id"]] = row
    _refuse(name, "has several rows for", repeated, len(truth.sample_ids))
    _refuse(name, "lacks", [one for one in truth.sample_ids if one in wanted and one not in by_id], len(wanted))
    expert = dict(zip(truth.sample_ids, truth.answers, strict=True))
    foreign = [one for one in by_id if one not in expert]
    _refuse(name, "has rows for epochs that are not in the test data:", foreign, len(by_id))
    if len(by_id) not in (len(wanted), len(expert)):
        lacking = [one for one in truth.sample_ids if one not in by_id]
        _refuse(name, "lacks", lacking, len(expert))
    other = [one for one in truth.sample_ids if one in by_id and by_id[one]["truth"] != expert[one]]
    _refuse(name, "was scored against another expert in", other, len(expert))
    return [by_id[one] for one in truth.sample_ids if one in wanted]


def read_answers(rows: Sequence[PredictionRow], label_set: LabelSet) -> Answers:
    """Main answers of a file of predictions, with the probabilities that they come from."""
    is_alone = is_classifier_alone(rows)
    probabilities = _read_probabilities(rows, "classifier_" if is_alone else "", label_set)
    return Answers(tuple(parse_predictions(rows)), probabilities, any(row.get("leaky") for row in rows))


def read_classifier_answers(rows: Sequence[PredictionRow], label_set: LabelSet) -> Answers | None:
    """Answers of the classifier beside a language model; None where there is none, or where it is the main one."""
    answers = pick_classifier_answers(rows)
    if answers is None or is_classifier_alone(rows):
        return None
    probabilities = _read_probabilities(rows, "classifier_", label_set)
    return Answers(tuple(answers), probabilities, any(row.get("leaky") for row in rows))


def _build_truth(epochs: Sequence[tuple[str, str, str, str]], epoch_s: float) -> Truth:
    sample_ids, answers, subjects, recordings = zip(*epochs, strict=True)
    return Truth(sample_ids, answers, subjects, recordings, epoch_s)


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


def _refuse(name: str, what: str, sample_ids: Sequence[str], total: int) -> None:
    if not sample_ids:
        return
    shown = ", ".join(sample_ids[:_SHOWN]) + (", ..." if len(sample_ids) > _SHOWN else "")
    raise ValueError(
        f"{name} {what} {len(sample_ids)} of {total} epochs: {shown}; systems are compared on the same epochs only"
    )
