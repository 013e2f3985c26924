"""What the model wrote, judged: how many of its claims are true of their epoch, and of other epochs, the controls."""

from collections.abc import Mapping
from html import escape
from typing import Any

from tslm.explain.faithfulness import score_texts
from tslm.predictions.scorings import Scoring
from tslm.report.format import format_number, format_percent

_UNCHECKED = (
    "<b>Not checked against the signal.</b> The model’s texts are shown as written. Waveforms and numbers that "
    "they name may be untrue; compare them with the signal."
)
_BESIDE = (
    ("own", "their own epoch", "what the texts are worth"),
    ("shuffled", "any other epoch", "texts that ignore the signal do as well here"),
    ("shuffled_alike", "another of like answer and amplitude", "texts that only fit the answer do as well here"),
)
_SHARES = (
    ("precision", "True claims"),
    ("precision_beyond_prompt", "beyond what the prompt states"),
    ("coverage", "Deciding findings named"),
)
_GROUNDED = {
    True: "<b>the texts follow the signal of their epoch.</b>",
    False: "<b>the texts fit the answer rather than the epoch</b>, as those of a model would that ignores the signal.",
    None: "too few epochs or people to say whether the texts follow the signal.",
}


def render_faithfulness(scoring: Scoring) -> str:
    """A sentence on all texts of a system, the table of the controls, and what kinds of claims are true."""
    scores = score_texts(scoring)
    if scores is None or scores["precision"] is None:
        return f'<p class="warning" role="note">{_UNCHECKED}</p>'
    num_checkable = scores["num_supported"] + scores["num_contradicted"]
    return (
        f'<p class="warning" role="note"><b>{format_percent(scores["precision"])} of '
        f"{format_number(num_checkable, 'claim')} that could be checked agree with what was measured</b> in the same "
        f"epoch. {_judge(scores)}</p>{_render_controls(scores)}{_render_kinds(scores['precision_by_feature'])}"
    )


def _judge(scores: Mapping[str, Any]) -> str:
    alike = scores["shuffled_alike"]
    if alike is None or alike["difference"] is None:
        return f"There are {_GROUNDED[None]}"
    low, high = alike["difference_interval"]
    interval = "" if low is None else f" (95&#8239;% interval {_points(low)} to {_points(high)})"
    return (
        f"Beyond what the prompt states, they are truer of their own epoch by {_points(alike['difference'])} "
        f"percentage points{interval} than of others that were answered alike and have about the same amplitude: "
        f"{_GROUNDED[scores['grounded']]}"
    )


def _render_controls(scores: Mapping[str, Any]) -> str:
    heads = "".join(f'<th scope="col">{words}</th>' for _, words in _SHARES)
    body = []
    for key, words, meaning in _BESIDE:
        part = scores if key == "own" else scores.get(key)
        if part is None:
            continue
        cells = "".join(f"<td>{format_percent(part[name])}{_interval(part, name)}</td>" for name, _ in _SHARES)
        body.append(f'<tr><th scope="row">Beside {words}<small>{meaning}</small></th>{cells}</tr>')
    return (
        '<div class="scroll"><table class="controls"><caption>The same texts held against their own and against other '
        f'epochs.</caption><thead><tr><th scope="col">Texts</th>{heads}</tr></thead><tbody>{"".join(body)}</tbody>'
        "</table></div>"
    )


def _render_kinds(by_feature: Mapping[str, Mapping[str, float]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{format_percent(kind["precision"])}</td>'
        f"<td>{kind['num_checkable']:,}</td></tr>"
        for name, kind in by_feature.items()
    )
    return (
        "<details><summary>What kinds of claims are true</summary>"
        '<div class="scroll"><table class="kinds"><caption>Of those that could be checked.</caption><thead><tr>'
        '<th scope="col">Claims on</th><th scope="col">true</th><th scope="col">number</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _interval(part: Mapping[str, Any], name: str) -> str:
    low, high = part.get("intervals", {}).get(name, (None, None))
    return "" if low is None else f" <small>{format_percent(low)} to {format_percent(high)}</small>"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")
