"""Choice of the channels of a recording for a model that was trained on others, as a person makes it.

Each channel of the model gets the candidate of the lowest rank; `tslm.data.cohorts.channel_ranks` has the order. A
candidate is a recorded channel or the difference of two ("F4 - M1"). What was chosen is said, and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tslm.data.cohorts.channel_ranks import EYES, REFERENCES, find_side, rank_channel
from tslm.data.cohorts.montage import (
    MIN_EEG_FS_HZ,
    check_range,
    find_positions,
    list_names,
    parse_voltage_unit,
    read_samples,
)
from tslm.data.cohorts.suitability import check_channels
from tslm.data.readers.raw import SignalFile
from tslm.signals.channel_names import LINKED, MASTOIDS, ChannelName, read_channel_name
from tslm.table import Cell, Row, Table

_BETWEEN, _AMONG = " - ", " + "
_MOST_NAMED = 3  # of candidates that are as good


@dataclass(frozen=True)
class ChannelChoice:
    """Channels of a recording for those of a model.

    Attributes:
        channels: channel of the model to the recorded one, or to a difference ("F4 - M1"), as
            `tslm.data.cohorts.nights.read_single_night` takes them.
        reasons: channel of the model to one sentence: what was chosen and why. A channel that the caller gave has none.
        warnings: what makes a choice worse than the channel of the training.
        missing: channels of the model for which the recording has none.
        complaint: one line on the missing channels, with those that the recording has; empty where none is missing.
    """

    channels: dict[str, str]
    reasons: dict[str, str]
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    complaint: str

    @property
    def notes(self) -> list[str]:
        """The reasons, where a channel of another name than the trained one was chosen."""
        return [reason for wanted, reason in self.reasons.items() if self.channels[wanted] != wanted]


@dataclass(frozen=True)
class _Candidate:
    """A recorded channel, or the difference of one to the mean of others."""

    source: str
    name: ChannelName
    positions: tuple[int, ...]  # in the file

    @property
    def is_derived(self) -> bool:
        return len(self.positions) > 1


@dataclass
class _Search:
    """The state of a choice."""

    file: SignalFile
    names: list[ChannelName]
    header_faults: dict[int, str]  # position to why the channel cannot be read, by its header
    sample_faults: dict[int, str] = field(default_factory=dict)  # by its samples; empty where it can
    chosen: dict[str, _Candidate] = field(default_factory=dict)

    @property
    def faults(self) -> dict[int, str]:
        """Position to why the channel cannot be read, as far as is known."""
        return self.header_faults | {idx: fault for idx, fault in self.sample_faults.items() if fault}

    def find_fault(self, candidate: _Candidate) -> str:
        """Why a candidate cannot be read, also from its samples; empty where it can."""
        for idx in candidate.positions:
            if idx not in self.sample_faults and idx not in self.header_faults:
                self.sample_faults[idx] = _find_fault_in_samples(read_samples(self.file, idx)[0])
        return next((self.faults[idx] for idx in candidate.positions if idx in self.faults), "")


def choose_channels(file: SignalFile, trained: Sequence[str], given: Mapping[str, str] | None = None) -> ChannelChoice:
    """Choose a channel of the recording for each one that a model was trained on.

    A channel of the trained name comes first, then the same electrodes in another spelling, then what is nearest to
    them. A channel that is flat, saturated, of no voltage, or an EEG or EOG of less than 50 Hz is passed over.

    Args:
        file: An open signal file.
        trained: Names of the model's channels; their role is read from the name. A channel that is neither EEG, EOG
            nor EMG, such as an accelerometer, is taken by its name only.
        given: Channels of the model that the caller has chosen; they are taken as they are.

    Raises:
        ValueError: No EEG can be read; the message lists the file's channels. Or as `check_channels`.
    """
    given = given or {}
    search = _search(file, trained, given)
    chosen = {wanted: search.chosen[wanted] for wanted in trained if wanted in search.chosen}
    missing = tuple(wanted for wanted in trained if wanted not in search.chosen and wanted not in given)
    complaint = _complain(search, missing) if missing else ""
    if any(read_channel_name(wanted).role == "eeg" for wanted in missing):
        raise ValueError(complaint)
    channels = {wanted: given.get(wanted) or chosen[wanted].source for wanted in trained if wanted not in missing}
    return ChannelChoice(
        channels=channels,
        reasons={wanted: _explain(search, wanted) for wanted in chosen},
        warnings=tuple(check_channels(str(file.path), channels)),
        missing=missing,
        complaint=complaint,
    )


def list_channels(file: SignalFile, trained: Sequence[str], given: Mapping[str, str] | None = None) -> Table:
    """A row for each channel of a recording: what it records, and what a model reads it as or why it is left out."""
    search = _search(file, trained, given or {})
    users: dict[int, str] = {}
    for wanted, source in (given or {}).items():
        users |= dict.fromkeys(find_positions(file, source), wanted)
    for wanted, candidate in search.chosen.items():
        use = f"{wanted}, as {candidate.source}" if candidate.is_derived else wanted
        for idx in candidate.positions:
            users[idx] = f"{users[idx]}; {use}" if idx in users else use
    rows: list[Row] = []
    for idx, channel in enumerate(file.channels):
        use = users.get(idx) or f"left out: {_explain_omission(search, idx, trained)}"
        rows.append([channel.name, Cell(f"{channel.fs_hz:g}"), channel.unit, search.names[idx].describe(), use])
    missing = [_title(wanted) for wanted in trained if wanted not in search.chosen and wanted not in (given or {})]
    return Table(
        ("channel", "Hz", "unit", "records", "read as"),
        rows,
        notes=[f"missing: {', '.join(missing)}"] if missing else (),
    )


def _search(file: SignalFile, trained: Sequence[str], given: Mapping[str, str]) -> _Search:
    names = [read_channel_name(channel.name) for channel in file.channels]
    faults = {idx: fault for idx, name in enumerate(names) if (fault := _find_fault_in_header(file, idx, name))}
    search = _Search(file, names, faults)
    taken = {idx for source in given.values() for idx in find_positions(file, source)}
    open_names = [wanted for wanted in trained if wanted not in given]
    has_its_name = [wanted for wanted in open_names if find_positions(file, wanted)]
    for wanted in [*has_its_name, *(name for name in open_names if name not in has_its_name)]:
        for candidate in _rank_candidates(search, wanted):
            if candidate.positions[0] not in taken and not search.find_fault(candidate):
                search.chosen[wanted] = candidate
                taken.add(candidate.positions[0])
                break
    return search


def _find_fault_in_header(file: SignalFile, idx: int, name: ChannelName) -> str:
    channel = file.channels[idx]
    if name.role == "other":
        return ""
    if channel.unit.strip() and parse_voltage_unit(channel.unit) is None:
        return f"is in {channel.unit}, no voltage"
    if not channel.fs_hz > 0 or (name.role in ("eeg", "eog") and channel.fs_hz < MIN_EEG_FS_HZ):
        return f"has {channel.fs_hz:g} Hz, too few"
    return ""


def _find_fault_in_samples(values: np.ndarray) -> str:
    try:
        check_range(values, "")
    except ValueError as error:
        return str(error).strip().partition(";")[0]
    return ""


def _rank_candidates(search: _Search, wanted: str) -> list[_Candidate]:
    """Candidates for a channel of the model, the best first; those of the same rank in the order of their names."""
    trained = read_channel_name(wanted)
    exact = find_positions(search.file, wanted)
    same_name = [_Candidate(_source(search.file, idx), search.names[idx], (idx,)) for idx in exact]
    if trained.role == "other":
        return same_name
    others = [one for one in _list_candidates(search, trained) if one.positions[0] not in exact or one.is_derived]
    return [*same_name, *sorted(others, key=lambda one: (_rank(trained, one), one.source.casefold(), one.positions))]


def _list_candidates(search: _Search, trained: ChannelName) -> list[_Candidate]:
    """Channels of the role, and the differences of their leads; mastoids alone are no EEG."""
    leads = [
        _Candidate(_source(search.file, idx), name, (idx,))
        for idx, name in enumerate(search.names)
        if name.role in (trained.role, "eeg") and idx not in search.header_faults
    ]
    candidates = [lead for lead in leads if lead.name.role == trained.role and not lead.name.is_reference]
    by_electrode: dict[str, _Candidate] = {}
    for lead in sorted(leads, key=lambda one: (one.source.casefold(), one.positions)):
        if lead.name.plus and not lead.name.minus and _BETWEEN not in lead.source and _AMONG not in lead.source:
            by_electrode.setdefault(lead.name.plus, lead)
    for lead in by_electrode.values():
        if lead.name.role == trained.role and not lead.name.is_reference:
            candidates += _derive(search.file, lead, by_electrode, trained)
    return candidates + _subtract_eyes(search.file, candidates) * (trained.role == "eog")


def _derive(
    file: SignalFile, lead: _Candidate, by_electrode: Mapping[str, _Candidate], trained: ChannelName
) -> list[_Candidate]:
    """Differences of a lead to the electrodes that are its usual references."""
    side = find_side(lead.name.plus)
    wanted: list[tuple[str, ...]] = [(trained.minus,)] if lead.name.plus == trained.plus and trained.minus else []
    if lead.name.role == "emg":
        wanted += [(other,) for other in by_electrode if other.startswith("Chin") and "Chin" < lead.name.plus < other]
    elif side:
        wanted += [(other,) for other in REFERENCES[side]]
    else:
        wanted += [MASTOIDS, *((other,) for other in MASTOIDS)]
    differences = []
    for references in dict.fromkeys(wanted):
        found = [by_electrode[one] for one in references if one in by_electrode and one != lead.name.plus]
        positions = tuple(idx for one in (lead, *found) for idx in one.positions)
        if len(found) == len(references) and len({file.channels[idx].fs_hz for idx in positions}) == 1:
            source = f"{lead.source}{_BETWEEN}{_AMONG.join(one.source for one in found)}"
            minus = references[0] if len(references) == 1 else LINKED
            name = ChannelName(lead.name.role, lead.name.plus, minus, lead.name.region)
            differences.append(_Candidate(source, name, positions))
    return differences


def _subtract_eyes(file: SignalFile, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The left eye less the right one, where both have the same reference: what a horizontal EOG records."""
    recorded = [one for one in candidates if not one.is_derived and _BETWEEN not in one.source]
    return [
        _Candidate(
            f"{left.source}{_BETWEEN}{right.source}", ChannelName("eog", *EYES), left.positions + right.positions
        )
        for left in recorded
        for right in recorded
        if (left.name.plus, right.name.plus) == EYES and left.name.minus == right.name.minus
        if file.channels[left.positions[0]].fs_hz == file.channels[right.positions[0]].fs_hz
    ]


