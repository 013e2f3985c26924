"""What a live recording comes from: the table of sources, and channels that are differences of others."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Protocol

import numpy as np

from tslm.data.readers.raw import SignalFile

Chunk = tuple[Mapping[str, np.ndarray], Mapping[str, float]]  # new samples in microvolt and the rate of each channel


class LiveSource(Protocol):
    """A recording that is still going on."""

    name: str  # of the files that are written of it

    def wait_for(self, duration_s: float) -> SignalFile:
        """The recording so far, as soon as it holds so much; ValueError where it ends before."""

    def read_chunks(self, names: Sequence[str]) -> Iterator[Chunk]:
        """New samples of channels from the recording's start on, until it ends; waits for more."""


def open_live(text: str, idle_s: float) -> LiveSource:
    """The live recording behind a file's path, or behind the name of a stream of the Lab Streaming Layer, `lsl:NAME`.

    Args:
        text: path or name.
        idle_s: a recording from which nothing comes for so long is over.

    Raises:
        FileNotFoundError, ValueError, ImportError: as the source.
    """
    scheme, colon, rest = text.partition(":")
    if not (colon and scheme in SOURCES):
        scheme, rest = "edf", text
    module, cls = SOURCES[scheme]
    return getattr(import_module(module), cls)(rest, idle_s)


SOURCES = {"edf": ("tslm.staging.live.edf_file", "GrowingEdf"), "lsl": ("tslm.staging.live.lsl", "LslStream")}


def number_names(names: Sequence[str]) -> list[str]:
    """Names of channels, each once: where two are called NAME, they are NAME#1 and NAME#2."""
    counts, seen, numbered = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}#{seen[name]}" if counts[name] > 1 else name)
    return numbered


def list_parts(source: str, names: Sequence[str]) -> tuple[str, ...]:
    """The recorded channels of a channel or a difference: C4 - M1 + M2 is C4 less the mean of the other two.

    Raises:
        ValueError: a channel that is not there.
    """
    plus, _, minus = source.partition(" - ")
    parts = (source,) if source in names else (plus.strip(), *(part.strip() for part in minus.split(" + ") if part))
    if missing := [part for part in parts if part not in names]:
        raise ValueError(f"there is no channel {missing[0]!r}; there are: {', '.join(names)}")
    return parts


def derive(parts: Sequence[str], chunk: Mapping[str, np.ndarray]) -> np.ndarray:
    """Samples of `list_parts`."""
    plus, *minus = (chunk[part] for part in parts)
    return plus - np.mean(minus, axis=0, dtype=np.float32) if minus else plus
