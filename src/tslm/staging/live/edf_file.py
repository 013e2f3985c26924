"""A growing EDF file as a stream: what its recorder has written so far, then what it adds."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tslm.data.cohorts.units import parse_voltage_unit
from tslm.data.readers.edf.header import EdfHeader, read_edf_header
from tslm.data.readers.edf.read import open_edf, read_edf_values
from tslm.data.readers.raw import SignalFile, SignalsConfig
from tslm.staging.live.source import Chunk, number_names

_POLL_S = 1.0


class GrowingEdf:
    """An EDF or BDF file that its recorder may still be writing.

    Raises:
        FileNotFoundError, ValueError: as `read_edf_header`; or a discontinuous file.
    """

    def __init__(self, path: str, idle_s: float) -> None:
        self.path, self.idle_s, self.name = Path(path), idle_s, Path(path).stem
        if self._read_header().is_discontinuous:
            raise ValueError(f"{path} is discontinuous (EDF+D), which cannot be followed; score it when it is complete")

    def wait_for(self, duration_s: float) -> SignalFile:
        """See `LiveSource`."""
        for header in self._watch():
            if header.num_records * header.record_s >= duration_s:
                return open_edf(self.path, SignalsConfig(allow_truncated=True))
        raise ValueError(f"{self.path} holds less than {duration_s:g} s and has not grown for {self.idle_s:g} s")

    def read_chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """See `LiveSource`."""
        first_record = 0
        for header in self._watch():
            channels = dict(zip(number_names([each.name for each in header.channels]), header.channels, strict=True))
            if missing := [name for name in names if name not in channels]:
                raise ValueError(
                    f"{self.path} has no channel {missing[0]!r} any more; another file has taken its place"
                )
            factors = {name: parse_voltage_unit(channels[name].unit) or 1.0 for name in names}
            values = {
                name: read_edf_values(header, channels[name], first_record) * np.float32(factors[name])
                for name in names
            }
            first_record = header.num_records
            yield values, {name: channels[name].fs_hz for name in names}

    def _watch(self) -> Iterator[EdfHeader]:
        """The header whenever the file has grown, until it has not for long."""
        num_records, grown_s = -1, time.monotonic()
        while True:
            header = self._read_header()
            if header.num_records < num_records:
                raise ValueError(f"{self.path} has become shorter; follow it again from its start")
            if header.num_records > num_records:
                num_records = header.num_records
                yield header
                grown_s = time.monotonic()  # the time that scoring took is no time without growth
            elif time.monotonic() - grown_s >= self.idle_s:
                return
            else:
                time.sleep(min(_POLL_S, self.idle_s))

    def _read_header(self) -> EdfHeader:
        return read_edf_header(self.path, allow_truncated=True)
