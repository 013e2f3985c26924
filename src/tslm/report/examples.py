"""Rationales shown in the report: which ones, and how each stands beside its epoch's signal and measurements."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tslm.answers.grammar import ANSWER_PREFIX, remove_special_tokens, split_response
from tslm.evidence.events import Event
from tslm.explain.verify import restore_struck
from tslm.predictions.nights import is_staging
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import Scoring, render_system
from tslm.report.charts import draw_waveform, pick_wave_limit_uv, render_stage_chip
from tslm.report.format import describe_measurement
from tslm.report.rationales import cut_text, mark_rules, render_rules

NUM_EXAMPLES = 10
_MAX_CHARACTERS = 1500
_STRUCK = "contradicts the measurement or the answer"


@dataclass(frozen=True)
class Excerpt:
    """The signal of an example's epoch, and the waveforms found in it."""

    values_uv: np.ndarray  # (samples,)
    events: Sequence[Event] = ()


def choose_examples(scoring: Scoring, num_examples: int = NUM_EXAMPLES) -> Scoring:
    """Rows to show, by rule and not by taste: of each true label one right and one wrong answer.

    Rows without a reference answer stand with those of the label that they were answered with.

    The hash of the sample_id orders the rows, so the choice is the same on every machine and does
    not prefer the start of the night. Where some answers could not be read, the first of those
    stands for the wrong answers of its label. What is then missing to `num_examples` is filled
    from the labels in turn. Shown in the order of the labels, then of the rows.
    """
    rows, answers = scoring.rows, scoring.answers
    labels = list(dict.fromkeys(option for row in rows for option in row["options"]))
    piles: dict[str, list[int]] = {label: [] for label in labels}
    label_of = [row["truth"] or answer or "" for row, answer in zip(rows, answers, strict=True)]
    ordered = sorted(range(len(rows)), key=lambda idx: hashlib.sha256(rows[idx]["sample_id"].encode()).digest())
    unread = [idx for idx in ordered if rows[idx]["options"] and answers[idx] is None][:1]
    for idx in dict.fromkeys([*unread, *ordered]):
        piles.setdefault(label_of[idx], []).append(idx)
    for pile in piles.values():
        firsts = {is_right(rows[idx], answers[idx]): idx for idx in reversed(pile)}
        shown_first = [firsts[kind] for kind in (True, False) if kind in firsts]
        pile[:] = dict.fromkeys([*shown_first, *pile])
    depth = max((len(pile) for pile in piles.values()), default=0)
    in_turn = [pile[turn] for turn in range(depth) for pile in piles.values() if turn < len(pile)]
    order = {label: place for place, label in enumerate(piles)}
    return scoring.select(sorted(sorted(in_turn[:num_examples]), key=lambda idx: order[label_of[idx]]))


def render_examples(
    examples: Scoring, scorings: Mapping[str, Scoring], waveforms: Mapping[str, Excerpt], epoch_s: float
) -> str:
    """Cards of the examples with the answers of all systems.

    `waveforms` maps sample_id to the signal and may lack any.
    """
    answers_of: dict[str, list[tuple[str, str | None, PredictionRow]]] = {}
    for name, scoring in scorings.items():
        for row, answer in zip(scoring.rows, scoring.answers, strict=True):
            answers_of.setdefault(row["sample_id"], []).append((render_system(name), answer, row))
    shown = [waveforms[row["sample_id"]].values_uv for row in examples.rows if row["sample_id"] in waveforms]
    limit_uv = pick_wave_limit_uv(shown)
    cards = []
    for row, answer in zip(examples.rows, examples.answers, strict=True):
        excerpt = waveforms.get(row["sample_id"])
        wave = draw_waveform(excerpt.values_uv, epoch_s, limit_uv, excerpt.events) if excerpt is not None else ""
        cards.append(_render_card(row, answer, answers_of[row["sample_id"]], wave))
    return "".join(cards)


def is_right(row: PredictionRow, answer: str | None) -> bool:
    """Whether the answer is the expert's; without options or a reference there is nothing to get wrong."""
    return not row["options"] or row["truth"] in (None, answer)


def _render_card(
    row: PredictionRow, answer: str | None, answers: Sequence[tuple[str, str | None, PredictionRow]], wave: str
) -> str:
    verdict = (
        f'<dl class="stages">{"".join(_render_answer(*given) for given in answers)}</dl>' if row["options"] else ""
    )
    if row["options"] and row["truth"] is not None:
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
            f"{''.join(_render_answer(*given) for given in answers)}</dl>"
        )
    reference = ""
    if row.get("target"):
        reference = f"<details><summary>Reference text</summary><p>{escape(row['target'])}</p></details>"
    return (
        f'<article class="example"><header><h3>{escape(_name_epoch(row))}</h3>{verdict}</header>{wave}'
        '<div class="columns"><div><h4>Written by the model</h4>'
        f"<blockquote>{_render_generated(row)}</blockquote>"
        f"{render_rules(row.get('generated', ''))}{reference}</div>"
        f"{_render_evidence(row.get('evidence') or {})}</div></article>"
    )


def _render_answer(name: str, answer: str | None, row: PredictionRow) -> str:
    probabilities = row.get("probabilities")
    percent = f" <small>{100 * max(probabilities):.0f}&#8239;%</small>" if probabilities is not None else ""
    return f"<div><dt>{escape(name)}</dt><dd>{render_stage_chip(answer)}{percent}</dd></div>"


def _render_generated(row: PredictionRow) -> str:
    whole, spans = restore_struck(row.get("generated", ""), row.get("struck", ()))
    shown, note = remove_special_tokens(whole).strip(), ""
    if len(shown) > _MAX_CHARACTERS:
        shown = shown[:_MAX_CHARACTERS]
        note = f" <em>… cut here, {len(whole):,} characters in all</em>"
    rationale, answer = split_response(shown)
    if not shown:
        return "<em>empty</em>"
    last = f" <b>{ANSWER_PREFIX} {escape(answer)}</b>" if ANSWER_PREFIX in shown else ""
    pieces = (
        f'<del title="{_STRUCK}">{mark_rules(piece)}</del>' if covering else mark_rules(piece)
        for piece, covering in cut_text(rationale, spans)
    )
    return f"{''.join(pieces)}{last}{note}"


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
