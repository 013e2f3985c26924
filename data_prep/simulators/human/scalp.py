"""Scalp of a simulated sleeper: what a derivation shows of each component of the EEG, relative to Fpz-Cz.

Each component has an amplitude at every region and a correlation between electrodes that falls with their distance.
A derivation is a weighted sum of electrodes, so its power is a quadratic form of these covariances:
P = sum of c_i c_j a_i a_j exp(-angle_ij / length). Gains are relative to Fpz-Cz, whose night is calibrated to real
ones; Pz-Oz, the other derivation with real band powers, has a table of its own (posterior.json). What lies between
follows the components' maps, and in part (`posterior`) how far the maps miss the real Pz-Oz.

docs/experiments/simulators.md says where each map comes from.

Shape letters: S states of the brain, n events.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from data_prep.simulators.human.calibration import NUM_FEATURES, Table, load_table

ANCHOR = "Fpz-Cz"
# Angle from the vertex and from the nose, to the right, in degrees: the 10-20 system on a sphere.
_PLACES = {
    "Fpz": (72, 0), "Fz": (36, 0), "F3": (46, -41), "F4": (46, 41), "Cz": (0, 0), "C3": (36, -90), "C4": (36, 90),
    "Pz": (36, 180), "Oz": (72, 180), "O1": (72, -162), "O2": (72, 162), "M1": (108, -100), "M2": (108, 100),
}  # fmt: skip
_REGIONS = ("Fp", "F", "C", "P", "O", "M")


@dataclass(frozen=True)
class Derivation:
    """A row of the table of derivations."""

    weights: Mapping[str, float]  # of electrodes
    posterior: float  # 0: variances as at Fpz-Cz, 1: as at Pz-Oz

    @property
    def plus(self) -> str:
        """The electrode with weight 1."""
        return next(iter(self.weights))


DERIVATIONS: dict[str, Derivation] = {
    "Fpz-Cz": Derivation({"Fpz": 1, "Cz": -1}, 0.0),
    "F4-M1": Derivation({"F4": 1, "M1": -1}, 0.1),
    "F3-M2": Derivation({"F3": 1, "M2": -1}, 0.1),
    "C4-A1": Derivation({"C4": 1, "M1": -1}, 0.4),
    "C3-A2": Derivation({"C3": 1, "M2": -1}, 0.4),
    "O2-M1": Derivation({"O2": 1, "M1": -1}, 0.9),
    "Cz-linked": Derivation({"Cz": 1, "M1": -0.5, "M2": -0.5}, 0.4),
    "Fz-Cz": Derivation({"Fz": 1, "Cz": -1}, 0.2),
    "F4-C4": Derivation({"F4": 1, "C4": -1}, 0.2),
    "C4-O2": Derivation({"C4": 1, "O2": -1}, 0.7),
    "Pz-Oz": Derivation({"Pz": 1, "Oz": -1}, 1.0),
}


@dataclass(frozen=True)
class Component:
    """Amplitude of a component at the regions, and its correlation."""

    levels: tuple[float, float, float, float, float, float]  # Fp, F, C, P, O, mastoids
    length_deg: float  # correlation exp(-angle / length)

    def covariance(self, one: str, other: str) -> float:
        """Covariance of two electrodes."""
        product = self._level(one) * self._level(other)
        return product * float(np.exp(-_angle_deg(one, other) / self.length_deg))

    def _level(self, electrode: str) -> float:
        return self.levels[_REGIONS.index(electrode.rstrip("z1234"))]

    def power(self, weights: Mapping[str, float]) -> float:
        """Power of a derivation."""
        return sum(c * d * self.covariance(one, other) for one, c in weights.items() for other, d in weights.items())


_EVERYWHERE = 1e6  # one source, seen by all electrodes at the same moment
COMPONENTS: dict[str, Component] = {
    "slow": Component((0.85, 1.1, 1.0, 0.8, 0.5, 0.4), 100),
    "theta": Component((0.8, 1.0, 1.0, 0.95, 0.8, 0.4), 70),
    "alpha_back": Component((0.35, 0.4, 0.55, 0.9, 1.2, 0.5), 70),
    "alpha_front": Component((0.8, 1.0, 1.0, 0.9, 0.75, 0.45), 70),
    "spindle_slow": Component((0.85, 1.1, 0.8, 0.5, 0.3, 0.25), 90),
    "spindle_fast": Component((0.4, 0.65, 1.0, 1.05, 0.5, 0.3), 90),
    "beta": Component((0.8, 1.0, 1.0, 0.8, 0.6, 0.4), 45),
    "muscle": Component((1.0, 0.8, 0.45, 0.75, 1.1, 1.0), 20),
    "drift": Component((1.0, 0.9, 0.8, 0.8, 0.8, 0.8), 40),
    "k_complex": Component((0.85, 1.1, 1.0, 0.65, 0.35, 0.25), 150),
    "vertex": Component((0.3, 0.65, 1.0, 0.65, 0.25, 0.15), 150),
    "sawtooth": Component((0.4, 0.8, 1.0, 0.6, 0.3, 0.25), 150),
    "blink": Component((1.0, 0.4, 0.18, 0.09, 0.05, 0.02), _EVERYWHERE),
    "saccade": Component((1.0, 0.7, 0.35, 0.2, 0.15, 0.15), 200),
    "movement": Component((1.0, 0.9, 0.8, 0.8, 0.9, 0.9), 60),
}
# Share of each component in the power at Fpz-Cz: state of the brain, feature of the calibration.
_EYES = "saccade"
_SHARES: tuple[tuple[Mapping[str, float], ...], ...] = (
    (  # eyes open: delta, theta, alpha, beta, gamma, below delta
        {"blink": 0.5, _EYES: 0.3, "slow": 0.2},
        {"blink": 0.45, "theta": 0.55},
        {"alpha_back": 0.35, "alpha_front": 0.65},
        {"muscle": 0.8, "beta": 0.2},
        {"muscle": 0.9, "beta": 0.1},
        {"blink": 0.3, _EYES: 0.4, "drift": 0.3},
    ),
    (  # eyes closed
        {_EYES: 0.6, "slow": 0.4},
        {"theta": 1.0},
        {"alpha_back": 0.85, "alpha_front": 0.15},
        {"muscle": 0.7, "beta": 0.3},
        {"muscle": 0.9, "beta": 0.1},
        {_EYES: 0.5, "drift": 0.5},
    ),
    (  # N1
        {_EYES: 0.2, "slow": 0.8},
        {"theta": 1.0},
        {"alpha_back": 0.3, "alpha_front": 0.7},
        {"muscle": 0.15, "beta": 0.85},
        {"muscle": 0.3, "beta": 0.7},
        {_EYES: 0.3, "drift": 0.7},
    ),
    (  # N2
        {"slow": 1.0},
        {"theta": 1.0},
        {"alpha_front": 0.75, "spindle_slow": 0.25},
        {"spindle_fast": 0.35, "beta": 0.65},
        {"muscle": 0.3, "beta": 0.7},
        {"slow": 0.7, "drift": 0.3},
    ),
    (  # N3
        {"slow": 1.0},
        {"theta": 1.0},
        {"alpha_front": 0.75, "spindle_slow": 0.25},
        {"spindle_fast": 0.3, "beta": 0.7},
        {"muscle": 0.3, "beta": 0.7},
        {"slow": 0.8, "drift": 0.2},
    ),
    (  # REM
        {_EYES: 0.15, "slow": 0.85},
        {"theta": 1.0},
        {"alpha_back": 0.15, "alpha_front": 0.85},
        {"muscle": 0.1, "beta": 0.9},
        {"muscle": 0.2, "beta": 0.8},
        {_EYES: 0.3, "drift": 0.7},
    ),
)
_OPEN_SHARE = 0.6  # of wake, for the calibration, which does not part the eyes
_BACK_SPINDLES_HZ = 0.6  # faster at Pz-Oz
_TOPOGRAPHY_SD = 0.15  # ln gain between sleepers, of each feature, beside the covariance of the tables


@dataclass(frozen=True)
class Scalp:
    """One sleeper's head as one derivation shows it.

    Attributes:
        derivation: Name, one of DERIVATIONS.
        rng: Source of the events' randomness; Fpz-Cz draws nothing from it.
    """

    derivation: str
    rng: np.random.Generator = field(compare=False)

    @property
    def _row(self) -> Derivation:
        return DERIVATIONS[self.derivation]

    @property
    def is_anchor(self) -> bool:
        """Whether it is Fpz-Cz, whose night needs no gains."""
        return self.derivation == ANCHOR

    def draw_gains(self, component: str, num: int) -> np.ndarray | float:
        """Factor on the waves of each event as drawn for Fpz-Cz, (n, 1); its mean square is the power gain.

        Electrodes share a wave in part. Two near ones therefore show it with either polarity.
        """
        if self.is_anchor:
            return 1.0
        source, weights = COMPONENTS[component], self._row.weights
        own = source.covariance(self._row.plus, self._row.plus)
        minus = {name: -weight for name, weight in weights.items() if name != self._row.plus}
        shared = sum(weight * source.covariance(self._row.plus, name) for name, weight in minus.items())
        apart = max(0.0, source.power(minus) - shared**2 / own)
        gains = (own - shared) / np.sqrt(own) + np.sqrt(apart) * self.rng.standard_normal((num, 1))
        return gains / np.sqrt(source.power(DERIVATIONS[ANCHOR].weights))

    @property
    def spindle_shift_hz(self) -> float:
        """How much faster fast spindles are than at Fpz-Cz."""
        return _BACK_SPINDLES_HZ * self._row.posterior

    @cached_property
    def state_shifts(self) -> np.ndarray:
        """Change of the features of each state of the brain from Fpz-Cz, in ln power, (S, 6)."""
        if self.is_anchor:
            return np.zeros((len(_SHARES), NUM_FEATURES))
        return np.array([[_log_gain(shares, self._row) for shares in features] for features in _SHARES])

    @cached_property
    def table(self) -> Table:
        """The calibration's table for this derivation."""
        front, back, weight = load_table(), load_table("posterior"), self._row.posterior
        if self.is_anchor:
            return front
        missed = back["mu"] - front["mu"] - by_stage(Scalp("Pz-Oz", self.rng).state_shifts)
        table = {name: (1 - weight) * front[name] + weight * back[name] for name in front}
        table["mu"] = front["mu"] + by_stage(self.state_shifts) + weight * missed
        if weight < 1:
            table["mu"] = table["mu"] + _TOPOGRAPHY_SD * self.rng.standard_normal(NUM_FEATURES)
        return table


def _log_gain(shares: Mapping[str, float], derivation: Derivation) -> float:
    anchor = DERIVATIONS[ANCHOR].weights
    powers = [
        share * COMPONENTS[name].power(derivation.weights) / COMPONENTS[name].power(anchor)
        for name, share in shares.items()
    ]
    return float(np.log(sum(powers)))


def by_stage(shifts_S6: np.ndarray) -> np.ndarray:
    """Shifts of W, N1, N2, N3, REM; wake with open and closed eyes."""
    wake = np.log(_OPEN_SHARE * np.exp(shifts_S6[0]) + (1 - _OPEN_SHARE) * np.exp(shifts_S6[1]))
    return np.concatenate([wake[None], shifts_S6[2:]])


@functools.cache
def _angle_deg(one: str, other: str) -> float:
    return float(np.degrees(np.arccos(np.clip(_direction(one) @ _direction(other), -1, 1))))


def _direction(electrode: str) -> np.ndarray:
    polar, azimuth = np.radians(_PLACES[electrode])
    return np.array([np.sin(polar) * np.sin(azimuth), np.sin(polar) * np.cos(azimuth), np.cos(polar)])
