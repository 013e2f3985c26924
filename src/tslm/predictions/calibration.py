"""Temperature scaling of a checkpoint's probabilities, fitted on validation data.

One number divides the scores of all classes (Guo et al. 2017, "On Calibration of Modern Neural Networks"), so
no answer changes. It is saved with the weights it was fitted for.
"""

import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import scipy

from tslm.files import parse_json, write_json
from tslm.predictions.rows import PredictionRow

CALIBRATION_FILE = "calibration.json"
_RANGE = (0.05, 20.0)  # temperatures outside mean that the scores are uninformative
_LIMITS = (1e-3, 1e3)  # of a temperature that a file holds


@dataclass(frozen=True)
class Calibration:
    """Temperatures of a checkpoint by the source of the scores; None: not fitted, probabilities are not calibrated."""

    classifier: float | None = None
    answer: float | None = None  # language model, label directly after the prompt
    rationale: float | None = None  # language model, label after its own rationale


def load_calibration(checkpoint_dir: Path) -> Calibration:
    """The temperatures of a checkpoint; all None where none were fitted.

    Raises:
        ValueError: the file is damaged.
    """
    path = checkpoint_dir / CALIBRATION_FILE
    if not path.is_file():
        return Calibration()
    try:
        loaded = parse_json(path.read_bytes(), str(path))
        values = {item.name: loaded[item.name] for item in fields(Calibration)}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged; restore it, or delete it to go without temperatures") from error
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and _LIMITS[0] <= value <= _LIMITS[1]):
            raise ValueError(
                f"{path}: the temperature {name} is {reprlib.repr(value)}; wanted a number above 0 or null"
            )
    return Calibration(**values)


def save_calibration(calibration: Calibration, checkpoint_dir: Path) -> None:
    """Write the temperatures into a checkpoint's folder."""
    write_json(asdict(calibration), checkpoint_dir / CALIBRATION_FILE)


def fit_temperature(scores_NK: np.ndarray, truth_N: np.ndarray) -> float | None:
    """The temperature with the least negative log-likelihood, within .05 and 20.

    Args:
        scores_NK: logits or log-likelihoods, (num_samples, num_classes) float; -inf where a sample lacks a class.
        truth_N: index of the true class, (num_samples,) int.

    Returns:
        None where there is nothing to fit it on.
    """
    if not len(truth_N):
        return None
    rows = np.arange(len(truth_N))

    def measure_nll(log_temperature: float) -> float:
        return -float(np.mean(scipy.special.log_softmax(scores_NK / np.exp(log_temperature), axis=1)[rows, truth_N]))

    found = scipy.optimize.minimize_scalar(measure_nll, bounds=tuple(np.log(_RANGE)), method="bounded")
    return float(np.exp(found.x))


def fit_row_temperature(rows: Sequence[PredictionRow], scores: Sequence[Sequence[float] | np.ndarray]) -> float | None:
    """`fit_temperature` of rows with a reference answer that share their options, from the scores of these."""
    truth = np.array([row["options"].index(row["truth"] or "") for row in rows], dtype=np.int64)
    return fit_temperature(np.array(scores), truth)


def scale_scores(scores_K: Sequence[float] | np.ndarray, temperature: float | None) -> np.ndarray:
    """Probabilities of scores over the last axis; None: a temperature of 1."""
    return scipy.special.softmax(np.asarray(scores_K, dtype=np.float64) / (temperature or 1.0), axis=-1)


def unscale(probabilities: Sequence[float] | np.ndarray, temperature: float | np.ndarray | None) -> np.ndarray:
    """Uncalibrated probabilities over the last axis, from those with a temperature (one, or one per sample)."""
    log_probabilities = np.log(np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1.0))
    return scipy.special.softmax(log_probabilities * (1.0 if temperature is None else temperature), axis=-1)