def _rank(trained: ChannelName, candidate: _Candidate) -> tuple[int, ...]:
    return (*rank_channel(trained, candidate.name), int(candidate.is_derived))


def _explain(search: _Search, wanted: str) -> str:
    candidate, trained = search.chosen[wanted], read_channel_name(wanted)
    plain = [search.file.channels[idx].name for idx in find_positions(search.file, wanted)]
    ranked = _rank_candidates(search, wanted)
    before = [one for one in ranked[: ranked.index(candidate)] if one.positions[0] not in _used(search, wanted)]
    passed = [f"{one.source} {fault}" for one in before if (fault := search.find_fault(one))]
    if len(candidate.positions) == 1 and search.file.channels[candidate.positions[0]].name in plain:
        why = ["as trained"]
    elif trained.plus and (trained.plus, trained.minus) == (candidate.name.plus, candidate.name.minus):
        why = [f"{wanted!r} by another name"]
    else:
        why = [
            f"no channel {wanted!r} in the file" if not plain else f"{wanted!r} cannot be read",
            candidate.name.place,
        ]
    following = ranked[ranked.index(candidate) + 1 :] if why != ["as trained"] else []
    equals = [one.source for one in following if _rank(trained, one) == _rank(trained, candidate)]
    if "#" in candidate.source and candidate.source.partition("#")[0] in {one.partition("#")[0] for one in equals}:
        why.append("the first of several channels of this name")
    elif equals:
        more = f" and {len(equals) - _MOST_NAMED} more" if len(equals) > _MOST_NAMED else ""
        why.append(f"as good: {', '.join(equals[:_MOST_NAMED])}{more}")
    if passed:
        why.append(f"passed over: {', '.join(passed)}")
    return f"{_title(wanted)}: '{candidate.source}' ({'; '.join(why)})"


