"""`tslm stage`: recordings to stages, probabilities, explanations and a report, without preparation or training."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tslm.cli.nights import NightJob, add_night_arguments, find_staged, run_nights

if TYPE_CHECKING:
    from tslm.export.night import NightResult


def stage(arguments: argparse.Namespace) -> str:
    """Stage nights, write a folder for each, and give a summary.

    Raises:
        ValueError, FileNotFoundError, OSError, ImportError: an error in the models, a recording or the call.
    """
    from tslm.staging.models import find_models
    from tslm.staging.night import StagingOptions, match_given_channels
    from tslm.staging.sources import find_nights

    models = find_models(arguments.model, arguments.llm, with_texts=arguments.explain != "none")
    epoch_s = models.classifier.model.epoch_s
    if arguments.epoch_s and arguments.epoch_s != epoch_s:
        raise ValueError(f"--epoch_s {arguments.epoch_s:g}; the model of {models.classifier_dir} reads {epoch_s:g} s")
    options = StagingOptions(
        explain=arguments.explain,
        given=match_given_channels(models, arguments.channel, arguments.extra_channels),
        smoothing=arguments.smoothing,
        whole=arguments.whole,
        species=arguments.species,
    )
    find_nights(arguments.nights)
    if not arguments.list_channels:
        arguments.out.mkdir(parents=True, exist_ok=True)
        if not os.access(arguments.out, os.W_OK):
            raise PermissionError(f"{arguments.out} cannot be written to; choose another --out")
        models.fetch_llm()
    return run_nights(NightJob(arguments, models, options, _write, find_staged))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm stage`."""
    add_night_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("staged"),
        metavar="DIR",
        help="where a folder a night is made; default: staged",
    )
    parser.add_argument(
        "--llm",
        default="",
        metavar="NAME|FOLDER",
        help="language model that explains; default: the one of the package, or of the folder of --model",
    )
    parser.add_argument(
        "--explain",
        default="uncertain",
        metavar="WHICH",
        help="epochs that are explained: uncertain (the least certain fifth, the default), all, none, or numbers from "
        "the start of the file, such as 12,40-60",
    )
    parser.add_argument(
        "--epoch_s", type=float, default=0.0, metavar="S", help="length of an epoch; must be that of the model"
    )
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")


def _write(night: "NightResult", arguments: argparse.Namespace) -> str:
    from tslm.export.table import write_exports

    written = arguments.out / night.file.stem
    write_exports(night, written, arguments.keep_identity)
    return f"{describe_texts(night)}written: {written} (open {written / 'report.html'})"


def describe_texts(night: "NightResult") -> str:
    """A line on the explained epochs; empty where none was asked for."""
    if night.rows is None:
        return ""
    from tslm.predictions.scorings import parse_row_answer

    named = dict(zip(night.label_set.sleep_stages, night.label_set.answers, strict=True))
    differing = sum(parse_row_answer(row) != named.get(night.sleep_stages[row["epoch_idx"]]) for row in night.rows)
    struck = sum(bool(row.get("struck")) for row in night.rows)
    return (
        f"explained {len(night.rows)} epochs: the language model differs from the hypnogram in {differing}, "
        f"{struck} texts have a struck sentence\n"
    )
