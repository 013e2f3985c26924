"""Agreement of systems with one another, epoch by epoch: what can be compared where no expert scored."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.comparison.systems import Answered
from tslm.files import write_json, write_text
from tslm.metric_names import METRICS, build_cell, percent
from tslm.predictions.scorings import Scoring, count_unreferenced, parse_scorings, render_unreferenced
from tslm.scoring.intervals import Resampling, find_subjects, render_unit
from tslm.scoring.metrics import bootstrap_intervals, compute_metrics
from tslm.table import Cell, Table

AGREEMENT_FILE = "agreement.json"


def compare_answers(answered: Sequence[Answered], out: Path, resampling: Resampling) -> str:
    """Compare each two systems on the epochs that both answered; write the table and return it as text.

    Args:
        answered: systems that have answered.
        out: folder of agreement.json and agreement.md.
        resampling: of the intervals.

    Raises:
        ValueError: fewer than two systems, or two without a common epoch or with other options.
    """
    scorings = {one.system.name: scoring for one in answered for scoring in parse_scorings(one.rows).values()}
    if len(scorings) < 2:
        raise ValueError("--agreement compares systems with one another; give two or more by --predictions NAME=FILE")
    pairs = [_compare_pair(scorings, names, resampling) for names in combinations(scorings, 2)]
    rows = [
        [
            Cell(" and ".join(pair["systems"])),
            Cell(pair["num_epochs"]),
            Cell(percent(pair["share_same"]), 1, "%"),
            build_cell("cohen_kappa", pair),
        ]
        for pair in pairs
    ]
    table = Table(
        ["systems", "epochs", "same answer", METRICS["cohen_kappa"].name],
        rows,
        notes=[f"[ ]: {_describe_units(pairs)}"] if resampling.num_resamples else [],
    )
    write_json({"pairs": pairs}, out / AGREEMENT_FILE)
    path = out / AGREEMENT_FILE.replace(".json", ".md")
    write_text(table.markdown(), path)
    line = render_unreferenced(count_unreferenced(scorings))
    return "\n".join(filter(None, [line, table.text(), f"written: {path}, {AGREEMENT_FILE} beside it"]))


def _describe_units(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals are over, of the pair with most epochs."""
    return render_unit(max(pairs, key=lambda pair: pair["num_epochs"])["intervals"])


def _compare_pair(scorings: Mapping[str, Scoring], names: tuple[str, str], resampling: Resampling) -> dict[str, Any]:
    """Figures of two systems; epochs that either did not answer are left out and counted."""
    first, second = (scorings[name] for name in names)
    answer_of = dict(zip((row["sample_id"] for row in second.rows), second.answers, strict=True))
    common = [idx for idx, row in enumerate(first.rows) if row["sample_id"] in answer_of]
    read = [
        idx for idx in common if first.answers[idx] is not None and answer_of[first.rows[idx]["sample_id"]] is not None
    ]
    if not read:
        raise ValueError(f"{' and '.join(names)} answered no epoch both; give predictions of the same nights")
    both = first.select(read).sort_by_time()
    answers = [answer for answer in both.answers if answer is not None]
    others = [answer_of[row["sample_id"]] for row in both.rows]
    metrics = compute_metrics(answers, others, both.options)
    subjects, unit = find_subjects(both.rows)
    pair: dict[str, Any] = {
        "systems": list(names),
        "num_epochs": len(both.rows),
        "num_unread": len(common) - len(read),
        "share_same": metrics["accuracy"],
        "cohen_kappa": metrics["cohen_kappa"],
    }
    if resampling.num_resamples:
        drawn = Resampling(resampling.num_resamples, resampling.seed, unit=unit)
        intervals = bootstrap_intervals(answers, others, both.options, subjects=subjects, resampling=drawn)
        pair["intervals"] = {
            name: value for name, value in intervals.items() if name not in ("accuracy", "macro_f1", "per_class_f1")
        }
    return pair
