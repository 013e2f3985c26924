"""Authors who ignore the signal are exposed, on a simulated night; those who tell what was measured are not."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.cohorts.cohort import prepare_night
from data_prep.rationales.compose import add_rationales
from data_prep.simulators.human.night import simulate_human_night
from tslm.evidence.measure import EVIDENCE_COLUMNS
from tslm.explain.controls import NUM_COLUMNS, draw_partners, group_alike, score_control
from tslm.explain.faithfulness import score_faithfulness
from tslm.labels import SleepStage
from tslm.scoring.intervals import Resampling

TYPICAL = {
    SleepStage.WAKE: "Alpha over half the time, several eye movements, no spindles.",
    SleepStage.N1: "Mostly theta, little alpha, no spindles and no slow waves.",
    SleepStage.N2: "Delta leads; two spindles and one K-complex, slow waves under a fifth.",
    SleepStage.N3: "Delta leads with 80%; slow waves fill 40% of the epoch, no spindles.",
    SleepStage.REM: "Theta is prominent, eye movements are repeated, no spindles, few slow waves.",
}
FAST = Resampling(num_resamples=300)


@pytest.fixture(scope="module")
def night():
    """Our rationales of every third epoch of a night, the evidence and the stages of these."""
    night = add_rationales(prepare_night(simulate_human_night(36, 0)), seed=0)
    places = [place for place, stage in enumerate(night.sleep_stages) if stage in TYPICAL][::3]
    rows = [{name: float(night.columns[name][place]) for name in EVIDENCE_COLUMNS} for place in places]
    return (
        [str(night.columns["rationale"][place]) for place in places],
        rows,
        [night.sleep_stages[place] for place in places],
    )


def score(texts, night, **kwargs):
    _, rows, stages = night
    return score_faithfulness(texts, rows, stages, kwargs.pop("answers", stages), resampling=FAST, **kwargs)


def test_rationales_of_the_measured_facts_are_grounded(night):
    scores = score(night[0], night)
    assert scores["precision"] == 1.0
    for control in (scores["shuffled"], scores["shuffled_alike"]):
        assert control["difference_interval"][0] > 0.2
    assert scores["shuffled_alike"]["precision"] > scores["shuffled"]["precision"] + 0.05
    assert scores["shuffled_alike"]["gain"] == 1.0
    assert scores["grounded"] is True


def test_a_typical_text_of_each_stage_passes_the_first_control_and_is_exposed_by_the_second(night):
    scores = score([TYPICAL[stage] for stage in night[2]], night)
    assert scores["shuffled"]["is_above"] is True
    assert scores["shuffled_alike"]["difference"] == pytest.approx(0, abs=1e-12)
    assert scores["grounded"] is False


@pytest.mark.parametrize("seed", range(3))
def test_true_rationales_of_other_epochs_of_the_stage_are_exposed(night, seed):
    partners = draw_partners(night[2], 1, np.random.default_rng(1000 + seed))[0]
    scores = score([night[0][partner] for partner in partners], night)
    assert scores["shuffled"]["is_above"] is True
    assert abs(scores["shuffled_alike"]["difference"]) < 0.03
    assert scores["grounded"] is False


@pytest.mark.parametrize("seed", range(2))
def test_texts_at_random_are_exposed_by_both_controls(night, seed):
    order = np.random.default_rng(seed).permutation(len(night[0]))
    scores = score([night[0][place] for place in order], night)
    assert scores["shuffled"]["is_above"] is False
    assert scores["grounded"] is False


def test_saying_what_the_prompt_states_grounds_nothing(night):
    texts = [f"RMS {row['rms_uv']:.0f} uV. {TYPICAL[stage]}" for row, stage in zip(night[1], night[2], strict=True)]
    scores = score(texts, night)
    assert scores["precision"] > scores["shuffled_alike"]["precision"] + 0.02
    assert scores["precision"] > scores["precision_beyond_prompt"]
    assert scores["grounded"] is False


def test_what_follows_from_the_stated_amplitude_grounds_nothing(night):
    """Slow waves wherever the stage and the prompt's amplitude make them likely: true more often than not."""
    middle = {stage: np.median([row["rms_uv"] for row, other in zip(*night[1:], strict=True) if other == stage])
              for stage in TYPICAL}  # fmt: skip
    texts = [
        "Delta leads, many slow waves, several K-complexes." if row["rms_uv"] > middle[stage] else
        "Theta leads, few slow waves, no K-complexes, some alpha."
        for row, stage in zip(*night[1:], strict=True)
    ]  # fmt: skip
    scores = score(texts, night)
    assert scores["shuffled"]["is_above"] is True
    assert scores["grounded"] is False


