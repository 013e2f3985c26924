"""A night straight from a file of signals: at the model's rate, cut into epochs, nothing scored yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.cohorts.montage import read_montage, resample_signal
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.align import align_recording
from tslm.data.readers.raw import RawRecording, SignalFile
from tslm.evidence.muscle import ENVELOPE_BELOW_HZ
from tslm.labels import SleepStage, species_group
from tslm.signals.artifacts import SATURATION_OF_GROUP_UV, flag_artifacts
from tslm.signals.gaps import MAX_MISSING_SHARE, bridge_gaps, find_whole_epochs
from tslm.signals.rest import find_night

_BETWEEN, _AMONG = " - ", " + "  # as DerivationConfig.name writes it: "C4 - M1", "Fpz - M1 + M2"


@dataclass(frozen=True)
class SingleNight:
    """What is to be scored of a recording."""

    recording: Recording  # unscored; epochs of which too much is missing are left out; artefacts as `<kind>_flag`
    span: range  # epochs of the file, counted from its start, that the night goes over


def read_single_night(
    file: SignalFile, channels: Mapping[str, str], fs_hz: float, epoch_s: float, species: str, whole: bool = False
) -> SingleNight:
    """Read channels, resample them and cut them into epochs from the file's start on.

    Of a person's recording of more than 12 hours the night is kept (tslm.signals.rest), as models know nights and
    measure a recording by itself; the recording's `notes` say where it was found.

    Args:
        file: an open file of signals.
        channels: name that the model knows a channel by, and the file's channel: a name, or a difference to one or the
            mean of several ("C4 - M1", "C4 - M1 + M2"). In the first, an EEG, the night and artefacts are looked for.
        fs_hz: rate of the epochs.
        epoch_s: length of an epoch.
        species: whose night it is; the level of saturation depends on it.
        whole: keep the day, too.

    Raises:
        ValueError: a channel is missing (the message lists those there are), shows nothing or is too slow; the file is
            shorter than an epoch; or more than a tenth of every epoch is missing.
    """
    epoch_samples = round(epoch_s * fs_hz)
    if epoch_samples < 1 or abs(epoch_samples - epoch_s * fs_hz) > 1e-6:
        raise ValueError(f"epochs of {epoch_s:g} s at {fs_hz:g} Hz are no whole number of samples")
    signals, notes = read_montage(file, {name: _parse_channel(wanted) for name, wanted in channels.items()})
    for name, signal in signals.items():
        if signal.fs_hz != fs_hz:
            notes.append(f"{name}: resampled from {signal.fs_hz:g} Hz to {fs_hz:g} Hz")
        if signal.fs_hz >= ENVELOPE_BELOW_HZ:  # slower ones are laid on the grid as envelopes, as in preparation
            signals[name] = resample_signal(signal, fs_hz)
    signals = dict(align_recording(RawRecording(file.path.stem, "", signals, (), epoch_s), fs_hz).signals)
    num_samples = min(len(signal.values) for signal in signals.values())
    num_epochs = num_samples // epoch_samples
    if not num_epochs:
        raise ValueError(f"{file.path} holds {num_samples / fs_hz:g} s, less than one epoch of {epoch_s:g} s")
    cut = {
        name: signal.values[: num_epochs * epoch_samples].reshape(num_epochs, epoch_samples)
        for name, signal in signals.items()
    }
    first_EL, group = next(iter(cut.values())), species_group(species)
    span = range(num_epochs) if whole or group != "human" else find_night(bridge_gaps(first_EL), fs_hz, epoch_s)
    if len(span) < num_epochs:
        notes.append(_say_span(file, span, epoch_s, num_epochs))
    cut = {name: epochs_EL[span.start : span.stop] for name, epochs_EL in cut.items()}
    whole_E = np.all([find_whole_epochs(epochs_EL) for epochs_EL in cut.values()], axis=0)
    if not whole_E.any():
        raise ValueError(f"{file.path}: more than {MAX_MISSING_SHARE:.0%} of every epoch is missing")
    flags = flag_artifacts(next(iter(cut.values())), fs_hz, saturation_uv=SATURATION_OF_GROUP_UV[group])
    recording = Recording(
        recording=file.path.stem,
        subject=file.subject,
        fs_hz=fs_hz,
        epoch_s=epoch_s,
        channels={name: bridge_gaps(epochs_EL[whole_E]) for name, epochs_EL in cut.items()},
        sleep_stages=(SleepStage.UNSCORED,) * int(whole_E.sum()),
        onset_s=(span.start + np.flatnonzero(whole_E)) * epoch_s,
        columns={f"{kind}_flag": flags_E[whole_E] for kind, flags_E in flags.items()},
        species=species,
        start=file.start.isoformat() if file.start else "",
        notes=(*file.notes, *notes),
    )
    return SingleNight(recording, span)


def _parse_channel(name: str) -> ChannelConfig:
    """A recorded channel of that name; where there is none, the difference that the name spells."""
    plus, between, minus = name.partition(_BETWEEN)
    derivations = [DerivationConfig(name)]
    if between:
        derivations.append(DerivationConfig(plus.strip(), tuple(part.strip() for part in minus.split(_AMONG))))
    return ChannelConfig(tuple(derivations))


def _say_span(file: SignalFile, span: range, epoch_s: float, num_epochs: int) -> str:
    start, stop = (timedelta(seconds=idx * epoch_s) for idx in (span.start, span.stop))
    when = f"{start} to {stop} after its start"
    if file.start is not None:
        when = f"{file.start + start:%H:%M} to {file.start + stop:%H:%M}"
    return f"{num_epochs * epoch_s / 3600:.1f} h were recorded; the night was found from {when} by its quiet muscles"
