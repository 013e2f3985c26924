"""Events: where in a scoring epoch each detector finds something.

`find_features` runs the detectors once. `find_events` gives what they find as events with onset and duration,
`tslm.evidence.measure` as counts and shares, so the two never disagree.

Shape letters: E epochs, L samples of an epoch, W windows of an epoch, F frequencies.
"""

import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from tslm.evidence.criteria import Feature
from tslm.evidence.eyes import find_eye_candidates, find_eye_movements
from tslm.evidence.stretches import Stretches, find_stretches
from tslm.evidence.waveforms import (
    filter_bands,
    find_k_complexes,
    find_sawtooth_trains,
    find_slow_waves,
    find_spindles,
    keep_waves_of_sleep,
    merge_slow_waves,
)
from tslm.labels import species_group
from tslm.signals.artifacts import SATURATION_OF_GROUP_UV, measure_seconds
from tslm.signals.spectrum import EVIDENCE_BANDS_HZ, Bands, sum_band

# Kinds of events by group of species: the other waveforms are defined on the human scalp.
EVENT_KINDS: dict[str, tuple[Feature, ...]] = {
    "human": (
        Feature.SPINDLES,
        Feature.K_COMPLEXES,
        Feature.SLOW_WAVES,
        Feature.ALPHA,
        Feature.EYE_MOVEMENTS,
        Feature.SAWTOOTH,
        Feature.ARTEFACT,
    ),
    "rodent": (Feature.SLOW_WAVES, Feature.ARTEFACT),
}
MIN_EPOCH_S = 4.0
MIN_FS_HZ = 64.0
_MAX_EPOCH_S = 86_400.0
_EPOCHS_AT_ONCE = 64  # keeps the working arrays in the cache


@dataclass(frozen=True)
class Event:
    """Something found at one place of a scoring epoch."""

    kind: Feature  # one of EVENT_KINDS
    onset_s: float  # from the start of the epoch
    duration_s: float


def find_events(epochs_EL: np.ndarray, fs_hz: float, species: str = "human") -> list[list[Event]]:
    """Events of each epoch in time order; an event ends with its epoch.

    A spindle lasts from where its sigma rises to where it falls, a K-complex for both its half-waves. Slow waves that
    adjoin are one event, as are neighbouring windows of alpha (2 s each, one every second) and of sawtooth waves (3 s,
    every half second). An eye movement lasts from its step to the end of the plateau, or over the blink; one that
    begins within half a second of the one before belongs to it. An artefact is a run of seconds that are flat or reach
    the saturation level. Events of different kinds may overlap.

    Args:
        epochs_EL: (num_epochs, samples) microvolt, finite; of one channel, a frontal EEG where there is one.
        fs_hz: sampling rate, at least 64 Hz.
        species: of rodents, only slow waves and artefacts are given: the other waveforms are defined on the human
            scalp.

    Raises:
        ValueError: as `tslm.evidence.measure.measure_evidence`.
    """
    group = species_group(species)
    events: list[list[Event]] = []
    for chunk_EL in cut_chunks(epochs_EL, fs_hz):
        centred_EL = chunk_EL - chunk_EL.mean(axis=1, keepdims=True)
        found = find_features(chunk_EL, centred_EL, fs_hz, group, EVENT_KINDS[group])
        rows: list[list[Event]] = [[] for _ in chunk_EL]
        for kind, stretches in found.items():
            places = (values.tolist() for values in (stretches.epoch_idx, *stretches.locate(fs_hz)))
            for idx, onset_s, duration_s in zip(*places, strict=True):
                rows[idx].append(Event(kind, onset_s, duration_s))
        events += [sorted(row, key=lambda event: event.onset_s) for row in rows]
    return events


def render_events(events: Iterable[Event]) -> list[list[Any]]:
    """Events as files hold them: [kind, onset in s, duration in s] each, to a hundredth of a second."""
    return [[event.kind.value, round(event.onset_s, 2), round(event.duration_s, 2)] for event in events]


def parse_events(rows: Iterable[Any]) -> tuple[Event, ...]:
    """Events from what `render_events` gives.

    Raises:
        ValueError: a row is not [kind, onset in s, duration in s] with a known kind and times within an epoch.
    """
    return tuple(_parse_event(row) for row in rows)


def _parse_event(row: Any) -> Event:
    kind, *times_s = row if isinstance(row, list | tuple) else (None,)
    is_timed = len(times_s) == 2 and all(
        isinstance(time_s, int | float) and 0 <= time_s < _MAX_EPOCH_S for time_s in times_s
    )
    if not isinstance(kind, str) or kind not in EVENT_KINDS["human"] or not is_timed:
        kinds = ", ".join(EVENT_KINDS["human"])
        raise ValueError(
            f"{reprlib.repr(row)} is no event; wanted [kind, onset in s, duration in s] with a kind of: {kinds}"
        )
    return Event(Feature(kind), *times_s)


