"""A series as digits: what a language model without an encoder reads (after Gruver et al. 2023, arXiv 2310.07820)."""

import numpy as np

from tslm.signals.resample import resample_polyphase

STEPS_A_STD = 10  # a number is the value in tenths of the series' standard deviation, above or below its mean
_STD_FLOOR = 1e-6


def render_digits(values_L: np.ndarray, num_values: int) -> str:
    """The series in whole numbers with commas between them; mean and size are told elsewhere in the text.

    It is resampled to `num_values` (its spectrum cut where they cannot hold it) where it is longer. As Gruver et al.
    do, numbers are scaled so that few digits hold them. They part digits by spaces for tokenizers that join digits;
    those of Llama and Gemma read digits one by one (Llama 3: up to three), so none are put here.

    Args:
        values_L: (num_samples,) finite, any unit.
        num_values: most numbers.

    Raises:
        ValueError: an empty series, or values that are not finite.
    """
    values_L = np.asarray(values_L, dtype=np.float64)
    if not values_L.size or not np.isfinite(values_L).all():
        raise ValueError("a series that is empty or holds NaN cannot be written as digits; repair or drop it")
    scaled_L = (values_L - values_L.mean()) / max(values_L.std(), _STD_FLOOR)
    if len(scaled_L) > num_values:
        scaled_L = resample_polyphase(scaled_L, len(scaled_L), num_values)[:num_values]
    steps = np.rint(STEPS_A_STD * scaled_L).astype(int)
    return f" {len(steps)} values in tenths of the std: {','.join(map(str, steps.tolist()))}"
