"""What `tslm stage` and `tslm score` print of a night: channels, notes, sleep statistics, agreement with an expert."""

from typing import TYPE_CHECKING

from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.metric_names import METRICS
from tslm.table import Cell, Row, Table

if TYPE_CHECKING:
    from tslm.export.night import NightResult
    from tslm.staging.night import StagingOptions

_STATISTICS = (
    "time_in_bed_min",
    "total_sleep_min",
    "sleep_efficiency_percent",
    "sleep_onset_latency_min",
    "rem_latency_min",
    "waso_min",
    "num_transitions",
)


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
