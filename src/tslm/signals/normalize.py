"""How a series is scaled on its way into the model; the choice is part of the model's config."""

import numpy as np

NORMALIZATIONS = ("zscore", "recording")
_STD_FLOOR = 1e-6  # the guide's


def normalize_series(values: np.ndarray, normalization: str, scale: float) -> np.ndarray:
    """Normalise along the last axis; float32.

    `zscore` removes the series' own mean and divides by its population standard deviation (guide,
    section on preprocessing). `recording` removes the mean and divides by `scale`, the recording's
    typical amplitude in the same unit, so that loud and quiet epochs stay different.

    Raises:
        ValueError: NaN or infinite values, an empty series, or an unknown normalisation.
    """
    if values.shape[-1] == 0:
        raise ValueError("the series is empty")
    if not np.isfinite(values).all():
        raise ValueError("the series holds NaN or infinite values; repair or drop it before scoring")
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    if normalization == "zscore":
        divisor = np.maximum(values.std(axis=-1, keepdims=True, dtype=np.float64), _STD_FLOOR)
    elif normalization == "recording":
        divisor = np.float64(max(scale, _STD_FLOOR))
    else:
        raise ValueError(f"unknown model.normalization {normalization!r}; one of: {', '.join(NORMALIZATIONS)}")
    return (centred / divisor).astype(np.float32)


def measure_scale(epochs_EL: np.ndarray) -> float:
    """A recording's typical amplitude: the median over epochs of their standard deviation.

    Flat epochs (electrode off) do not count; a recording of nothing else has amplitude 1.
    """
    spread_E = epochs_EL.std(axis=-1, dtype=np.float64)
    alive_E = spread_E[spread_E > _STD_FLOOR]
    return float(np.median(alive_E)) if len(alive_E) else 1.0
