import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.rows import make_row
from tests.factories.small import AASM
from tslm.hypnogram import Hypnogram
from tslm.labels import ANSWER_NAMES, LABEL_SETS, SleepStage
from tslm.predictions.scorings import Scoring
from tslm.predictions.transitions import IMPOSSIBLE_STEPS, count_steps
from tslm.scoring.structure import NightPair, list_quantities, measure_transition_distance, score_own_structure
from tslm.scoring.structure import score_structure as score

W, N1, N2, N3, R = AASM
NREM, GAP = SleepStage.NREM, SleepStage.UNSCORED
OPTIONS = list(LABEL_SETS["aasm"].answers)
STAGES = st.lists(st.sampled_from(AASM), min_size=4, max_size=40)
BOTH = st.lists(st.tuples(st.sampled_from(AASM), st.sampled_from((*AASM, GAP))), min_size=4, max_size=40)


def make_pair(
    expert: list[SleepStage], predicted: list[SleepStage], name: str = "n1", epoch_s: float = 30
) -> NightPair:
    return NightPair(name, Hypnogram(tuple(expert), epoch_s), Hypnogram(tuple(predicted), epoch_s))


def make_rows(
    truth: list[SleepStage], recording: str = "n1", onset_s: list[float] | None = None, first: int = 0
) -> list[dict[str, Any]]:
    return [
        make_row(
            first + idx,
            ANSWER_NAMES[stage],
            recording=recording,
            onset_s=30.0 * (first + idx) if onset_s is None else onset_s[idx],
        )
        for idx, stage in enumerate(truth)
    ]


def score_row_structure(rows: list[dict[str, Any]], answers: Sequence[str | None]) -> dict[str, Any] | None:
    return score_own_structure(Scoring("scorer", tuple(rows), tuple(answers)))  # type: ignore[arg-type]


