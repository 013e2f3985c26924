"""Simulated ECG: each beat is a sum of five Gaussian waves, with any RR intervals.

A closed form of the model of McSharry et al. (2003): for given beat times, the waves are at the positions of its limit
cycle, so no equation is integrated. A record takes about a millisecond.
"""

from dataclasses import dataclass

import numpy as np

FS_HZ = 100.0
DURATION_S = 10.0
# Typical P, Q, R, S, T amplitudes of an adult, in millivolt.
LEADS: dict[str, tuple[float, float, float, float, float]] = {
    "II": (0.12, -0.08, 1.10, -0.15, 0.30),
    "V5": (0.08, -0.10, 1.20, -0.25, 0.35),
    "V1": (0.05, 0.00, 0.25, -1.00, -0.05),
    "I": (0.08, -0.05, 0.70, -0.10, 0.20),
    "III": (0.06, -0.05, 0.50, -0.15, 0.12),
    "aVR": (-0.10, 0.05, -0.85, 0.10, -0.25),
    "aVL": (0.03, -0.03, 0.30, -0.10, 0.08),
    "aVF": (0.09, -0.06, 0.80, -0.15, 0.20),
    "V2": (0.06, 0.00, 0.50, -1.30, 0.50),
    "V3": (0.07, -0.02, 0.90, -0.80, 0.50),
    "V4": (0.08, -0.08, 1.50, -0.40, 0.45),
    "V6": (0.07, -0.10, 1.10, -0.15, 0.25),
}
_CENTRES_S = np.array([-0.16, -0.03, 0.0, 0.03, 0.27])  # from the R peak at 60 beats a minute
_WIDTHS_S = np.array([0.022, 0.011, 0.012, 0.011, 0.045])
_MOVES_WITH_RATE = np.array([0.5, 0.0, 0.0, 0.0, 0.5])  # exponent of RR, after Bazett


@dataclass(frozen=True)
class Rhythm:
    """Beat times, and which beats lack a P wave or are wide."""

    r_times_s: np.ndarray  # (num_beats,)
    has_p_mask: np.ndarray  # (num_beats,) bool
    wide_mask: np.ndarray  # (num_beats,) bool: ventricular shape


def draw_rhythm(rng: np.random.Generator) -> Rhythm:
    """Sinus rhythm of any rate, some with a changing rate, early beats or a pause, or an irregular one without P."""
    mean_rr_s = 60.0 / np.exp(rng.uniform(np.log(42), np.log(150)))
    num_beats = int(2.5 * DURATION_S / mean_rr_s) + 8
    kind = rng.choice(["steady", "changing", "early", "pause", "irregular"], p=[0.4, 0.15, 0.15, 0.1, 0.2])
    rr_s = mean_rr_s * np.exp(rng.normal(0, 0.22 if kind == "irregular" else rng.uniform(0.005, 0.03), num_beats))
    wide_mask = np.zeros(num_beats, dtype=bool)
    in_view = max(int(DURATION_S / mean_rr_s), 5)
    if kind == "changing":
        rr_s *= np.exp(rng.choice([-1, 1]) * rng.uniform(0.15, 0.45) * np.linspace(-0.5, 1.5, num_beats))
    elif kind == "early":
        for beat in rng.choice(
            np.arange(2, in_view - 1), size=min(int(rng.integers(1, 4)), in_view - 3), replace=False
        ):
            early_by_s = rng.uniform(0.28, 0.42) * mean_rr_s
            rr_s[beat - 1] -= early_by_s
            rr_s[beat] += early_by_s
            wide_mask[beat] = rng.random() < 0.7
    elif kind == "pause":
        rr_s[rng.integers(2, in_view - 1)] += rng.uniform(0.9, 1.6)
    rr_s = np.maximum(rr_s, 0.34)
    r_times_s = np.concatenate([[0.0], np.cumsum(rr_s)[:-1]]) - rng.uniform(0, mean_rr_s)
    has_p_mask = ~wide_mask & (kind != "irregular")
    return Rhythm(r_times_s, has_p_mask, wide_mask)


def simulate_ecg(rhythm: Rhythm, leads: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """(num_leads, 1000) float32 millivolt at 100 Hz, with wandering baseline and noise."""
    time_s = np.arange(round(DURATION_S * FS_HZ)) / FS_HZ
    kept = (rhythm.r_times_s > -1) & (rhythm.r_times_s < DURATION_S + 1)
    r_times_s, wide_mask = rhythm.r_times_s[kept], rhythm.wide_mask[kept]
    rr_s = np.clip(np.diff(r_times_s, append=r_times_s[-1] + 0.8), 0.3, 1.5)
    centres_BW = r_times_s[:, None] + _CENTRES_S * rr_s[:, None] ** _MOVES_WITH_RATE
    widths_BW = _WIDTHS_S * np.where(wide_mask, 2.5, 1.0)[:, None]
    waves_BWL = np.exp(-0.5 * ((time_s - centres_BW[..., None]) / widths_BW[..., None]) ** 2)
    gain_BW = np.ones_like(centres_BW)
    gain_BW[:, 0] = rhythm.has_p_mask[kept]
    gain_BW[wide_mask] *= (0.0, 1.0, 1.3, 1.5, -1.2)
    waves_WL = np.einsum("bw,bwl->wl", gain_BW, waves_BWL)
    amplitudes_CW = np.array([LEADS[lead] for lead in leads]) * rng.uniform(0.8, 1.2, size=(len(leads), 5))
    amplitudes_CW *= np.exp(rng.normal(0, 0.3, size=(len(leads), 1)))
    wander_L = rng.uniform(0, 0.1) * np.sin(2 * np.pi * (rng.uniform(0.15, 0.4) * time_s + rng.random()))
    noise_CL = rng.uniform(0.005, 0.03) * rng.normal(size=(len(leads), len(time_s)))
    return (amplitudes_CW @ waves_WL + wander_L + noise_CL).astype(np.float32)
