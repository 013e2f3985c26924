"""Rationales shown in the report: which ones, and how each stands beside its epoch's signal and measurements."""

import hashlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, remove_special_tokens, split_response
from tslm.predictions.nights import is_staging
from tslm.predictions.rows import PredictionRow, pick_classifier_answers
from tslm.report.charts import draw_waveform, pick_wave_limit_uv, render_stage_chip
from tslm.report.format import describe_measurement

NUM_EXAMPLES = 10
_MAX_CHARACTERS = 1500


def choose_examples(rows: Sequence[PredictionRow], num_examples: int = NUM_EXAMPLES) -> list[PredictionRow]:
    """Rows to show, by rule and not by taste: of each true label one right and one wrong answer.

    The hash of the sample_id orders the rows, so the choice is the same on every machine and does
    not prefer the start of the night. Where some answers could not be read, the first of those
    stands for the wrong answers of its label. What is then missing to `num_examples` is filled
    from the labels in turn. Shown in the order of the labels, then of the rows.
    """
    labels = list(dict.fromkeys(option for row in rows for option in row["options"]))
    piles: dict[str, list[PredictionRow]] = {label: [] for label in labels}
    ordered = sorted(rows, key=lambda row: hashlib.sha256(row["sample_id"].encode()).digest())
    unread = next((row for row in ordered if row["options"] and _read_answer(row) is None), None)
    for row in [unread, *ordered] if unread is not None else ordered:
        pile = piles.setdefault(row["truth"], [])
        if all(row is not other for other in pile):
            pile.append(row)
    for pile in piles.values():
        firsts = {is_right(row): row for row in reversed(pile)}
        shown_first = [firsts[kind] for kind in (True, False) if kind in firsts]
        pile[:] = shown_first + [row for row in pile if all(row is not other for other in shown_first)]
    depth = max((len(pile) for pile in piles.values()), default=0)
    in_turn = [pile[turn] for turn in range(depth) for pile in piles.values() if turn < len(pile)]
    chosen = {row["sample_id"] for row in in_turn[:num_examples]}
    order = {label: idx for idx, label in enumerate(piles)}
    return sorted((row for row in rows if row["sample_id"] in chosen), key=lambda row: order[row["truth"]])


def render_examples(examples: Sequence[PredictionRow], waveforms: Mapping[str, np.ndarray], epoch_s: float) -> str:
    """Cards of the examples; `waveforms` maps sample_id to (samples,) microvolt and may lack any."""
    limit_uv = pick_wave_limit_uv([waveforms[row["sample_id"]] for row in examples if row["sample_id"] in waveforms])
    cards = []
    for row in examples:
        values_uv = waveforms.get(row["sample_id"])
        wave = draw_waveform(values_uv, epoch_s, limit_uv) if values_uv is not None else ""
        cards.append(_render_card(row, wave))
    return "".join(cards)


def is_right(row: PredictionRow) -> bool:
    """Whether the answer is the expert's; a task without options has nothing to get wrong."""
    return not row["options"] or _read_answer(row) == row["truth"]


def _read_answer(row: PredictionRow) -> str | None:
    return parse_answer(row["generated"], row["options"])


def _render_card(row: PredictionRow, wave: str) -> str:
    answer = _read_answer(row)
    verdict = ""
    if row["options"]:
        judge = "Expert" if is_staging([row]) else "Reference"
        kind, sign, words = (
            ("right", "✓", f"Same as the {judge.lower()}")
            if answer == row["truth"]
            else ("unreadable", "?", "Could not be read, counts as wrong")
            if answer is None
            else ("wrong", "✗", f"Differs from the {judge.lower()}")
        )
        verdict = (
            f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> {words}</span>'
            f'<dl class="stages"><div><dt>{judge}</dt><dd>{render_stage_chip(row["truth"])}</dd></div>'
            f"<div><dt>Model</dt><dd>{render_stage_chip(answer)}</dd></div>{_render_classifier(row)}</dl>"
        )
    reference = ""
    if row.get("target"):
        reference = f"<details><summary>Reference text</summary><p>{escape(row['target'])}</p></details>"
    return (
        f'<article class="example"><header><h3>{escape(_name_epoch(row))}</h3>{verdict}</header>{wave}'
        f'<div class="columns"><div><h4>Written by the model</h4><blockquote>{_render_generated(row["generated"])}'
        f"</blockquote>{reference}</div>{_render_evidence(row.get('evidence') or {})}</div></article>"
    )


def _render_generated(generated: str) -> str:
    shown, note = remove_special_tokens(generated).strip(), ""
    if len(shown) > _MAX_CHARACTERS:
        shown = shown[:_MAX_CHARACTERS]
        note = f" <em>… cut here, {len(generated):,} characters in all</em>"
    rationale, answer = split_response(shown)
    if not shown:
        return "<em>empty</em>"
    last = f" <b>{ANSWER_PREFIX} {escape(answer)}</b>" if ANSWER_PREFIX in shown else ""
    return f"{escape(rationale)}{last}{note}"


def _render_classifier(row: PredictionRow) -> str:
    answers = pick_classifier_answers([row])
    probabilities = row.get("classifier_probabilities")
    if answers is None or answers[0] is None or probabilities is None:
        return ""
    percent = f"{100 * max(probabilities):.0f}&#8239;%"
    return f"<div><dt>Classifier</dt><dd>{render_stage_chip(answers[0])} <small>{percent}</small></dd></div>"


def _render_evidence(evidence: Mapping[str, object]) -> str:
    if not evidence:
        return ""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (describe_measurement(key, value) for key, value in evidence.items())
    )
    return f'<div class="measured"><h4>Measured in this epoch</h4><dl>{items}</dl></div>'


def _name_epoch(row: PredictionRow) -> str:
    if "epoch_idx" not in row:
        return row["sample_id"]
    parts = [row.get("recording") or "", f"epoch {row['epoch_idx']}"]
    if "onset_s" in row:
        seconds = round(row["onset_s"])
        parts.append(f"at {seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}")
    return ", ".join(part for part in parts if part)
