"""Curriculum stage 2: captions of a series, written from its measured facts.

A caption makes at most five statements in a fixed order: level and trend, jump, cycle or rhythm, spikes, spread,
highest and lowest quarter. Facts too close to a border are left out.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.corpora.build import NamedSeries, draw_oscillation, draw_real, draw_simulated
from tslm.data.prepared.corpora import CorpusSample
from tslm.evidence.text.captions import ONLY_IN_FACTS, state_series
from tslm.seeds import hash_seed

_MOST_STATEMENTS = 5


def build_samples(
    num_samples: int, seed: int, real_share: float = 0.2, oscillation_share: float = 0.3
) -> Iterator[CorpusSample]:
    """Captions of series of 1,000 samples: simulated, EEG-like and real.

    Args:
        num_samples: Number of captions.
        seed: The same seed gives the same samples.
        real_share: Share of real series; above 0 needs statsmodels (extra `ecg`).
        oscillation_share: Share of EEG-like series.

    Raises:
        ImportError: statsmodels is missing.
    """
    for idx in range(num_samples):
        rng = np.random.default_rng(hash_seed(seed, idx))
        drawn = rng.random()
        not_real = draw_oscillation if drawn < real_share + oscillation_share else draw_simulated
        series = (draw_real if drawn < real_share else not_real)(rng)
        yield build_caption_sample(f"caption-{seed}-{idx}", series, write_caption(series, rng))


def build_caption_sample(sample_id: str, series: NamedSeries, caption: str) -> CorpusSample:
    """A sample without a question, whose caption stands in the place of the rationale."""
    return CorpusSample(sample_id, "", (), (series.values_L,), (series.name,), series.unit, caption, "", series.fs_hz)


def write_caption(series: NamedSeries, rng: np.random.Generator) -> str:
    """Caption of a series of at least `tslm.evidence.series.MIN_SAMPLES` samples, in randomly drawn wordings."""
    left_out = (*ONLY_IN_FACTS, "spikes") if series.is_interpolated else ONLY_IN_FACTS
    statements = [
        wordings[rng.integers(len(wordings))] if len(wordings) > 1 else wordings[0]
        for name, wordings in state_series(series.values_L, series.fs_hz).items()
        if name not in left_out
    ]
    return " ".join(f"{statement[0].upper()}{statement[1:]}." for statement in statements[:_MOST_STATEMENTS])
