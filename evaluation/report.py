"""Write a report of one run as a single HTML page that needs no network.

Example:
    python -m evaluation.report results/tiny/soft_prompt/stage4_sleep_cot --data prepared/sim_human
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report_examples import choose_examples
from evaluation.report_sections import (
    render_confusions,
    render_footer,
    render_header,
    render_nights,
    render_rationales,
    render_scores,
)
from evaluation.score import render_table
from tslm.config_files import CONFIG_FILE, load_config
from tslm.data.recordings import read_recording
from tslm.files import write_beside
from tslm.scoring.nights import CLASSIFIER, LANGUAGE_MODEL, is_staging
from tslm.scoring.prediction_scores import score_predictions
from tslm.scoring.predictions import PredictionRow, merge_classifier, read_predictions

PREDICTIONS_FILE = "test_predictions.jsonl"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Cpath d='M0 2h3v3h2v-2h3' fill='none' stroke='%230b62a8'/%3E%3C/svg%3E"
)


def write_report(
    rows: Sequence[PredictionRow],
    metrics: Mapping[str, Mapping[str, Any]],
    path: Path,
    title: str = "",
    facts: Mapping[str, str] | None = None,
    waveforms: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the page beside `path`, then rename.

    Args:
        rows: predictions of one curriculum stage.
        metrics: what `score_predictions` or `compute_metrics` gave, by the system's name; the first
            one heads the page. See `name_systems`.
        path: of the HTML file.
        title: heading of the page; empty: the question that the page answers.
        facts: for the foot of the page, by name: config, seed, checkpoint, data source, licence. A
            text of several lines folds away.
        waveforms: sample_id -> (samples,) microvolt, for the rationales.

    Raises:
        ValueError: no rows, no metrics, or two rows for one epoch.
    """
    if not rows or not metrics:
        raise ValueError("a report needs at least one prediction and the metrics of one system")
    if not all(isinstance(values, Mapping) for values in metrics.values()):
        raise ValueError("metrics are not by system; pass name_systems(score_predictions(rows))")
    title = title or f"How well does the model {'stage sleep' if is_staging(rows) else 'answer'}?"
    sections = [
        render_header(title, rows, metrics),
        render_scores(metrics),
        render_nights(rows),
        render_confusions(metrics),
        render_rationales(rows, waveforms or {}),
    ]
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="{_ICON}">\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{sections[0]}\n<main>\n"
        + "\n".join(filter(None, sections[1:]))
        + f"\n</main>\n{render_footer(facts or {})}\n"
        "</body>\n</html>\n"
    )
    with write_beside(path) as partial:
        partial.write_text(page, encoding="utf-8")


def name_systems(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Systems by name from the one dict that `score_predictions` returns."""
    systems: dict[str, Mapping[str, Any]] = {LANGUAGE_MODEL: metrics}
    if "classifier" in metrics:
        systems[CLASSIFIER] = metrics["classifier"]
    return systems


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the page could not be written, 2 a mistake in the call or the files."""
    arguments = build_parser().parse_args(argv)
    try:
        predictions = _find_predictions(arguments.run)
        rows = read_predictions(predictions)
        if arguments.classifier:
            rows = merge_classifier(rows, read_predictions(_find_predictions(arguments.classifier)))
        facts = _collect_facts(predictions, arguments.fact)
        scores = score_predictions(rows)
        waveforms, sources = _read_waveforms(choose_examples(rows), arguments.data, arguments.channel)
        if sources:
            facts = {"Data source": sources} | facts
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = arguments.out or predictions.with_name("report.html")
    try:
        write_report(rows, name_systems(scores), out, title=arguments.title, facts=facts, waveforms=waveforms)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {out}: {error}", file=sys.stderr)
        return 1
    print(render_table(scores))
    print(f"\nreport: {out}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.report`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.report",
        description="Write a report of one run as a single HTML page that needs no network.",
        epilog="example: python -m evaluation.report results/tiny/soft_prompt/stage4_sleep_cot --data prepared/night",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR_OR_FILE.jsonl", help="run folder, or its predictions")
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="RUN_DIR_OR_FILE.jsonl",
        help="the classifier's predictions of the same epochs",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: report.html beside the predictions")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared cohort, to draw the signal of the examples")
    parser.add_argument("--channel", metavar="NAME", help="channel to draw; default: the first of the recording")
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument(
        "--fact", action="append", default=[], metavar="NAME=TEXT", help="line for the foot of the page; repeatable"
    )
    return parser


def _find_predictions(run: Path) -> Path:
    if not run.is_dir():
        return run
    found = [path for path in (run / "results" / PREDICTIONS_FILE, run / PREDICTIONS_FILE) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"no results/{PREDICTIONS_FILE} in {run}; make it with: python -m evaluation.generate")
    return found[0]


def _collect_facts(predictions: Path, stated: Sequence[str]) -> dict[str, str]:
    facts = {}
    for fact in stated:
        name, equals, text = fact.partition("=")
        if not name or not equals:
            raise ValueError(f"--fact {fact!r} is not NAME=TEXT, such as --fact 'Licence=ODC-By 1.0'")
        facts[name] = text
    run_dir = predictions.parent.parent
    if (run_dir / CONFIG_FILE).is_file():
        config = load_config(run_dir / CONFIG_FILE)
        facts |= {
            "Language model": config.llm.source,
            "Curriculum stage": config.stage.name,
            "Test data": str(config.stage.data_dir("test")),
            "Seed": str(config.seed),
            "Config": (run_dir / CONFIG_FILE).read_text(encoding="utf-8"),
        }
    for checkpoint in (run_dir / "checkpoints" / "best", run_dir / "checkpoints" / "last"):
        if checkpoint.is_dir():
            facts.setdefault("Checkpoint", str(checkpoint))
    return facts | {"Predictions": str(predictions), "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}


def _read_waveforms(
    examples: Sequence[PredictionRow], cohort_dir: Path | None, channel: str | None
) -> tuple[dict[str, np.ndarray], str]:
    """Signals of the examples by sample_id, and where the recordings come from."""
    waveforms: dict[str, np.ndarray] = {}
    sources: dict[str, None] = {}
    if cohort_dir is None:
        return waveforms, ""
    for name in dict.fromkeys(row["recording"] for row in examples if row.get("recording")):
        recording = read_recording(cohort_dir / f"{name}.parquet", [channel] if channel else None)
        sources[recording.source] = None
        epochs_EL = next(iter(recording.channels.values()))
        for row in examples:
            if row.get("recording") == name and "epoch_idx" in row and row["epoch_idx"] < len(epochs_EL):
                waveforms[row["sample_id"]] = epochs_EL[row["epoch_idx"]]
    return waveforms, "; ".join(filter(None, sources))


if __name__ == "__main__":
    sys.exit(main())
