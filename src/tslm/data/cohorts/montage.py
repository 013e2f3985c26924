"""Channels of a cohort from a signal file: choice, conversion to microvolt, and re-reference."""

import re
from collections.abc import Mapping

import numpy as np

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.cohorts.units import (
    UnitWitness,
    convert_to_uv,
    find_witness,
    judge_units,
    parse_voltage_unit,
    read_samples,
)
from tslm.data.readers.raw import RawSignal, SignalFile
from tslm.signals.channel_names import read_channel_name

MIN_EEG_FS_HZ = 50.0  # spindles reach 16 Hz; below this rate they are folded or filtered away
_NUMBERED = re.compile(r"(.+)#(\d+)")
_MAX_CLIPPED_SHARE = 0.5  # of samples at the two ends of a channel's range; more, and nothing can be read from it
_NOTED_CLIPPED_SHARE = 0.01
_MAX_LENGTH_DIFFERENCE = 0.01


def read_montage(file: SignalFile, channels: Mapping[str, ChannelConfig]) -> tuple[dict[str, RawSignal], list[str]]:
    """The prepared channels of one recording, each at the rate at which it was recorded.

    Args:
        file: An open signal file.
        channels: Name of the prepared channel to where it comes from.

    Returns:
        Name to signal, voltages in microvolt, in the order of `channels`; and what was changed on the way.

    Raises:
        ValueError: A channel that is not optional cannot be read: it is missing, ambiguous, no voltage, flat,
            clipped or too slow for EEG.
    """
    signals: dict[str, RawSignal] = {}
    notes: list[str] = []
    witnesses = judge_units(file, _list_positions(file, channels))
    for name, config in channels.items():
        derivation = next((one for one in config.any if _can_derive(file, one)), None)
        if derivation is None:
            if config.optional:
                notes.append(f"{name}: not recorded, left out")
                continue
            wanted = " or ".join(repr(one.name) for one in config.any)
            raise ValueError(f"{file.path} has no channel {wanted}; it has: {list_names(file)}")
        try:
            signal, phrases = _derive(file, name, derivation, config.unit, witnesses)
        except ValueError as error:
            if not config.optional:
                raise
            notes.append(f"{name}: left out, {str(error).replace(str(file.path), file.path.name)}")
            continue
        signals[name] = signal
        notes += [f"{name}: {phrase}" for phrase in phrases]
    _check_lengths(file, signals)
    return signals, notes


def _check_lengths(file: SignalFile, signals: Mapping[str, RawSignal]) -> None:
    """Refuse channels that are said to have one rate but differ in length, as vectors of a MATLAB file may."""
    first_of: dict[float, str] = {}
    for name, signal in signals.items():
        first = first_of.setdefault(signal.fs_hz, name)
        num, num_first = len(signal.values), len(signals[first].values)
        if abs(num - num_first) > _MAX_LENGTH_DIFFERENCE * num_first:
            raise ValueError(
                f"{file.path}: {first} holds {num_first} samples, {name} {num}, so they are not both of "
                f"{signal.fs_hz:g} Hz; bring them to one rate or leave {name} out (channels=...)"
            )


def _can_derive(file: SignalFile, derivation: DerivationConfig) -> bool:
    return all(find_positions(file, name) for name in (derivation.plus, *derivation.minus))


def _list_positions(file: SignalFile, channels: Mapping[str, ChannelConfig]) -> list[int]:
    """Positions of the channels that are read and whose unit the cohort does not state."""
    derivations = (
        next((one for one in config.any if _can_derive(file, one)), None)
        for config in channels.values()
        if not config.unit
    )
    names = [name for one in derivations if one for name in (one.plus, *one.minus)]
    return sorted({find_positions(file, name)[0] for name in names})


