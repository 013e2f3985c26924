"""Whether recordings suit a model: species, channels, sampling rate and epoch length, for every caller alike."""

import re
from collections.abc import Mapping, Sequence

from tslm.config.schema import ModelConfig
from tslm.data.cohorts.montage import find_positions
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import SignalFile
from tslm.labels import LABEL_SETS, species_group
from tslm.signals.channel_names import read_channel_name

_NUMBER = re.compile(r"#\d+\b")  # of one of several channels of a name
_ANIMAL = re.compile(r"(?<![a-z])(mouse|mice|murine|mus[ _]musculus|rat|rats|rattus|rodents?)(?![a-z])")


def check_recordings(recordings: Sequence[Recording], model: ModelConfig) -> None:
    """Refuse prepared recordings of another species, rate or epoch length than the model's.

    What the model leaves at 0 fits any.

    Raises:
        ValueError: The first recording that does not fit, and what to do.
    """
    for recording in recordings:
        check_species(recording.recording, recording.species, model)
        for name, unit in (("fs_hz", "Hz"), ("epoch_s", "s")):
            has, wanted = getattr(recording, name), getattr(model, name)
            if wanted and has != wanted:
                raise ValueError(
                    f"{recording.recording} has {name}={has:g} {unit}, the model reads {wanted:g} {unit}; "
                    f"prepare the recordings with {name}={wanted:g}"
                )


def check_species(name: str, species: str, model: ModelConfig) -> None:
    """Raise ValueError where a recording is of another species group than the model's sleep stages."""
    wanted = LABEL_SETS[model.label_set].species
    if species_group(species) != wanted:
        raise ValueError(
            f"{name} is of a {species}, and the model gives the sleep stages of a {wanted} (model.label_set="
            f"{model.label_set}); take a model that was trained on this species"
        )


def find_other_species(file: SignalFile, model: ModelConfig) -> list[str]:
    """A warning where the name of a file, or of its subject, is that of an animal and the model is one of people."""
    found = _ANIMAL.search(f"{file.path.name} {file.subject}".casefold().replace("_", " "))
    if found is None or LABEL_SETS[model.label_set].species != "human":
        return []
    return [f"{found[1]!r} in the name of the file or its subject; the model was trained on people (--species)"]


def check_channels(name: str, channels: Mapping[str, str]) -> list[str]:
    """Warnings on channels that are read as those of a model.

    Args:
        name: Of the recording or cohort.
        channels: Channel of the model to what is read as it: a channel, or a difference ("C4 - M1").

    Raises:
        ValueError: One channel is read as two of the model's.
    """
    reader_of: dict[str, str] = {}
    warnings = []
    for wanted, source in channels.items():
        if (first := reader_of.setdefault(" ".join(source.split()).casefold(), wanted)) != wanted:
            raise ValueError(
                f"{name}: {source!r} is given as {first!r} and as {wanted!r}; a model reads two channels there, "
                "name one for each, or take a model that does without"
            )
        trained, found = read_channel_name(wanted), read_channel_name(_NUMBER.sub("", source))
        if trained.role not in ("other", found.role) and (found.role != "other" or found.what):
            warnings.append(f"{source!r} is read as {wanted!r}, but is {found.describe()} by its name")
        elif trained.role == "eeg" and trained.region and trained.region != found.region:
            site = f"is a {found.region} EEG" if found.region else "is an EEG of no stated site"
            less = f"the model was trained on a {trained.region} one and may stage it less well"
            warnings.append(f"{source!r} {site}; {less}")
    return warnings


def check_rate(file: SignalFile, source: str, model: ModelConfig) -> list[str]:
    """A warning where the staged EEG was recorded at a lower rate than the model reads."""
    parts = [source] if find_positions(file, source) else re.split(r" [-+] ", source)
    rates_hz = [file.channels[idx].fs_hz for part in parts for idx in find_positions(file, part)]
    if not rates_hz or min(rates_hz) >= model.fs_hz:
        return []
    return [
        f"{source!r} was recorded at {min(rates_hz):g} Hz, the model reads {model.fs_hz:g} Hz: what lies above "
        f"{min(rates_hz) / 2:g} Hz is not there"
    ]
