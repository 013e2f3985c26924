"""explanations.json: answer, probabilities, text and checked claims of each epoch."""

from pathlib import Path
from typing import Any

from tslm.answers.grammar import remove_special_tokens, split_response
from tslm.explain.claims.checks import Verdict
from tslm.explain.explanations import describe_claims
from tslm.explain.verify import restore_struck
from tslm.export.night import NightResult
from tslm.export.rows import describe_stages
from tslm.files import DISCLAIMER, to_plain, write_json
from tslm.labels import LabelSet
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import parse_row_answer


def write_explanations(night: NightResult, path: Path) -> None:
    """Write explanations.json."""
    head = {
        "disclaimer": DISCLAIMER,
        "file": night.file.name,
        "start": night.recording.start,
        "checkpoints": night.checkpoints,
    }
    write_json(to_plain(head | {"epochs": describe_epochs(night)}), path)


def describe_epochs(night: NightResult) -> list[dict[str, Any]]:
    """Each epoch of the recording, ready for JSON.

    Returns:
        Of each epoch what `tslm.export.rows.describe_stages` gives and, where it has a text, `system`; `answer` as
        the model words it (null: it could not be read); `answer_probabilities`, its own, by stage; `text` as
        generated, without struck sentences; `reasoning`, the text without the answer; `claims` of the reasoning
        (`tslm.explain.explanations.describe_claims`, `start` and `stop` in `reasoning`); and `struck`, the sentences
        that verification struck: `text`, the `offset` in the epoch's text at which it stood, the `reason`, and its
        `claims`, spans in the sentence.

    Raises:
        ValueError: something that is no event.
    """
    described = describe_stages(night)
    for row in night.rows or ():
        described[row["epoch_idx"]] |= _describe_text(row, night.label_set)
    return described


def _describe_text(row: PredictionRow, label_set: LabelSet) -> dict[str, Any]:
    text, evidence, events = row.get("generated", ""), row.get("evidence", {}), row.get("events")
    reasoning, _ = split_response(remove_special_tokens(text))
    return {
        "system": row["system"],
        "answer": parse_row_answer(row),
        "answer_probabilities": _name_probabilities(row, label_set),
        "text": text,
        "reasoning": reasoning,
        "claims": describe_claims(reasoning, evidence, events),
        "struck": _describe_struck(row),
    }


def _name_probabilities(row: PredictionRow, label_set: LabelSet) -> dict[str, float] | None:
    probabilities = row.get("probabilities")
    if probabilities is None:
        return None
    named = zip(row["options"], probabilities, strict=True)
    return {label_set.from_answer(option).value: value for option, value in named}


def _describe_struck(row: PredictionRow) -> list[dict[str, Any]]:
    """The struck sentences with their claims as read in the whole text, spans in the sentence."""
    struck = row.get("struck", [])
    if not struck:
        return []
    whole, spans = restore_struck(row["generated"], struck)
    claims = describe_claims(whole, row.get("evidence", {}), row.get("events"))
    described = []
    for (offset, sentence), (start, stop) in zip(struck, spans, strict=True):
        own = [
            claim | {"start": claim["start"] - start, "stop": claim["stop"] - start}
            for claim in claims
            if start <= claim["start"] < stop
        ]
        is_false = any(claim["verdict"] == Verdict.CONTRADICTED for claim in own)
        reason = "a claim is contradicted" if is_false else "an argument does not speak for the answer as it is cited"
        described.append({"text": sentence, "offset": offset, "reason": reason, "claims": own})
    return described
