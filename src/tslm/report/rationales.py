"""Texts of the model on the page: each claim with its measurement, and the share of true claims.

True of their own epoch, and true of other epochs: those are the controls.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tslm.answers.grammar import ANSWER_PREFIX, remove_special_tokens, split_response
from tslm.evidence.criteria import RULES, Feature
from tslm.explain.claims.checks import EVENT_KIND_OF, Verdict
from tslm.explain.claims.words import CITED_RULE, fold
from tslm.explain.explanations import describe_claims
from tslm.explain.faithfulness import EventRows, decide_followed, score_texts
from tslm.explain.verify import restore_struck
from tslm.metric_names import METRICS, build_cell
from tslm.predictions.scorings import Scoring
from tslm.report.format import describe_measurement, format_number, format_percent
from tslm.table import Cell, Table

VERDICTS = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_CHECKABLE)
MAX_CHARACTERS = 3000  # of a text; what runs away beyond is cut, and says so


def describe_rationale(
    generated: str,
    evidence: Mapping[str, Any],
    events: EventRows | None = None,
    struck: Sequence[tuple[int, str]] = (),
) -> dict[str, Any]:
    """What the page shows of one generated text, ready for JSON.

    Args:
        generated: raw text of the model.
        evidence: measured values of the epoch by column; empty: nothing can be checked.
        events: of the epoch, as in a row of predictions; None: not known.
        struck: sentences that verification struck, as in a row of predictions.

    Returns:
        `pieces`: [text, positions of the claims that rest on it] whose texts joined are the rationale with its struck
        sentences; `struck`: positions of their pieces; `claims`: [verdict (position in `VERDICTS`), hedged (0 or 1),
        what was measured in words, positions of the events that it rests on] of each, in the order of the text;
        `answer`: what stands after `Answer:`, empty without; `cut`: how many characters were cut off.
    """
    whole, struck_spans = restore_struck(generated, struck)
    text = remove_special_tokens(whole).strip()
    rationale, answer = split_response(text)
    rationale, num_cut = rationale[:MAX_CHARACTERS], max(len(rationale) - MAX_CHARACTERS, 0)
    claims = describe_claims(rationale, evidence, events)
    pieces = cut_text(rationale, [*((claim["start"], claim["stop"]) for claim in claims), *struck_spans])
    return {
        "pieces": [(piece, [idx for idx in covering if idx < len(claims)]) for piece, covering in pieces],
        "struck": [place for place, (_, covering) in enumerate(pieces) if any(idx >= len(claims) for idx in covering)],
        "claims": [_describe_claim(claim, events or ()) for claim in claims],
        "answer": answer[:MAX_CHARACTERS] if ANSWER_PREFIX in text else "",
        "cut": num_cut,
    }


def cut_text(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """(piece of text, positions of the spans that cover it); the pieces joined are the text."""
    edges = sorted({0, len(text), *(min(edge, len(text)) for span in spans for edge in span)})
    return [
        (text[start:stop], [idx for idx, (first, last) in enumerate(spans) if first <= start and stop <= last])
        for start, stop in zip(edges, edges[1:], strict=False)
    ]


def _describe_claim(claim: Mapping[str, Any], events: EventRows) -> tuple[int, int, str, list[int]]:
    measured = ""
    if claim["column"] and claim["measured"] is not None:
        measured = " ".join(describe_measurement(claim["column"], claim["measured"]))
    feature = Feature(claim["feature"])
    kind = EVENT_KIND_OF.get(feature, feature)
    own = [idx for idx, event in enumerate(events) if event[0] == kind and [*event[1:]] in claim["places"]]
    return VERDICTS.index(claim["verdict"]), int(claim["hedged"]), measured, own


_RULE_OF = {fold(name): rule for name, rule in RULES.items()}


def find_rules(text: str) -> dict[str, tuple[str, str]]:
    """(name, words) of each rule that a text cites, by the citation as it stands there, such as "(6.B)"."""
    cited = {}
    for match in CITED_RULE.finditer(fold(text)):
        rule = _RULE_OF.get(match[1])
        cited[text[slice(*match.span())]] = (
            (rule.name, rule.text) if rule else (text[slice(*match.span(1))], "no rule of this name")
        )
    return cited


def mark_rules(text: str) -> str:
    """A text as HTML whose citations show the words of their rule."""
    shown = escape(text)
    for citation, (_, words) in find_rules(text).items():
        shown = shown.replace(citation, f'<abbr class="rule" title="{escape(words)}">{citation}</abbr>')
    return shown


def render_rules(text: str) -> str:
    """The list of the rules that a text cites; empty without."""
    rules = dict(find_rules(text).values())
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(words)}</dd></div>" for name, words in rules.items())
    return f'<div class="rules"><h4>Rules cited</h4><dl>{items}</dl></div>' if rules else ""


_UNCHECKED = (
    "<b>Not checked against the signal.</b> The model’s texts are shown as written. Waveforms and numbers that "
    "they name may be untrue; compare them with the signal."
)
_BESIDE = (
    ("own", "their own epoch", "what the texts are worth"),
    ("before_verification", "their own epoch, before verification", "what the texts were worth as first written"),
    ("shuffled", "any other epoch", "texts that ignore the signal do as well here"),
    ("shuffled_alike", "another of like answer and amplitude", "texts that only fit the answer do as well here"),
)
_SHARES = ("precision", "precision_beyond_prompt", "coverage")
_UNDECIDED = "too few epochs or people to say what the texts follow."
_FIT_ANSWER = (
    "<b>the texts fit the answer rather than the epoch</b>, as those of a model would that ignores the signal."
)
_FOLLOWED = {  # whether the prompts stated the measured facts -> whether claims are truer of their own epoch
    False: {
        True: "<b>the texts follow the signal of their epoch.</b>",
        False: _FIT_ANSWER,
        None: _UNDECIDED,
    },
    True: {
        True: "<b>the texts follow the measured facts of their epoch, which the prompts stated.</b>",
        False: _FIT_ANSWER,
        None: _UNDECIDED,
    },
}


_BEYOND = {False: "Beyond what the prompt states, t", True: "T"}


def render_faithfulness(scoring: Scoring) -> str:
    """A sentence on all texts of a system, the table of the controls, and what kinds of claims are true."""
    scores = score_texts(scoring)
    if scores is None or scores["precision"] is None:
        return f'<p class="warning" role="note">{_UNCHECKED}</p>'
    num_checkable = scores["num_supported"] + scores["num_contradicted"]
    first = scores.get("before_verification", scores)
    return (
        f'<p class="warning" role="note"><b>{format_percent(scores["precision"])} of '
        f"{format_number(num_checkable, 'claim')} that could be checked agree with what was measured</b> in the same "
        f"epoch. {_describe_verification(scores)}{_judge(first)}</p>{_render_controls(scores)}"
        f"{_render_kinds(first['precision_by_feature'])}"
    )


def _describe_verification(scores: Mapping[str, Any]) -> str:
    """Say what verification changed; empty for texts as first written."""
    if "verification" not in scores:
        return ""
    changed = scores["verification"]
    return (
        f"The texts were checked while they were written: {format_percent(changed['share_rewritten'])} had a false "
        f"claim and were written again, and {format_percent(changed['share_sentences_struck'])} of all sentences are "
        f"struck. <b>As first written, {format_percent(scores['before_verification']['precision'])} of their claims "
        "agreed.</b> "
    )


def _judge(scores: Mapping[str, Any]) -> str:
    alike = scores["shuffled_alike"]
    if alike is None or alike["difference"] is None:
        return f"There are {_UNDECIDED}"
    low, high = alike["difference_interval"]
    interval = "" if low is None else f" (95&#8239;% interval {_points(low)} to {_points(high)})"
    return (
        f"{_BEYOND['faithful_to_facts' in scores]}hey are truer of their own epoch by {_points(alike['difference'])} "
        f"percentage points{interval} than of others that were answered alike and have about the same amplitude: "
        f"{_FOLLOWED['faithful_to_facts' in scores][decide_followed(scores)]}"
    )


def _render_controls(scores: Mapping[str, Any]) -> str:
    parts = [(words, meaning, scores if key == "own" else scores.get(key)) for key, words, meaning in _BESIDE]
    rows = [
        [Cell(f"Beside {words}", hint=meaning), *(build_cell(key, part) for key in _SHARES)]
        for words, meaning, part in parts
        if part is not None
    ]
    note = "The same texts held against their own and against other epochs."
    return Table(["Texts", *(METRICS[key].name for key in _SHARES)], rows, notes=[note]).html("controls")


def _render_kinds(by_feature: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [Cell(name.replace("_", " ")), build_cell("precision", kind), Cell(kind["num_checkable"])]
        for name, kind in by_feature.items()
    ]
    table = Table(["Claims on", "true", "number"], rows, notes=["Of those that could be checked."]).html("kinds")
    return f"<details><summary>What kinds of claims are true</summary>{table}</details>"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")
