"""Recorders: filters, drift, mains, sampling rate, converter and polarity of a simulated recording."""

from dataclasses import dataclass

import numpy as np
import scipy

from data_prep.simulators.synthesis import FS_HZ, HUMAN_GRID, draw_wander
from tslm.data.readers.raw import RawSignal

_RATES_HZ = (64, 100, 125, 128, 200, 250, 256, 500, 512)
_HIGH_PASSES_HZ = (0.0, 0.03, 0.1, 0.16, 0.3, 0.5)
_CONVERTERS = ((8, 250), (8, 500), (12, 250), (12, 1000), (14, 1000), (16, 3200), (24, 187500))  # bits, +- microvolt
_INVERTED_SHARE = 0.15


@dataclass(frozen=True)
class Amplifier:
    """One recorder as it was set up."""

    fs_hz: int
    high_pass_hz: float  # first order; 0: none
    low_pass_hz: float
    low_pass_order: int
    num_bits: int
    range_uv: float  # the converter takes -range_uv to range_uv
    mains_hz: int
    mains_uv: float  # before the low-pass
    drift_uv: float  # potentials of the skin below .1 Hz, before the high-pass
    is_inverted: bool  # of the EEG

    def describe(self) -> str:
        """Its settings in a few words."""
        start = f"{self.high_pass_hz:g}" if self.high_pass_hz else "DC"
        mains = f", {self.mains_uv:.1f} uV of {self.mains_hz} Hz" if self.mains_uv else ""
        inverted = ", upside down" if self.is_inverted else ""
        return f"{start} to {self.low_pass_hz:.0f} Hz, {self.fs_hz} Hz, {self.num_bits} bits{mains}{inverted}"

    def record(self, rng: np.random.Generator, values_N: np.ndarray) -> RawSignal:
        """What it stores of a signal at 100 Hz in microvolt; the polarity is not its own."""
        signal_N = values_N + self._draw_drift(rng, values_N.size)
        if self.high_pass_hz:
            signal_N = _filter(signal_N, 1, self.high_pass_hz, "highpass")
        if self.low_pass_hz < 0.45 * FS_HZ:
            signal_N = _filter(signal_N, self.low_pass_order, self.low_pass_hz, "lowpass")
        signal_N = scipy.signal.resample_poly(signal_N, self.fs_hz, FS_HZ).astype(np.float32)
        signal_N = signal_N[: values_N.size * self.fs_hz // FS_HZ]
        if self.mains_uv:
            signal_N += self._draw_mains(rng, signal_N.size)
        step_uv = np.float32(2 * self.range_uv / 2**self.num_bits)
        limit = 2 ** (self.num_bits - 1) - 1
        return RawSignal(step_uv * np.clip(np.rint(signal_N / step_uv), -limit, limit), float(self.fs_hz))

    def _draw_drift(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
        num_frames = num_samples // HUMAN_GRID.hop_samples + 1
        drift_F = self.drift_uv * draw_wander(rng, num_frames, 1, 60)[:, 0]
        times = np.arange(num_samples, dtype=np.float32) / HUMAN_GRID.hop_samples
        return np.interp(times, np.arange(num_frames), drift_F).astype(np.float32)

    def _draw_mains(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
        """A sine at the mains' frequency; sampled too slowly it comes back at another one, at a tenth of its size."""
        size_uv = self.mains_uv / np.sqrt(1 + (self.mains_hz / self.low_pass_hz) ** (2 * self.low_pass_order))
        size_uv *= 0.1 if self.mains_hz > 0.5 * self.fs_hz else 1.0
        hundredths = 100 * self.mains_hz + rng.integers(-5, 6)  # it repeats itself after 100 s
        cycles = np.arange(100 * self.fs_hz) * (hundredths / (100 * self.fs_hz)) + rng.random()
        return np.resize((size_uv * np.sin(2 * np.pi * cycles)).astype(np.float32), num_samples)


def draw_amplifier(rng: np.random.Generator) -> Amplifier:
    """Any recorder."""
    num_bits, range_uv = _CONVERTERS[rng.integers(len(_CONVERTERS))]
    return Amplifier(
        fs_hz=_RATES_HZ[rng.integers(len(_RATES_HZ))],
        high_pass_hz=_HIGH_PASSES_HZ[rng.integers(len(_HIGH_PASSES_HZ))],
        low_pass_hz=float(np.exp(rng.uniform(np.log(25), np.log(100)))),
        low_pass_order=int(rng.integers(1, 7)),
        num_bits=num_bits,
        range_uv=float(range_uv),
        mains_hz=int(rng.choice([50, 60])),
        mains_uv=float(rng.lognormal(0, 1)) if rng.random() < 0.6 else 0.0,
        drift_uv=float(rng.lognormal(np.log(8), 0.8)),
        is_inverted=bool(rng.random() < _INVERTED_SHARE),
    )


def _filter(signal_N: np.ndarray, order: int, cutoff_hz: float, kind: str) -> np.ndarray:
    sections = scipy.signal.butter(order, cutoff_hz, kind, fs=FS_HZ, output="sos")
    return scipy.signal.sosfilt(sections, signal_N).astype(np.float32)
