"""Events of a recording's epochs, found on demand.

Evidence and events are measured from the samples as they are stored, so a prepared night has the same events at any
time, and no file needs to hold them.
"""

from tslm.data.prepared.recordings import Recording
from tslm.evidence.events import MIN_EPOCH_S, MIN_FS_HZ, Event, find_events


def recording_events(recording: Recording, channel: str = "", epochs: slice = slice(None)) -> list[list[Event]]:
    """Events of each epoch (`tslm.evidence.events.find_events`) of a recording, or of some of its epochs.

    Args:
        recording: of any species; of rodents only slow waves and artefacts are given.
        channel: name of the EEG channel; empty: the one that the evidence columns are of, or the first.
        epochs: the epochs to look at. An epoch has the same events alone as in its night.

    Raises:
        ValueError: the channel is not among those read, or rate or length of the epochs are not those that the
            detectors take.
    """
    channel = channel or recording.measured_channel or next(iter(recording.channels), "")
    if channel not in recording.channels:
        raise ValueError(
            f"{recording.recording} was read without channel {channel!r}; events are found in the channel that was "
            f"measured, read it, too (there is: {', '.join(recording.channels)})"
        )
    try:
        return find_events(recording.channels[channel][epochs], recording.fs_hz, recording.species)
    except ValueError as error:
        raise ValueError(f"{recording.recording}: {error}") from error


def has_events(recording: Recording) -> bool:
    """Whether its rate and the length of its epochs are those that the detectors take."""
    return recording.fs_hz >= MIN_FS_HZ and recording.epoch_s >= MIN_EPOCH_S
