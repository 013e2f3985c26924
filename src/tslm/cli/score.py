"""`tslm score`: recordings to hypnograms with probabilities, by the classifier alone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tslm.cli.nights import NightJob, add_night_arguments, run_nights
from tslm.files import write_json

if TYPE_CHECKING:
    from tslm.export.night import NightResult


def score(arguments: argparse.Namespace) -> str:
    """Score nights, write their hypnograms, and give a summary.

    Raises:
        ValueError, FileNotFoundError: an error in the checkpoint, a recording or the call.
    """
    from tslm.staging.models import find_models
    from tslm.staging.night import StagingOptions, match_given_channels
    from tslm.staging.sources import find_nights

    if _is_table(arguments.out):
        if arguments.exports:
            raise ValueError(f"--exports writes a folder a night; {arguments.out} is a file: give --out DIR")
        if len(find_nights(arguments.nights)) > 1:
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
    )
    return run_nights(NightJob(arguments, models, options, _write))


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
    write_json(
        summarise_night(night)
        | {
            "neighbours_seen": not arguments.each_alone,
            "temperature": night.temperature,
            "epochs": describe_stages(night),
        },
        written.with_suffix(".json"),
    )
    return f"written: {written}"


def _is_table(out: Path) -> bool:
    return out.suffix.lower() == ".csv"
