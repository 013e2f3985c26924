"""The table of exports: the files of a staged night."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tslm.export.night import NightResult


@dataclass(frozen=True)
class Export:
    """One file of a night's folder; `write` writes it atomically."""

    file_name: str  # `{bids}` stands for the name of the recording as BIDS spells it
    summary: str
    write: Callable[[NightResult, Path], None]
    needs: str = ""  # field of NightResult without which the file is left out


EXPORTS: dict[str, Export] = {}


def write_exports(night: NightResult, folder: Path, keep_identity: bool = False) -> dict[str, Path]:
    """Write all files of EXPORTS that the night has the data for.

    Args:
        night: a staged night.
        folder: of this night alone; it is made.
        keep_identity: keep the patient's code and the date of the recording.

    Returns:
        The path of each file by its name in EXPORTS.
    """
    night = night if keep_identity else night.remove_identity()
    written = {}
    for name, export in EXPORTS.items():
        if not export.needs or getattr(night, export.needs) is not None:
            written[name] = folder / export.file_name
            export.write(night, written[name])
    return written
