"""Rows of hypnogram.csv, one an epoch, and of events.csv, one an event."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tslm.export.night import NightResult
from tslm.files import write_text
from tslm.labels import SleepStage
from tslm.table import Table

_EVENT_COLUMNS = ("kind", "epoch_idx", "onset_s", "duration_s")
_DIGITS = 6  # of a probability, as predictions have


def build_hypnogram_rows(night: NightResult) -> list[dict[str, Any]]:
    """One row per epoch of the night's span; an epoch without signal is UNSCORED and has no probabilities.

    Columns: `epoch_idx` from the start of the file, `onset_s` and `duration_s`, `stage`, `stage_unsmoothed` where
    stages were smoothed, `p_<stage>` of each sleep stage, `entropy_bits`, and `artifacts` divided by spaces.
    """
    by_column = {"stage": night.sleep_stages}
    if night.unsmoothed is not None:
        by_column["stage_unsmoothed"] = night.unsmoothed
    scored: dict[int, dict[str, Any]] = {}
    for idx, epoch in enumerate(night.epoch_idx):
        row = {column: of_epoch[idx].value for column, of_epoch in by_column.items()}
        row |= render_probabilities(night.probabilities_EK[idx], night.label_set.sleep_stages)
        scored[epoch] = row | {"artifacts": " ".join(list_artifacts(night, idx))}
    missing = dict.fromkeys(by_column, SleepStage.UNSCORED.value)
    missing |= render_probabilities(None, night.label_set.sleep_stages) | {"artifacts": "missing"}
    epoch_s = night.recording.epoch_s
    return [
        {"epoch_idx": epoch, "onset_s": epoch * epoch_s, "duration_s": epoch_s} | scored.get(epoch, missing)
        for epoch in night.span
    ]


def render_probabilities(
    probability_K: Sequence[float] | np.ndarray | None, sleep_stages: Sequence[SleepStage]
) -> dict[str, str]:
    """Columns `p_<stage>` and `entropy_bits` of an epoch; all empty where its probabilities are None."""
    names = [f"p_{sleep_stage.value}" for sleep_stage in sleep_stages]
    if probability_K is None:
        return dict.fromkeys([*names, "entropy_bits"], "")
    values = np.asarray(probability_K)
    entropy_bits = (values * -np.log2(np.clip(values, 1e-12, 1))).sum()
    columns = {name: f"{value:.4f}" for name, value in zip(names, values, strict=True)}
    return columns | {"entropy_bits": f"{entropy_bits:.3f}"}


def describe_stages(night: NightResult) -> list[dict[str, Any]]:
    """Each epoch of the recording, ready for JSON.

    Returns:
        Of each epoch that has a signal `epoch_idx`, `onset_s`, `duration_s` and `stage` as in hypnogram.csv,
        `probabilities` by stage, and a list of `artifacts`.
    """
    names = [sleep_stage.value for sleep_stage in night.label_set.sleep_stages]
    return [
        {
            "epoch_idx": epoch,
            "onset_s": epoch * night.recording.epoch_s,
            "duration_s": night.recording.epoch_s,
            "stage": night.sleep_stages[idx].value,
            "probabilities": {
                name: round(value, _DIGITS)
                for name, value in zip(names, night.probabilities_EK[idx].tolist(), strict=True)
            },
            "artifacts": list_artifacts(night, idx),
        }
        for idx, epoch in enumerate(night.epoch_idx)
    ]


def list_artifacts(night: NightResult, idx: int) -> list[str]:
    """Kinds of artefacts that are flagged in an epoch of the recording."""
    columns = night.recording.columns.items()
    return [name.removesuffix("_flag") for name, flags in columns if name.endswith("_flag") and flags[idx]]


def write_hypnogram(night: NightResult, path: Path) -> None:
    """Write hypnogram.csv."""
    write_rows(build_hypnogram_rows(night), path)


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of the same columns, one at least, as CSV."""
    write_text(Table(list(rows[0]), [list(row.values()) for row in rows]).csv(), path)


def write_events(night: NightResult, path: Path) -> None:
    """Write events.csv, the rows of `list_event_rows`."""
    write_text(Table(_EVENT_COLUMNS, [list(row.values()) for row in list_event_rows(night)]).csv(), path)


def list_event_rows(night: NightResult) -> list[dict[str, Any]]:
    """Kind, epoch, onset from the start of the file and duration of each detected event; none without events."""
    epoch_s = night.recording.epoch_s
    values = (
        (event.kind.value, epoch, round(epoch * epoch_s + event.onset_s, 2), round(event.duration_s, 2))
        for epoch, events in zip(night.epoch_idx, night.events or (), strict=night.events is not None)
        for event in events
    )
    return [dict(zip(_EVENT_COLUMNS, each, strict=True)) for each in values]
