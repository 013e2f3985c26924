from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from tslm.labels import LABEL_SETS
from tslm.predictions.smoothing import (
    Smoothing,
    check_probabilities,
    compute_posteriors,
    decode_viterbi,
    filter_median,
    smooth_stages,
)
from tslm.predictions.transitions import Transitions

RODENT = LABEL_SETS["rodent"].sleep_stages
WAKE, NREM, REM = range(3)


def draw_transitions(seed: int, forbidden: bool = False) -> Transitions:
    """Any chain over three stages; with `forbidden` wake is never followed by REM."""
    rng = np.random.default_rng(seed)
    transition_KK = rng.dirichlet(np.ones(3), 3) + 1e-3
    if forbidden:
        transition_KK[WAKE, REM] = 0
    transition_KK /= transition_KK.sum(axis=1, keepdims=True)
    return Transitions(RODENT, 10.0, rng.dirichlet(np.ones(3) * 3), transition_KK, rng.dirichlet(np.ones(3) * 3))


def draw_probabilities(seed: int, num_epochs: int) -> np.ndarray:
    return np.random.default_rng(seed + 1000).dirichlet(np.ones(3) * 0.5, num_epochs)


def score_all_paths(probabilities_EK: np.ndarray, chain: Transitions) -> dict[tuple[int, ...], float]:
    """Log score of every sequence of stages, written out term by term."""
    with np.errstate(divide="ignore"):
        log_start, log_step = np.log(chain.share_K), np.log(chain.transition_KK)
        log_emission = np.log(np.maximum(probabilities_EK, 1e-12) / chain.prior_K)
    return {
        path: log_start[path[0]]
        + sum(log_emission[epoch, stage] for epoch, stage in enumerate(path))
        + sum(log_step[pair] for pair in zip(path, path[1:], strict=False))
        for path in product(range(3), repeat=len(probabilities_EK))
    }


SEQUENCES = given(st.integers(0, 10_000), st.integers(1, 7), st.booleans())


@settings(max_examples=30, deadline=None)
@SEQUENCES
def test_viterbi_finds_the_best_of_all_paths(seed: int, num_epochs: int, forbidden: bool) -> None:
    chain, probabilities_EK = draw_transitions(seed, forbidden), draw_probabilities(seed, num_epochs)
    scores = score_all_paths(probabilities_EK, chain)
    found = tuple(decode_viterbi(probabilities_EK, chain).tolist())
    assert scores[found] == pytest.approx(max(scores.values()), abs=1e-9)


@settings(max_examples=30, deadline=None)
@SEQUENCES
def test_posteriors_are_the_sums_over_all_paths(seed: int, num_epochs: int, forbidden: bool) -> None:
    chain, probabilities_EK = draw_transitions(seed, forbidden), draw_probabilities(seed, num_epochs)
    scores = score_all_paths(probabilities_EK, chain)
    total = logsumexp(list(scores.values()))
    wanted_EK = np.zeros((num_epochs, 3))
    for path, score in scores.items():
        wanted_EK[np.arange(num_epochs), path] += np.exp(score - total)
    np.testing.assert_allclose(compute_posteriors(probabilities_EK, chain), wanted_EK, atol=1e-9)


def test_ten_thousand_epochs_do_not_underflow() -> None:
    chain, probabilities_EK = draw_transitions(1), draw_probabilities(1, 10_000)
    probabilities_EK[5000] = [1, 0, 0]
    posterior_EK = compute_posteriors(probabilities_EK, chain)
    np.testing.assert_allclose(posterior_EK.sum(axis=1), 1, atol=1e-9)
    whole, start = decode_viterbi(probabilities_EK, chain), decode_viterbi(probabilities_EK[:200], chain)
    assert (whole[:150] == start[:150]).all()
    assert len(set(whole[-100:].tolist())) > 1


def test_a_forbidden_step_is_never_taken_though_the_signal_calls_for_it() -> None:
    chain = draw_transitions(3, forbidden=True)
    probabilities_EK = np.array([[0.999, 0.0005, 0.0005], *[[0.0005, 0.0005, 0.999]] * 3] * 25)
    path = decode_viterbi(probabilities_EK, chain).tolist()
    assert REM in path
    assert (WAKE, REM) not in set(zip(path, path[1:], strict=False))


def test_without_memory_and_at_its_own_prior_nothing_is_changed() -> None:
    share_K = np.array([0.5, 0.3, 0.2])
    chain = Transitions(RODENT, 10.0, share_K, np.tile(share_K, (3, 1)), share_K)
    probabilities_EK = draw_probabilities(0, 50)
    np.testing.assert_allclose(compute_posteriors(probabilities_EK, chain), probabilities_EK, atol=1e-9)
    assert (decode_viterbi(probabilities_EK, chain) == probabilities_EK.argmax(axis=1)).all()


def test_a_stage_that_the_scorer_holds_for_frequent_needs_more_evidence() -> None:
    share_K, step_KK = np.full(3, 1 / 3), np.full((3, 3), 1 / 3)
    probabilities_EK = np.array([[0.5, 0.1, 0.4]])
    assert decode_viterbi(probabilities_EK, Transitions(RODENT, 10.0, share_K, step_KK, share_K)).tolist() == [WAKE]
    frequent_wake = Transitions(RODENT, 10.0, share_K, step_KK, np.array([0.6, 0.2, 0.2]))
    assert decode_viterbi(probabilities_EK, frequent_wake).tolist() == [REM]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=40), st.sampled_from([3, 5]))
