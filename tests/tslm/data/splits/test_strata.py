from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from tests.factories.small import AASM, small_recording
from tslm.data.prepared.recordings import Participant, write_recording
from tslm.data.splits.rules import assign_splits, count_strata, expand_strata

SUBJECTS = [f"s{idx:02d}" for idx in range(24)]


def make_strata(seed: int) -> dict[str, dict[str, int]]:
    """A third of the subjects sleep hardly any REM; half are older."""
    rng = np.random.default_rng(seed)
    return {
        subject: {
            f"human/{'older' if idx % 2 else 'younger'}/{stage}": int(rng.integers(80, 120))
            if stage != "R" or idx % 3
            else 2
            for stage in AASM
        }
        for idx, subject in enumerate(SUBJECTS)
    }


def measure_imbalance(fold_of: dict[str, int], strata: dict[str, dict[str, int]]) -> float:
    """Mean over folds and strata of how far a fold's share of a stratum is from the cohort's."""
    total: Counter[str] = Counter()
    by_fold: dict[int, Counter[str]] = {}
    for subject, counts in strata.items():
        total.update(counts)
        by_fold.setdefault(fold_of[subject], Counter()).update(counts)
    return float(
        np.mean(
            [
                abs(found[name] / found.total() - total[name] / total.total())
                for found in by_fold.values()
                for name in total
            ]
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_stratified_folds_are_more_alike_than_drawn_ones_and_hold_each_subject_once(seed: int) -> None:
    strata = make_strata(seed)
    places = {
        rule: {subject: place.fold for subject, place in assign_splits(SUBJECTS, rule, seed, strata).items()}
        for rule in ("skfold:4", "kfold:4")
    }
    assert all(set(of_rule) == set(SUBJECTS) and set(of_rule.values()) == {0, 1, 2, 3} for of_rule in places.values())
    assert measure_imbalance(places["skfold:4"], strata) < 0.8 * measure_imbalance(places["kfold:4"], strata)
    assert places["skfold:4"] == {
        subject: place.fold
        for subject, place in assign_splits(SUBJECTS[::-1], "skfold:4", seed, dict(reversed(strata.items()))).items()
    }


def test_leaving_one_subject_out_is_that_of_scikit_learn() -> None:
    groups = np.array(SUBJECTS[::-1])
    folds = [groups[test].tolist() for _, test in LeaveOneGroupOut().split(groups, groups, groups)]
    places = assign_splits(groups, "loso", 0)
    assert [[subject for subject in SUBJECTS if places[subject].fold == fold] for fold in range(24)] == folds


def test_strata_are_species_age_and_stage_of_the_epochs(tmp_path: Path) -> None:
    rows: list[Participant] = []
    for idx, (subject, age) in enumerate([("a", "20"), ("a", "20"), ("b", "60"), ("c", "?")]):
        night = small_recording(f"n{idx}", 10, idx, subject=subject)
        rows.append(write_recording(replace(night, age=age), tmp_path, "train"))
    strata = count_strata(rows, tmp_path)
    assert strata["a"] == {f"human/younger/{stage}": 4 for stage in AASM}
    assert strata["b"] == {f"human/older/{stage}": 2 for stage in AASM}
    assert strata["c"] == {f"human//{stage}": 2 for stage in AASM}
    names, subjects = expand_strata(strata)
    assert Counter(zip(subjects.tolist(), names.tolist(), strict=True)) == {
        (subject, name): count for subject, counts in strata.items() for name, count in counts.items()
    }


def test_a_stratified_rule_waits_for_hypnograms() -> None:
    with pytest.raises(ValueError, match="split a prepared cohort by it"):
        assign_splits(SUBJECTS, "skfold:4", 0)
    with pytest.raises(ValueError, match="skfold:K"):
        assign_splits(SUBJECTS, "skfold:2", 0)
