"""Write the report of one run as HTML pages that need no network; several nights have an overview and a page each.

Example:
    python -m evaluation.report results/tiny/soft_prompt/stage4_sleep_cot --data prepared/sim_human
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from evaluation.score import render_table
from tslm.command import run_command
from tslm.config.files import CONFIG_FILE, load_config
from tslm.data.prepared.recordings import Recording, read_recording
from tslm.explain.interventions.outcomes import INTERVENTIONS_FILE
from tslm.files import read_json
from tslm.predictions.scorings import Scoring, collect_samples, join_scorings, read_scorings, select_recording
from tslm.progress_bar import progress_bar
from tslm.report.events import collect_events
from tslm.report.examples import Excerpt, choose_examples
from tslm.report.page import plan_night_pages, write_report
from tslm.report.sections import list_writers
from tslm.scoring.systems import score_systems
from tslm.training.runs.folder import BEST, CHECKPOINTS_DIR, LAST, find_predictions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 the page could not be written, 2 a mistake in the call or the files."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: _report(arguments))


def _report(arguments: argparse.Namespace) -> str:
    """Write the report and return the table to print."""
    predictions = find_predictions(arguments.run)
    scorings = read_scorings(predictions)
    if arguments.classifier:
        scorings = join_scorings(scorings, read_scorings(find_predictions(arguments.classifier)))
    facts = _collect_facts(predictions, arguments.fact)
    metrics = score_systems(scorings)
    names = list(dict.fromkeys(sample.get("recording", "") for sample in collect_samples(scorings)))
    signals = _Signals(arguments.data, arguments.channel)
    if sources := signals.find_sources(names):
        facts = {"Data source": "; ".join(sources)} | facts
    out = arguments.out or predictions.with_name("report.html")
    nights = {} if arguments.overview_only else plan_night_pages(scorings, out)
    links = {name: quote(path.relative_to(out.parent).as_posix()) for name, path in nights.items()}
    waveforms: dict[str, Excerpt] = {}
    for writer in list_writers(scorings) if len(names) > 1 else []:
        waveforms |= signals.read_epochs(choose_examples(writer))
    interventions = read_json(predictions.with_name(INTERVENTIONS_FILE))
    write_report(scorings, metrics, out, arguments.title, facts, waveforms, signals, links, interventions)
    for name, path in progress_bar(nights.items(), unit="night", disable=not nights):
        of_night = select_recording(scorings, name)
        title = f"{arguments.title}: {name}" if arguments.title else f"The night {name}"
        write_report(of_night, score_systems(of_night), path, title, facts, None, signals)
    return f"{render_table(metrics)}\n\nreport: {out}"


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.report`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.report",
        description="Write a report of one run as an HTML page that needs no network; of several nights a page each.",
        epilog="example: python -m evaluation.report results/tiny/soft_prompt/stage4_sleep_cot --data prepared/night",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR_OR_FILE.jsonl", help="run folder, or its predictions")
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="RUN_DIR_OR_FILE.jsonl",
        help="predictions of a classifier (or several systems) of the same epochs",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: report.html beside the predictions")
    parser.add_argument("--data", type=Path, metavar="DIR", help="prepared cohort, to show its signals")
    parser.add_argument("--channel", metavar="NAME", help="channel to draw; default: the first of the recording")
    parser.add_argument("--overview_only", action="store_true", help="leave out the page of each night")
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument(
        "--fact", action="append", default=[], metavar="NAME=TEXT", help="line in the footer of the page; repeatable"
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
    for checkpoint in (run_dir / CHECKPOINTS_DIR / BEST, run_dir / CHECKPOINTS_DIR / LAST):
        if checkpoint.is_dir():
            facts.setdefault("Checkpoint", str(checkpoint))
    return facts | {"Predictions": str(predictions), "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}


class _Signals:
    """Recordings of a prepared cohort, read on demand; None without a cohort or a recording's name."""

    def __init__(self, cohort_dir: Path | None, channel: str | None) -> None:
        """Read recordings of `cohort_dir`, with `channel` first if it is given."""
        self._cohort_dir, self._channel = cohort_dir, channel

    def __call__(self, name: str) -> Recording | None:
        """One recording."""
        if self._cohort_dir is None or not name:
            return None
        recording = read_recording(self._cohort_dir / f"{name}.parquet")
        if self._channel is None:
            return recording
        if self._channel not in recording.channels:
            raise ValueError(f"{name} has no channel {self._channel!r}; it has: {', '.join(recording.channels)}")
        order = [self._channel, *(other for other in recording.channels if other != self._channel)]
        return replace(recording, channels={other: recording.channels[other] for other in order})

    def find_sources(self, names: Sequence[str]) -> list[str]:
        """Sources of the recordings."""
        if self._cohort_dir is None:
            return []
        sources = [read_recording(self._cohort_dir / f"{name}.parquet", []).source for name in names if name]
        return list(filter(None, dict.fromkeys(sources)))

    def read_epochs(self, scoring: Scoring) -> dict[str, Excerpt]:
        """Read the first channel's signal of some rows by sample_id, with the waveforms found in it."""
        excerpts: dict[str, Excerpt] = {}
        for name in dict.fromkeys(row.get("recording", "") for row in scoring.rows):
            recording = self(name)
            if recording is None:
                continue
            epochs_EL = next(iter(recording.channels.values()))
            own = (row for row in scoring.rows if row.get("recording") == name)
            rows = [row for row in own if row.get("epoch_idx", len(epochs_EL)) < len(epochs_EL)]
            for row, events in zip(rows, collect_events(rows, recording), strict=True):
                excerpts[row["sample_id"]] = Excerpt(epochs_EL[row["epoch_idx"]], events or ())
        return excerpts


if __name__ == "__main__":
    sys.exit(main())
