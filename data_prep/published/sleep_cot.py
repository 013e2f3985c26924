"""Curriculum stage 4: OpenTSLM's sleep_cot.csv, single epochs of Sleep-EDF with rationales by a language model."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from data_prep.published.rows import Row, UnusableRowError, find_raw_dir, read_csv_rows, write_published
from tslm.data.cohorts.units import convert_to_uv
from tslm.data.prepared.corpora import CorpusSample
from tslm.data.splits.folds import draw_epoch_splits
from tslm.labels import ANSWER_NAMES, LABEL_SETS, SleepStage, parse_sleep_stage
from tslm.signals.filters import resample_polyphase

COT_FILE = "sleep_cot.csv"
EPOCH_S = 30.0
RATES_HZ = (50, 100)  # 1,500 or 3,000 samples an epoch
_COLUMNS = ("time_series", "label", "rationale")
_LABELS = LABEL_SETS["aasm_movement"]
_ROWS_FOR_UNIT = 64
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SleepCotOptions:
    """sleep_cot.csv in `raw_dir`."""

    raw_dir: Path | None = None
    fs_hz: float = 100.0  # epochs of another rate are resampled
    channel: str = "EEG Fpz-Cz"  # the first of Sleep-EDF, used by OpenTSLM; the file does not name it
    unit: str = ""  # uV, mV or V; empty: inferred from the values
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.fs_hz > 0:
            raise ValueError(f"fs_hz={self.fs_hz:g}: expected a rate above 0")


def prepare_sleep_cot(options: SleepCotOptions, out_dir: Path, _workers: int = 1) -> list[Path]:
    """Prepare sleep_cot.csv. It does not name the subjects, so its splits leak and are marked as leaking.

    Raises:
        FileNotFoundError: `raw_dir` does not hold the file.
        ValueError: the file is damaged, its unit cannot be inferred, or no row can be used.
    """
    path = find_raw_dir(options.raw_dir, "raw_dir", f"OpenTSLM's {COT_FILE}") / COT_FILE
    splits = draw_epoch_splits([_read_label(row) for row in read_csv_rows(path, _COLUMNS)], COT_FILE, options.seed)
    uv_per_unit = _find_unit(path, options.unit)
    return write_published(
        "sleep_cot",
        read_csv_rows(path, _COLUMNS),
        lambda row: (splits[row.number - 1], build_sample(row, options.channel, options.fs_hz, uv_per_unit)),
        out_dir,
        how_split="80/10/10 by row, stratified by sleep stage",
        leaky=True,
    )


def build_sample(row: Row, channel: str, fs_hz: float, uv_per_unit: float) -> CorpusSample:
    """An epoch with its rationale. UnusableRowError if the label is missing or the rationale ends in another one."""
    sleep_stage = _parse_label(row)
    answer = ANSWER_NAMES[sleep_stage]
    rationale = row.rationale("rationale", answer, _LABELS.answers)
    values_L, recorded_hz = _read_epoch(row)
    return CorpusSample(
        sample_id=f"sleep_cot:{row.number}",
        question="",
        options=_LABELS.answers,
        series=(resample_polyphase(values_L * np.float32(uv_per_unit), recorded_hz, fs_hz),),
        series_names=(channel,),
        unit="uV",
        rationale=rationale,
        answer=answer,
        fs_hz=fs_hz,
    )


def _parse_label(row: Row) -> SleepStage:
    """The AASM sleep stage of a row; stage 4 of Rechtschaffen & Kales is N3."""
    label = row.text("label")
    sleep_stage = parse_sleep_stage(label)
    if sleep_stage is None or sleep_stage not in _LABELS.sleep_stages:
        raise row.unusable("label", "is not a sleep stage", label[:40])
    return sleep_stage


def _read_label(row: Row) -> SleepStage:
    try:
        return _parse_label(row)
    except UnusableRowError:
        return SleepStage.UNSCORED  # such a row is left out later


def _read_epoch(row: Row) -> tuple[np.ndarray, float]:
    values_L = row.series("time_series")
    recorded_hz = len(values_L) / EPOCH_S
    if recorded_hz not in RATES_HZ:
        lengths = " or ".join(f"{rate_hz * EPOCH_S:,.0f}" for rate_hz in RATES_HZ)
        raise row.unusable("time_series", f"has not {lengths} values", f"{len(values_L):,}")
    return values_L, recorded_hz


def _find_unit(path: Path, unit: str) -> float:
    """Microvolts in one unit of the file, inferred from its first epochs; ValueError if no unit fits."""
    epochs: Sequence[tuple[np.ndarray, float]] = [
        epoch for row in islice(read_csv_rows(path, _COLUMNS), _ROWS_FOR_UNIT) if (epoch := _try_epoch(row))
    ]
    if not epochs:
        return 1.0
    values = np.concatenate([values_L for values_L, _ in epochs])
    try:
        values_uv, phrase = convert_to_uv(values, epochs[0][1], unit)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; give unit=uV, mV or V") from error
    if phrase:
        _logger.warning("sleep_cot: %s", phrase)
    largest = np.abs(values).argmax()
    return float(values_uv[largest] / values[largest]) if values[largest] else 1.0


def _try_epoch(row: Row) -> tuple[np.ndarray, float] | None:
    try:
        return _read_epoch(row)
    except UnusableRowError:
        return None