def _complain(search: _Search, missing: Sequence[str]) -> str:
    parts = []
    for wanted in missing:
        role = read_channel_name(wanted).role
        faults = {idx: fault for idx, fault in search.faults.items() if search.names[idx].role == role}
        faulty = ", ".join(f"{search.file.channels[idx].name} {fault}" for idx, fault in faults.items())
        parts.append(f"no {_title(wanted)} to read as {wanted!r}" + f" ({faulty})" * bool(faulty))
    return f"{search.file.path} has {' and '.join(parts)}; it has: {list_names(search.file)}; name a channel yourself"


def _explain_omission(search: _Search, idx: int, trained: Sequence[str]) -> str:
    name = search.names[idx]
    if name.role == "other":
        return "no EEG, EOG or chin EMG" if name.what else "its name tells no role"
    wanted = [one for one in trained if read_channel_name(one).role == name.role]
    if not wanted:
        return f"the model reads no {name.role.upper()}"
    if idx in search.faults:
        return f"it {search.faults[idx]}"
    if name.is_reference:
        return "not needed as a reference"
    chosen = [search.chosen[one] for one in wanted if one in search.chosen]
    if not chosen:
        return "another was given"
    same = [one for one in chosen if name.plus and (one.name.plus, one.name.minus) == (name.plus, name.minus)]
    return f"the same electrodes as {same[0].source}" if same else f"{chosen[0].source} comes first"


def _used(search: _Search, wanted: str) -> set[int]:
    return {one.positions[0] for name, one in search.chosen.items() if name != wanted}


def _title(wanted: str) -> str:
    role = read_channel_name(wanted).role
    return wanted if role == "other" else role.upper()


def _source(file: SignalFile, idx: int) -> str:
    """Name of a channel as `read_montage` finds it: "C4", or "C4#2" for the second of this name."""
    name = " ".join(file.channels[idx].name.split())
    same = find_positions(file, name)
    return name if len(same) == 1 else f"{name}#{same.index(idx) + 1}"
