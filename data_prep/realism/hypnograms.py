"""Hold simulated human hypnograms against real ones: shares of stages, bouts, transitions, length of sleep.

Example:
    python -m data_prep.realism.hypnograms --strings $TSLM_DATA_DIR/sleep_edf_hypnograms --leave_out SC400
    python -m data_prep.realism.hypnograms --data prepared/cassette
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from data_prep.cohorts.night import find_sleep_span
from data_prep.simulators.human.hypnogram import HUMAN_STAGES, simulate_hypnogram
from tslm.command import run_command
from tslm.data.prepared.recordings import read_participants, read_recording
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage

EPOCH_S = 30.0
_WAKE_MARGIN_EPOCHS = 60  # as the simulator: half an hour on either side of sleep
_STAGE_OF_LETTER = {
    "W": SleepStage.WAKE,
    "1": SleepStage.N1,
    "2": SleepStage.N2,
    "3": SleepStage.N3,
    "4": SleepStage.N3,
    "R": SleepStage.REM,
    "M": SleepStage.MOVEMENT,
    "?": SleepStage.UNSCORED,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison; 0 done, 1 a file could not be read, 2 a mistake in the call or the data."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.realism.hypnograms",
        description="Compare simulated hypnograms with real ones.",
        epilog="example: python -m data_prep.realism.hypnograms --data prepared/cassette",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--strings", type=Path, metavar="DIR", help="JSON files of {recording: a letter an epoch}")
    source.add_argument("--data", type=Path, metavar="DIR", help="a prepared cohort")
    parser.add_argument("--leave_out", nargs="*", default=[], metavar="SUBJECT", help="subjects not to look at")
    parser.add_argument("--num_nights", type=int, default=200, help="hypnograms to simulate (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated hypnograms (default 0)")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _compare(arguments))


def _compare(arguments: argparse.Namespace) -> str:
    read = read_strings if arguments.data is None else read_cohort
    real = read(arguments.data or arguments.strings, tuple(arguments.leave_out))
    simulated = [_simulate(arguments.seed, idx) for idx in range(arguments.num_nights)]
    return render_comparison(describe_hypnograms(real), describe_hypnograms(simulated))


def read_strings(folder: Path, left_out: Sequence[str] = ()) -> list[Hypnogram]:
    """Hypnograms from JSON files of {recording: string}, letters W 1 2 3 4 R M ?; subject: its first five letters.

    Raises:
        FileNotFoundError: No JSON file there.
        ValueError: A letter that is none of these.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no .json file of hypnograms")
    hypnograms = []
    for path in paths:
        for name, letters in json.loads(path.read_text(encoding="utf-8")).items():
            if unknown := set(letters) - set(_STAGE_OF_LETTER):
                raise ValueError(f"{path}: {name} holds {sorted(unknown)[0]!r}; known are {' '.join(_STAGE_OF_LETTER)}")
            if name[:5] not in left_out:
                hypnograms.append(Hypnogram(tuple(_STAGE_OF_LETTER[letter] for letter in letters), EPOCH_S))
    return hypnograms


def read_cohort(cohort_dir: Path, left_out: Sequence[str] = ()) -> list[Hypnogram]:
    """Hypnograms of a prepared cohort."""
    recordings = [
        read_recording(cohort_dir / f"{row.recording}.parquet", channels=())
        for row in read_participants(cohort_dir)
        if row.subject not in left_out
    ]
    return [Hypnogram(recording.sleep_stages, recording.epoch_s) for recording in recordings]


def describe_hypnograms(hypnograms: Iterable[Hypnogram]) -> dict[str, float]:
    """Statistics by name, of the epochs from half an hour before sleep to half an hour after it.

    Shares are of all epochs; bouts are in epochs (mean and 90th percentile); `N1 > N2` is the share
    of N1's epochs that are followed by one of N2.

    Raises:
        ValueError: No hypnogram holds sleep.
    """
    nights = []
    for hypnogram in hypnograms:
        kept = find_sleep_span(hypnogram.sleep_stages, _WAKE_MARGIN_EPOCHS)
        if kept:
            nights.append(Hypnogram(hypnogram.sleep_stages[kept.start : kept.stop], hypnogram.epoch_s))
    if not nights:
        raise ValueError("no hypnogram holds sleep; give others")
    stages = [stage for night in nights for stage in night.sleep_stages]
    steps = Counter(pair for night in nights for pair in pairwise(night.sleep_stages))
    lengths = [night.num_epochs for night in nights]
    latencies_min = [night.rem_latency_min for night in nights if night.rem_latency_min is not None]
    statistics = {
        "nights": float(len(nights)),
        "epochs a night, mean": float(np.mean(lengths)),
        "epochs a night, sd": float(np.std(lengths)),
        "REM latency min, median": float(np.median(latencies_min) if latencies_min else np.nan),
    }
    for stage in HUMAN_STAGES:
        bouts = [bout.num_epochs for night in nights for bout in night.bouts if bout.sleep_stage == stage]
        shares = [night.sleep_stages.count(stage) / night.num_epochs for night in nights]
        statistics[f"share {stage}, mean"] = float(np.mean(shares))
        statistics[f"share {stage}, sd"] = float(np.std(shares))
        statistics[f"bout {stage}, mean"] = float(np.mean(bouts)) if bouts else 0.0
        statistics[f"bout {stage}, 90 %"] = float(np.percentile(bouts, 90)) if bouts else 0.0
    counts = Counter(stages)
    for first in HUMAN_STAGES:
        for second in HUMAN_STAGES:
            if first != second:
                statistics[f"{first} > {second}"] = steps[first, second] / max(counts[first], 1)
    return statistics


def render_comparison(real: dict[str, float], simulated: dict[str, float]) -> str:
    """A table, one line a statistic."""
    lines = [f"{'':26}{'real':>10}{'simulated':>12}"]
    return "\n".join([*lines, *(f"{name:26}{real[name]:10.3f}{simulated[name]:12.3f}" for name in real)])


def _simulate(seed: int, idx: int) -> Hypnogram:
    codes = simulate_hypnogram(np.random.default_rng((seed, idx)))
    return Hypnogram(tuple(HUMAN_STAGES[code] for code in codes), EPOCH_S)


if __name__ == "__main__":
    sys.exit(main())
