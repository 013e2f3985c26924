"""What is done with a night, and what the service and its workers say to one another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class JobOptions:
    """Options of one night; as those of `tslm stage`, except that no texts are written unless they are asked for.

    Attributes:
        model: name of a scorer that is served; empty: the first.
        explain: epochs that the language model explains: none, uncertain, all, or numbers such as "12,40-60".
        channel: EEG to be staged; empty: chosen.
        extra_channels: EOG and EMG, in the order of the training; empty: chosen.
        epoch_s: length of an epoch, which must be that of the model; 0: whatever it is.
        smoothing: none, median, hmm or posterior.
        read: how a CSV or .mat file is read, such as "fs_hz=100".
    """

    model: str = ""
    explain: str = "none"
    channel: str = ""
    extra_channels: tuple[str, ...] = ()
    epoch_s: float = 0.0
    smoothing: str = "none"
    read: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "JobOptions":
        """The inverse of `to_dict`."""
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class NightTask:
    """A night to be staged: the recording, what is done with it, and where the results are written."""

    recording: Path
    options: JobOptions
    menu: dict[str, Path]
    out_dir: Path
    device: str = ""


@dataclass(frozen=True)
class Progress:
    """Share of the texts that are written; 0 at the beginning of a night."""

    share: float


@dataclass(frozen=True)
class Ended:
    """The end of a task; `error` is empty where the results are written."""

    error: str = ""
