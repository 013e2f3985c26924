r"""Consensus of several scorers: their votes for each epoch of a prepared cohort, and the stage that most of them gave.

1. The hypnogram of each scorer is found by the recording's name and read as `tslm score --expert` reads one.
2. `votes_W`, `votes_N1` ... count the scorers of each epoch: soft targets of a training (`loss.scorer_votes`).
3. The sleep stage becomes that of most votes; of a tie, that of the scorer who agrees most with all the others
   (soft agreement, Guillot et al. 2020, "Dreem Open Datasets").

Example:
    python -m data_prep.cohorts.consensus prepared/mice --out prepared/mice_voted --scorers prepared raw/scores/anna \
        raw/scores/ben

Shape letters: E epochs, R scorers, K sleep stages.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from pathlib import Path

import numpy as np

from tslm.command import run_command
from tslm.data.cohorts.cohort import CohortConfig
from tslm.data.cohorts.experts import find_expert, read_expert
from tslm.data.prepared.recordings import (
    Recording,
    read_checked,
    read_participants,
    read_recording,
    write_participants,
    write_recording,
)
from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.raw import SignalFile
from tslm.data.samples.night_windows import VOTES_PREFIX
from tslm.labels import LABEL_SETS, LabelSet, SleepStage, species_group
from tslm.progress_bar import progress_bar
from tslm.scoring.metrics import compute_metrics

PREPARED = "prepared"  # names the labels of the prepared cohort as a scorer
_LABEL_SET_OF = {"human": "aasm", "rodent": "rodent"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Votes:
    """What several scorers gave to the epochs of a recording."""

    counts_EK: np.ndarray  # int8, scorers for each sleep stage of the label set
    sleep_stages: tuple[SleepStage, ...]  # of most votes; UNSCORED where nobody scored


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 done, 1 a file cannot be read or written, 2 a mistake in the call or the data."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: write_consensus(arguments.cohort, arguments.out, arguments.scorers, arguments.digits))


def write_consensus(cohort_dir: Path, out_dir: Path, scorers: Sequence[str], digits: str = "") -> str:
    """Copy a cohort with votes of several scorers; returns a line on their agreement.

    Args:
        cohort_dir: prepared cohort.
        out_dir: folder of the copy, splits as they were.
        scorers: for each the folder of hypnograms, or `prepared` for the cohort's own labels.
        digits: what bare digits in the hypnograms mean (`hypnogram.digits`).

    Raises:
        FileNotFoundError: no cohort, no folder, or no hypnogram of a recording.
        ValueError: fewer than two scorers, the cohort's own folder, or a hypnogram that does not fit its recording.
    """
    if len(scorers) < 2 or len(set(scorers)) < len(scorers):
        raise ValueError(f"--scorers {' '.join(scorers)}: a consensus needs two different scorers or more")
    if out_dir.resolve() == cohort_dir.resolve():
        raise ValueError(f"--out {out_dir} is the cohort's own folder; give another")
    done, kappas, num_epochs, num_same = [], list[float](), 0, 0
    for row in progress_bar(read_participants(cohort_dir), desc="consensus", unit="recording"):
        read_checked(row, cohort_dir, ())
        recording = read_recording(cohort_dir / f"{row.recording}.parquet")
        label_set = LABEL_SETS[_LABEL_SET_OF[species_group(recording.species)]]
        by_scorer = [read_scorer(recording, scorer, digits) for scorer in scorers]
        votes = count_votes(by_scorer, label_set)
        done.append(write_recording(_add_votes(recording, votes, label_set), out_dir, row.split))
        kappas += [kappa for pair in combinations(by_scorer, 2) if (kappa := _measure_kappa(*pair)) is not None]
        scored_E = votes.counts_EK.sum(axis=1) > 1
        num_epochs += int(scored_E.sum())
        num_same += int(((votes.counts_EK > 0).sum(axis=1)[scored_E] == 1).sum())
    write_participants(done, out_dir)
    agreement = f", kappa of two scorers {np.mean(kappas):.3f} on average" if kappas else ""
    same = f"; {num_same / num_epochs:.1%} of {num_epochs} epochs unanimous" if num_epochs else ""
    return f"{len(done)} recordings by {len(scorers)} scorers in {out_dir}{same}{agreement}"


def read_scorer(recording: Recording, scorer: str, digits: str = "") -> tuple[SleepStage, ...]:
    """Sleep stages of a prepared recording's epochs by one scorer; arguments as `write_consensus`."""
    if scorer == PREPARED:
        return recording.sleep_stages
    config = CohortConfig(
        epoch_s=recording.epoch_s, species=recording.species, hypnogram=HypnogramConfig(digits=digits, min_coverage=0.0)
    )
    name = Path(f"{recording.recording}.edf")
    path = find_expert(name, Path(scorer), config)
    if path is None or Path(scorer).is_file():
        raise FileNotFoundError(
            f"{scorer} holds no hypnogram of {recording.recording}; wanted {name.stem}.csv or similar"
        )
    start = datetime.fromisoformat(recording.start) if recording.start else None
    file = SignalFile(name, (), float(recording.onset_s[-1]) + recording.epoch_s, _read_nothing, start=start)
    return read_expert(file, path, config).stage_at(recording.onset_s)


