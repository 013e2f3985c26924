"""Channels of a cohort from a signal file: choice, unit and re-reference."""

import re
from collections.abc import Mapping

import numpy as np

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.readers.raw import RawSignal, SignalFile
from tslm.data.readers.units import convert_to_uv, parse_voltage_unit

MIN_EEG_FS_HZ = 50.0  # spindles reach 16 Hz; below this rate they are folded or filtered away
_SITE = r"(?:Fp|AF|FC|FT|CP|TP|PO|F|C|T|P|O|A|M)(?:z|\d{1,2})"
_EEG_NAME = re.compile(rf"EEG.*|{_SITE}(?:[-:/ ].*)?", re.IGNORECASE)
_NUMBERED = re.compile(r"(.+)#(\d+)")
_MAX_CLIPPED_SHARE = 0.5  # of samples at the two ends of a channel's range; more, and nothing can be read from it
_NOTED_CLIPPED_SHARE = 0.01


def is_eeg_name(name: str) -> bool:
    """Whether the name of a channel says EEG or begins with a 10-20 site."""
    return _EEG_NAME.fullmatch(name) is not None


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
    for name, config in channels.items():
        derivation = next((one for one in config.any if _can_derive(file, one)), None)
        if derivation is None:
            if config.optional:
                notes.append(f"{name}: not recorded, left out")
                continue
            wanted = " or ".join(repr(one.name) for one in config.any)
            raise ValueError(f"{file.path} has no channel {wanted}; it has: {_list_names(file)}")
        try:
            signal, said = _derive(file, name, derivation, config.unit)
        except ValueError as error:
            if not config.optional:
                raise
            notes.append(f"{name}: left out, {str(error).replace(str(file.path), file.path.name)}")
            continue
        signals[name] = signal
        notes += [f"{name}: {phrase}" for phrase in said]
    return signals, notes


def _can_derive(file: SignalFile, derivation: DerivationConfig) -> bool:
    return all(_find_positions(file, name) for name in (derivation.plus, *derivation.minus))


def _derive(file: SignalFile, name: str, derivation: DerivationConfig, unit: str) -> tuple[RawSignal, list[str]]:
    """One channel, or its difference to the mean of others of the same rate."""
    plus, notes = _read_channel(file, name, derivation.plus, unit)
    if not derivation.minus:
        return plus, notes
    references = []
    for reference in derivation.minus:
        minus, said = _read_channel(file, name, reference, unit)
        if (minus.fs_hz, len(minus.values)) != (plus.fs_hz, len(plus.values)):
            raise ValueError(
                f"{file.path}: {derivation.plus} has {plus.fs_hz:g} Hz, {reference} {minus.fs_hz:g} Hz; "
                "a reference needs the same rate"
            )
        notes += [phrase for phrase in said if phrase not in notes]
        references.append(minus.values)
    values = plus.values - np.mean(references, axis=0, dtype=np.float32)
    return RawSignal(values, plus.fs_hz, plus.unit), notes


def _read_channel(file: SignalFile, prepared: str, wanted: str, unit: str) -> tuple[RawSignal, list[str]]:
    idx = _pick_position(file, wanted)
    channel = file.channels[idx]
    is_eeg = is_eeg_name(prepared) or is_eeg_name(channel.name)
    if not channel.fs_hz > 0 or (is_eeg and channel.fs_hz < MIN_EEG_FS_HZ):
        raise ValueError(
            f"channel {channel.name!r} of {file.path} has {channel.fs_hz:g} Hz; EEG needs {MIN_EEG_FS_HZ:g} Hz or more"
        )
    values = file.read_values(idx)
    where = f"channel {channel.name!r} of {file.path}"
    notes = _check_range(values, where)
    if unit and parse_voltage_unit(unit) is None:
        return RawSignal(values, channel.fs_hz, unit), notes
    if unit:
        factor = parse_voltage_unit(unit)
        notes += [f"taken as {unit}, as the cohort states"] if unit != channel.unit else []
        return RawSignal(values * np.float32(factor or 1), channel.fs_hz), notes
    try:
        values, phrase = convert_to_uv(values, channel.fs_hz, channel.unit)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return RawSignal(values, channel.fs_hz), [*notes, phrase] if phrase else notes


def _check_range(values: np.ndarray, where: str) -> list[str]:
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


def _find_positions(file: SignalFile, wanted: str) -> list[int]:
    """Positions of the channels of a name, regardless of case and spacing; `NAME#2` is the second of them."""
    exact = [idx for idx, channel in enumerate(file.channels) if _plain(channel.name) == _plain(wanted)]
    numbered = _NUMBERED.fullmatch(wanted)
    if exact or not numbered:
        return exact
    same = [idx for idx, channel in enumerate(file.channels) if _plain(channel.name) == _plain(numbered[1])]
    number = int(numbered[2])
    return same[number - 1 : number] if number else []


def _pick_position(file: SignalFile, wanted: str) -> int:
    positions = _find_positions(file, wanted)
    if len(positions) > 1:
        listed = ", ".join(f"{wanted}#{number}" for number in range(1, len(positions) + 1))
        raise ValueError(f"{file.path} has {len(positions)} channels named {wanted!r}; say which: {listed}")
    return positions[0]


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _list_names(file: SignalFile) -> str:
    return ", ".join(channel.name for channel in file.channels) or "none"
