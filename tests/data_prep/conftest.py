import numpy as np
import pytest

from tslm.evidence.criteria import Feature
from tslm.evidence.events import Event
from tslm.evidence.measure import BANDS_HZ, EVIDENCE_COLUMNS
from tslm.labels import SleepStage

NUM_EPOCHS = 600


@pytest.fixture(scope="session")
def evidence() -> dict[str, np.ndarray]:
    """Columns of all kinds of epochs, likely and unlikely."""
    rng = np.random.default_rng(5)
    shares = rng.dirichlet([5, 2, 1, 0.7, 1.5], NUM_EPOCHS).astype(np.float32)
    columns = {
        "rms_uv": rng.lognormal(2.8, 0.6, NUM_EPOCHS),
        "peak_to_peak_uv": rng.lognormal(4.5, 0.5, NUM_EPOCHS),
        **{f"{band}_share": shares[:, idx] for idx, band in enumerate(BANDS_HZ)},
        "high_frequency_ratio": rng.exponential(0.05, NUM_EPOCHS),
        "dominant_hz": rng.uniform(0.5, 20, NUM_EPOCHS),
        "alpha_fraction": rng.beta(0.5, 2, NUM_EPOCHS),
        "slow_wave_fraction": rng.beta(0.3, 1.5, NUM_EPOCHS),
        "spindle_count": rng.poisson(1, NUM_EPOCHS),
        "spindle_density_per_min": np.zeros(NUM_EPOCHS),
        "spindle_duration_s": np.zeros(NUM_EPOCHS),
        "sawtooth_count": rng.poisson(0.1, NUM_EPOCHS),
        "k_complex_count": rng.poisson(0.5, NUM_EPOCHS),
        "eye_movement_count": rng.poisson(1.2, NUM_EPOCHS),
        "artefact_fraction": rng.choice([0, 0.5], NUM_EPOCHS, p=[0.97, 0.03]),
    }
    columns["spindle_density_per_min"] = 2.0 * columns["spindle_count"]
    columns["spindle_duration_s"] = np.where(columns["spindle_count"] > 0, rng.uniform(0.5, 2, NUM_EPOCHS), 0.0)
    assert set(columns) == set(EVIDENCE_COLUMNS)
    return columns


@pytest.fixture(scope="session")
def events(evidence) -> list[list[Event]]:
    """Events of each epoch, as many of a kind as are counted."""
    rng = np.random.default_rng(7)
    count_columns = {
        Feature.SPINDLES: "spindle_count",
        Feature.K_COMPLEXES: "k_complex_count",
        Feature.EYE_MOVEMENTS: "eye_movement_count",
    }
    return [
        [
            Event(kind, onset_s, float(rng.uniform(0.3, 0.5)))
            for kind, column in count_columns.items()
            for onset_s in sorted(rng.choice(np.arange(0.0, 29.5, 0.51), evidence[column][idx], replace=False).tolist())
        ]
        for idx in range(NUM_EPOCHS)
    ]


@pytest.fixture(scope="session")
def sleep_stages() -> list[SleepStage]:
    return [list(SleepStage)[idx] for idx in np.random.default_rng(6).integers(0, len(SleepStage), NUM_EPOCHS)]
