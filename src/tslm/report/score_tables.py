"""Tables of scores, a column a system: agreement and probabilities, each stage, and the structure of the nights."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tslm.predictions.nights import short_label
from tslm.report.format import format_interval, format_number, format_percent, format_value
from tslm.scoring.intervals import render_unit

SUMMARY_METRICS = (("accuracy", "Accuracy"), ("macro_f1", "Macro-F1"), ("cohen_kappa", "Cohen’s kappa"))
_PROBABILITY_METRICS = (
    ("macro_auroc", "AUROC<small>mean over stages</small>"),
    ("log_loss", "Log-loss<small>less is better</small>"),
    ("brier", "Brier score<small>0 to 2, less is better</small>"),
    ("ece", "Calibration error<small>less is better</small>"),
    ("answer_perplexity", "Perplexity of the true answer"),
)
_STRUCTURE = (
    ("edit_distance_epochs", "Edit distance, epochs", "edits that make the expert’s hypnogram of it, per epoch"),
    ("edit_distance_bouts", "Edit distance, bouts", "the same of the order of bouts, however long"),
    ("transition_distance", "Distance of transitions", "0: one stage follows another as often; 1: never"),
)
_QUANTITIES = (
    ("total_sleep_min", "Total sleep time, min"),
    ("sleep_efficiency_percent", "Sleep efficiency, %"),
    ("waso_min", "Wake after sleep onset, min"),
    ("sleep_onset_latency_min", "Sleep-onset latency, min"),
    ("rem_latency_min", "REM latency, min"),
)


def render_scores(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Agreement, probabilities and F1 a stage, with intervals; below it more of each stage, folded."""
    scored = {name: values for name, values in metrics.items() if "accuracy" in values}
    if not scored:
        return ""
    first = next(iter(scored.values()))
    lines = [
        (words, [f"{format_value(values.get(key))}{format_interval(values, key)}" for values in scored.values()])
        for key, words in SUMMARY_METRICS
        if any(key in values for values in scored.values())
    ]
    failures = [f"{values['num_parse_failures']} of {values['num_samples']}" for values in scored.values()]
    lines.append(("Unreadable answers", failures))
    lines += _list_probability_lines(scored)
    labels = first.get("labels", [])
    noun = "epoch" if "Wake" in labels else "sample"
    for label in labels:
        cells = [
            _render_bar(values.get("per_class_f1", {}).get(label)) + _class_interval(values, label)
            for values in scored.values()
        ]
        lines.append((f"F1 {escape(label)}<small>{format_number(first['support'][label], noun)}</small>", cells))
    intervals = next((values["intervals"] for values in scored.values() if "intervals" in values), None)
    absent = first.get("absent_labels", [])
    about = (
        f"Small figures: {escape(render_unit(intervals))}."
        if intervals
        else "Share of the samples answered as in the reference."
    )
    note = f" Not in the reference, so not in macro-F1: {escape(', '.join(absent))}." if absent else ""
    return (
        '<section aria-labelledby="scores"><h2 id="scores">Scores</h2>'
        f"{_render_table('scores', about + note, list(scored), lines)}{_render_classes(scored, labels)}</section>"
    )


def render_structure(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether the predicted nights look like sleep; empty where no whole night was scored."""
    scored = {name: values["structure"] for name, values in metrics.items() if values.get("structure")}
    scored = {name: values for name, values in scored.items() if values["num_recordings"]}
    if not scored:
        return ""
    first = next(iter(scored.values()))
    lines = [
        (f"{words}<small>{meaning}</small>", [format_value(values[key]) for values in scored.values()])
        for key, words, meaning in _STRUCTURE
    ]
    of_expert = format_percent(first["impossible_transitions"]["expert"]["share"])
    shares = [format_percent(values["impossible_transitions"]["predicted"]["share"]) for values in scored.values()]
    lines.append((f"Transitions that do not occur in sleep<small>expert {of_expert}</small>", shares))
    for code, bout in first["median_bout_min"].items():
        name = f"Median bout of {escape(short_label(code))}, min<small>expert {format_value(bout['expert'])}</small>"
        lines.append((name, [format_value(values["median_bout_min"][code]["predicted"]) for values in scored.values()]))
    if first["num_recordings"] > 1:
        lines += [
            (
                f"{words}<small>mean difference from the expert, limits of agreement</small>",
                [_render_bias(values["quantities"][key]) for values in scored.values()],
            )
            for key, words in _QUANTITIES
        ]
    about = (
        f"Over {format_number(first['num_recordings'], 'recording')}. Epoch-wise agreement does not see any of this."
    )
    return (
        '<section aria-labelledby="structure"><h2 id="structure">Does it look like sleep?</h2>'
        f"{_render_table('structure', about, list(scored), lines)}</section>"
    )


def _list_probability_lines(scored: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    parts = [values.get("probabilities") or {} for values in scored.values()]
    return [
        (words, [f"{format_value(part.get(key))}{format_interval(part, key)}" for part in parts])
        for key, words in _PROBABILITY_METRICS
        if any(part.get(key) is not None for part in parts)
    ]


def _render_classes(scored: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    """Precision, recall, AUROC and calibration error of each stage."""
    parts = {name: {**values, "probabilities": values.get("probabilities") or {}} for name, values in scored.items()}
    if not labels or not all("per_class_precision" in values for values in parts.values()):
        return ""
    lines = []
    for label in labels:
        for words, pick in (
            ("precision", lambda values: values["per_class_precision"]),
            ("recall", lambda values: values["per_class_recall"]),
            ("AUROC", lambda values: values["probabilities"].get("per_class_auroc", {})),
            ("calibration error", lambda values: values["probabilities"].get("per_class_ece", {})),
        ):
            cells = [pick(values).get(label) for values in parts.values()]
            if any(cell is not None for cell in cells):
                lines.append((f"{escape(label)}: {words}", [format_value(cell) for cell in cells]))
    table = _render_table("classes", "Each stage against the others.", list(parts), lines)
    return f"<details><summary>More of each stage: precision, recall, probabilities</summary>{table}</details>"


def _render_table(kind: str, caption: str, names: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table whose first column and cells are HTML of ours."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{words}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for words, cells in lines
    )
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _class_interval(values: Mapping[str, Any], label: str) -> str:
    intervals = values.get("intervals", {}).get("per_class_f1", {})
    return format_interval({"intervals": intervals}, label)


def _render_bias(agreement: Mapping[str, Any]) -> str:
    if agreement["bias"] is None:
        return "–"
    limits = agreement["limits"]
    text = f"{agreement['bias']:+.1f}".replace("-", "−")
    return text if limits is None else f"{text} <small>{limits[0]:.1f} to {limits[1]:.1f}</small>".replace("-", "−")


def _render_bar(value: float | None) -> str:
    if value is None:
        return '<span class="zero">not in the reference</span>'
    return f'<span class="meter" style="--share:{100 * value:.0f}%" aria-hidden="true"></span>{value:.2f}'
