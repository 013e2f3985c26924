"""`tslm score`: a recording to a hypnogram with probabilities, by the classifier."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslm.files import write_json
from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, LABEL_SETS, LabelSet, SleepStage
from tslm.metric_names import METRICS
from tslm.table import Cell, Row, Table

if TYPE_CHECKING:
    from tslm.config.schema import RunConfig
    from tslm.data.cohorts.channel_choice import ChannelChoice
    from tslm.data.cohorts.nights import SingleNight
    from tslm.data.readers.raw import SignalFile

_BEST = "results/**/checkpoints/best"
_HOW_TO_TRAIN = (
    "train one (`make demo`, or `accelerate launch curriculum/train.py --config scorer --stages stage0_encoder`) "
    "and run this where its results folder is, or give --checkpoint DIR"
)
_STATISTICS = (
    "time_in_bed_min",
    "total_sleep_min",
    "sleep_efficiency_percent",
    "sleep_onset_latency_min",
    "rem_latency_min",
    "waso_min",
    "num_transitions",
)


def score(arguments: argparse.Namespace) -> str:
    """Score a night, write its hypnogram, and give a summary.

    Raises:
        ValueError, FileNotFoundError: an error in the checkpoint, the recording or the call.
    """
    started_s = time.monotonic()
    is_table = arguments.out.suffix.lower() == ".csv"
    if is_table and arguments.exports:
        raise ValueError(f"--exports writes a folder a night; {arguments.out} is a file: give --out DIR")
    if not arguments.night.is_file():
        raise FileNotFoundError(f"there is no file {arguments.night}")
    checkpoint_dir = arguments.checkpoint or find_checkpoint(Path())
    config = load_classifier_config(checkpoint_dir)
    given = match_given_channels(config, arguments.channel, arguments.extra_channels)
    file = _open_night(arguments)
    if arguments.list_channels:
        return _list_channels(file, config, given)
    choice = _choose_channels(file, config, given)
    night = _read_night(file, choice.channels, config, arguments.whole)

    # These import torch, so they follow the checks of the call.
    from tslm.data.events import has_events, recording_events
    from tslm.export.night import NightResult
    from tslm.export.rows import describe_stages, write_hypnogram
    from tslm.export.statistics import summarise_night
    from tslm.predictions.smoothing import Smoothing, smooth_stages
    from tslm.predictions.stager import open_stager

    smoothing, recording, smoothed_E = Smoothing(arguments.smoothing), night.recording, None
    transitions = smoothing.load_transitions(checkpoint_dir)
    stager = open_stager(checkpoint_dir, arguments.device, config, each_alone=arguments.each_alone)
    probabilities_EK = stager.score(recording)
    if smoothing.method != "none":
        smoothed_E = smooth_stages(probabilities_EK, recording.onset_s, recording.epoch_s, smoothing, transitions)
    label_set = LABEL_SETS[config.model.label_set]
    likely = tuple(label_set.sleep_stages[idx] for idx in probabilities_EK.argmax(axis=1))
    smoothed = likely if smoothed_E is None else tuple(label_set.sleep_stages[idx] for idx in smoothed_E)
    result = NightResult(
        replace(recording, notes=(*choice.notes, *recording.notes)),
        night.span,
        label_set,
        smoothed,
        probabilities_EK,
        arguments.night,
        choice.channels,
        {"classifier": str(checkpoint_dir)},
        unsmoothed=None if smoothed_E is None else likely,
        smoothing=arguments.smoothing,
        warnings=choice.warnings,
        events=recording_events(recording) if arguments.exports and has_events(recording) else None,
    )
    result = result if arguments.keep_identity else result.remove_identity()
    summary = summarise_night(result) | {
        "checkpoint": str(checkpoint_dir),
        "neighbours_seen": not arguments.each_alone,
        "temperature": None if arguments.each_alone else stager.calibration.classifier,
    }
    if arguments.exports:
        from tslm.export.table import write_exports  # it loads matplotlib

        written = arguments.out / arguments.night.stem
        write_exports(result, written, arguments.keep_identity)
    else:
        written = arguments.out if is_table else arguments.out / f"{arguments.night.stem}_hypnogram.csv"
        write_hypnogram(result, written)
        write_json(summary | {"epochs": describe_stages(result)}, written.with_suffix(".json"))
    described = _describe(summary, result.hypnogram, label_set, time.monotonic() - started_s)
    return "\n".join([*described, f"written: {written}"])


def find_checkpoint(folder: Path) -> Path:
    """The newest classifier checkpoint below `folder`/results; FileNotFoundError says how to get one."""
    from tslm.config.schema import MODEL_KINDS

    scorers = {name for name, kind in MODEL_KINDS.items() if kind.role == "scorer"}
    found = [path for path in folder.glob(f"{_BEST}/model.safetensors") if scorers.intersection(path.parts)]
    if not found:
        raise FileNotFoundError(f"there is no checkpoint of a classifier below results/; {_HOW_TO_TRAIN}")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def load_classifier_config(checkpoint_dir: Path) -> "RunConfig":
    """Config of a classifier's checkpoint.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: no classifier, a newer version, or an unknown sampling rate.
    """
    from tslm.config.checkpoint import load_checkpoint_config

    config = load_checkpoint_config(checkpoint_dir)
    if config.model.kind.role != "scorer":
        raise ValueError(f"{checkpoint_dir} holds the model {config.model.name!r}, no classifier; {_HOW_TO_TRAIN}")
    if not config.model.fs_hz or not config.model.epoch_s:
        raise ValueError(f"{checkpoint_dir} does not say at which rate it reads; train it again with this version")
    return config


def match_given_channels(config: "RunConfig", channel: str, extra_channels: Sequence[str] | None) -> dict[str, str]:
    """Map those of the model's channels that the caller names to channels of the file.

    Raises:
        ValueError: another number of extra channels than the model reads.
    """
    given = {config.stage.channel: channel} if channel else {}
    if extra_channels is None:
        return given
    if len(extra_channels) != len(config.stage.extra_channels):
        names = ", ".join(config.stage.extra_channels) or "none"
        raise ValueError(f"{len(extra_channels)} extra channels were given; the model was trained with: {names}")
    return given | dict(zip(config.stage.extra_channels, extra_channels, strict=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tslm score`."""
    parser.add_argument(
        "night", type=Path, metavar="NIGHT.edf", help="EDF, EDF+, BDF, CSV, TSV, .mat, or what MNE reads"
    )
    parser.add_argument(
        "--read",
        nargs="+",
        default=[],
        metavar="key=value",
        help="how to read a CSV or .mat file: fs_hz=100 unit=mV time_column=t",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="of a classifier; default: the newest below results/"
    )
    parser.add_argument(
        "--channel",
        default="",
        metavar="NAME",
        help="channel, or 'C4 - M1'; default: what is closest to the training's",
    )
    parser.add_argument(
        "--extra_channels",
        nargs="*",
        metavar="NAME",
        help="EOG, EMG, in the order of the training; default: chosen, too",
    )
    parser.add_argument(
        "--list_channels", action="store_true", help="list the channels and what each is read as, and score nothing"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR|FILE.csv", help="default: NIGHT_hypnogram.csv in this folder"
    )
    parser.add_argument(
        "--exports",
        action="store_true",
        help="write DIR/NIGHT instead: hypnogram, statistics, events, drawing, BIDS and EDF+ annotations",
    )
    parser.add_argument(
        "--keep_identity", action="store_true", help="write the date and the patient's code; default: 1985-01-01, none"
    )
    parser.add_argument("--whole", action="store_true", help="score the whole recording, where it is longer than 12 h")
    parser.add_argument("--each_alone", action="store_true", help="score each epoch without its neighbours")
    parser.add_argument(
        "--smoothing",
        choices=("none", "median", "hmm", "posterior"),
        default="none",
        help="smooth sleep stages over time: median of 5 epochs, or by the transitions of the training nights",
    )
    parser.add_argument("--device", default="cpu", help="cpu (the default) is fast enough for one night; or cuda")


