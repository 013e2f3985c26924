"""The comparison as a table: scores of every system with intervals and paired differences, and the files of it.

Files: JSON, CSV, Markdown, and an HTML page that needs no network.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.comparison.systems import Answered
from tslm.files import to_plain, write_text
from tslm.labels import ANSWER_NAMES, LabelSet
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.predictions.scorings import Scoring, parse_scorings
from tslm.predictions.truth import TrueEpoch
from tslm.scoring.comparison import compare_systems
from tslm.scoring.intervals import Resampling, render_unit
from tslm.scoring.metrics import INTERVAL_METRICS, bootstrap_intervals, compute_metrics
from tslm.scoring.probabilities import score_probabilities
from tslm.table import Cell, Table, Value

_SCORES = (
    *INTERVAL_METRICS,
    "per_class_f1",
    "per_class_precision",
    "per_class_recall",
    "num_parse_failures",
    "absent_labels",
    "confusion_matrix",
)
_PROBABILITY_SCORES = ("log_loss", "brier", "ece", "macro_ece", "per_class_auroc", "macro_auroc")
_TITLE = "Systems on the same epochs"
_KAPPA = "cohen_kappa"
_SHOWN_PROBABILITY_SCORES = ("log_loss", "ece", "macro_auroc")
_CODES = {name: sleep_stage.value for sleep_stage, name in ANSWER_NAMES.items()}  # for narrow columns
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bar: #4477aa; --text: inherit }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 .7rem; max-width: 110rem }
h1 { font-size: 1.35rem; margin: 0 0 .6rem }
ul { padding-left: 1.2rem; margin: .4rem 0 1.2rem } li { margin: .15rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
caption { text-align: left; padding-bottom: .4rem; font-weight: 600 }
th, td { padding: .4rem .25rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { font-size: .78rem; font-weight: 600; vertical-align: bottom }
th[scope=row] { position: sticky; left: 0; background: Canvas; font-weight: 600; overflow-wrap: break-word }
tr.bold th, tr.bold td { background: var(--soft) }
small { display: block; font-size: .69rem; opacity: .75; white-space: nowrap }
td[colspan] { opacity: .8 }
.meter { display: block; height: .5rem; min-width: 4rem; margin-bottom: .25rem }
.meter { background: linear-gradient(90deg, var(--bar) var(--share), var(--soft) var(--share)) }
dt { font-weight: 600; margin-top: .5rem } dd { margin: 0 0 0 1rem }
@media (max-width: 760px) {
  thead { display: none }
  table, tbody, tr, th, td { display: block; width: auto }
  tr { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 1rem; overflow: hidden }
  th[scope=row] { position: static; background: var(--soft); font-size: 1.05rem; white-space: normal }
  td { padding: .3rem .55rem } .meter { display: none }
  td::before { content: attr(data-label); display: inline-block; width: 9.5rem; font-size: .82rem; opacity: .8 }
  td[colspan]::before { content: none }
  small { display: inline; font-size: .82rem; margin-left: .3rem }
  tr.bold td { background: none }
}
"""


