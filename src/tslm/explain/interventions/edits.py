"""Table of edits of what a model reads of an epoch: its signal, or one fact of its prompt.

Each row names the edit and its effect (`effects.py`). An edit of a fact contradicts the signal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from tslm.data.evidence import MEASURED_COLUMNS
from tslm.data.prepared.recordings import Recording
from tslm.evidence import words
from tslm.evidence.criteria import Facts
from tslm.evidence.measure import RECENT_COLUMN, measure_evidence
from tslm.explain.claims.checks import COLUMNS
from tslm.explain.interventions.effects import (
    ALPHA,
    FEW_SLOW_WAVES,
    HUMAN_STAGES,
    MANY_SLOW_WAVES,
    MORE_SPINDLES,
    NO_SPINDLES,
    OTHER_EPOCH,
    Effect,
)
from tslm.explain.interventions.signal_edits import add_alpha, add_spindles, remove_spindles, scale_slow_waves
from tslm.labels import SleepStage


class Condition(StrEnum):
    """Which part of the prompt follows an edit."""

    ALL = "all"  # signal and line of facts
    SERIES = "series"  # the signal; the line of facts is left out
    FACTS = "facts"  # the line of facts; the signal stays


@dataclass(frozen=True)
class Change:
    """What an edit puts in the place of an epoch; what it does not name stays."""

    facts: Mapping[str, float]  # evidence columns -> measured, or for an edit of a fact stated, value
    channels: Mapping[str, np.ndarray]  # name -> (L,) samples
    sleep_stage: SleepStage | None = None  # of the epoch that was put there; None: the epoch is the same


@dataclass(frozen=True)
class Edit:
    """One row: its name, what it does in words, the change itself, its effect, and the conditions it is made under.

    `change` gives the change of epoch `epoch` of a night whose first channel is the EEG and whose columns are its
    evidence, or None where the night does not allow it.
    """

    name: str
    what: str
    change: Callable[[Recording, int, np.random.Generator], Change | None]
    effect: Effect
    conditions: tuple[Condition, ...] = tuple(Condition)


def read_facts(night: Recording, epoch: int) -> dict[str, float]:
    """The facts of an epoch by its evidence columns, rounded as they may be written down."""
    return words.round_facts({name: float(night.columns[name][epoch]) for name in list_fact_columns(night)})


def apply_facts(facts: Facts, change: Change) -> dict[str, float]:
    """The facts after a change."""
    return {**facts, **words.round_facts(change.facts)}


def list_fact_columns(night: Recording) -> list[str]:
    """The columns of a night that claims are checked by."""
    return [name for name in _READ if name in night.columns]


_READ = tuple(dict.fromkeys([*COLUMNS.values(), "alpha_fraction"]))


def _edit_signal(
    edit: Callable[[np.ndarray, float, np.random.Generator], np.ndarray],
    night: Recording,
    epoch: int,
    rng: np.random.Generator,
) -> Change:
    name, epochs_EL = next(iter(night.channels.items()))
    edited_L = edit(epochs_EL[epoch], night.fs_hz, rng).astype(np.float32)
    evidence = measure_evidence(edited_L[None], night.fs_hz, night.species)
    return Change({column: float(values[0]) for column, values in evidence.items()}, {name: edited_L})


def _replace_epoch(is_same: bool, night: Recording, epoch: int, rng: np.random.Generator) -> Change | None:
    stages = np.array(night.sleep_stages)
    fits_E = np.isin(stages, HUMAN_STAGES) & ((stages == stages[epoch]) == is_same)
    fits_E[epoch] = False
    if not fits_E.any():
        return None
    other = int(rng.choice(np.flatnonzero(fits_E)))
    return Change(
        {name: float(values[other]) for name, values in night.columns.items() if name in _OF_EPOCH},
        {name: epochs_EL[other] for name, epochs_EL in night.channels.items()},
        night.sleep_stages[other],
    )


_OF_EPOCH = set(MEASURED_COLUMNS) - {RECENT_COLUMN}  # what came before an epoch belongs to its place


def _state(facts: Facts, _night: Recording, _epoch: int, _rng: np.random.Generator) -> Change:
    return Change(facts, {})


_ONLY_FACTS = (Condition.FACTS,)

EDITS: tuple[Edit, ...] = (
    Edit(
        "spindles_removed",
        "bursts of 11-16 Hz lowered to the epoch's typical amplitude",
        partial(_edit_signal, lambda values_L, fs_hz, _rng: remove_spindles(values_L, fs_hz)),
        NO_SPINDLES,
    ),
    Edit("spindles_added", "three bursts of 13 Hz", partial(_edit_signal, add_spindles), MORE_SPINDLES),
    Edit(
        "slow_waves_x0.3",
        "0.3-2 Hz scaled by 0.3",
        partial(_edit_signal, lambda values_L, fs_hz, _rng: scale_slow_waves(values_L, fs_hz, 0.3)),
        FEW_SLOW_WAVES,
    ),
    Edit(
        "slow_waves_x3",
        "0.3-2 Hz scaled by 3",
        partial(_edit_signal, lambda values_L, fs_hz, _rng: scale_slow_waves(values_L, fs_hz, 3.0)),
        MANY_SLOW_WAVES,
    ),
    Edit("alpha_added", "9-10 Hz over more than half of the epoch", partial(_edit_signal, add_alpha), ALPHA),
    Edit(
        "epoch_of_same_stage",
        "another epoch of the night, of the same sleep stage",
        partial(_replace_epoch, True),
        OTHER_EPOCH,
    ),
    Edit(
        "epoch_of_other_stage",
        "another epoch of the night, of another sleep stage",
        partial(_replace_epoch, False),
        OTHER_EPOCH,
    ),
    Edit(
        "fact_no_spindles",
        "the line states no spindles",
        partial(_state, {"spindle_count": 0, "spindle_density_per_min": 0.0, "spindle_duration_s": 0.0}),
        NO_SPINDLES,
        _ONLY_FACTS,
    ),
    Edit(
        "fact_five_spindles",
        "the line states five spindles",
        partial(_state, {"spindle_count": 5, "spindle_density_per_min": 10.0, "spindle_duration_s": 0.9}),
        MORE_SPINDLES,
        _ONLY_FACTS,
    ),
    Edit(
        "fact_few_slow_waves",
        "the line states slow waves in 6%",
        partial(_state, {"slow_wave_fraction": 0.06}),
        FEW_SLOW_WAVES,
        _ONLY_FACTS,
    ),
    Edit(
        "fact_many_slow_waves",
        "the line states slow waves in 40%",
        partial(_state, {"slow_wave_fraction": 0.4}),
        MANY_SLOW_WAVES,
        _ONLY_FACTS,
    ),
    Edit(
        "fact_alpha",
        "the line states alpha in 70% of the time",
        partial(_state, {"alpha_fraction": 0.7}),
        ALPHA,
        _ONLY_FACTS,
    ),
)
