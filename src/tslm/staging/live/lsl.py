"""A stream of the Lab Streaming Layer (Kothe et al. 2024) as a live recording."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tslm.data.cohorts.units import parse_voltage_unit
from tslm.data.readers.raw import ChannelInfo, SignalFile
from tslm.staging.live.source import Chunk, number_names

_FIND_S = 10.0  # to look for the stream
_POLL_S = 0.2


class LslStream:
    """The stream of a name; it is over when nothing comes for `idle_s`, or when its outlet closes.

    Samples that are lost on the way are missed: time stamps are not looked at.

    Raises:
        ImportError: the extra `lsl` is not installed.
        ValueError: there is no such stream, or it has no regular rate or no names of its channels.
    """

    def __init__(self, name: str, idle_s: float) -> None:
        try:
            import pylsl
            import pylsl.util
        except (ImportError, RuntimeError) as error:  # RuntimeError: the library of C is missing
            raise ImportError(
                f"a stream of LSL needs the extra `lsl`: pip install 'tslm-sleep[lsl]' ({error})"
            ) from error
        found = pylsl.resolve_byprop("name", name, timeout=_FIND_S)
        if not found:
            raise ValueError(f"there is no LSL stream {name!r} in this network; start it, or check its name")
        self.name, self.idle_s, self._lost = name, idle_s, pylsl.util.LostError
        self._inlet = pylsl.StreamInlet(found[0], max_buflen=3600, recover=False)
        info = self._inlet.info(timeout=_FIND_S)
        self.fs_hz = float(info.nominal_srate())
        if not self.fs_hz > 0:
            raise ValueError(f"the LSL stream {name!r} has no regular rate; wanted samples of an EEG")
        self._channels = _list_channels(info, self.fs_hz)
        if not all(channel.name for channel in self._channels):
            raise ValueError(f"the LSL stream {name!r} does not name its channels (desc/channels/channel/label)")
        self._inlet.open_stream(timeout=_FIND_S)
        self._held: list[np.ndarray] = []  # (num_samples, num_channels), taken before channels were chosen

    def wait_for(self, duration_s: float) -> SignalFile:
        """See `LiveSource`."""
        for samples_NC in self._pull():
            self._held.append(samples_NC)
            held_NC = np.concatenate(self._held)
            if len(held_NC) >= duration_s * self.fs_hz:
                return SignalFile(
                    Path(self.name), self._channels, len(held_NC) / self.fs_hz, partial(_get_column, held_NC)
                )
        raise ValueError(f"the LSL stream {self.name!r} ended before it had sent {duration_s:g} s")

    def read_chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """See `LiveSource`."""
        columns = {name: idx for idx, name in enumerate(number_names([each.name for each in self._channels]))}
        factors = {name: parse_voltage_unit(self._channels[columns[name]].unit) or 1.0 for name in names}
        rates_hz = dict.fromkeys(names, self.fs_hz)
        held, self._held = self._held, []
        for samples_NC in held:
            yield {name: samples_NC[:, columns[name]] * np.float32(factors[name]) for name in names}, rates_hz
        for samples_NC in self._pull():
            yield {name: samples_NC[:, columns[name]] * np.float32(factors[name]) for name in names}, rates_hz

    def _pull(self) -> Iterator[np.ndarray]:
        heard_s = time.monotonic()
        while True:
            try:
                samples, _ = self._inlet.pull_chunk(timeout=_POLL_S, max_samples=1 << 16)
            except self._lost:
                return
            if samples:
                yield np.asarray(samples, dtype=np.float32)
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s >= self.idle_s:
                return


def _list_channels(info: Any, fs_hz: float) -> tuple[ChannelInfo, ...]:
    """Names and units as the stream describes them."""
    channel, channels = info.desc().child("channels").child("channel"), []
    for _ in range(info.channel_count()):
        channels.append(ChannelInfo(channel.child_value("label"), channel.child_value("unit"), fs_hz))
        channel = channel.next_sibling("channel")
    return tuple(channels)


def _get_column(held_NC: np.ndarray, idx: int) -> np.ndarray:
    return held_NC[:, idx]
