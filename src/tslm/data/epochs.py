"""Cutting a raw recording into scoring epochs, for every caller alike.

1. `resample_recording` brings all channels to one rate and one start
2. the span that the caller keeps is cut into epochs
3. epochs with too many missing samples are left out; samples beyond what prepared files store are clipped
4. artefacts of the first channel are flagged; the other gaps are interpolated
5. samples are rounded to the steps in which prepared files store them

A night that is scored directly and the same night prepared, written and read back have equal samples, and so equal
evidence and events. Callers choose only the span.

Shape letters: E epochs, L samples of an epoch.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tslm.data.prepared.recordings import IDENTITY, MAX_STORED_UV, Recording, round_to_stored
from tslm.data.readers.align import align_recording
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.evidence.muscle import ENVELOPE_BELOW_HZ
from tslm.labels import SleepStage, species_group
from tslm.signals.artifacts import (
    FILL_VALUE,
    IMPOSSIBLE_UV,
    SATURATION_OF_GROUP_UV,
    flag_artifacts,
    take_for_missing,
)
from tslm.signals.filters import bridge_gaps, resample_polyphase

MAX_MISSING_SHARE = 0.1  # of an epoch; an epoch with more is left out
_LARGE_OFFSET_UV = 1000.0  # of a whole channel: an amplifier that is coupled for direct current


def cut_epochs(raw: RawRecording, fs_hz: float = 0.0, span: range | None = None) -> Recording:
    """Cut a recording into scoring epochs of `raw.epoch_s`.

    Args:
        raw: Signals, and one sleep stage per epoch from the same start; without stages all epochs are unscored.
        fs_hz: Sampling rate of the epochs; 0: the highest rate of the channels.
        span: Epochs to keep, counted from the start of the recording; None: all.

    Returns:
        Epochs, their samples rounded to the stored steps, with a bool column `<kind>_flag` for each kind of artefact;
        `notes` say what was changed.

    Raises:
        ValueError: No channel, a recording shorter than one epoch, an epoch of no whole number of samples, or too many
            missing samples in every epoch.
    """
    raw = resample_recording(raw, fs_hz)
    fs_hz = next(iter(raw.signals.values())).fs_hz
    epochs = view_epochs(raw)
    span = range(len(next(iter(epochs.values())))) if span is None else span
    epochs = {name: epochs_EL[span.start : span.stop] for name, epochs_EL in epochs.items()}
    is_whole_E = np.all(
        [np.isnan(epochs_EL).mean(axis=1) <= MAX_MISSING_SHARE for epochs_EL in epochs.values()], axis=0
    )
    if not is_whole_E.any():
        why = "; ".join(note for note in raw.notes if note.endswith("taken for missing"))
        raise ValueError(
            f"{raw.recording}: more than {MAX_MISSING_SHARE:.0%} of every epoch is missing"
            + (f" ({why})" if why else "")
        )
    if not is_whole_E.all():
        epochs = {name: epochs_EL[is_whole_E] for name, epochs_EL in epochs.items()}
    gap_notes = _describe_gaps(epochs, is_whole_E)
    fitted = {name: _fit_to_stored(name, epochs_EL, raw.signals[name].unit) for name, epochs_EL in epochs.items()}
    epochs = {name: epochs_EL for name, (epochs_EL, _, _) in fitted.items()}
    first = next(iter(fitted))
    saturation_uv = SATURATION_OF_GROUP_UV[species_group(raw.species)]
    flags = flag_artifacts(epochs[first], fs_hz, saturation_uv=saturation_uv)
    flags["saturation"] |= fitted[first][1]
    epoch_idx = span.start + np.flatnonzero(is_whole_E)
    sleep_stages = [raw.sleep_stages[idx] for idx in epoch_idx] if raw.sleep_stages else []
    recording = Recording(
        **{name: getattr(raw, name) for name in IDENTITY},
        fs_hz=fs_hz,
        epoch_s=raw.epoch_s,
        channels={name: bridge_gaps(epochs_EL) for name, epochs_EL in epochs.items()},
        sleep_stages=tuple(sleep_stages) or (SleepStage.UNSCORED,) * len(epoch_idx),
        onset_s=raw.grid_s + epoch_idx * raw.epoch_s,
        columns={f"{kind}_flag": flags_E for kind, flags_E in flags.items()},
        units={name: signal.unit for name, signal in raw.signals.items() if signal.unit != "uV"},
        notes=(*raw.notes, *gap_notes, *(note for _, _, notes in fitted.values() for note in notes)),
    )
    return round_to_stored(recording)


def resample_recording(raw: RawRecording, fs_hz: float = 0.0) -> RawRecording:
    """Bring all channels to one rate and one start, from the start of the recording to the end of its last channel.

    Channels under 20 Hz are envelopes: they are interpolated. The others are resampled by a polyphase filter. A channel
    that does not reach a sample is NaN there, as are samples beyond 1 V, before any filter spreads them. A recording
    that has been resampled comes back unchanged.

    Args:
        raw: Signals of any rates and starts.
        fs_hz: Rate; 0: the highest rate of the channels.

    Raises:
        ValueError: No channel, or a rate that is not positive.
    """
    if not raw.signals:
        raise ValueError(f"{raw.recording} has no channel; name at least one")
    fs_hz = fs_hz or max(signal.fs_hz for signal in raw.signals.values())
    signals, notes = {}, []
    for name, signal in raw.signals.items():
        values, phrase = take_for_missing(signal.values, IMPOSSIBLE_UV if signal.unit == "uV" else FILL_VALUE)
        if phrase:
            signal = replace(signal, values=values)
            notes.append(f"{name}: {phrase}")
        if signal.fs_hz != fs_hz and signal.fs_hz >= ENVELOPE_BELOW_HZ:
            notes.append(f"{name}: resampled from {signal.fs_hz:g} Hz to {fs_hz:g} Hz")
            signal = _resample_signal(signal, fs_hz)
        signals[name] = signal
    return align_recording(replace(raw, signals=signals, notes=(*raw.notes, *notes)), fs_hz)


def view_epochs(raw: RawRecording) -> dict[str, np.ndarray]:
    """Samples of each channel of a resampled recording by epoch, (num_epochs, samples) float32, NaN where missing.

    They begin at `grid_s` and end with the signals or with the sleep stages, whichever end first.
    """
    fs_hz = next(iter(raw.signals.values())).fs_hz
    epoch_samples = round(raw.epoch_s * fs_hz)
    if epoch_samples < 1 or abs(epoch_samples - raw.epoch_s * fs_hz) > 1e-6:
        raise ValueError(
            f"{raw.recording}: epochs of {raw.epoch_s:g} s at {fs_hz:g} Hz are no whole number of samples; resample it"
        )
    first = round(raw.grid_s * fs_hz)
    num_samples = min(len(signal.values) for signal in raw.signals.values()) - first
    num_epochs = num_samples // epoch_samples
    if not num_epochs:
        raise ValueError(f"{raw.recording} holds {num_samples / fs_hz:g} s, less than one epoch of {raw.epoch_s:g} s")
    if raw.sleep_stages:
        num_epochs = min(num_epochs, len(raw.sleep_stages))
    return {
        name: np.asarray(signal.values[first : first + num_epochs * epoch_samples], dtype=np.float32).reshape(
            num_epochs, -1
        )
        for name, signal in raw.signals.items()
    }


def _fit_to_stored(name: str, epochs_EL: np.ndarray, unit: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Samples within what a prepared file stores in steps of 0.5 uV, which epochs were clipped, and notes.

    A whole channel that lies beside zero is moved there; what is still beyond the limit is clipped.
    """
    clipped_E, notes = np.zeros(len(epochs_EL), dtype=bool), list[str]()
    if unit != "uV" or not np.nanmax(np.abs(epochs_EL)) > MAX_STORED_UV:
        return epochs_EL, clipped_E, notes
    offset_uv = np.nanmedian(epochs_EL)
    if abs(offset_uv) > _LARGE_OFFSET_UV:
        epochs_EL = epochs_EL - offset_uv
        notes.append(f"{name}: offset of {offset_uv / 1000:.3g} mV taken away")
    beyond_EL = np.abs(epochs_EL) > MAX_STORED_UV
    clipped_E = beyond_EL.any(axis=1)
    if clipped_E.any():
        where = f"{int(beyond_EL.sum())} samples beyond {MAX_STORED_UV / 1000:.3g} mV in {int(clipped_E.sum())} epochs"
        notes.append(f"{name}: {where} clipped")
    return np.clip(epochs_EL, -MAX_STORED_UV, MAX_STORED_UV), clipped_E, notes


