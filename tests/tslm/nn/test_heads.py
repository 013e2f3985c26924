from itertools import pairwise

import numpy as np
import pytest
import scipy
import torch

from tslm.labels import LABEL_SETS, SleepStage
from tslm.nn.heads import HEADS, OrdinalHead, reverse_gradient


def test_the_order_of_stages_is_that_of_a_drawn_hypnogram() -> None:
    places = LABEL_SETS["aasm"].places
    ordered = sorted(LABEL_SETS["aasm"].sleep_stages, key=lambda stage: places[LABEL_SETS["aasm"].index(stage)])
    assert ordered == [SleepStage.WAKE, SleepStage.REM, SleepStage.N1, SleepStage.N2, SleepStage.N3]
    assert LABEL_SETS["rodent"].places == (0, 1, 2)
    with pytest.raises(ValueError, match="Movement, which has no place"):
        LABEL_SETS["aasm_movement"].places  # noqa: B018


@pytest.mark.parametrize("name", ["aasm", "rodent"])
@torch.no_grad()
def test_probabilities_are_those_of_the_proportional_odds_model(name: str) -> None:
    label_set = LABEL_SETS[name]
    head = HEADS["ordinal"](6, label_set)
    assert isinstance(head, OrdinalHead)
    head.gaps.normal_()
    state_NH = torch.randn(50, 6)
    thresholds = [float(head.first_threshold)]
    thresholds += list(thresholds[0] + np.cumsum(np.log1p(np.exp(head.gaps.numpy()))))
    assert all(low < high for low, high in pairwise(thresholds))
    score_N = head.score(state_NH).numpy()[:, 0]
    below = scipy.stats.logistic.cdf(np.array([-np.inf, *thresholds, np.inf])[:, None] - score_N)
    np.testing.assert_allclose(head(state_NH).exp().numpy(), np.diff(below, axis=0).T[:, label_set.places], atol=1e-6)


def test_far_scores_keep_their_gradient_and_stay_probabilities() -> None:
    head = OrdinalHead(1, (0, 1, 2))
    torch.nn.init.ones_(head.score.weight)
    log_p = head(torch.tensor([[-80.0], [0.0], [80.0]]))
    assert torch.isfinite(log_p).all()
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(3), atol=1e-5)
    assert log_p.argmax(-1).tolist() == [0, 1, 2]
    log_p[2, 0].backward()  # a score that is wholly wrong
    assert float(head.score.weight.grad) != 0


@torch.no_grad()
def test_a_rising_score_passes_the_stages_in_their_order() -> None:
    head = OrdinalHead(1, LABEL_SETS["aasm"].places)
    torch.nn.init.ones_(head.score.weight)
    passed = head(torch.linspace(-20, 20, 400)[:, None]).argmax(-1).tolist()
    assert list(dict.fromkeys(passed)) == [0, 4, 1, 2, 3]
    assert len([1 for before, after in pairwise(passed) if before != after]) == 4


def test_a_reversed_gradient_is_the_gradient_times_minus_the_weight() -> None:
    values = torch.randn(4, requires_grad=True)
    reverse_gradient(values, 0.3).square().sum().backward()
    assert torch.allclose(values.grad, -0.3 * 2 * values)
    assert torch.equal(reverse_gradient(values, 0.3), values)
