"""Light and dark: whether the lights of the room were on in each epoch, by the clock."""

from datetime import datetime, time, timedelta

import numpy as np

_DAY_S = 24 * 3600


def find_lit_epochs(
    start: str, lights_on: str, lights_off: str, onset_s: np.ndarray, epoch_s: float
) -> np.ndarray | None:
    """Whether the lights were on in the middle of each epoch, (num_epochs,) bool; None where one time is unknown.

    Args:
        start: Start of the recording, ISO 8601.
        lights_on: Time of day on the clock of `start`, HH:MM or HH:MM:SS.
        lights_off: The same; before `lights_on` where the light lasts over midnight.
        onset_s: (num_epochs,) seconds from the start of the recording.
        epoch_s: Length of an epoch.

    Raises:
        ValueError: A text is no time, or the lights go on and off at once.
    """
    if not (start and lights_on and lights_off):
        return None
    try:
        begin = datetime.fromisoformat(start)
    except ValueError as error:
        raise ValueError(f"start {start!r} is no time; wanted ISO 8601 such as 2024-05-01T07:00:00+00:00") from error
    on_s, off_s = _read_time_s("lights_on", lights_on), _read_time_s("lights_off", lights_off)
    if on_s == off_s:
        raise ValueError(f"lights_on and lights_off are both {lights_on}; leave both empty for constant light")
    start_s = timedelta(hours=begin.hour, minutes=begin.minute, seconds=begin.second).total_seconds()
    since_on_s = (start_s + begin.microsecond / 1e6 + np.asarray(onset_s) + epoch_s / 2 - on_s) % _DAY_S
    return since_on_s < (off_s - on_s) % _DAY_S


def _read_time_s(name: str, text: str) -> float:
    try:
        of_day = time.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} is no time of day; wanted one such as 07:00") from error
    return timedelta(hours=of_day.hour, minutes=of_day.minute, seconds=of_day.second).total_seconds()
