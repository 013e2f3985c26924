"""What `tslm stage` and `tslm score` share: arguments, and one or many nights, on one or several processes."""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tslm.labels import ANSWER_NAMES, LABEL_SETS, SleepStage
from tslm.metric_names import METRICS
from tslm.table import Cell, Row, Table

if TYPE_CHECKING:
    from tslm.data.cohorts.cohort import CohortConfig
    from tslm.export.night import NightResult
    from tslm.staging.models import StagingModels
    from tslm.staging.night import NightStager, StagingOptions

_LOGGER = logging.getLogger(__name__)
_STATISTICS = (
    "time_in_bed_min",
    "total_sleep_min",
    "sleep_efficiency_percent",
    "sleep_onset_latency_min",
    "rem_latency_min",
    "waso_min",
    "num_transitions",
)


def add_night_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of both commands."""
    parser.add_argument(
        "nights",
        type=Path,
        nargs="+",
        metavar="NIGHT",
        help="EDF, EDF+, BDF, CSV, TSV, .mat, what MNE reads, or a folder of them",
    )
    parser.add_argument(
        "--read",
        nargs="+",
        default=[],
        metavar="key=value",
        help="how to read a CSV or .mat file: fs_hz=100 unit=mV time_column=t; or the expert's hypnogram: "
        "hypnogram.digits=rk labels.S2=N2",
    )
    parser.add_argument(
        "--expert",
        type=Path,
        metavar="FILE|FOLDER",
        help="an expert's hypnogram to score the stages against, or a folder that holds those of several nights; none "
        "is looked for otherwise",
    )
    parser.add_argument(
        "--model",
        "--checkpoint",
        dest="model",
        metavar="NAME|FOLDER",
        help="scorer of the package (`tslm models`), checkpoint of a classifier, or a folder of results whose newest "
        "models are taken; default: human",
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
        "--list_channels", action="store_true", help="list the channels and what each is read as, and stage nothing"
    )
    parser.add_argument(
        "--smoothing",
        choices=("none", "median", "hmm", "posterior"),
        default="none",
        help="smooth sleep stages over time: median of 5 epochs, or by the transitions of the training nights",
    )
    parser.add_argument(
        "--species", default="", metavar="NAME", help="human, mouse or rat; default: taken for that of the model"
    )
    parser.add_argument("--whole", action="store_true", help="stage the whole recording, where it is longer than 12 h")
    parser.add_argument(
        "--keep_identity", action="store_true", help="write the date and the patient's code; default: 1985-01-01, none"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="nights at a time, a process each")


@dataclass(frozen=True)
class NightJob:
    """What is done with the nights of a call.

    Attributes:
        arguments: of the command line.
        models: the checkpoints.
        options: what is done with each night.
        write: writes a staged night and returns the lines to print.
        find_staged: gives a line on a night that is staged already, or an empty one; None: every night is staged.
    """

    arguments: argparse.Namespace
    models: "StagingModels"
    options: "StagingOptions"
    write: Callable[["NightResult", argparse.Namespace], str]
    find_staged: "Callable[[Path, NightJob], str] | None" = None


def run_nights(job: NightJob) -> str:
    """Stage the nights of a call and write each as soon as it is done; returns the text to print.

    Of several nights, one that fails is reported and the others go on.

    Raises:
        ValueError, FileNotFoundError, OSError, ImportError: of a single night; of several, ValueError at the end that
            says how many failed.
    """
    from tslm.staging.sources import find_nights

    paths = find_nights(job.arguments.nights)
    if job.arguments.workers < 1:
        raise ValueError(f"--workers {job.arguments.workers}; wanted 1 or more")
    _check_experts(paths, job)
    if job.arguments.list_channels:
        return "\n\n".join(_list_channels(path, job) for path in paths)
    if job.arguments.device not in ("", "cpu"):  # once, not for each night
        from tslm.predictions.stager import choose_device

        choose_device(job.arguments.device)
    return _stage_night(paths[0], job) if len(paths) == 1 else _stage_many(paths, job)


def _check_experts(paths: list[Path], job: NightJob) -> None:
    """Raise an error where an expert's hypnogram was asked for, but is of no night, or one file stands for several."""
    expert = job.arguments.expert
    if expert is None:
        return
    if len(paths) > 1 and not expert.is_dir():
        raise ValueError(f"--expert {expert} is one file for {len(paths)} nights; give a folder of hypnograms")
    if not any(find_job_expert(path, job) for path in paths):
        raise ValueError(
            f"{expert} holds no hypnogram of {paths[0].name}; name the file, or how the files are called: "
            "--read hypnogram.files='{stem}_scored.csv'"
        )


def _stage_many(paths: list[Path], job: NightJob) -> str:
    from joblib import Parallel, delayed

    from tslm.progress_bar import progress_bar

    done = Parallel(n_jobs=job.arguments.workers, return_as="generator")(
        delayed(_try_night)(path, job) for path in paths
    )
    failed = 0
    for path, (text, error) in progress_bar(zip(paths, done, strict=True), total=len(paths), unit="night"):
        failed += bool(error)
        _LOGGER.warning("%s", f"{path}: error: {error}" if error else text)
    if failed:
        raise ValueError(f"{failed} of {len(paths)} nights failed, each with its error above")
    return f"{len(paths)} nights"


def _try_night(path: Path, job: NightJob) -> tuple[str, str]:
    """The lines of a night, or the error in one line."""
    try:
        return _stage_night(path, job), ""
    except (ValueError, OSError, ImportError) as error:
        return "", " ".join(str(error).split())