def _derive(
    file: SignalFile, name: str, derivation: DerivationConfig, unit: str, witnesses: Mapping[float, UnitWitness]
) -> tuple[RawSignal, list[str]]:
    """One channel, or its difference to the mean of others of the same rate."""
    plus, notes = _read_channel(file, name, derivation.plus, unit, witnesses)
    if not derivation.minus:
        return plus, notes
    references = []
    for reference in derivation.minus:
        minus, phrases = _read_channel(file, name, reference, unit, witnesses)
        if (minus.fs_hz, len(minus.values)) != (plus.fs_hz, len(plus.values)):
            raise ValueError(
                f"{file.path}: {derivation.plus} has {plus.fs_hz:g} Hz, {reference} {minus.fs_hz:g} Hz; "
                "a reference needs the same rate"
            )
        notes += [phrase for phrase in phrases if phrase not in notes]
        references.append(minus.values)
    values = plus.values - np.mean(references, axis=0, dtype=np.float32)
    return RawSignal(values, plus.fs_hz, plus.unit), notes


def _read_channel(
    file: SignalFile, prepared: str, wanted: str, unit: str, witnesses: Mapping[float, UnitWitness]
) -> tuple[RawSignal, list[str]]:
    idx = _pick_position(file, wanted)
    channel = file.channels[idx]
    is_eeg = "eeg" in (read_channel_name(prepared).role, read_channel_name(channel.name).role)
    if not channel.fs_hz > 0 or (is_eeg and channel.fs_hz < MIN_EEG_FS_HZ):
        raise ValueError(
            f"channel {channel.name!r} of {file.path} has {channel.fs_hz:g} Hz; EEG needs {MIN_EEG_FS_HZ:g} Hz or more"
        )
    values, phrase = read_samples(file, idx)
    where = f"channel {channel.name!r} of {file.path}"
    notes = [phrase] * bool(phrase) + check_range(values, where)
    if unit and parse_voltage_unit(unit) is None:
        return RawSignal(values, channel.fs_hz, unit), notes
    if unit:
        factor = parse_voltage_unit(unit)
        notes += [f"taken as {unit}, as the cohort states"] if unit != channel.unit else []
        return RawSignal(values * np.float32(factor or 1), channel.fs_hz), notes
    try:
        witness = find_witness(witnesses, channel)
        values, phrase = convert_to_uv(values, channel.fs_hz, channel.unit, witness)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return RawSignal(values, channel.fs_hz), [*notes, phrase] if phrase else notes


def check_range(values: np.ndarray, where: str) -> list[str]:
    """Refuse a flat or saturated channel; note the share of samples that are clipped."""
    low, high = np.fmin.reduce(values, initial=np.inf), np.fmax.reduce(values, initial=-np.inf)
    if not low < high:
        state = "holds no sample" if low > high else f"is {low:g} throughout"
        raise ValueError(f"{where} {state}; choose another channel")
    num_clipped = sum(_count_runs(values, limit) for limit in (low, high))
    share = num_clipped / len(values)
    if share > _MAX_CLIPPED_SHARE:
        raise ValueError(
            f"{where} is saturated: {share:.0%} of it lies at the ends of its range; choose another channel"
        )
    return [f"{share:.0%} of it is clipped at the ends of its range"] if share > _NOTED_CLIPPED_SHARE else []


def _count_runs(values: np.ndarray, limit: float) -> int:
    """Samples at a limit with a neighbour at the same limit; a single extreme sample is no clipping."""
    at_limit = values == limit
    return int((at_limit[1:] & at_limit[:-1]).sum())


def find_positions(file: SignalFile, wanted: str) -> list[int]:
    """Positions of the channels of a name, regardless of case and spacing; `NAME#2` is the second of them."""
    exact = [idx for idx, channel in enumerate(file.channels) if _plain(channel.name) == _plain(wanted)]
    numbered = _NUMBERED.fullmatch(wanted)
    if exact or not numbered:
        return exact
    same = [idx for idx, channel in enumerate(file.channels) if _plain(channel.name) == _plain(numbered[1])]
    number = int(numbered[2])
    return same[number - 1 : number] if number else []


def _pick_position(file: SignalFile, wanted: str) -> int:
    positions = find_positions(file, wanted)
    if len(positions) > 1:
        listed = ", ".join(f"{wanted}#{number}" for number in range(1, len(positions) + 1))
        raise ValueError(f"{file.path} has {len(positions)} channels named {wanted!r}; say which: {listed}")
    return positions[0]


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def list_names(file: SignalFile) -> str:
    """Names of all channels in one line."""
    return ", ".join(channel.name for channel in file.channels) or "none"
