"""Structure of predicted hypnograms against the expert's: bouts, transitions, edit distances, quantities of nights.

Epoch-wise agreement does not see whether a night looks like sleep. All of this is measured on the epochs that both
have, in order of time: nothing reaches over a gap in a recording, which epochs without a row are too. An answer that
did not parse is an unscored epoch: it ends a bout, no transition leads into it or out of it, it is neither sleep nor
wake, and to the edit distance it differs from every stage.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage
from tslm.predictions.nights import STAGE_OF_ANSWER, check_span, find_epoch_s, is_staging
from tslm.predictions.scorings import Scoring
from tslm.predictions.transitions import IMPOSSIBLE_STEPS, count_steps
from tslm.scoring.bland_altman import MIN_NIGHTS, score_agreement

_GAP = SleepStage.UNSCORED
MIN_COVERAGE = 0.95  # share of a stretch that must have predictions before sleep statistics mean anything
_SYMBOLS = {sleep_stage: chr(ord("A") + idx) for idx, sleep_stage in enumerate(SleepStage)}
_MIN_FOLLOWING = 0.5  # of a recording's epochs that follow on the one before; samples from a night have no structure
_STATISTICS = (
    "total_sleep_min",
    "sleep_efficiency_percent",
    "waso_min",
    "sleep_onset_latency_min",
    "rem_latency_min",
    "num_transitions",
)


@dataclass(frozen=True)
class NightPair:
    """One recording as the expert and as a system scored it, over the same epochs.

    Raises:
        ValueError: hypnograms of different lengths.
    """

    recording: str
    expert: Hypnogram  # unscored where there is a gap, or no row
    predicted: Hypnogram  # also where an answer did not parse

    def __post_init__(self) -> None:
        if self.expert.num_epochs != self.predicted.num_epochs or self.expert.epoch_s != self.predicted.epoch_s:
            raise ValueError(f"{self.recording}: both hypnograms must have the same number and length of epochs")

    @cached_property
    def stretches(self) -> list[tuple[str, str]]:
        """(expert, predicted) epochs between gaps, a letter an epoch; letters are those of `_SYMBOLS`."""
        expert, predicted = (
            "".join(_SYMBOLS[bout.sleep_stage] * bout.num_epochs for bout in night.bouts)
            for night in (self.expert, self.predicted)
        )
        runs = [run.span() for run in re.finditer(f"[^{_SYMBOLS[_GAP]}]+", expert)]
        return [(expert[start:stop], predicted[start:stop]) for start, stop in runs]


def score_structure(pairs: Sequence[NightPair], sleep_stages: Sequence[SleepStage]) -> dict[str, Any]:
    """Score the structure of predicted nights, per recording and over all, as plain values for JSON.

    Args:
        pairs: one a recording.
        sleep_stages: that the task allows, in the order of the label set.

    Returns:
        Over all recordings and, in `per_recording`, of each:
        `edit_distance_epochs`: Levenshtein distance of the stretches between gaps, epoch by epoch (insert, delete,
        substitute: 1 each), in shares of their length; `edit_distance_bouts`: the same of the sequences of bouts,
        whatever the bouts' lengths, in shares of the longer sequence.
        `impossible_transitions`: steps of `IMPOSSIBLE_STEPS` among all changes of stage, of both.
        `transition_distance`: total-variation distance of the rows of both transition matrices, staying included, as
        a mean weighted by how often the expert leaves each row's stage; 0 alike, 1 apart, and 1 for a row that is
        never predicted.
        `median_bout_min`: by stage, of both, and predicted less expert.
        `quantities` of nights (tslm.hypnogram): of each recording both values and predicted less expert; over all
        recordings their agreement (`score_agreement`). None where a night does not define one.
    """
    group = "rodent" if SleepStage.NREM in sleep_stages else "human"
    num_unparsed = {pair.recording: _count_unparsed(pair) for pair in pairs}
    per_recording = {
        pair.recording: {
            "num_epochs": _count_rows(pair),
            "num_unparsed": num_unparsed[pair.recording],
            **_score_pairs([pair], sleep_stages, group),
            "quantities": _compare_quantities(pair, sleep_stages),
        }
        for pair in pairs
    }
    result: dict[str, Any] = {
        "species": group,
        "num_recordings": len(pairs),
        "num_epochs": sum(_count_rows(pair) for pair in pairs),
        "num_unparsed": sum(num_unparsed.values()),
    }
    if len(pairs) < MIN_NIGHTS:
        result["note"] = f"no limits of agreement, which need {MIN_NIGHTS} recordings or more"
    result |= _score_pairs(pairs, sleep_stages, group)
    result["quantities"] = {
        name: score_agreement(
            [per_recording[pair.recording]["quantities"][name]["expert"] for pair in pairs],
            [per_recording[pair.recording]["quantities"][name]["predicted"] for pair in pairs],
        )
        for name in list_quantities(sleep_stages)
    }
    return result | {"per_recording": per_recording}


def score_own_structure(scoring: Scoring) -> dict[str, Any] | None:
    """`score_structure` of one system's answers; None where its rows are no epochs of nights.

    Recordings of which fewer than half of the epochs follow on one another, as where single epochs were sampled, have
    no structure: they are named in `left_out`.

    Args:
        scoring: rows with `recording`, `epoch_idx` and, where known, `onset_s`; sharing their options.

    Raises:
        ValueError: two rows are the same epoch of a recording.
    """
    rows = scoring.rows
    if not rows or any("epoch_idx" not in row for row in rows) or not is_staging(rows):
        return None
    by_recording: dict[str, list[int]] = {}
    for idx, row in enumerate(rows):
        by_recording.setdefault(row.get("recording", ""), []).append(idx)
    pairs, left_out = [], {}
    for recording, positions in by_recording.items():
        pair = build_night_pair(scoring.select(positions))
        num_following = sum(len(expert) - 1 for expert, _ in pair.stretches)
        if num_following < _MIN_FOLLOWING * len(positions):
            left_out[recording] = f"{num_following} of {len(positions)} epochs follow on the one before"
        else:
            pairs.append(pair)
    sleep_stages = [STAGE_OF_ANSWER[option] for option in rows[0]["options"]]
    return score_structure(pairs, sleep_stages) | {"left_out": left_out}


def build_night_pair(scoring: Scoring) -> NightPair:
    """Build the two hypnograms of one recording from its rows; epochs without a row, or a reference, are unscored.

    The place of a row is its onset, or its index where rows tell no onsets.

    Raises:
        ValueError: two rows are the same epoch.
    """
    scoring = scoring.select(sorted(range(len(scoring.rows)), key=lambda idx: scoring.rows[idx]["epoch_idx"]))
    rows = scoring.rows
    recording, idx_E = rows[0].get("recording", ""), np.array([row["epoch_idx"] for row in rows])
    epoch_s, place_E = find_epoch_s(rows), idx_E - idx_E[0]
    check_span(place_E[-1], recording)
    if len(idx_E) > 1 and not np.diff(idx_E).all():
        raise ValueError(f"epoch {idx_E[:-1][np.diff(idx_E) == 0][0]} of recording {recording!r} stands in two rows")
    if len(idx_E) > 1 and all(row.get("onset_s") is not None for row in rows):
        onset_E = np.array([row["onset_s"] for row in rows], dtype=np.float64)
        check_span(float(np.ptp(onset_E)) / epoch_s, recording)
        place_E = np.rint((onset_E - onset_E[0]) / epoch_s).astype(np.int64)
        if not (np.diff(place_E) > 0).all():
            raise ValueError(f"onsets of recording {recording!r} do not grow with the index of the epoch")
    expert, predicted = ([_GAP] * (int(place_E[-1]) + 1) for _ in range(2))
    for place, row, answer in zip(place_E, rows, scoring.answers, strict=True):
        expert[place] = _GAP if row["truth"] is None else STAGE_OF_ANSWER[row["truth"]]
        predicted[place] = _GAP if answer is None else STAGE_OF_ANSWER[answer]
    return NightPair(recording, Hypnogram(tuple(expert), epoch_s), Hypnogram(tuple(predicted), epoch_s))


def score_nights(scoring: Scoring) -> dict[str, dict[str, float | None]]:
    """Sleep statistics of the nights that no expert scored, by recording, as one system scored them.

    Nights of which rows cover less than MIN_COVERAGE have none.

    Args:
        scoring: rows with the same options.

    Raises:
        ValueError: two rows are the same epoch of a recording.
    """
    if not scoring.rows or any("epoch_idx" not in row for row in scoring.rows) or not is_staging(scoring.rows):
        return {}
    sleep_stages = [STAGE_OF_ANSWER[option] for option in scoring.options]
    by_recording: dict[str, list[int]] = {}
    for idx, row in enumerate(scoring.rows):
        by_recording.setdefault(row.get("recording", ""), []).append(idx)
    found: dict[str, dict[str, float | None]] = {}
    for recording, positions in by_recording.items():
        night = scoring.select(positions)
        if any(row["truth"] is not None for row in night.rows):
            continue
        predicted = build_night_pair(night).predicted
        if len(positions) >= MIN_COVERAGE * predicted.num_epochs:
            found[recording] = dict(predicted.statistics(sleep_stages))
    return found


def list_quantities(sleep_stages: Sequence[SleepStage]) -> list[str]:
    """List the quantities that are compared per night."""
    by_stage = [f"{sleep_stage.value}_{what}" for what in ("min", "median_bout_min") for sleep_stage in sleep_stages]
    return [*_STATISTICS, *by_stage]


def measure_transition_distance(expert_KK: np.ndarray, predicted_KK: np.ndarray) -> float | None:
    """Mean total-variation distance of the rows of two matrices of counted steps, weighted by the first's row sums.

    None where the first has no step; a row that only the second lacks is at distance 1.
    """
    weight_K, other_K = expert_KK.sum(axis=1), predicted_KK.sum(axis=1)
    if not weight_K.any():
        return None
    shares = expert_KK / np.maximum(weight_K, 1)[:, None] - predicted_KK / np.maximum(other_K, 1)[:, None]
    distance_K = np.where(other_K > 0, 0.5 * np.abs(shares).sum(axis=1), 1.0)
    return float(weight_K @ distance_K / weight_K.sum())


def _score_pairs(pairs: Sequence[NightPair], sleep_stages: Sequence[SleepStage], group: str) -> dict[str, Any]:
    """Score what is counted over all stretches of some recordings."""
    stretches = [stretch for pair in pairs for stretch in pair.stretches]
    bouts = [(_collapse(expert), _collapse(predicted)) for expert, predicted in stretches]
    nights = {"expert": [pair.expert for pair in pairs], "predicted": [pair.predicted for pair in pairs]}
    steps = {
        name: sum((count_steps(night, sleep_stages) for night in of_one), np.zeros([len(sleep_stages)] * 2))
        for name, of_one in nights.items()
    }
    medians = {
        name: [_median_bout_min(of_one, sleep_stage) for sleep_stage in sleep_stages] for name, of_one in nights.items()
    }
    return {
        "edit_distance_epochs": _edit_share(stretches),
        "edit_distance_bouts": _edit_share(bouts),
        "impossible_transitions": {
            name: _count_impossible(steps[name], nights[name], sleep_stages, group) for name in nights
        },
        "transition_distance": measure_transition_distance(steps["expert"], steps["predicted"]),
        "median_bout_min": {
            sleep_stage.value: _compare(expert, predicted)
            for sleep_stage, expert, predicted in zip(
                sleep_stages, medians["expert"], medians["predicted"], strict=True
            )
        },
    }


def _edit_share(pairs: Sequence[tuple[str, str]]) -> float | None:
    length = sum(max(len(expert), len(predicted)) for expert, predicted in pairs)
    return sum(Levenshtein.distance(expert, predicted) for expert, predicted in pairs) / length if length else None


def _collapse(symbols: str) -> str:
    """Bouts of a stretch: each run of one letter as one letter."""
    return "".join(symbol for symbol, _ in groupby(symbols))


def _count_impossible(
    step_KK: np.ndarray, nights: Sequence[Hypnogram], sleep_stages: Sequence[SleepStage], group: str
) -> dict[str, Any]:
    steps = [(a, b) for a, b in IMPOSSIBLE_STEPS[group] if a in sleep_stages and b in sleep_stages]
    num = int(sum(step_KK[sleep_stages.index(a), sleep_stages.index(b)] for a, b in steps))
    num_transitions = sum(night.num_transitions for night in nights)
    return {"num": num, "num_transitions": num_transitions, "share": num / num_transitions if num_transitions else None}


def _median_bout_min(nights: Sequence[Hypnogram], sleep_stage: SleepStage) -> float | None:
    lengths = [length for night in nights for length in night.list_bouts_min(sleep_stage)]
    return float(np.median(lengths)) if lengths else None


def _compare_quantities(pair: NightPair, sleep_stages: Sequence[SleepStage]) -> dict[str, dict[str, float | None]]:
    measured = []
    for night in (pair.expert, pair.predicted):
        values: dict[str, Any] = night.statistics(sleep_stages)
        measured.append(
            values
            | {
                f"{sleep_stage.value}_median_bout_min": _median_bout_min([night], sleep_stage)
                for sleep_stage in sleep_stages
            }
        )
    return {name: _compare(measured[0][name], measured[1][name]) for name in list_quantities(sleep_stages)}


def _compare(expert: float | None, predicted: float | None) -> dict[str, float | None]:
    error = None if expert is None or predicted is None else predicted - expert
    return {"expert": expert, "predicted": predicted, "error": error}


def _count_rows(pair: NightPair) -> int:
    return pair.expert.num_epochs - pair.expert.sleep_stages.count(_GAP)


def _count_unparsed(pair: NightPair) -> int:
    return pair.predicted.sleep_stages.count(_GAP) - pair.expert.sleep_stages.count(_GAP)