def count_edits(a: list[Any], b: list[Any]) -> int:
    """Levenshtein's distance by the textbook's table (Wagner & Fischer 1974)."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = table[i - 1][j - 1] + (a[i - 1] is not b[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, change)
    return table[-1][-1]


def collapse(stages: list[SleepStage]) -> list[SleepStage]:
    return [stage for idx, stage in enumerate(stages) if idx == 0 or stage is not stages[idx - 1]]


@given(STAGES)
def test_a_hypnogram_beside_itself_has_no_error_anywhere(stages: list[SleepStage]) -> None:
    found = score([make_pair(stages, stages), make_pair(stages[::-1], stages[::-1], "n2")], AASM)
    assert found["edit_distance_epochs"] == found["edit_distance_bouts"] == found["transition_distance"] == 0
    assert found["impossible_transitions"]["expert"] == found["impossible_transitions"]["predicted"]
    for part in (found, *found["per_recording"].values()):
        assert {value["error"] for value in part["median_bout_min"].values()} <= {0, None}
    for agreement in found["quantities"].values():
        assert agreement["num_nights"] == 0 or (agreement["bias"], agreement["limits"]) == (0, [0, 0])


@given(BOTH)
def test_every_figure_equals_one_by_brute_force(both: list[tuple[SleepStage, SleepStage]]) -> None:
    expert, predicted = [pair[0] for pair in both], [pair[1] for pair in both]
    found = score([make_pair(expert, predicted)], AASM)
    assert found["edit_distance_epochs"] == pytest.approx(count_edits(expert, predicted) / len(expert))
    bouts = collapse(expert), collapse(predicted)
    assert found["edit_distance_bouts"] == pytest.approx(count_edits(*bouts) / max(map(len, bouts)))
    for name, stages in (("expert", expert), ("predicted", predicted)):
        changes = [(a, b) for a, b in pairwise(stages) if a is not b and GAP not in (a, b)]
        impossible = [step for step in changes if step in IMPOSSIBLE_STEPS["human"]]
        share = len(impossible) / len(changes) if changes else None
        wanted = {"num": len(impossible), "num_transitions": len(changes), "share": share}
        assert found["impossible_transitions"][name] == wanted
    distance, num_steps = 0.0, len(expert) - 1
    for stage in AASM:
        after = [[b for a, b in pairwise(stages) if a is stage and b is not GAP] for stages in (expert, predicted)]
        shares = [[run.count(other) / len(run) if run else 0 for other in AASM] for run in after]
        apart = 0.5 * sum(abs(a - b) for a, b in zip(*shares, strict=True)) if after[1] else 1.0
        distance += len(after[0]) / num_steps * apart
    assert found["transition_distance"] == pytest.approx(distance)
    assert found["num_unparsed"] == predicted.count(GAP)


@given(BOTH)
def test_edit_distance_is_symmetric_and_between_0_and_the_share_of_wrong_epochs(
    both: list[tuple[SleepStage, SleepStage]],
) -> None:
    expert, predicted = [pair[0] for pair in both], [pair[1] if pair[1] is not GAP else W for pair in both]
    there, back = (score([make_pair(*sides)], AASM) for sides in ((expert, predicted), (predicted, expert)))
    for name in ("edit_distance_epochs", "edit_distance_bouts"):
        assert there[name] == back[name]
        assert 0 <= there[name] <= 1
    assert there["edit_distance_epochs"] <= np.mean([a is not b for a, b in zip(expert, predicted, strict=True)])
    assert 0 <= there["transition_distance"] <= 1


def test_a_night_one_epoch_late_is_near_by_edits_though_every_change_is_missed() -> None:
    expert = [W, W, N1, N2, N2, N3, N3, N2, R, R, W, W] * 3
    found = score([make_pair(expert, [W, *expert[:-1]])], AASM)
    assert found["edit_distance_epochs"] == pytest.approx(2 / 36)  # one put in, one taken out
    assert found["edit_distance_bouts"] == 0


def test_nothing_reaches_over_a_gap_of_the_recording() -> None:
    onset_s = [0.0, 30.0, 60.0, 90.0, 1090.0, 1120.0, 1150.0, 1180.0]
    truth = [W, W, N2, N2, N3, N3, R, R]
    rows = make_rows(truth, onset_s=onset_s)
    found = score_row_structure(rows, [row["truth"] for row in rows])
    assert found is not None
    assert found["impossible_transitions"]["expert"] == {"num": 1, "num_transitions": 2, "share": 0.5}  # N3 to REM
    assert found["median_bout_min"]["N3"]["expert"] == 1.0
    # REM begins 1,090 s after sleep onset on the clock, less what rounding to whole epochs leaves.
    latency = found["per_recording"]["n1"]["quantities"]["rem_latency_min"]["expert"]
    assert latency == pytest.approx((1150 - 60) / 60, abs=0.25)
    # One epoch late throughout: what is put in before the gap cannot be taken out behind it.
    late = make_rows([W, W, N2, N2, N2, N3, R, R], onset_s=onset_s)
    answers = [ANSWER_NAMES[stage] for stage in (W, W, W, N2, N2, N2, N3, R)]
    for rows, share in ((late, 3 / 8), (make_rows([W, W, N2, N2, N2, N3, R, R]), 2 / 8)):
        shifted = score_row_structure(rows, answers)
        assert shifted is not None
        assert shifted["edit_distance_epochs"] == pytest.approx(share)


def test_an_answer_that_did_not_parse_is_an_unscored_epoch() -> None:
    rows = make_rows([W, N2, N2, N2, N2, R])
    answers = [row["truth"] for row in rows]
    answers[2] = None  # type: ignore[call-overload]
    found = score_row_structure(rows, answers)
    assert found is not None
    assert found["num_unparsed"] == found["per_recording"]["n1"]["num_unparsed"] == 1
    assert found["edit_distance_epochs"] == pytest.approx(1 / 6)
    assert found["quantities"]["total_sleep_min"]["bias"] == -0.5
    assert found["quantities"]["waso_min"]["bias"] == 0
    assert found["median_bout_min"]["N2"] == {"expert": 2.0, "predicted": 0.75, "error": -1.25}
    assert found["impossible_transitions"]["predicted"]["num_transitions"] == 2


@pytest.mark.parametrize(
    ("stages", "options", "species", "num"),
    [
        ([W, R, NREM, R], ["Wake", "NREM sleep", "REM sleep"], "rodent", 1),
        ([W, R, N2, R], OPTIONS, "human", 0),
        ([W, N3, R, N3], OPTIONS, "human", 3),
    ],
)
def test_which_steps_are_impossible_depends_on_the_species(
    stages: list[SleepStage], options: list[str], species: str, num: int
) -> None:
    rows = [row | {"options": options} for row in make_rows(stages)]
    found = score_row_structure(rows, [row["truth"] for row in rows])
    assert found is not None
    assert found["species"] == species
    assert found["impossible_transitions"]["expert"] == {"num": num, "num_transitions": 3, "share": num / 3}


def test_nights_agree_by_the_definitions_of_the_hypnogram() -> None:
    rng = np.random.default_rng(3)
    pairs = [
        make_pair(*([AASM[idx] for idx in rng.integers(0, 5, 60)] for _ in range(2)), name=f"n{number}", epoch_s=20)
        for number in range(5)
    ]
    found = score(pairs, AASM)
    assert set(found["quantities"]) == set(list_quantities(AASM))
    for name in ("total_sleep_min", "waso_min", "sleep_onset_latency_min", "rem_latency_min", "N3_min"):
        errors = [pair.predicted.statistics(AASM)[name] - pair.expert.statistics(AASM)[name] for pair in pairs]  # type: ignore[operator]
        assert found["quantities"][name]["bias"] == pytest.approx(np.mean(errors))
        assert found["quantities"][name]["sd"] == pytest.approx(np.std(errors, ddof=1))
        assert [found["per_recording"][pair.recording]["quantities"][name]["error"] for pair in pairs] == errors
    assert "note" not in found
    json.dumps(found, allow_nan=False)


def test_one_night_says_that_it_has_no_limits() -> None:
    found = score([make_pair([W, N2, N2, R], [W, N2, R, R])], AASM)
    assert "no limits of agreement" in found["note"]
    assert found["quantities"]["R_min"]["bias"] == 0.5
    assert found["quantities"]["R_min"]["limits"] is None


def test_single_epochs_sampled_from_a_night_have_no_structure_and_are_named() -> None:
    rows = make_rows([W] * 40)[::7] + make_rows([W, N2, N2, W], "n2")
    found = score_row_structure(rows, [row["truth"] for row in rows])
    assert found is not None
    assert found["left_out"] == {"n1": "0 of 6 epochs follow on the one before"}
    assert list(found["per_recording"]) == ["n2"]
    alone = score_row_structure(rows[:6], [None] * 6)
    assert alone is not None
    assert (alone["num_recordings"], alone["edit_distance_epochs"], alone["transition_distance"]) == (0, None, None)


def test_samples_around_a_gap_are_left_out_and_not_an_error() -> None:
    rows = make_rows([W] * 60, onset_s=[30.0 * idx + 20_000 * (idx > 1) for idx in range(60)])
    found = score_row_structure([rows[0], rows[1], rows[50]], ["Wake"] * 3)
    assert found is not None
    assert found["left_out"] == {"n1": "1 of 3 epochs follow on the one before"}


def test_questions_are_no_nights_and_an_epoch_stands_once() -> None:
    rows = make_rows([W, N2])
    assert score_row_structure([row | {"options": ["a", "b"]} for row in rows], ["a", "b"]) is None
    assert score_row_structure([{"options": OPTIONS, "truth": "Wake"}], ["Wake"]) is None
    with pytest.raises(ValueError, match="epoch 1 of recording 'n1' stands in two rows"):
        score_row_structure([*rows, rows[1]], ["Wake"] * 3)
    with pytest.raises(ValueError, match="do not grow"):
        score_row_structure(make_rows([W, N2], onset_s=[30.0, 0.0]), ["Wake"] * 2)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    rows = make_rows([AASM[idx] for idx in rng.integers(0, 5, 50)], first=12)
    answers = [OPTIONS[idx] for idx in rng.integers(0, 5, 50)]
    order = rng.permutation(50)
    shuffled = score_row_structure([rows[idx] for idx in order], [answers[idx] for idx in order])
    assert shuffled == score_row_structure(rows, answers)


def test_steps_are_counted_as_a_loop_counts_them() -> None:
    stages = [W, W, GAP, W, N1, N1, SleepStage.MOVEMENT, N2, N1]
    wanted = np.zeros((5, 5))
    for a, b in pairwise(stages):
        if a in AASM and b in AASM:
            wanted[AASM.index(a), AASM.index(b)] += 1
    assert (count_steps(Hypnogram(tuple(stages)), AASM) == wanted).all()
    assert measure_transition_distance(np.zeros((5, 5)), wanted) is None
    assert measure_transition_distance(wanted, np.zeros((5, 5))) == 1
    assert measure_transition_distance(wanted, 7 * wanted) == pytest.approx(0)
