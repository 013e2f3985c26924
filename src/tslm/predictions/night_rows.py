"""Rows of predictions for the epochs of a night, from the probabilities that a scorer gives its stages."""

from collections.abc import Iterator

import numpy as np

from tslm.answers.grammar import render_answer
from tslm.data.prepared.recordings import Recording
from tslm.labels import ANSWER_NAMES, LabelSet
from tslm.predictions.rows import PredictionRow

_DIGITS = 6


def build_night_rows(
    recording: Recording, probabilities_EK: np.ndarray, label_set: LabelSet, temperature: float | None = None
) -> Iterator[PredictionRow]:
    """A row for each epoch that the label set can answer; the most probable stage is the answer.

    Args:
        recording: the night, with the expert's stages.
        probabilities_EK: (num_epochs, num_stages) of all its epochs, in the label set's order.
        label_set: the stages.
        temperature: that they were calibrated with; None: not calibrated.
    """
    for epoch, (stage, probability_K) in enumerate(zip(recording.sleep_stages, probabilities_EK, strict=True)):
        if label_set.index(stage) < 0:
            continue
        row: PredictionRow = {
            "sample_id": recording.name_epoch(epoch),
            "recording": recording.recording,
            "subject": recording.subject,
            "epoch_idx": epoch,
            "onset_s": float(recording.onset_s[epoch]),
            "truth": ANSWER_NAMES[stage],
            "options": list(label_set.answers),
            "generated": render_answer(label_set.answers[int(probability_K.argmax())]),
            "classifier_probabilities": [round(float(value), _DIGITS) for value in probability_K],
            "classifier_temperature": temperature,
            "leaky": recording.is_leaky,
        }
        if recording.is_within_subject:
            row["within_subject"] = True
        yield row
