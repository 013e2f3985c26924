from pathlib import Path

import numpy as np
import pytest

from tests.factories.reviews import make_rows
from tests.factories.rows import OPTIONS, classify, make_row, of_system
from tslm.predictions.scorings import parse_scorings
from tslm.review import run_epochs
from tslm.review.run_epochs import ReviewRun

SURE, UNSURE = [0.96, 0.01, 0.01, 0.01, 0.01], [0.2] * 5


def make_run(rows):
    return ReviewRun(Path("p.jsonl"), "", parse_scorings(rows))


def measure_uncertainty(rows):
    return run_epochs.measure_uncertainty(make_run(rows))


def order_epochs(rows, order, **more):
    return run_epochs.order_epochs(make_run(rows), order, **more)


def row_with(idx=0, generated=f"Answer: {OPTIONS[0]}", **changes):
    return make_row(idx, generated=generated, **changes)


def test_a_guess_is_as_uncertain_as_an_unreadable_answer():
    rows = [row_with(0, probabilities=UNSURE), row_with(1, "RMS", probabilities=SURE)]
    assert measure_uncertainty(rows) == pytest.approx([1.0, 1.0])


def test_systems_that_disagree_are_less_certain_than_those_that_agree():
    agree, differ = row_with(0, probabilities=SURE), row_with(1, probabilities=SURE)
    low, high = measure_uncertainty([agree, differ, classify(agree, SURE), classify(differ, SURE[::-1])])
    assert 0 < low < 0.2
    assert high == pytest.approx((1 + low) / 2)


def test_the_classifier_speaks_where_the_language_model_gives_no_probabilities():
    alone = measure_uncertainty([row_with(), classify(row_with(), SURE)])
    assert alone == measure_uncertainty([row_with(probabilities=SURE)])
    assert measure_uncertainty([row_with()]) == [None]


def test_least_certain_first_and_ties_in_time():
    rows = make_rows(40)
    for idx in (5, 20, 30):
        rows[idx] |= {"probabilities": UNSURE, "generated": "no answer"}
    uncertainty = measure_uncertainty(rows)
    order = order_epochs(rows, "uncertainty")
    assert sorted(order) == list(range(40))
    assert order[:3] == [5, 20, 30]
    assert all(uncertainty[a] >= uncertainty[b] for a, b in zip(order, order[1:], strict=False))


def test_the_order_does_not_depend_on_the_order_of_the_file():
    rows = make_rows(30)
    shuffled = [rows[idx] for idx in np.random.default_rng(0).permutation(60)]
    for order in ("uncertainty", "time", "random"):
        names = [
            [of_system(given)[idx]["sample_id"] for idx in order_epochs(given, order, seed=3, limit=7)]
            for given in (rows, shuffled)
        ]
        assert names[0] == names[1]
        assert len(names[0]) == 7


def test_random_order_follows_its_seed():
    rows = make_rows(30)
    assert order_epochs(rows, "random", seed=1) == order_epochs(rows, "random", seed=1)
    assert order_epochs(rows, "random", seed=1) != order_epochs(rows, "random", seed=2)


def test_rows_that_say_nothing_of_their_certainty_are_refused_with_advice():
    with pytest.raises(ValueError, match="--order time"):
        order_epochs([row_with()], "uncertainty")
    assert order_epochs([row_with()], "time") == [0]


@pytest.mark.parametrize(("order", "limit", "message"), [("upwards", None, "unknown order"), ("time", 0, "limit is 0")])
def test_unknown_orders_and_empty_limits_are_refused(order, limit, message):
    with pytest.raises(ValueError, match=message):
        order_epochs(make_rows(), order, limit=limit)
