"""What balancing the classes by leaving epochs out does to neighbours in time.

REM is a twentieth of a rodent's day. Leaving out Wake and NREM at random until all are as many takes epochs from all
over the day, so that hardly two of them are adjacent, while REM keeps its bouts: a model that sees neighbours can then
tell REM by having any. Leaving out whole bouts keeps the neighbours.

Shape letters: E epochs, K sleep stages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tslm.hypnogram import SCORED, Hypnogram
from tslm.labels import SleepStage
from tslm.table import Cell, Table

METHODS = ("balanced", "bouts")


@dataclass(frozen=True)
class Neighbours:
    """Epochs of a sleep stage in a cohort, and what is kept right after them."""

    sleep_stage: SleepStage
    num_epochs: int
    num_followed: int  # whose next epoch in time is kept, too
    num_same: int  # whose next epoch in time is kept and of the same stage


def choose_subsample(sleep_stages: Sequence[SleepStage], method: str, seed: int, night: int = 0) -> np.ndarray:
    """(E,) bool: epochs kept so that each scored stage has as many as the rarest one.

    `balanced` draws single epochs; `bouts` draws whole bouts, the last of them cut to the number.

    Args:
        sleep_stages: of consecutive epochs.
        method: of METHODS.
        seed: of the draw.
        night: number of the night in its cohort, so that nights draw apart.

    Raises:
        ValueError: an unknown method, or no scored epoch.
    """
    if method not in METHODS:
        raise ValueError(f"subsample={method}; wanted one of: {', '.join(METHODS)}")
    rng = np.random.default_rng((seed, night))
    codes_E = np.array(sleep_stages)
    present = [stage for stage in SCORED if (codes_E == stage).any()]
    if not present:
        raise ValueError("no epoch is scored, so none can be chosen")
    num_each = min(int((codes_E == stage).sum()) for stage in present)
    bouts = Hypnogram(tuple(sleep_stages)).bouts
    kept_E = np.zeros(len(codes_E), dtype=bool)
    for stage in present:
        if method == "balanced":
            drawn = rng.permutation(np.flatnonzero(codes_E == stage))
        else:
            of_stage = [bout for bout in bouts if bout.sleep_stage == stage]
            order = rng.permutation(len(of_stage))
            drawn = np.concatenate([of_stage[idx].start_idx + np.arange(of_stage[idx].num_epochs) for idx in order])
        kept_E[drawn[:num_each]] = True
    return kept_E


def count_neighbours(
    nights: Sequence[Sequence[SleepStage]], kept: Sequence[np.ndarray] | None = None
) -> list[Neighbours]:
    """Neighbours of each scored stage over nights of consecutive epochs, of all epochs or of those `kept`."""
    counts = {stage: [0, 0, 0] for stage in SCORED}
    for night, stages in enumerate(nights):
        kept_E = np.ones(len(stages), dtype=bool) if kept is None else kept[night]
        for idx in np.flatnonzero(kept_E).tolist():
            if (stage := stages[idx]) not in counts:
                continue
            is_followed = idx + 1 < len(stages) and bool(kept_E[idx + 1]) and stages[idx + 1] in counts
            is_same = is_followed and stages[idx + 1] == stage
            added = (1, int(is_followed), int(is_same))
            counts[stage] = [before + more for before, more in zip(counts[stage], added, strict=True)]
    return [Neighbours(stage, *numbers) for stage, numbers in counts.items() if numbers[0]]


def build_neighbour_table(by_method: dict[str, list[Neighbours]]) -> Table:
    """One row a sampling and sleep stage: epochs, and the share whose next epoch is kept, and is of the same stage."""
    rows = [
        [
            Cell(method),
            Cell(each.sleep_stage.value),
            Cell(each.num_epochs),
            Cell(round(each.num_followed / each.num_epochs, 3)),
            Cell(round(each.num_same / each.num_epochs, 3)),
            Cell(each.num_same),
        ]
        for method, neighbours in by_method.items()
        for each in neighbours
    ]
    columns = ("epochs kept", "stage", "epochs", "next one kept", "next one kept, same stage", "such pairs")
    return Table(columns, rows)