def _stage_night(path: Path, job: NightJob) -> str:
    if job.find_staged is not None and (line := job.find_staged(path, job)):
        return line
    started_s = time.monotonic()
    file = _open(path, job)
    expert_path = find_job_expert(path, job)
    expert = None
    if expert_path is not None:
        from tslm.data.cohorts.experts import read_expert

        expert = read_expert(file, expert_path, _parse_reading(job))
    stager = _load_stager(job.models.classifier_dir, job.models.writer_dir, job.options, job.arguments.device)
    night = stager.stage(file, show_progress=True)
    if expert is not None:
        night = night.add_expert(expert)
    elif job.arguments.expert is not None:
        night = night.warn(f"no hypnogram of this night below {job.arguments.expert}: it is not scored")
    night = night if job.arguments.keep_identity else night.remove_identity()
    wall_s = time.monotonic() - started_s
    return "\n".join([*describe_night(night, job.options, wall_s), job.write(night, job.arguments)])


@lru_cache(maxsize=1)
def _load_stager(
    classifier_dir: Path, writer_dir: Path | None, options: "StagingOptions", device: str
) -> "NightStager":
    """The stager of this process, which keeps its models from night to night."""
    from tslm.staging.models import load_models
    from tslm.staging.night import NightStager

    return NightStager(load_models(classifier_dir, writer_dir), options, device)


def find_job_expert(path: Path, job: NightJob) -> Path | None:
    """The expert's hypnogram of a night; None where none was asked for, or the folder holds none."""
    if job.arguments.expert is None:
        return None
    from tslm.data.cohorts.experts import find_expert

    return find_expert(path, job.arguments.expert, _parse_reading(job))


def _parse_reading(job: NightJob) -> "CohortConfig":
    from tslm.data.cohorts.cohort import parse_reading

    model = job.models.classifier.model
    return replace(
        parse_reading(job.arguments.read), epoch_s=model.epoch_s, species=LABEL_SETS[model.label_set].species
    )


def _open(path: Path, job: NightJob) -> Any:
    from tslm.data.readers.open import open_signals

    return open_signals(path, _parse_reading(job).signals)


def _list_channels(path: Path, job: NightJob) -> str:
    from tslm.data.cohorts.channel_choice import list_channels

    return f"{path}\n{list_channels(_open(path, job), job.models.channels, dict(job.options.given)).text()}"


def describe_night(night: "NightResult", options: "StagingOptions", wall_s: float) -> list[str]:
    """Lines about a staged night: channels, notes, and sleep statistics as a table."""
    from tslm.export.statistics import summarise_night

    summary, hypnogram, label_set = summarise_night(night), night.hypnogram, night.label_set
    seen = "each alone" if options.each_alone else "each with its neighbours"
    checkpoints = "; ".join(f"{system.replace('_', ' ')} {folder}" for system, folder in night.checkpoints.items())
    lines = [
        f"{night.file.name}: {hypnogram.num_epochs} epochs of {summary['epoch_s']:g} s, {seen}, "
        f"staged in {wall_s:.1f} s",
        f"{', '.join(night.channels.values())} by {checkpoints}",
        *[f"smoothed by {night.smoothing}: {summary['num_smoothed_epochs']} epochs changed"]
        * (night.smoothing != "none"),
        *(f"warning: {warning}" for warning in night.warnings),
        *(f"note: {note}" for note in night.recording.notes),
        "",
    ]
    statistics = summary["statistics"]
    metrics = {key: METRICS[key] for key in _STATISTICS}
    rows: list[Row] = [[each.name, Cell(statistics[key], each.decimals, each.unit)] for key, each in metrics.items()]
    for sleep_stage in label_set.sleep_stages:
        percent = statistics[f"{sleep_stage.value}_percent"]
        whole = "of the night" if sleep_stage in (SleepStage.WAKE, SleepStage.MOVEMENT) else "of sleep"
        share = "" if percent is None else f"{percent:.1f} % {whole}"
        minutes = Cell(statistics[f"{sleep_stage.value}_min"], 1, "min", detail=share)
        rows.append([ANSWER_NAMES[sleep_stage], minutes])
    rows.append(["unsure", f"{summary['num_unsure_epochs']} epochs (most likely stage under 50 %)"])
    flagged = ", ".join(f"{kind} {number}" for kind, number in summary["artifact_epochs"].items())
    rows.append(["epochs with artefacts", flagged or "none"])
    return [*lines, Table(["", ""], rows).text(), "", *_describe_scores(night)]


def _describe_scores(night: "NightResult") -> list[str]:
    """Tables of agreement with the expert, and of what is taken for what; none where nobody has scored the night."""
    if not night.expert:
        return []
    from tslm.predictions.nights import short_label
    from tslm.predictions.scorings import render_system
    from tslm.scoring.display import list_confusion_rows, list_score_rows
    from tslm.scoring.intervals import render_unit

    systems = night.scores["systems"]
    systems = {render_system(name): values for name, values in systems.items() if "accuracy" in values}
    first, main = next(iter(systems.items()))
    numbers = ", ".join(f"{name.lower()}: {values['num_samples']} epochs" for name, values in systems.items())
    notes = [numbers, *([f"[ ]: {render_unit(main['intervals'])}"] if main.get("intervals") else [])]
    notes += [f"not in the reference, so not in macro-F1: {', '.join(main['absent_labels'])}"] * bool(
        main["num_absent"]
    )
    scores = Table(["", *systems], list_score_rows(list(systems.values())), f"Against {night.expert}", notes)
    heads = ["", *(short_label(label) for label in main["labels"]), "unread"]
    confusion = Table(heads, list_confusion_rows(main), f"Rows: expert, columns: {first.lower()}")
    return [scores.text(), "", confusion.text(), ""]