def cut_chunks(epochs_EL: np.ndarray, fs_hz: float) -> Iterator[np.ndarray]:
    """Some epochs at a time, float32.

    Raises:
        ValueError: epochs of different lengths or no array of two dimensions, an epoch shorter than 4 s, a rate that is
            too low, or values that are not finite.
    """
    try:
        epochs_EL = np.asarray(epochs_EL)
    except ValueError as error:
        raise ValueError("epochs differ in length; wanted (num_epochs, samples): cut them to one length") from error
    if epochs_EL.ndim != 2:
        raise ValueError(f"epochs have shape {epochs_EL.shape}; wanted (num_epochs, samples): reshape the signal first")
    if not fs_hz >= MIN_FS_HZ:
        raise ValueError(
            f"sampling rate is {fs_hz:g} Hz; evidence up to 30 Hz needs {MIN_FS_HZ:g} Hz or more: give a faster channel"
        )
    if epochs_EL.shape[1] < MIN_EPOCH_S * fs_hz:
        raise ValueError(
            f"epochs last {epochs_EL.shape[1] / fs_hz:g} s; evidence needs {MIN_EPOCH_S:g} s or more: cut longer epochs"
        )
    if not np.isfinite(epochs_EL).all():
        raise ValueError("epochs hold NaN or infinite values; wanted finite microvolts: bridge or leave out the gaps")
    for start in range(0, len(epochs_EL), _EPOCHS_AT_ONCE):
        yield epochs_EL[start : start + _EPOCHS_AT_ONCE].astype(np.float32)


def find_features(
    epochs_EL: np.ndarray, centred_EL: np.ndarray, fs_hz: float, group: str, kinds: Iterable[Feature]
) -> dict[Feature, Stretches]:
    """Where each of `kinds` is found in epochs (num_epochs, samples) float32, `centred_EL` without their means."""
    bands = filter_bands(centred_EL, fs_hz)
    waves = possible_waves = find_slow_waves(bands, fs_hz)
    eyes = find_eye_candidates(bands["eyes"], fs_hz)
    if group == "human":  # rodents are recorded from the skull, away from eyes and lids
        waves, possible_waves = keep_waves_of_sleep(waves, bands, eyes.positions, fs_hz)
    detectors: dict[Feature, Callable[[], Stretches]] = {
        Feature.SPINDLES: lambda: find_spindles(bands, fs_hz),
        Feature.K_COMPLEXES: lambda: find_k_complexes(waves, bands["slow"], fs_hz),
        Feature.SLOW_WAVES: lambda: merge_slow_waves(waves, bands["slow"].shape),
        Feature.ALPHA: lambda: _find_alpha(centred_EL, fs_hz, EVIDENCE_BANDS_HZ[group]),
        Feature.EYE_MOVEMENTS: lambda: find_eye_movements(eyes, possible_waves, bands, fs_hz),
        Feature.SAWTOOTH: lambda: find_sawtooth_trains(bands, fs_hz),
        Feature.ARTEFACT: lambda: _find_artefacts(epochs_EL, fs_hz, SATURATION_OF_GROUP_UV[group]),
    }
    return {kind: detectors[kind]() for kind in kinds}


def _find_alpha(centred_EL: np.ndarray, fs_hz: float, bands_hz: Bands) -> Stretches:
    """Windows in which alpha carries more power than theta, sigma or beta.

    2-s Hann windows every second. Delta is left out, so slow eye movements do not mask a rhythm
    that the eye still sees. AASM 2007: more than half the epoch in alpha is wake.
    """
    length, hop = round(2 * fs_hz), round(fs_hz)
    windows_EWL = np.lib.stride_tricks.sliding_window_view(centred_EL, length, axis=1)[:, ::hop]
    taper_L = scipy.signal.windows.hann(length, sym=False).astype(np.float32)
    spectrum_EWF = scipy.fft.rfft(windows_EWL * taper_L, axis=-1)
    power_EWF = spectrum_EWF.real**2 + spectrum_EWF.imag**2
    freqs_hz = scipy.fft.rfftfreq(length, 1 / fs_hz)
    power = {band: sum_band(power_EWF, freqs_hz, *edges) for band, edges in bands_hz.items()}
    rivals_EW = np.maximum(np.maximum(power["theta"], power["sigma"]), power["beta"])
    return find_stretches(power["alpha"] > rivals_EW, hop, length)


def _find_artefacts(epochs_EL: np.ndarray, fs_hz: float, saturation_uv: float) -> Stretches:
    """Whole seconds that are flat (under 1 uV peak to peak) or reach the saturation level."""
    flat_ES, saturated_ES, _ = measure_seconds(epochs_EL, fs_hz, saturation_uv)
    return find_stretches(flat_ES | saturated_ES, fs_hz, fs_hz)
