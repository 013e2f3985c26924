"""Nights of the report: hypnograms of expert and scorers on one time axis, and their sleep statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from evaluation.report_charts import draw_differences, draw_hypnogram, draw_time_axis, pick_levels
from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.scoring.predictions import PredictionRow, parse_predictions, pick_classifier_answers

EXPERT, LANGUAGE_MODEL, CLASSIFIER = "Expert", "Language model", "Classifier"
DEFAULT_EPOCH_S = 30.0
MIN_COVERAGE = 0.95  # share of a stretch that must have predictions before sleep statistics mean anything
_STAGE_OF_ANSWER = {name: stage for stage, name in ANSWER_NAMES.items()}
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


@dataclass(frozen=True)
class Night:
    """One recording as scored by the expert and by each system, over the same epochs."""

    recording: str
    onset_s: float  # of the first epoch shown
    hypnograms: Mapping[str, Hypnogram]  # by scorer, expert first; unscored where missing or not parsed
    num_predicted: int

    @property
    def expert(self) -> Hypnogram:
        """The expert's scoring."""
        return self.hypnograms[EXPERT]

    def count_same(self, scorer: str) -> int:
        """Epochs in which a scorer gives the expert's stage."""
        pairs = zip(self.expert.sleep_stages, self.hypnograms[scorer].sleep_stages, strict=True)
        return sum(truth is answer for truth, answer in pairs if truth is not SleepStage.UNSCORED)


def build_nights(rows: Sequence[PredictionRow]) -> list[Night]:
    """One night a recording, in the order of the rows; none when the task is not sleep staging.

    Raises:
        ValueError: two rows name the same epoch of a recording.
    """
    staged = [row for row in rows if "epoch_idx" in row and is_staging([row])]
    recordings = dict.fromkeys(row.get("recording", "") for row in staged)
    return [_build_night(name, [row for row in staged if row.get("recording", "") == name]) for name in recordings]


def is_staging(rows: Sequence[PredictionRow]) -> bool:
    """Whether every answer that the rows allow is a sleep stage."""
    return all(row["options"] and all(option in _STAGE_OF_ANSWER for option in row["options"]) for row in rows)


def find_epoch_s(rows: Sequence[PredictionRow]) -> float:
    """Length of the scoring epoch from onsets and indices of one recording; 30 s where they do not tell."""
    timed = [
        (row["epoch_idx"], row["onset_s"], row.get("recording"))
        for row in rows
        if {"epoch_idx", "onset_s"} <= row.keys()
    ]
    for (idx_a, onset_a, recording_a), (idx_b, onset_b, recording_b) in zip(timed, timed[1:], strict=False):
        if recording_a == recording_b and idx_b > idx_a and onset_b > onset_a:
            return float((onset_b - onset_a) / (idx_b - idx_a))
    return DEFAULT_EPOCH_S


def render_night(night: Night, levels: Sequence[SleepStage]) -> str:
    """Hypnograms one above the other, differences marked, then the table of sleep statistics."""
    stop_s = night.onset_s + night.expert.time_in_bed_min * 60
    tracks = "".join(_render_track(night, scorer, levels) for scorer in night.hypnograms)
    covered = night.num_predicted / night.expert.num_epochs
    if covered < MIN_COVERAGE:
        statistics = (
            f'<p class="note">Only {night.num_predicted} of the {night.expert.num_epochs} epochs in this stretch were '
            "scored, so sleep statistics would mislead and are left out.</p>"
        )
    else:
        statistics = _render_statistics(night, levels)
    return (
        f'<figure class="night">{tracks}<div class="track axis-row">{draw_time_axis(night.onset_s, stop_s)}</div>'
        "<figcaption>Hours and minutes since the start of the recording. "
        '<span class="keys"><span class="key differs"></span> differs from the expert</span> '
        '<span class="keys"><span class="key unread"></span> answer could not be read</span></figcaption></figure>'
        f"{statistics}"
    )


def shown_levels(rows: Sequence[PredictionRow]) -> list[SleepStage]:
    """Levels of the hypnograms: the stages that the task allows."""
    return pick_levels([_STAGE_OF_ANSWER[option] for option in rows[0]["options"]])


def _build_night(recording: str, rows: Sequence[PredictionRow]) -> Night:
    rows = sorted(rows, key=lambda row: row["epoch_idx"])
    idx = np.array([row["epoch_idx"] for row in rows])
    repeated = np.flatnonzero(np.diff(idx) == 0)
    if len(repeated):
        raise ValueError(f"epoch {idx[repeated[0]]} of recording {recording!r} stands in two rows; keep one of them")
    epoch_s = find_epoch_s(rows)
    answers: dict[str, Sequence[str | None]] = {
        EXPERT: [row["truth"] for row in rows],
        LANGUAGE_MODEL: parse_predictions(rows),
    }
    classifier_answers = pick_classifier_answers(rows)
    if classifier_answers is not None:
        answers[CLASSIFIER] = classifier_answers
    hypnograms = {}
    for scorer, names in answers.items():
        stages = [SleepStage.UNSCORED] * int(idx[-1] - idx[0] + 1)
        for position, name in zip(idx - idx[0], names, strict=True):
            stages[position] = _STAGE_OF_ANSWER[name] if name is not None else SleepStage.UNSCORED
        hypnograms[scorer] = Hypnogram(tuple(stages), epoch_s)
    return Night(recording, rows[0].get("onset_s", float(idx[0]) * epoch_s), hypnograms, len(rows))


def _render_track(night: Night, scorer: str, levels: Sequence[SleepStage]) -> str:
    hypnogram = night.hypnograms[scorer]
    minutes = ", ".join(f"{stage.value} {hypnogram.stage_min(stage):.0f}" for stage in levels)
    chart = draw_hypnogram(hypnogram, levels, f"Hypnogram of the {scorer.lower()}. Minutes: {minutes}.")
    if scorer == EXPERT:
        return f'<div class="track"><h4>{EXPERT}</h4>{chart}</div>'
    num_same = night.count_same(scorer)
    words = f"same stage as the expert in {num_same} of {night.num_predicted} epochs"
    share = f"{100 * num_same / night.num_predicted:.1f}&#8239;%"
    strip = draw_differences(night.expert, hypnogram, f"Differences: {scorer.lower()} gives the {words}.")
    return f'<div class="track"><h4>{escape(scorer)} <span>{words} ({share})</span></h4>{chart}{strip}</div>'


def _render_statistics(night: Night, levels: Sequence[SleepStage]) -> str:
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
    heads = "".join(f'<th scope="col">{scorer}</th>' for scorer in statistics)
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