def build_table(
    answered: Sequence[Answered],
    truth: Mapping[str, TrueEpoch],
    label_set: LabelSet,
    reference: str,
    resampling: Resampling,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the whole comparison, ready for JSON.

    Args:
        answered: the systems, each with rows in the order of the truth, or with a note and no rows.
        truth: labels of the expert.
        label_set: the sleep stages.
        reference: name of the row to compare with; empty: the first trained model, or the first row.
        resampling: of the intervals.
        about: data and settings, for the head of the table.

    Raises:
        ValueError: no system answered, or none has the name of the reference.
    """
    expert = [epoch["truth"] for epoch in truth.values()]
    subjects = [epoch["subject"] for epoch in truth.values()]
    measured: list[tuple[dict[str, Any], Scoring | None]] = []
    for one in answered:
        (scoring,) = parse_scorings(one.rows).values() if one.rows else (None,)
        measured.append((_measure_row(one, scoring, expert, subjects, label_set.answers, resampling), scoring))
    names = [row["name"] for row, scoring in measured if scoring is not None]
    if not names:
        raise ValueError("no system answered: " + "; ".join(f"{row['name']}: {row['note']}" for row, _ in measured))
    reference = reference or next(
        (row["name"] for row, scoring in measured if scoring is not None and row["kind"] != "baseline"), names[0]
    )
    if reference not in names:
        raise ValueError(f"--reference {reference}: it has not answered; one of: {', '.join(names)}")
    base = next(scoring for row, scoring in measured if row["name"] == reference)
    assert base is not None
    for row, scoring in measured:
        row["is_reference"] = row["name"] == reference
        row["difference"] = None
        if scoring is not None and not row["is_reference"]:
            pair = scoring.answers, base.answers
            row["difference"] = compare_systems(expert, *pair, label_set.answers, subjects, resampling)
    rows = [row for row, _ in measured]
    table = {
        **about,
        "reference": reference,
        "num_epochs": len(truth),
        "num_recordings": len({epoch["recording"] for epoch in truth.values()}),
        "num_subjects": len(set(subjects)),
        "labels": list(label_set.answers),
        "support": {label: expert.count(label) for label in label_set.answers},
        "intervals_are": render_unit(next(row["intervals"] for row in rows if row["intervals"])),
        "leaky": any(row["leaky"] for row in rows) or about["leaky"],
        "rows": rows,
    }
    return dict(to_plain(table))


def _measure_row(
    answered: Answered,
    scoring: Scoring | None,
    expert: Sequence[str],
    subjects: Sequence[str],
    labels: Sequence[str],
    resampling: Resampling,
) -> dict[str, Any]:
    """Score one system, without its differences from the reference; without metrics if it did not answer."""
    system, num_rows = answered.system, len(answered.rows)
    row: dict[str, Any] = {
        "name": system.name,
        "kind": system.kind,
        "about": system.about,
        "note": answered.note,
        "predictions": str(answered.path) if answered.path else None,
        "fit_s": answered.fit_s,
        "seconds_per_epoch": answered.answer_s / num_rows if answered.answer_s is not None and num_rows else None,
        "metrics": None,
        "intervals": None,
        "probabilities": None,
        "leaky": False,
    }
    if scoring is None:
        return row
    metrics = compute_metrics(expert, scoring.answers, labels)
    row["metrics"] = {name: metrics[name] for name in _SCORES}
    row["intervals"] = bootstrap_intervals(expert, scoring.answers, labels, subjects=subjects, resampling=resampling)
    row["leaky"] = scoring.is_leaky
    probabilities_NK, positions = scoring.read_probabilities(labels)
    if len(positions) == len(scoring.rows):
        scores = score_probabilities(probabilities_NK, [labels.index(answer) for answer in expert], labels)
        row["probabilities"] = {name: scores[name] for name in _PROBABILITY_SCORES}
    return row


def write_table(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write comparison.json, .csv, .md and .html, and return their paths."""
    texts = {
        "json": json.dumps(table, indent=1, ensure_ascii=False) + "\n",
        "csv": render_csv(table),
        "md": render_markdown(table),
        "html": render_page(table),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"comparison.{suffix}")
        write_text(text, paths[-1])
    return paths


def render_markdown(table: Mapping[str, Any]) -> str:
    """The comparison as Markdown."""
    lines = [f"# {_TITLE}", "", *(f"- {line}" for line in describe_comparison(table)), ""]
    systems = [f"- **{row['name']}**: {row['about']}" for row in table["rows"]]
    return "\n".join([*lines, layout_table(table).markdown(), *systems]) + "\n"


def render_page(table: Mapping[str, Any]) -> str:
    """The comparison as a page: a table on wide screens, one card per system on narrow ones."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in describe_comparison(table))
    reference = [idx for idx, row in enumerate(table["rows"]) if row["is_reference"]]
    scores = replace(layout_table(table), bold_rows=reference)
    about = "".join(f"<dt>{html.escape(row['name'])}</dt><dd>{html.escape(row['about'])}</dd>" for row in table["rows"])
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLE}</title><style>{_STYLE}</style></head><body><h1>{_TITLE}</h1><ul>{lines}</ul>"
        f"{scores.html('comparison')}<h2>What they are</h2><dl>{about}</dl></body></html>\n"
    )


def layout_table(table: Mapping[str, Any]) -> Table:
    """Build a table with one row per system; the row of a system without answers shows its note."""
    f1 = [f"F1 {_CODES.get(label, label)} (n={table['support'][label]})" for label in table["labels"]]
    names = [METRICS[key].name for key in AGREEMENT]
    compared = [f"{METRICS[_KAPPA].name} less {table['reference']}", "McNemar p"]
    probabilities = [METRICS[key].name for key in _SHOWN_PROBABILITY_SCORES]
    unread = METRICS["num_parse_failures"].name
    columns = ["system", *names, *compared, *f1, *probabilities, unread, "seconds an epoch"]
    return Table(columns, [_build_row(table["labels"], row) for row in table["rows"]])


def describe_comparison(table: Mapping[str, Any]) -> list[str]:
    """Describe the epochs, the intervals and any leak, for the lines above the table."""
    counts = (
        f"{table['num_epochs']} epochs of {table['num_recordings']} recording(s), {table['num_subjects']} subject(s)"
    )
    lines = [f"Tested on {table['data']} ({counts}); baselines trained on {table['train']}"]
    if table["num_test_epochs"] != table["num_epochs"]:
        lines.append(
            f"Part: {table['num_epochs']} of {table['num_test_epochs']} epochs, spread evenly (seed {table['seed']}), "
            "the same for all"
        )
    lines.append(f"Channels of the baselines: {', '.join(table['channels'])}")
    lines.append(table["intervals_are"])
    lines.append(
        f"Differences are paired, the row less {table['reference']}; McNemar's test takes epochs as independent, which "
        "they are not: believe the intervals"
    )
    if table["leaky"]:
        lines.append("LEAKY: some rows were trained on people they are tested on; they say nothing about others")
    return lines


def render_csv(table: Mapping[str, Any]) -> str:
    """Render one line per system, with the bounds of intervals in columns of their own."""
    labels = table["labels"]
    scores = [*AGREEMENT, *(f"F1 {label}" for label in labels)]
    head = ["system", "kind", "note", "is_reference", "leaky", "num_epochs", "num_subjects"]
    head += [f"{name}{suffix}" for name in scores for suffix in ("", "_low", "_high")]
    head += [*_SHOWN_PROBABILITY_SCORES, "num_parse_failures", "fit_s", "seconds_per_epoch"]
    head += [f"{name}_difference{suffix}" for name in AGREEMENT for suffix in ("", "_low", "_high", "_p")]
    rows = []
    for row in table["rows"]:
        metrics, intervals = row["metrics"] or {}, row["intervals"] or {}
        values: list[Value] = [row["name"], row["kind"], row["note"], row["is_reference"], row["leaky"]]
        values += [table["num_epochs"], table["num_subjects"]]
        for name in AGREEMENT:
            values += [metrics.get(name), *intervals.get(name, (None, None))]
        for label in labels:
            f1, bounds = metrics.get("per_class_f1", {}), intervals.get("per_class_f1", {})
            values += [f1.get(label), *bounds.get(label, (None, None))]
        probabilities, difference = row["probabilities"] or {}, row["difference"] or {}
        values += [probabilities.get(name) for name in _SHOWN_PROBABILITY_SCORES]
        values += [metrics.get("num_parse_failures"), row["fit_s"], row["seconds_per_epoch"]]
        for name in AGREEMENT:
            of_metric = difference.get("differences", {}).get(name, {})
            values += [of_metric.get("difference"), *of_metric.get("interval", (None, None)), of_metric.get("p_value")]
        rows.append([*values, difference.get("mcnemar", {}).get("p_value")])
    return Table([*head, "mcnemar_p"], rows).csv()


def _build_row(labels: Sequence[str], row: Mapping[str, Any]) -> list[Cell]:
    head = Cell(row["name"] + (" (leaky)" if row["leaky"] else ""))
    if row["metrics"] is None:
        return [head, Cell(row["note"])]
    scores = {**row["metrics"], "intervals": row["intervals"]}
    agreement = {key: build_cell(key, scores) for key in AGREEMENT}
    kappa = agreement[_KAPPA]
    if isinstance(kappa.value, float):
        agreement[_KAPPA] = replace(kappa, share=min(1.0, max(0.0, kappa.value)))
    f1 = [build_cell("per_class_f1", scores, label) for label in labels]
    probabilities = [build_cell(key, row["probabilities"] or {}) for key in _SHOWN_PROBABILITY_SCORES]
    seconds = row["seconds_per_epoch"]
    speed = Cell(None if seconds is None else f"{seconds:.2g}")
    unread = Cell(row["metrics"]["num_parse_failures"])
    return [head, *agreement.values(), *_build_difference(row), *f1, *probabilities, unread, speed]


def _build_difference(row: Mapping[str, Any]) -> list[Cell]:
    if row["is_reference"]:
        return [Cell("reference"), Cell()]
    difference = row["difference"]["differences"][_KAPPA]
    p_value = row["difference"]["mcnemar"]["p_value"]
    shown = Cell(difference["difference"], interval=difference["interval"], is_signed=True)
    return [shown, Cell("< .001") if p_value < 0.001 else Cell(p_value)]