def test_an_author_who_reads_a_part_of_the_epochs_is_grounded(night):
    rng = np.random.default_rng(0)
    texts = [own if rng.random() < 0.3 else TYPICAL[stage] for own, _, stage in zip(*night, strict=True)]
    assert score(texts, night)["grounded"] is True


def test_without_answers_nothing_says_that_texts_are_more_than_typical(night):
    scores = score([TYPICAL[stage] for stage in night[2]], night, answers=[None] * len(night[0]))
    assert scores["shuffled_alike"] is None
    assert scores["grounded"] is None


def test_intervals_are_over_subjects_where_there_are_several(night):
    subjects = [f"s{place * 8 // len(night[0])}" for place in range(len(night[0]))]
    scores = score(night[0], night, subjects=subjects)
    assert (scores["intervals"]["unit"], scores["intervals"]["num_units"]) == ("subjects", 8)
    assert scores["grounded"] is True
    few = score(night[0], night, subjects=["a" if place % 2 else "b" for place in range(len(night[0]))])
    assert few["grounded"] is None


def test_the_same_seed_gives_the_same_scores(night):
    assert score(night[0][:60], tuple(part[:60] for part in night)) == score(
        night[0][:60], tuple(part[:60] for part in night)
    )


def test_an_epoch_alone_has_no_control(night):
    scores = score(night[0][:1], tuple(part[:1] for part in night))
    assert scores["shuffled"] is None
    assert scores["grounded"] is None


def test_a_claim_said_twice_counts_once(night):
    row = night[1][0]
    once, twice = (
        score_faithfulness([text], [row], [None], [None], resampling=None)
        for text in ("No sawtooth waves; two spindles.", "Two spindles, two spindles; no sawtooth waves. Two spindles.")
    )
    assert once == twice
    assert "intervals" not in once


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 6), st.integers(0, 9))
def test_no_rationale_keeps_its_epoch_and_none_leaves_its_group(groups, num_shuffles, seed):
    partners_KN = draw_partners(groups, num_shuffles, np.random.default_rng(seed))
    sizes = Counter(groups)
    for partners in partners_KN:
        for place, (group, partner) in enumerate(zip(groups, partners, strict=True)):
            assert partner == -1 if sizes[group] == 1 else (partner != place and groups[partner] == group)
        taken = [partner for partner in partners if partner >= 0]
        assert len(set(taken)) == len(taken)
    for place, group in enumerate(groups):
        assert len(set(partners_KN[:, place])) == (min(num_shuffles, sizes[group] - 1) or 1)


def test_a_control_counts_every_rationale_beside_epochs_of_its_group():
    asked = set()

    def count(epoch, rationale):
        asked.add((epoch, rationale))
        return [float(epoch == rationale)] * 2 + [0.0, 1.0] + [0.0] * (NUM_COLUMNS - 4)

    own_NM = np.array([[1.0, 1.0, 1.0, 1.0] + [0.0] * (NUM_COLUMNS - 4)] * 5)
    control = score_control(own_NM, ["a", "b", "a", None, "c"], count, None, None, num_shuffles=3, seed=0)
    assert asked == {(0, 2), (2, 0)}
    assert (control["num_rationales"], control["difference"], control["is_above"]) == (2, 1.0, None)
    assert score_control(own_NM, ["a", "b", "c", None, None], count, None, None, num_shuffles=3, seed=0) is None


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 9)), min_size=1, max_size=60))
def test_groups_hold_neighbours_in_what_was_stated_of_one_answer(epochs):
    answers, stated = zip(*epochs, strict=True)
    groups = group_alike(answers, stated, seed=0)
    assert [group is None for group in groups] == [answer is None for answer in answers]
    sizes = Counter(group for group in groups if group is not None)
    for (answer, number), size in sizes.items():
        assert min(8, answers.count(answer)) <= size < 16
        values = [[value for value, group in zip(stated, groups, strict=True) if group == (answer, place)
                   and value is not None] for place in (number, number + 1)]  # fmt: skip
        assert not all(values) or max(values[0]) <= min(values[1])
