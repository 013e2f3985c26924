"""statistics.json: sleep statistics of a night under the names of this project and of YASA, and what it was made of.

YASA's names and definitions (yasa.Hypnogram.sleep_statistics, version 0.8) are those of Vallat & Walker 2021; latencies
and minutes of single stages have the names of its earlier versions where 0.8 has none.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tslm.export.night import NightResult
from tslm.export.rows import list_artifacts
from tslm.files import DISCLAIMER, to_plain, write_json
from tslm.hypnogram import SLEEP, Hypnogram
from tslm.labels import LabelSet, SleepStage

UNSURE_BELOW = 0.5  # probability of the most likely sleep stage
_PERSISTENT_MIN = 5.0  # of SOL_5min
_DIGITS = 4  # as YASA rounds

YASA_STATISTICS: dict[str, Callable[[Hypnogram], float | None]] = {
    "TIB": lambda night: night.time_in_bed_min,
    "SPT": lambda night: night.sleep_period_min,
    "WASO": lambda night: night.waso_min if night.total_sleep_min else None,
    "TST": lambda night: night.total_sleep_min,
    "SE": lambda night: night.sleep_efficiency_percent,
    "SME": lambda night: night.sleep_maintenance_percent,
    "SFI": lambda night: _measure_fragmentation(night),
    "SOL": lambda night: night.sleep_onset_latency_min,
    "SOL_5min": lambda night: _find_persistent_sleep(night),
}
_YASA_STAGES = {SleepStage.WAKE: "WAKE", SleepStage.REM: "REM"}


def write_statistics(night: NightResult, path: Path) -> None:
    """Write statistics.json."""
    write_json(summarise_night(night), path)


def summarise_night(night: NightResult) -> dict[str, Any]:
    """The night in figures, ready for JSON.

    Returns:
        `statistics` as `Hypnogram.statistics` names them and `yasa` as YASA does; `num_unsure_epochs`, those whose most
        likely stage is under 50 %; `artifact_epochs` by kind, `missing` among them; `num_smoothed_epochs`, those that
        smoothing changed; `expert`, the file of the expert's hypnogram, and `scores` against it
        (`tslm.scoring.systems.score_systems`), both empty where nobody has scored the night; and file, channels, rates,
        start, checkpoints, method of smoothing, warnings and notes.
    """
    recording, num_epochs = night.recording, night.recording.num_epochs
    artifacts = Counter(kind for idx in range(num_epochs) for kind in list_artifacts(night, idx))
    if num_missing := len(night.span) - num_epochs:
        artifacts["missing"] = num_missing
    before = night.sleep_stages if night.unsmoothed is None else night.unsmoothed
    return to_plain(
        {
            "disclaimer": DISCLAIMER,
            "file": night.file.name,
            "channels": night.channels,
            "fs_hz": recording.fs_hz,
            "epoch_s": recording.epoch_s,
            "start": recording.start,
            "checkpoints": night.checkpoints,
            "smoothing": night.smoothing,
            "explain": night.explain,
            "num_explained_epochs": len(night.rows or ()),
            "num_smoothed_epochs": sum(a is not b for a, b in zip(before, night.sleep_stages, strict=True)),
            "warnings": night.warnings,
            "notes": recording.notes,
            "num_unsure_epochs": int((night.probabilities_EK.max(axis=1) < UNSURE_BELOW).sum()),
            "artifact_epochs": artifacts,
            "statistics": night.hypnogram.statistics(night.label_set.sleep_stages),
            "yasa": measure_yasa_statistics(night.hypnogram, night.label_set),
            "expert": night.expert,
            "scores": night.scores,
        }
    )


def measure_yasa_statistics(hypnogram: Hypnogram, label_set: LabelSet) -> dict[str, float | None]:
    """Sleep statistics under YASA's names, to four decimals; None where the night does not define one.

    Minutes, except SE, SME and `%<stage>` (percent of TST) and SFI (awakenings an hour of sleep). Latencies count from
    the start of the hypnogram.
    """
    statistics = {name: measure(hypnogram) for name, measure in YASA_STATISTICS.items()}
    for sleep_stage in label_set.sleep_stages:
        name = _YASA_STAGES.get(sleep_stage, sleep_stage.value)
        if sleep_stage is not SleepStage.MOVEMENT:
            statistics[name] = hypnogram.stage_min(sleep_stage)
        if sleep_stage in SLEEP:
            statistics[f"%{name}"] = hypnogram.stage_percent(sleep_stage)
            statistics[f"Lat_{name}"] = _find_latency(hypnogram, sleep_stage)
    return {name: None if value is None else round(value, _DIGITS) for name, value in statistics.items()}


def _find_latency(hypnogram: Hypnogram, sleep_stage: SleepStage) -> float | None:
    if sleep_stage not in hypnogram.sleep_stages:
        return None
    return hypnogram.sleep_stages.index(sleep_stage) * hypnogram.epoch_s / 60


def _measure_fragmentation(hypnogram: Hypnogram) -> float | None:
    """Steps from sleep to wake per hour of sleep."""
    stages = hypnogram.sleep_stages
    num_awakenings = sum(a in SLEEP and b is SleepStage.WAKE for a, b in zip(stages, stages[1:], strict=False))
    return num_awakenings / (hypnogram.total_sleep_min / 60) if hypnogram.total_sleep_min else None


def _find_persistent_sleep(hypnogram: Hypnogram) -> float | None:
    """Latency to the first five minutes of sleep without a break."""
    start_idx, num_epochs = 0, 0
    for bout in hypnogram.bouts:
        if bout.sleep_stage not in SLEEP:
            num_epochs = 0
            continue
        start_idx = start_idx if num_epochs else bout.start_idx
        num_epochs += bout.num_epochs
        if num_epochs * hypnogram.epoch_s / 60 >= _PERSISTENT_MIN - 1e-9:
            return start_idx * hypnogram.epoch_s / 60
    return None
