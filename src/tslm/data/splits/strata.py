"""What folds are stratified by: the stages of each subject's epochs, with species and age."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tslm.data.prepared.recordings import Participant


def count_strata(participants: Sequence[Participant], cohort_dir: Path) -> dict[str, dict[str, int]]:
    """Epochs of each subject in each stratum: species, younger or older than the cohort's median age, sleep stage.

    An age that is no number is a band of its own, as is one of another species.

    Raises:
        FileNotFoundError: a recording is missing.
    """
    ages = {row.subject: _parse_age(row.age) for row in participants}
    medians = {
        species: float(np.median(of_species))
        for species in {row.species for row in participants}
        if (
            of_species := [
                age for row in participants if row.species == species and (age := ages[row.subject]) is not None
            ]
        )
    }
    counts: dict[str, Counter[str]] = {row.subject: Counter() for row in participants}
    for row in participants:
        path = cohort_dir / f"{row.recording}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; prepare the cohort again")
        age = ages[row.subject]
        band = "" if age is None else "older" if age > medians[row.species] else "younger"
        codes = pq.read_table(path, columns=["sleep_stage"])["sleep_stage"].to_pylist()
        counts[row.subject].update(f"{row.species}/{band}/{code}" for code in codes)
    return {subject: dict(counted) for subject, counted in counts.items()}


def expand_strata(strata: Mapping[str, Mapping[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(num_epochs,) stratum and (num_epochs,) subject of every epoch, as a splitter wants them."""
    pairs = [(name, subject, count) for subject, counts in strata.items() for name, count in counts.items()]
    repeats = [count for _, _, count in pairs]
    return np.repeat([name for name, _, _ in pairs], repeats), np.repeat([subject for _, subject, _ in pairs], repeats)


def _parse_age(age: str) -> float | None:
    try:
        return float(age)
    except ValueError:
        return None
