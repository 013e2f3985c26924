"""A night straight from a signal file: at the model's rate, cut into epochs, nothing scored yet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import scipy.ndimage

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.cohorts.montage import read_montage
from tslm.data.epochs import cut_epochs, resample_recording, view_epochs
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import RawRecording, SignalFile
from tslm.labels import species_group
from tslm.signals.filters import bridge_gaps
from tslm.signals.spectrum import FEATURE_BANDS_HZ, measure_psd, sum_band

LONGEST_NIGHT_S = 12 * 3600.0  # a shorter recording is taken for a night as a whole
MARGIN_S = 1800.0  # kept before and after, as for the nights in training
_BETWEEN, _AMONG = " - ", " + "  # as DerivationConfig.name writes it: "C4 - M1", "Fpz - M1 + M2"
_MUSCLE_HZ = FEATURE_BANDS_HZ["human"]["gamma"]
_SMOOTHED_S = 930.0  # a median over a quarter of an hour, so that a visit to the bathroom ends no night
_QUIET_AND_BUSY = (5, 95)  # percentiles; the border lies half-way between them


@dataclass(frozen=True)
class SingleNight:
    """A night to be scored."""

    recording: Recording  # unscored; see `tslm.data.epochs.cut_epochs`
    span: range  # epochs of the file, counted from its start, that the night covers; some may be left out


def read_single_night(
    file: SignalFile, channels: Mapping[str, str], fs_hz: float, epoch_s: float, species: str, whole: bool = False
) -> SingleNight:
    """Read channels, resample them and cut them into epochs from the file's start on.

    Of a person's recording of more than 12 hours only the night is kept (`find_night`), as models are trained on nights
    and normalise a recording by itself; the recording's `notes` say where it was found.

    Args:
        file: An open signal file.
        channels: Name by which the model knows a channel to the file's channel: a name, or a difference to one or the
            mean of several ("C4 - M1", "C4 - M1 + M2"). The night and artefacts are found in the first, an EEG.
        fs_hz: Sampling rate of the epochs.
        epoch_s: Length of an epoch.
        species: Species of the sleeper; the level of saturation depends on it.
        whole: Keep the day, too.

    Raises:
        ValueError: A channel is missing (the message lists those there are), shows nothing or is too slow; or as
            `tslm.data.epochs.cut_epochs`.
    """
    signals, notes = read_montage(file, {name: _parse_channel(source) for name, source in channels.items()})
    raw = RawRecording(
        recording=file.path.stem,
        subject=file.subject,
        signals=signals,
        sleep_stages=(),
        epoch_s=epoch_s,
        species=species,
        start=file.start.isoformat() if file.start else "",
        notes=(*file.notes, *notes),
    )
    raw = resample_recording(raw, fs_hz)
    first_EL = next(iter(view_epochs(raw).values()))
    is_kept_whole = whole or species_group(species) != "human"
    span = range(len(first_EL)) if is_kept_whole else find_night(bridge_gaps(first_EL), fs_hz, epoch_s)
    recording = cut_epochs(raw, span=span)
    if len(span) < len(first_EL):
        note = _describe_span(file, span, epoch_s, len(first_EL))
        recording = replace(recording, notes=(*recording.notes, note))
    return SingleNight(recording, span)


def find_night(epochs_EL: np.ndarray, fs_hz: float, epoch_s: float) -> range:
    """Find the night in a recording of a whole day, from one EEG channel alone.

    By day muscles are at work, and what they add at 30 to 45 Hz does not go away for long until a person lies down to
    sleep. The night is the run of epochs whose muscle activity, in log power below a border half-way between quiet and
    busy epochs, adds up to the most; `MARGIN_S` are kept before and after it. On 18 recordings of 10 to 24 h of
    Sleep-EDF this alone told the hours from first to last sleep from the rest of the day (docs/experiments).

    Args:
        epochs_EL: (num_epochs, samples), finite.
        fs_hz: Sampling rate.
        epoch_s: Length of an epoch.

    Returns:
        Epochs of the night; all epochs where the recording is no longer than a night, where the rate is too low to
        see muscles (under 90 Hz), or where nothing changes.
    """
    everything = range(len(epochs_EL))
    if len(epochs_EL) * epoch_s <= LONGEST_NIGHT_S or fs_hz < 2 * _MUSCLE_HZ[1]:
        return everything
    freqs_hz, psd_EF = measure_psd(epochs_EL, fs_hz)
    muscle_E = np.log(np.maximum(sum_band(psd_EF, freqs_hz, *_MUSCLE_HZ), 1e-12))
    smoothed_E = scipy.ndimage.median_filter(muscle_E, size=round(_SMOOTHED_S / epoch_s), mode="nearest")
    quiet_E = np.mean(np.percentile(smoothed_E, _QUIET_AND_BUSY)) - smoothed_E
    total = np.concatenate([[0.0], np.cumsum(quiet_E)])
    stop = int(np.argmax(total - np.minimum.accumulate(total)))
    start = int(np.argmin(total[: stop + 1]))
    if start == stop:
        return everything
    margin = round(MARGIN_S / epoch_s)
    return range(max(0, start - margin), min(len(epochs_EL), stop + margin))


def _parse_channel(name: str) -> ChannelConfig:
    """A recorded channel of that name; where there is none, the difference that the name spells."""
    plus, between, minus = name.partition(_BETWEEN)
    derivations = [DerivationConfig(name)]
    if between:
        derivations.append(DerivationConfig(plus.strip(), tuple(part.strip() for part in minus.split(_AMONG))))
    return ChannelConfig(tuple(derivations))


def _describe_span(file: SignalFile, span: range, epoch_s: float, num_epochs: int) -> str:
    start, stop = (timedelta(seconds=idx * epoch_s) for idx in (span.start, span.stop))
    when = f"{start} to {stop} after its start"
    if file.start is not None:
        when = f"{file.start + start:%H:%M} to {file.start + stop:%H:%M}"
    return f"{num_epochs * epoch_s / 3600:.1f} h were recorded; the night was found from {when} by its quiet muscles"