def count_votes(by_scorer: Sequence[Sequence[SleepStage]], label_set: LabelSet) -> Votes:
    """Votes for each epoch and the sleep stage of most of them; what is no stage of the set is no vote."""
    index_RE = np.array([[label_set.index(stage) for stage in stages] for stages in by_scorer])
    votes_REK = index_RE[..., None] == np.arange(len(label_set.sleep_stages))
    counts_EK = votes_REK.sum(axis=0)
    # Soft agreement of a scorer: the mean share of the largest vote of the others that his stages get.
    others_REK = counts_EK - votes_REK
    largest_RE = np.maximum(others_REK.max(axis=-1), 1)
    own_RE = np.where(index_RE >= 0, (others_REK * votes_REK).sum(axis=-1) / largest_RE, 0.0)
    reliability_R = own_RE.sum(axis=1) / np.maximum((index_RE >= 0).sum(axis=1), 1)
    ranks_R = np.argsort(np.argsort(reliability_R, kind="stable"), kind="stable")
    # Less than half a vote altogether, and more for a better scorer: it decides ties alone.
    tie_EK = (votes_REK * (2.0 ** (ranks_R - len(ranks_R) - 1))[:, None, None]).sum(axis=0)
    winner_E = (counts_EK + tie_EK).argmax(axis=1)
    stages = [
        label_set.sleep_stages[winner] if num else SleepStage.UNSCORED
        for winner, num in zip(winner_E, counts_EK.sum(axis=1), strict=True)
    ]
    return Votes(counts_EK.astype(np.int8), tuple(stages))


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.cohorts.consensus`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.cohorts.consensus",
        description="Write the votes of several scorers, and the stage of most of them, into a copy of a cohort.",
        epilog="example: python -m data_prep.cohorts.consensus prepared/mice --out prepared/mice_voted "
        "--scorers prepared raw/scores/anna raw/scores/ben",
    )
    parser.add_argument("cohort", type=Path, metavar="DIR", help="prepared cohort")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the copy")
    parser.add_argument(
        "--scorers",
        nargs="+",
        required=True,
        metavar="DIR",
        help="for each scorer a folder with a hypnogram of every recording; `prepared`: the cohort's own labels",
    )
    parser.add_argument("--digits", default="", help="what bare digits mean, as hypnogram.digits of a cohort")
    return parser


def _add_votes(recording: Recording, votes: Votes, label_set: LabelSet) -> Recording:
    """The recording with columns of votes and the consensus; a rationale for another stage is emptied."""
    columns = {name: values for name, values in recording.columns.items() if not name.startswith(VOTES_PREFIX)}
    for stage, counts_E in zip(label_set.sleep_stages, votes.counts_EK.T, strict=True):
        columns[f"{VOTES_PREFIX}{stage.value}"] = counts_E
    pairs = zip(recording.sleep_stages, votes.sleep_stages, strict=True)
    changed = [before != after for before, after in pairs]
    rationales = columns.get("rationale")
    if isinstance(rationales, list):
        columns["rationale"] = ["" if is_new else text for text, is_new in zip(rationales, changed, strict=True)]
    note = f"consensus of several scorers: {sum(changed)} labels changed"
    return replace(recording, columns=columns, sleep_stages=votes.sleep_stages, notes=(*recording.notes, note))


def _measure_kappa(first: Sequence[SleepStage], second: Sequence[SleepStage]) -> float | None:
    both = [pair for pair in zip(first, second, strict=True) if SleepStage.UNSCORED not in pair]
    if not both:
        return None
    truth, answer = zip(*both, strict=True)
    return compute_metrics(truth, answer, sorted({*truth, *answer}))["cohen_kappa"]


def _read_nothing(_channel: int) -> np.ndarray:
    raise AssertionError("a hypnogram is read without the signals")


if __name__ == "__main__":
    sys.exit(main())