def _resample_signal(signal: RawSignal, fs_hz: float) -> RawSignal:
    """The signal at another rate; gaps are bridged for the filter and put back after it."""
    missing = np.isnan(signal.values)
    values = resample_polyphase(bridge_gaps(signal.values), signal.fs_hz, fs_hz)
    if missing.any():
        nearest = np.rint(np.arange(len(values)) * (signal.fs_hz / fs_hz)).astype(int)
        values[missing[np.minimum(nearest, len(missing) - 1)]] = np.nan
    return replace(signal, values=values, fs_hz=fs_hz)


def _describe_gaps(epochs: Mapping[str, np.ndarray], is_whole_E: np.ndarray) -> list[str]:
    """Notes on the epochs left out and on the samples interpolated in those kept."""
    notes = []
    if num_left_out := int((~is_whole_E).sum()):
        notes.append(f"{num_left_out} epochs left out: more than {MAX_MISSING_SHARE:.0%} of their samples are missing")
    for name, epochs_EL in epochs.items():
        missing_EL = np.isnan(epochs_EL)
        if missing_EL.any():
            num_epochs = int(missing_EL.any(axis=1).sum())
            notes.append(f"{name}: {int(missing_EL.sum())} missing samples in {num_epochs} epochs interpolated")
    return notes
