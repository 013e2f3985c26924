"""`tslm score`: recordings to hypnograms with probabilities, by the classifier alone."""

import argparse
import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslm.cli.nights import NightJob, add_night_arguments, find_job_expert, find_staged, run_nights
from tslm.files import read_json, write_json

if TYPE_CHECKING:
    from tslm.export.night import NightResult

_LOGGER = logging.getLogger(__name__)


def score(arguments: argparse.Namespace) -> str:
    """Score nights, write their hypnograms, and give a summary.

    Raises:
        ValueError, FileNotFoundError: an error in the checkpoint, a recording or the call.
    """
    from tslm.staging.models import find_models

    if arguments.follow:
        return _follow(arguments)
    from tslm.staging.night import StagingOptions, match_given_channels
    from tslm.staging.sources import find_nights

    has_several = len(find_nights(arguments.nights)) > 1
    if _is_table(arguments.out):
        if arguments.exports:
            raise ValueError(f"--exports writes a folder a night; {arguments.out} is a file: give --out DIR")
        if has_several:
            raise ValueError(f"--out {arguments.out} is one file for several nights; give --out DIR")
    models = find_models(arguments.model, with_texts=False)
    options = StagingOptions(
        explain="none",
        given=match_given_channels(models, arguments.channel, arguments.extra_channels),
        smoothing=arguments.smoothing,
        whole=arguments.whole,
        each_alone=arguments.each_alone,
        with_events=arguments.exports,
        runtime=arguments.runtime,
        species=arguments.species,
        lights=arguments.lights,
    )
    return run_nights(NightJob(arguments, models, options, _write, _find_scored if has_several else None))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm score`."""
    add_night_arguments(parser)
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR|FILE.csv", help="default: NIGHT_hypnogram.csv in this folder"
    )
    parser.add_argument(
        "--exports",
        action="store_true",
        help="write DIR/NIGHT instead: hypnogram, statistics, events, drawing, page, BIDS and EDF+ annotations",
    )
    parser.add_argument("--each_alone", action="store_true", help="score each epoch without its neighbours")
    parser.add_argument(
        "--runtime",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx: --model is what `tslm export --format onnx` wrote; torch is not loaded",
    )
    parser.add_argument(
        "--lights",
        default="",
        metavar="ON-OFF",
        help="when the lights go on and off, such as 07:00-19:00, for a model that reads it (model.inputs=[light])",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="stage a recording that goes on, epoch by epoch, by a causal scorer: a growing EDF file, or lsl:STREAM",
    )
    parser.add_argument(
        "--idle_s", type=float, default=120.0, metavar="S", help="--follow: it is over when nothing comes for so long"
    )
    parser.add_argument("--device", default="cpu", help="cpu (the default) is fast enough for one night; or cuda")


def _write(night: "NightResult", arguments: argparse.Namespace) -> str:
    if arguments.exports:
        from tslm.export.table import write_exports  # it loads matplotlib

        written = arguments.out / night.file.stem
        write_exports(night, written, arguments.keep_identity)
        return f"written: {written}"
    from tslm.export.rows import describe_stages, write_hypnogram
    from tslm.export.statistics import summarise_night

    written = arguments.out if _is_table(arguments.out) else arguments.out / f"{night.file.stem}_hypnogram.csv"
    write_hypnogram(night, written)
    write_json(  # at last: a night that has it is complete
        summarise_night(night)
        | {
            "neighbours_seen": not arguments.each_alone,
            "temperature": night.temperature,
            "asked": _describe_call(arguments),
            "epochs": describe_stages(night),
        },
        written.with_suffix(".json"),
    )
    return f"written: {written}"


def _find_scored(path: Path, job: NightJob) -> str:
    """A line where a night, as its file is now, is scored already by the same model and call; empty where not."""
    from tslm.staging.night import describe_checkpoints

    arguments = job.arguments
    if arguments.exports:
        return find_staged(path, job)
    written = arguments.out / f"{path.stem}_hypnogram.json"
    if not written.is_file() or written.stat().st_mtime < path.stat().st_mtime:
        return ""
    expert = find_job_expert(path, job)
    wanted = {
        "file": path.name,
        "expert": expert.name if expert else "",
        "checkpoints": describe_checkpoints(job.models),
        "asked": _describe_call(arguments),
    }
    found = read_json(written)
    same = all(found.get(name) == value for name, value in wanted.items())
    return f"{path}: already scored in {written}" if same else ""


def _describe_call(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that change a hypnogram, ready for JSON."""
    names = ("read", "channel", "extra_channels", "smoothing", "species", "whole", "each_alone", "runtime")
    return {name: getattr(arguments, name) for name in (*names, "keep_identity")}


def _follow(arguments: argparse.Namespace) -> str:
    """Print and write each epoch of a live recording as it ends."""
    from tslm.export.rows import render_probabilities
    from tslm.labels import LABEL_SETS
    from tslm.staging.live.follow import Follower
    from tslm.staging.live.source import open_live
    from tslm.staging.models import find_models
    from tslm.staging.night import match_given_channels

    refused = {"--exports": arguments.exports, "--smoothing": arguments.smoothing != "none"}
    refused |= {"--each_alone": arguments.each_alone, "--runtime onnx": arguments.runtime != "torch"}
    if len(arguments.nights) > 1 or any(refused.values()):
        wrong = next((name for name, given in refused.items() if given), "several recordings")
        raise ValueError(f"--follow stages one recording as it goes on, without {wrong}; leave it out")
    if arguments.idle_s < 0:
        raise ValueError(f"--idle_s {arguments.idle_s:g}; wanted 0 or more seconds")
    models = find_models(arguments.model, with_texts=False)
    given = match_given_channels(models, arguments.channel, arguments.extra_channels)
    source = open_live(str(arguments.nights[0]), arguments.idle_s)
    follower = Follower(source, models, dict(given))
    label_set = LABEL_SETS[models.classifier.model.label_set]
    path = arguments.out if _is_table(arguments.out) else arguments.out / f"{source.name}_hypnogram.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    for line in (*follower.choice.warnings, *follower.choice.notes):
        _LOGGER.warning("%s", line)
    num_epochs = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = ["epoch_idx", "onset_s", "duration_s", "stage"]
        writer = csv.DictWriter(file, [*columns, *render_probabilities(None, label_set.sleep_stages)])
        writer.writeheader()
        for epoch in follower.stage():
            stage = epoch.sleep_stage.value
            row = {"epoch_idx": epoch.epoch_idx, "onset_s": epoch.onset_s, "duration_s": follower.scorer.epoch_s}
            writer.writerow(row | {"stage": stage} | render_probabilities(epoch.probabilities, label_set.sleep_stages))
            file.flush()
            likely = "" if epoch.probabilities is None else f"  {epoch.probabilities.max():.0%}"
            _LOGGER.warning("%s", f"epoch {epoch.epoch_idx} at {epoch.onset_s:g} s: {stage}{likely}")
            num_epochs += 1
    return f"{num_epochs} epochs\nwritten: {path}"


def _is_table(out: Path) -> bool:
    return out.suffix.lower() == ".csv"