def _open_night(arguments: argparse.Namespace) -> "SignalFile":
    from tslm.data.cohorts.cohort import parse_signals
    from tslm.data.readers.open import open_signals

    return open_signals(arguments.night, parse_signals(arguments.read))


def _list_channels(file: "SignalFile", config: "RunConfig", given: dict[str, str]) -> str:
    from tslm.data.cohorts.channel_choice import list_channels

    return list_channels(file, config.stage.channels, given).text()


def _choose_channels(file: "SignalFile", config: "RunConfig", given: dict[str, str]) -> "ChannelChoice":
    from tslm.data.cohorts.channel_choice import choose_channels

    choice = choose_channels(file, config.stage.channels, given)
    if choice.missing:
        raise ValueError(choice.complaint)
    return choice


def _read_night(file: "SignalFile", channels: dict[str, str], config: "RunConfig", whole: bool) -> "SingleNight":
    from tslm.data.cohorts.nights import read_single_night

    species = LABEL_SETS[config.model.label_set].species
    return read_single_night(file, channels, config.model.fs_hz, config.model.epoch_s, species, whole)


def _describe(report: dict[str, Any], hypnogram: Hypnogram, label_set: LabelSet, wall_s: float) -> list[str]:
    seen = "each with its neighbours" if report["neighbours_seen"] else "each alone"
    lines = [
        f"{report['file']}: {hypnogram.num_epochs} epochs of {report['epoch_s']:g} s, {seen}, scored in {wall_s:.1f} s",
        f"{', '.join(report['channels'].values())} by {report['checkpoint']}",
        *[f"smoothed by {report['smoothing']}: {report['num_smoothed_epochs']} epochs changed"]
        * (report["smoothing"] != "none"),
        *(f"warning: {warning}" for warning in report["warnings"]),
        *(f"note: {note}" for note in report["notes"]),
        "",
    ]
    statistics = report["statistics"]
    metrics = {key: METRICS[key] for key in _STATISTICS}
    rows: list[Row] = [[each.name, Cell(statistics[key], each.decimals, each.unit)] for key, each in metrics.items()]
    for sleep_stage in label_set.sleep_stages:
        percent = statistics[f"{sleep_stage.value}_percent"]
        whole = "of the night" if sleep_stage in (SleepStage.WAKE, SleepStage.MOVEMENT) else "of sleep"
        share = "" if percent is None else f"{percent:.1f} % {whole}"
        minutes = Cell(statistics[f"{sleep_stage.value}_min"], 1, "min", detail=share)
        rows.append([ANSWER_NAMES[sleep_stage], minutes])
    rows.append(["unsure", f"{report['num_unsure_epochs']} epochs (most likely stage under 50 %)"])
    flagged = ", ".join(f"{kind} {number}" for kind, number in report["artifact_epochs"].items())
    rows.append(["epochs with artefacts", flagged or "none"])
    return [*lines, Table(["", ""], rows).text(), ""]
