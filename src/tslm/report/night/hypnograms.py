"""Nights of the report: hypnograms of expert and scorers on one time axis, and their sleep statistics."""

from collections.abc import Mapping, Sequence
from html import escape

from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.predictions.nights import EXPERT, Night
from tslm.report.charts import draw_differences, draw_hypnogram, draw_time_axis

MIN_COVERAGE = 0.95  # share of a stretch that must have predictions before sleep statistics mean anything
_STATISTICS = (
    ("time_in_bed_min", "Time in bed (TIB), min", "the whole stretch shown above"),
    ("sleep_period_min", "Sleep period (SPT), min", "first to last epoch of sleep"),
    ("total_sleep_min", "Total sleep time (TST), min", "all epochs of sleep"),
    ("sleep_efficiency_percent", "Sleep efficiency, %", "TST / TIB"),
    ("sleep_onset_latency_min", "Sleep-onset latency, min", "start to first epoch of sleep"),
    ("rem_latency_min", "REM latency, min", "sleep onset to first epoch of REM"),
    ("waso_min", "Wake after sleep onset (WASO), min", "wake inside the sleep period"),
    ("num_transitions", "Stage transitions", "changes between neighbouring epochs"),
)


def render_hypnograms(night: Night, levels: Sequence[SleepStage]) -> str:
    """Hypnograms one above the other, differences from the expert marked."""
    stop_s = night.onset_s + night.expert.time_in_bed_min * 60
    tracks = "".join(_render_track(night, scorer, levels) for scorer in night.hypnograms)
    return (
        f'<figure class="night">{tracks}<div class="track axis-row">{draw_time_axis(night.onset_s, stop_s)}</div>'
        "<figcaption>Hours and minutes since the start of the recording. "
        '<span class="keys"><span class="key differs"></span> differs from the expert</span> '
        '<span class="keys"><span class="key unread"></span> answer could not be read</span></figcaption></figure>'
    )


def render_statistics(night: Night, levels: Sequence[SleepStage]) -> str:
    """Table of sleep statistics; a sentence where too few epochs were scored for any."""
    if (num_fewest := min(night.num_predicted.values())) / night.expert.num_epochs < MIN_COVERAGE:
        return (
            f'<p class="note">Only {num_fewest} of the {night.expert.num_epochs} epochs in this stretch were '
            "scored, so sleep statistics would mislead and are left out.</p>"
        )
    return _render_table(night, levels)


def _render_track(night: Night, scorer: str, levels: Sequence[SleepStage]) -> str:
    hypnogram = night.hypnograms[scorer]
    minutes = ", ".join(f"{stage.value} {hypnogram.stage_min(stage):.0f}" for stage in levels)
    chart = draw_hypnogram(hypnogram, levels, f"Hypnogram of the {scorer.lower()}. Minutes: {minutes}.")
    if scorer == EXPERT:
        return f'<div class="track"><h4>{EXPERT}</h4>{chart}</div>'
    num_same = night.count_same(scorer)
    words = f"same stage as the expert in {num_same} of {night.num_predicted[scorer]} epochs"
    share = f"{100 * num_same / night.num_predicted[scorer]:.1f}&#8239;%"
    strip = draw_differences(night.expert, hypnogram, f"Differences: {scorer.lower()} gives the {words}.")
    return f'<div class="track"><h4>{escape(scorer)} <span>{words} ({share})</span></h4>{chart}{strip}</div>'


def _render_table(night: Night, levels: Sequence[SleepStage]) -> str:
    statistics = {scorer: hypnogram.statistics(levels) for scorer, hypnogram in night.hypnograms.items()}
    rows = [
        f'<th scope="row">{name}<small>{meaning}</small></th>'
        + _render_cells(statistics, key, 0 if key.startswith("num_") else 1)
        for key, name, meaning in _STATISTICS
    ]
    for stage in levels:
        whole = "TIB" if stage in (SleepStage.WAKE, SleepStage.MOVEMENT) else "TST"
        head = f'<th scope="row">{ANSWER_NAMES[stage]}, min<small>and percent of {whole}</small></th>'
        rows.append(head + _render_cells(statistics, f"{stage.value}_min", 1, f"{stage.value}_percent"))
    heads = "".join(f'<th scope="col">{escape(scorer)}</th>' for scorer in statistics)
    return (
        '<div class="scroll"><table class="statistics"><caption>Sleep statistics; in brackets the difference from the '
        "expert. Unread epochs count as neither sleep nor wake.</caption>"
        f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead><tbody>'
        + "".join(f"<tr>{row}</tr>" for row in rows)
        + "</tbody></table></div>"
    )


def _render_cells(
    statistics: Mapping[str, Mapping[str, float | None]], key: str, decimals: int, percent_key: str | None = None
) -> str:
    expert = statistics[EXPERT][key]
    cells = []
    for scorer, values in statistics.items():
        value = values[key]
        text = "–" if value is None else f"{value:.{decimals}f}"
        percent = values[percent_key] if percent_key is not None else None
        if percent is not None:
            text += f" <i>{percent:.0f}&#8239;%</i>"
        if scorer != EXPERT and value is not None and expert is not None:
            text += f" <small>({_signed(value - expert, decimals)})</small>"
        cells.append(f"<td>{text}</td>")
    return "".join(cells)


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−") if round(value, decimals) else "±0"
