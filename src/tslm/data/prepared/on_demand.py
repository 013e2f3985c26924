"""Channels of prepared recordings, read when they are asked for: for cohorts that memory does not hold.

Shape letters: E epochs, L samples of an epoch.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BYTES_PER_GB = 1e9


class ChannelCache:
    """The channels that were used last, within a bound of memory; one alone may be larger.

    A copy in another process begins empty.
    """

    def __init__(self, max_bytes: float) -> None:
        if max_bytes < 0:
            raise ValueError(f"train.memory_gb={max_bytes / BYTES_PER_GB:g}; wanted 0 or more")
        self.max_bytes = max_bytes
        self._held: OrderedDict[tuple[Path, str], np.ndarray] = OrderedDict()
        self._num_bytes = 0

    def get(self, path: Path, name: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """A channel of a file, by `read(name)` where it is not held."""
        key = path, name
        if key not in self._held:
            values_EL = read(name)
            self._num_bytes += values_EL.nbytes
            while self._held and self._num_bytes > self.max_bytes:
                _, dropped_EL = self._held.popitem(last=False)
                self._num_bytes -= dropped_EL.nbytes
            self._held[key] = values_EL
        self._held.move_to_end(key)
        return self._held[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "_held": OrderedDict(), "_num_bytes": 0}


class StoredChannels(Mapping[str, np.ndarray]):
    """Channels of a file by name, (E, L) float32 each.

    Args:
        path: the file, which must not change.
        names: of the channels.
        read: gives the samples of one.
        cache: holds those that were read.
    """

    def __init__(
        self, path: Path, names: Sequence[str], read: Callable[[str], np.ndarray], cache: ChannelCache
    ) -> None:
        self.path, self.names, self.read, self.cache = path, tuple(names), read, cache
        self.changed_at_ns = path.stat().st_mtime_ns

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        return self.cache.get(self.path, name, self._read_unchanged)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names  # Mapping's own would read it

    def _read_unchanged(self, name: str) -> np.ndarray:
        if self.path.stat().st_mtime_ns != self.changed_at_ns:
            raise ValueError(f"{self.path} was written anew while it is read from; start again")
        return self.read(name)


class FirstEpochs(Mapping[str, np.ndarray]):
    """Channels up to an epoch; those of a file are still read when they are asked for."""

    def __init__(self, channels: Mapping[str, np.ndarray], stop: int) -> None:
        self.channels, self.stop = channels, stop

    def __getitem__(self, name: str) -> np.ndarray:
        return self.channels[name][: self.stop]

    def __iter__(self) -> Iterator[str]:
        return iter(self.channels)

    def __len__(self) -> int:
        return len(self.channels)

    def __contains__(self, name: object) -> bool:
        return name in self.channels
