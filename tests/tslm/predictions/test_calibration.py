from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from tslm.predictions.calibration import (
    CALIBRATION_FILE,
    Calibration,
    fit_temperature,
    load_calibration,
    save_calibration,
    scale_scores,
    unscale,
)


def draw(temperature: float, num_samples: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true probabilities are theirs at this temperature."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (num_samples, 4))
    truth = (softmax(scores / temperature, axis=1).cumsum(1) < rng.random((num_samples, 1))).sum(1)
    return scores, truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_truth_is_found_again(temperature: float) -> None:
    scores, truth = draw(temperature)
    assert fit_temperature(scores, truth) == pytest.approx(temperature, rel=0.05)


def test_a_fitted_temperature_never_raises_the_loss_it_was_fitted_by() -> None:
    scores, truth = draw(2.5, 300)
    losses = [
        log_loss(truth, scale_scores(scores, value)) for value in (None, fit_temperature(scores, truth), 2.0, 3.0)
    ]
    assert losses[1] == min(losses)


def test_classes_that_a_sample_lacks_stay_impossible() -> None:
    scores = np.array([[0.0, 1.0, -np.inf], [2.0, 0.0, 1.0]])
    assert np.isfinite(fit_temperature(scores, np.array([1, 0])) or np.nan)
    assert scale_scores(scores, 2.0)[0, 2] == 0


def test_nothing_to_fit_gives_no_temperature() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)) is None


def test_taking_a_temperature_back_gives_the_probabilities_before() -> None:
    before = softmax(np.array([1.0, -2.0, 0.5]))
    after = scale_scores(np.log(before), 3.0)
    assert unscale(after.tolist(), 3.0) == pytest.approx(before)
    assert unscale(before, None) == pytest.approx(before)
    both = unscale(np.stack([after, before]), np.array([[3.0], [1.0]]))
    assert both == pytest.approx(np.stack([before, before]))


def test_temperatures_are_read_as_written_and_a_checkpoint_may_have_none(tmp_path: Path) -> None:
    assert load_calibration(tmp_path) == Calibration()
    save_calibration(Calibration(answer=1.5), tmp_path)
    assert load_calibration(tmp_path) == Calibration(answer=1.5)


@pytest.mark.parametrize("text", ["{", "{}", '{"classifier": "hot", "answer": null, "rationale": null}'])
def test_damaged_temperatures_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with pytest.raises(ValueError, match=CALIBRATION_FILE):
        load_calibration(tmp_path)


@pytest.mark.parametrize("text", ["-1", "0", "1e308", f"{10**400}", "true", '"x"', "[1]", "1e-300"])
def test_a_temperature_that_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(f'{{"classifier": {text}, "answer": null, "rationale": null}}')
    with pytest.raises(ValueError, match="the temperature classifier is .*; wanted a number above 0") as caught:
        load_calibration(tmp_path)
    assert len(str(caught.value)) < 300