def test_the_median_of_certain_epochs_of_two_stages_is_their_majority(stages: list[int], window: int) -> None:
    reflected = [*stages[: window // 2][::-1], *stages, *stages[::-1][: window // 2]]
    half = window // 2
    if len(stages) < half:
        return
    wanted = [round(sum(reflected[epoch : epoch + window]) / window) for epoch in range(len(stages))]
    certain_EK = np.eye(2)[stages]
    assert filter_median(certain_EK, window).argmax(axis=1).tolist() == wanted


@pytest.mark.parametrize("window", [1, 3, 5])
def test_the_median_is_that_of_the_window_reflected_at_the_ends(window: int) -> None:
    probabilities_EK = draw_probabilities(3, 40)
    reach = window // 2
    padded_EK = np.pad(probabilities_EK, ((reach, reach), (0, 0)), mode="symmetric")
    expected_EK = np.array([np.median(padded_EK[epoch : epoch + window], axis=0) for epoch in range(40)])
    expected_EK /= expected_EK.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(filter_median(probabilities_EK, window), expected_EK, rtol=0, atol=1e-12)


def test_an_epoch_without_majority_stays_as_it_is() -> None:
    stages = [WAKE, NREM, REM]
    assert filter_median(np.eye(3)[stages], 3).argmax(axis=1)[1] == NREM


def test_a_single_odd_epoch_is_smoothed_away_by_every_method() -> None:
    probabilities_EK = np.full((21, 3), 0.05)
    probabilities_EK[:, NREM] = 0.9
    probabilities_EK[10] = [0.15, 0.25, 0.6]
    steps_KK = np.array([[0.98, 0.02, 0.0], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]])
    chain = Transitions(RODENT, 10.0, np.full(3, 1 / 3), steps_KK, np.full(3, 1 / 3))
    onset_s = 10.0 * np.arange(21)
    changed = {
        method: smooth_stages(probabilities_EK, onset_s, 10.0, Smoothing(method), chain)[10]
        for method in ("none", "median", "hmm", "posterior")
    }
    assert changed == {"none": REM, "median": NREM, "hmm": NREM, "posterior": NREM}


@pytest.mark.parametrize("method", ["median", "hmm", "posterior"])
def test_nothing_is_smoothed_across_a_gap(method: str) -> None:
    chain, probabilities_EK = draw_transitions(5), draw_probabilities(5, 40)
    onset_s = 10.0 * np.arange(40)
    onset_s[17:] += 60
    smoothing = Smoothing(method)
    whole = smooth_stages(probabilities_EK, onset_s, 10.0, smoothing, chain)
    parts = [
        smooth_stages(probabilities_EK[part], onset_s[part], 10.0, smoothing, chain)
        for part in (slice(17), slice(17, 40))
    ]
    assert whole.tolist() == np.concatenate(parts).tolist()
    other_EK = probabilities_EK.copy()
    other_EK[17:] = draw_probabilities(6, 23)
    assert smooth_stages(other_EK, onset_s, 10.0, smoothing, chain)[:17].tolist() == whole[:17].tolist()


@pytest.mark.parametrize("row", [[0.5, 0.2, 0.2], [np.nan, 0.5, 0.5], [1.2, -0.2, 0.0], [np.inf, 0.0, 0.0]])
def test_what_is_no_probability_is_refused_by_its_epoch(row: list[float]) -> None:
    probabilities_EK = draw_probabilities(0, 5)
    probabilities_EK[3] = row
    with pytest.raises(ValueError, match="epoch 3 has") as error:
        smooth_stages(probabilities_EK, 10.0 * np.arange(5), 10.0, Smoothing("median"))
    assert "\n" not in str(error.value)


def test_probabilities_of_other_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="one column per sleep stage, of 3"):
        check_probabilities(np.full((4, 5), 0.2), RODENT)


@pytest.mark.parametrize(
    ("smoothing", "chain", "epoch_s", "said"),
    [
        ({"method": "hmm"}, None, 10.0, "needs transitions"),
        ({"method": "hmm"}, draw_transitions(0), 30.0, "epochs of 10 s do not fit epochs of 30 s"),
    ],
)
def test_transitions_that_are_missing_or_of_other_epochs_are_refused(
    smoothing: dict, chain: Transitions | None, epoch_s: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        smooth_stages(draw_probabilities(0, 3), epoch_s * np.arange(3), epoch_s, Smoothing(**smoothing), chain)


@pytest.mark.parametrize("settings_", [{"method": "mean"}, {"window_epochs": 4}, {"window_epochs": 0}])
def test_an_unknown_method_and_an_even_window_are_refused(settings_: dict) -> None:
    with pytest.raises(ValueError, match="one of|odd number"):
        Smoothing(**settings_)


def test_epochs_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in time order"):
        smooth_stages(draw_probabilities(0, 3), np.array([0.0, 20.0, 10.0]), 10.0, Smoothing("median"))


def test_no_epochs_give_no_stages() -> None:
    chain = draw_transitions(0)
    for method in ("none", "median", "hmm", "posterior"):
        assert smooth_stages(np.zeros((0, 3)), np.zeros(0), 10.0, Smoothing(method), chain).tolist() == []
