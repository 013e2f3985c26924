"""Series for questions and captions: simulated, EEG-like, and real ones that ship with statsmodels.

Nothing here says what a series shows; that is measured afterwards.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

NUM_SAMPLES = 1000
EEG_FS_HZ = 100.0


@dataclass(frozen=True)
class NamedSeries:
    """One series with what is known about its origin."""

    values_L: np.ndarray  # (num_samples,) float32
    name: str
    unit: str
    fs_hz: float = 0.0  # 0 where the series has no sampling rate worth naming
    is_drawn_out: bool = False  # interpolated: then no sample stands alone and spikes mean nothing


def draw_simulated(rng: np.random.Generator) -> NamedSeries:
    """A sum of some of: line, cycle, wandering, bump, jump, spikes, change of spread; any scale and level."""
    time_L = np.linspace(0.0, 1.0, NUM_SAMPLES)
    noise = rng.normal(size=NUM_SAMPLES)
    if rng.random() < 0.3:
        split = rng.integers(300, 700)
        noise[split:] *= np.exp(rng.choice([-1, 1]) * rng.uniform(0.7, 1.8))
    values_L = rng.choice([0.1, 0.3, 1.0]) * noise
    if rng.random() < 0.45:
        values_L += rng.choice([-1, 1]) * rng.uniform(1.0, 5.0) * time_L
    if rng.random() < 0.5:
        num_cycles = np.exp(rng.uniform(np.log(3), np.log(50)))
        phase_L = 2 * np.pi * (num_cycles * time_L + rng.random())
        values_L += rng.uniform(0.5, 2.0) * (np.sin(phase_L) + rng.choice([0, 0.4]) * np.sin(2 * phase_L))
    if rng.random() < 0.2:
        values_L += rng.uniform(0.01, 0.06) * np.cumsum(rng.normal(size=NUM_SAMPLES))
    if rng.random() < 0.25:
        bump_L = np.exp(-(((time_L - rng.uniform(0.1, 0.9)) / rng.uniform(0.06, 0.15)) ** 2))
        values_L += rng.choice([-1, 1]) * rng.uniform(1.5, 4.0) * bump_L
    if rng.random() < 0.25:
        values_L[rng.integers(200, 800) :] += rng.choice([-1, 1]) * rng.uniform(1.5, 4.0)
    if rng.random() < 0.35:
        positions = rng.choice(np.arange(20, NUM_SAMPLES - 20, 30), size=rng.integers(1, 5), replace=False)
        values_L[positions] += rng.choice([-1, 1], size=len(positions)) * rng.uniform(4, 8, size=len(positions))
    scale, level = np.exp(rng.uniform(-1, 4)), rng.normal(0, 3)
    return NamedSeries((scale * (values_L + level)).astype(np.float32), "Simulated series", "")


def draw_oscillation(rng: np.random.Generator) -> NamedSeries:
    """10 s of an EEG-like signal: sloping background, one rhythm throughout or in a burst."""
    freqs_hz = np.fft.rfftfreq(NUM_SAMPLES, 1 / EEG_FS_HZ)
    gain = np.maximum(freqs_hz, 0.5) ** -rng.uniform(0.5, 1.2)
    background_L = np.fft.irfft(gain * (rng.normal(size=501) + 1j * rng.normal(size=501)), NUM_SAMPLES)
    time_s = np.arange(NUM_SAMPLES) / EEG_FS_HZ
    rhythm_hz = rng.uniform(*((1, 3.5), (4.5, 7.5), (8.5, 11.5), (12.5, 15.5), (17, 28))[rng.integers(5)])
    wobble = np.cumsum(rng.normal(0, 0.02, NUM_SAMPLES))
    envelope_L = np.ones(NUM_SAMPLES)
    if rng.random() < 0.5:
        envelope_L = np.exp(-(((time_s - rng.uniform(0.5, 9.5)) / rng.uniform(0.5, 1.5)) ** 2))
    rhythm_L = envelope_L * np.sin(2 * np.pi * (rhythm_hz * time_s + rng.random()) + wobble)
    values_L = background_L / background_L.std() + rng.uniform(0.5, 4.0) * rhythm_L
    values_uv = values_L / values_L.std() * rng.uniform(8, 50)
    return NamedSeries(values_uv.astype(np.float32), "Simulated EEG, 100 Hz", "uV", EEG_FS_HZ)


def draw_real(rng: np.random.Generator) -> NamedSeries:
    """A stretch of at least 60 points of a real series, drawn out to the common length by lines."""
    rows = _load_real()
    name, unit, values = rows[rng.integers(len(rows))]
    num_points = int(rng.integers(min(60, len(values)), len(values) + 1))
    start = int(rng.integers(0, len(values) - num_points + 1))
    part = values[start : start + num_points]
    stretched = np.interp(np.linspace(0, num_points - 1, NUM_SAMPLES), np.arange(num_points), part)
    full_name = f"{name}, {num_points} points drawn out to {NUM_SAMPLES}"
    return NamedSeries(stretched.astype(np.float32), full_name, unit, is_drawn_out=True)


@cache
def _load_real() -> tuple[tuple[str, str, np.ndarray], ...]:
    """(name, unit, values) of the time series inside the statsmodels package."""
    try:
        from statsmodels.datasets import co2, elnino, macrodata, nile, sunspots
    except ImportError as error:
        raise ImportError(
            "real series come with statsmodels, which is not installed: pip install 'tslm-sleep[ecg]'"
        ) from error
    weekly_co2 = co2.load_pandas().data["co2"].interpolate().to_numpy()
    surface = elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    macro = macrodata.load_pandas().data
    return (
        ("Sunspots, yearly", "", sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()),
        ("CO2 at Mauna Loa, weekly", "ppm", weekly_co2),
        ("Sea temperature, monthly", "C", surface),
        ("Nile flow, yearly", "1e8 m3", nile.load_pandas().data["volume"].to_numpy()),
        ("US unemployment, quarterly", "%", macro["unemp"].to_numpy()),
        ("US inflation, quarterly", "%", macro["infl"].to_numpy()),
        ("US treasury bill rate, quarterly", "%", macro["tbilrate"].to_numpy()),
        ("US investment, quarterly", "billion USD", macro["realinv"].to_numpy()),
    )
