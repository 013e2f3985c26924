"""Write a report of one run as a single HTML page that needs no network.

Example:
    python -m evaluation.report results/tiny/soft_prompt/stage4_sleep_cot --data prepared/sim_human
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from evaluation.score import render_table
from tslm.config_files import CONFIG_FILE, load_config
from tslm.data.recordings import Recording, read_recording
from tslm.report.page import name_systems, write_report
from tslm.scoring.prediction_scores import score_predictions
from tslm.scoring.predictions import PredictionRow, merge_classifier, read_predictions
from tslm.training.run_folder import find_predictions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the page could not be written, 2 a mistake in the call or the files."""
    arguments = build_parser().parse_args(argv)
    try:
        predictions = find_predictions(arguments.run)
        rows = read_predictions(predictions)
        if arguments.classifier:
            rows = merge_classifier(rows, read_predictions(find_predictions(arguments.classifier)))
        facts = _collect_facts(predictions, arguments.fact)
        scores = score_predictions(rows)
        recordings = _read_signals(rows, arguments.data, arguments.channel)
        sources = dict.fromkeys(recording.source for recording in recordings.values() if recording.source)
        if sources:
            facts = {"Data source": "; ".join(sources)} | facts
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = arguments.out or predictions.with_name("report.html")
    try:
        write_report(rows, name_systems(scores), out, title=arguments.title, facts=facts, load_recording=recordings.get)
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


def _read_signals(rows: Sequence[PredictionRow], cohort_dir: Path | None, channel: str | None) -> dict[str, Recording]:
    """Recordings of the rows by name, the wanted channel first; none without a cohort."""
    if cohort_dir is None:
        return {}
    recordings = {}
    for name in dict.fromkeys(row["recording"] for row in rows if row.get("recording")):
        recording = read_recording(cohort_dir / f"{name}.parquet")
        if channel is not None:
            if channel not in recording.channels:
                raise ValueError(f"{name} has no channel {channel!r}; it has: {', '.join(recording.channels)}")
            order = [channel, *(other for other in recording.channels if other != channel)]
            recording = replace(recording, channels={other: recording.channels[other] for other in order})
        recordings[name] = recording
    return recordings


if __name__ == "__main__":
    sys.exit(main())
