"""The whole set of sleep-staging metrics as a metric of Hugging Face `evaluate`, computed from strings.

Example:
    metric = evaluate.load("evaluation/metrics/sleep_staging")
    metric.compute(predictions=["Slow waves. Answer: Non-REM stage 3"], references=["Non-REM stage 3"])
"""

from collections.abc import Sequence
from typing import Any

import evaluate

from tslm.data.hugging_face import import_datasets
from tslm.labels import LABEL_SETS
from tslm.predictions.rows import LANGUAGE_MODEL, PredictionRow, check_row
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.intervals import Resampling
from tslm.scoring.systems import score_system

_DESCRIPTION = (
    "Accuracy, macro-F1, Cohen's kappa and more of sleep stages named in free text, with intervals over subjects."
)
_INPUTS = """
Args:
    predictions: texts as the model wrote them; one that names no single answer counts as wrong.
    references: true answers, as `options` writes them, e.g. "Non-REM stage 2".
    options: answers that count; default: the five stages of the AASM.
    subjects: whose epoch each is; without them intervals are over blocks of epochs, which must be in time order.
    probabilities: of each text, in the order of the options; None where a text has none.
    num_resamples: of the bootstrap; 0 leaves the intervals out.
    seed: of the bootstrap.
Returns:
    What `tslm.scoring.systems.score_system` gives.
"""


class SleepStaging(evaluate.Metric):
    """`tslm.scoring.systems.score_system` behind the interface of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        datasets = import_datasets()
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        options: Sequence[str] = LABEL_SETS["aasm"].answers,
        subjects: Sequence[str] | None = None,
        probabilities: Sequence[Sequence[float] | None] | None = None,
        num_resamples: int = Resampling.num_resamples,
        seed: int = 0,
    ) -> dict[str, Any]:
        for name, values in (("subjects", subjects), ("probabilities", probabilities)):
            if values is not None and len(values) != len(predictions):
                raise ValueError(f"{len(values)} {name} for {len(predictions)} predictions; give one each")
        rows: list[PredictionRow] = []
        for idx, (text, truth) in enumerate(zip(predictions, references, strict=True)):
            row: PredictionRow = {
                "system": LANGUAGE_MODEL,
                "sample_id": str(idx),
                "truth": truth,
                "generated": text,
                "options": list(options),
            }
            if subjects is not None:
                row["subject"] = subjects[idx]
            if probabilities is not None and (of_text := probabilities[idx]) is not None:
                row["probabilities"] = list(of_text)
            rows.append(check_row(row, f"sample {idx}"))
        return score_system(parse_scorings(rows)[LANGUAGE_MODEL], num_resamples=num_resamples, seed=seed)
