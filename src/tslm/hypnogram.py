"""Hypnogram: one sleep stage per scoring epoch, and the statistics that sleep medicine names.

Definitions follow the AASM manual (Berry et al., version 2.6, II "Parameters to be reported") and,
where it leaves a choice, YASA (Vallat & Walker 2021). Time in bed is the whole hypnogram, so cut
it to lights-off .. lights-on first where those are known. Movement and unscored epochs are neither
sleep nor wake: they count in time in bed and in the sleep period only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from tslm.labels import SleepStage

SLEEP = (SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.NREM, SleepStage.REM)
SCORED = (SleepStage.WAKE, *SLEEP)


@dataclass(frozen=True)
class Bout:
    """A run of epochs in one sleep stage."""

    sleep_stage: SleepStage
    start_idx: int
    num_epochs: int


@dataclass(frozen=True)
class Hypnogram:
    """Sleep stages of consecutive epochs.

    Durations and latencies are in minutes; a value that the night does not define (REM latency
    without REM, efficiency of an empty hypnogram) is None.

    Raises:
        ValueError: an epoch length that is not positive, or a sleep stage that is no SleepStage.
    """

    sleep_stages: tuple[SleepStage, ...]
    epoch_s: float = 30
    start: str = ""  # ISO 8601; empty when unknown

    def __post_init__(self) -> None:
        if not self.epoch_s > 0:
            raise ValueError(f"epoch_s is {self.epoch_s}; give a positive number of seconds")
        foreign = next(
            (sleep_stage for sleep_stage in self.sleep_stages if not isinstance(sleep_stage, SleepStage)), None
        )
        if foreign is not None:
            raise ValueError(f"{foreign!r} is no SleepStage; convert codes with SleepStage(code)")

    @property
    def num_epochs(self) -> int:
        """Number of epochs, scored or not."""
        return len(self.sleep_stages)

    @property
    def time_in_bed_min(self) -> float:
        """TIB: the whole hypnogram."""
        return self._minutes(self.num_epochs)

    @property
    def sleep_period_min(self) -> float:
        """SPT: from the first to the last epoch of sleep, wake in between included."""
        return self._minutes(len(self._sleep_period))

    @property
    def total_sleep_min(self) -> float:
        """TST: all epochs of sleep."""
        return self._minutes(self._count(SLEEP))

    @property
    def waso_min(self) -> float:
        """WASO: wake inside the sleep period (YASA). AASM's adds `final_wake_min`."""
        period = self._sleep_period
        return self._minutes(self.sleep_stages[period.start : period.stop].count(SleepStage.WAKE))

    @property
    def final_wake_min(self) -> float:
        """Wake after the last epoch of sleep; 0 where there is no sleep."""
        stop = self._sleep_period.stop
        return self._minutes(self.sleep_stages[stop:].count(SleepStage.WAKE)) if stop else 0.0

    @property
    def sleep_efficiency_percent(self) -> float | None:
        """SE: total sleep time in percent of time in bed."""
        return _percent(self._count(SLEEP), self.num_epochs)

    @property
    def sleep_maintenance_percent(self) -> float | None:
        """Total sleep time in percent of the sleep period."""
        return _percent(self._count(SLEEP), len(self._sleep_period))

    @property
    def sleep_onset_latency_min(self) -> float | None:
        """SOL: from the start of the hypnogram to the first epoch of any sleep stage."""
        return self._minutes(self._sleep_period.start) if self._sleep_period else None

    @property
    def rem_latency_min(self) -> float | None:
        """From sleep onset to the first epoch of REM (AASM; YASA's Lat_REM counts from the start)."""
        if SleepStage.REM not in self.sleep_stages:
            return None
        return self._minutes(self.sleep_stages.index(SleepStage.REM) - self._sleep_period.start)

    @property
    def num_transitions(self) -> int:
        """Changes of sleep stage between neighbouring epochs that are both scored."""
        return sum(a.sleep_stage in SCORED and b.sleep_stage in SCORED for a, b in pairwise(self.bouts))

    @cached_property
    def bouts(self) -> tuple[Bout, ...]:
        """Runs of equal sleep stages in time order; they cover every epoch once."""
        codes = np.array(self.sleep_stages, dtype=str)
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.array([], dtype=int)
        lengths = np.diff(np.r_[starts, len(codes)])
        return tuple(
            Bout(self.sleep_stages[start], start, length)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        )

    def stage_min(self, sleep_stage: SleepStage) -> float:
        """Time in a sleep stage."""
        return self._minutes(self._count((sleep_stage,)))

    def stage_percent(self, sleep_stage: SleepStage) -> float | None:
        """Time in a sleep stage in percent of total sleep time; any other stage in percent of time in bed."""
        whole = self._count(SLEEP) if sleep_stage in SLEEP else self.num_epochs
        return _percent(self._count((sleep_stage,)), whole)

    def list_bouts_min(self, sleep_stage: SleepStage) -> list[float]:
        """Lengths of the bouts of a sleep stage in time order."""
        return [self._minutes(bout.num_epochs) for bout in self.bouts if bout.sleep_stage is sleep_stage]

    def statistics(self, sleep_stages: Iterable[SleepStage] = ()) -> dict[str, float | int | None]:
        """Everything above by name, units in the names.

        Args:
            sleep_stages: sleep stages to give minutes, percent, number and mean length of bouts for; none: those that
                occur.
        """
        result: dict[str, float | int | None] = {
            "time_in_bed_min": self.time_in_bed_min,
            "sleep_period_min": self.sleep_period_min,
            "total_sleep_min": self.total_sleep_min,
            "waso_min": self.waso_min,
            "final_wake_min": self.final_wake_min,
            "sleep_efficiency_percent": self.sleep_efficiency_percent,
            "sleep_maintenance_percent": self.sleep_maintenance_percent,
            "sleep_onset_latency_min": self.sleep_onset_latency_min,
            "rem_latency_min": self.rem_latency_min,
            "num_transitions": self.num_transitions,
        }
        bouts = self.bouts
        for sleep_stage in tuple(sleep_stages) or tuple(code for code in SleepStage if code in self.sleep_stages):
            num_bouts = sum(bout.sleep_stage is sleep_stage for bout in bouts)
            result[f"{sleep_stage.value}_min"] = self.stage_min(sleep_stage)
            result[f"{sleep_stage.value}_percent"] = self.stage_percent(sleep_stage)
            result[f"{sleep_stage.value}_num_bouts"] = num_bouts
            result[f"{sleep_stage.value}_mean_bout_min"] = (
                self.stage_min(sleep_stage) / num_bouts if num_bouts else None
            )
        return result

    @property
    def _sleep_period(self) -> range:
        """Epoch indices from the first to the last epoch of sleep; empty without sleep."""
        asleep = [bout for bout in self.bouts if bout.sleep_stage in SLEEP]
        return range(asleep[0].start_idx, asleep[-1].start_idx + asleep[-1].num_epochs) if asleep else range(0)

    def _count(self, sleep_stages: tuple[SleepStage, ...]) -> int:
        return sum(bout.num_epochs for bout in self.bouts if bout.sleep_stage in sleep_stages)

    def _minutes(self, num_epochs: int) -> float:
        return num_epochs * self.epoch_s / 60


def split_at_gaps(onset_s: np.ndarray, epoch_s: float) -> list[slice]:
    """The stretches of a recording in which each epoch follows the one before it.

    Args:
        onset_s: (num_epochs,) seconds, in time order.
        epoch_s: length of an epoch; a step of more than one and a half is a gap.

    Returns:
        Slices that cover every epoch once; none for no epochs.
    """
    starts = [0, *(np.flatnonzero(np.diff(onset_s) > 1.5 * epoch_s) + 1).tolist()] if len(onset_s) else []
    return [slice(start, stop) for start, stop in pairwise([*starts, len(onset_s)])]


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
