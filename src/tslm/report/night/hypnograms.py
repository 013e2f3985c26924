"""Nights of the report: hypnograms of expert and scorers on one time axis, and their sleep statistics."""

from collections.abc import Mapping, Sequence
from html import escape

from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.metric_names import METRICS, NIGHT_STATISTICS
from tslm.predictions.nights import EXPERT, Night
from tslm.report.charts import draw_differences, draw_hypnogram, draw_time_axis
from tslm.scoring.structure import MIN_COVERAGE
from tslm.table import Cell, Table


def render_hypnograms(night: Night, levels: Sequence[SleepStage]) -> str:
    """Hypnograms one above the other, differences from an expert marked."""
    stop_s = night.onset_s + next(iter(night.hypnograms.values())).time_in_bed_min * 60
    differs = '<span class="keys"><span class="key differs"></span> differs from the expert</span> '
    tracks = "".join(_render_track(night, scorer, levels) for scorer in night.hypnograms)
    return (
        f'<figure class="night">{tracks}<div class="track axis-row">{draw_time_axis(night.onset_s, stop_s)}</div>'
        "<figcaption>Hours and minutes since the start of the recording. "
        f"{differs if night.expert else ''}"
        '<span class="keys"><span class="key unread"></span> answer could not be read</span></figcaption></figure>'
    )


def render_statistics(night: Night, levels: Sequence[SleepStage]) -> str:
    """Table of sleep statistics; a sentence where too few epochs were scored for any."""
    if (num_fewest := min(night.num_predicted.values())) / night.num_epochs < MIN_COVERAGE:
        return (
            f'<p class="note">Only {num_fewest} of the {night.num_epochs} epochs in this stretch were '
            "scored, so sleep statistics would mislead and are left out.</p>"
        )
    return _render_table(night, levels)


def _render_track(night: Night, scorer: str, levels: Sequence[SleepStage]) -> str:
    hypnogram = night.hypnograms[scorer]
    minutes = ", ".join(f"{sleep_stage.value} {hypnogram.stage_min(sleep_stage):.0f}" for sleep_stage in levels)
    chart = draw_hypnogram(hypnogram, levels, f"Hypnogram of the {scorer.lower()}. Minutes: {minutes}.")
    if scorer == EXPERT:
        return f'<div class="track"><h4>{EXPERT}</h4>{chart}</div>'
    num_compared = night.num_compared[scorer]
    if night.expert is None or not num_compared:
        return f'<div class="track"><h4>{escape(scorer)}</h4>{chart}</div>'
    num_same = night.count_same(scorer)
    words = f"same stage as the expert in {num_same} of {num_compared} epochs"
    share = f"{100 * num_same / num_compared:.1f}&#8239;%"
    strip = draw_differences(night.expert, hypnogram, f"Differences: {scorer.lower()} gives the {words}.")
    return f'<div class="track"><h4>{escape(scorer)} <span>{words} ({share})</span></h4>{chart}{strip}</div>'


def _render_table(night: Night, levels: Sequence[SleepStage]) -> str:
    is_compared = min(night.num_compared.values()) / night.num_epochs >= MIN_COVERAGE
    statistics = {
        scorer: hypnogram.statistics(levels)
        for scorer, hypnogram in night.hypnograms.items()
        if scorer != EXPERT or is_compared
    }
    rows: list[list[Cell]] = []
    for key in NIGHT_STATISTICS:
        metric = METRICS[key]
        rows.append([Cell(metric.title, hint=metric.meaning), *_list_cells(statistics, key, metric.decimals)])
    for sleep_stage in levels:
        whole = "TIB" if sleep_stage in (SleepStage.WAKE, SleepStage.MOVEMENT) else "TST"
        head = Cell(f"{ANSWER_NAMES[sleep_stage]}, min", hint=f"and percent of {whole}")
        rows.append([head, *_list_cells(statistics, f"{sleep_stage.value}_min", 1, f"{sleep_stage.value}_percent")])
    difference = "In brackets the difference from the expert. " if is_compared else ""
    note = f"{difference}Unread epochs count as neither sleep nor wake."
    return Table(["Measure", *statistics], rows, "Sleep statistics", [note]).html("statistics")


def _list_cells(
    statistics: Mapping[str, Mapping[str, float | None]], key: str, decimals: int, percent_key: str = ""
) -> list[Cell]:
    """A cell a scorer: the value, its percent of the night or of sleep, and its difference from the expert."""
    expert = statistics.get(EXPERT, {}).get(key)
    cells = []
    for scorer, values in statistics.items():
        value, details = values[key], []
        if (percent := values.get(percent_key)) is not None:
            details.append(f"{percent:.0f} %")
        if scorer != EXPERT and value is not None and expert is not None:
            details.append(f"({_format_difference(value - expert, decimals)})")
        cells.append(Cell(value, decimals, detail=" ".join(details)))
    return cells


def _format_difference(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−") if round(value, decimals) else "±0"
