"""Missing samples (NaN) bridged, for filters and storage that cannot take them."""

import numpy as np

MAX_MISSING_SHARE = 0.1  # of an epoch; more, and it is left out


def bridge_gaps(signal: np.ndarray) -> np.ndarray:
    """Draw a straight line over every gap, from the last sample before it to the first after it.

    Args:
        signal: (..., samples) floats, NaN where missing; rows are bridged each by itself.

    Returns:
        The same array where nothing is missing, else a copy. A gap at an end holds the nearest value; a
        row without any sample becomes zero.
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    bridged = signal.copy().reshape(-1, signal.shape[-1])
    gaps = missing.reshape(bridged.shape)
    for row in np.flatnonzero(gaps.any(axis=1)):
        gap = gaps[row]
        known = np.flatnonzero(~gap)
        bridged[row, gap] = np.interp(np.flatnonzero(gap), known, bridged[row, known]) if known.size else 0.0
    return bridged.reshape(signal.shape)


def find_whole_epochs(epochs_EL: np.ndarray) -> np.ndarray:
    """(num_epochs,) bool: epochs of which at most a tenth is missing; epochs_EL is (num_epochs, samples)."""
    return np.isnan(epochs_EL).mean(axis=1) <= MAX_MISSING_SHARE
