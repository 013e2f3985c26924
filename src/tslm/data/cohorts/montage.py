"""Channels of a cohort from a signal file: choice, conversion to microvolt, and re-reference."""

import re
import unicodedata
from collections.abc import Mapping

import numpy as np

from tslm.data.cohorts.cohort import ChannelConfig, DerivationConfig
from tslm.data.readers.raw import RawSignal, SignalFile
from tslm.signals.artifacts import FILL_VALUE, take_for_missing
from tslm.signals.channel_names import read_channel_name

MIN_EEG_FS_HZ = 50.0  # spindles reach 16 Hz; below this rate they are folded or filtered away
_NUMBERED = re.compile(r"(.+)#(\d+)")
_MAX_CLIPPED_SHARE = 0.5  # of samples at the two ends of a channel's range; more, and nothing can be read from it
_NOTED_CLIPPED_SHARE = 0.01
UV_PER_UNIT: dict[str, float] = {"nv": 1e-3, "uv": 1.0, "mv": 1e3, "v": 1e6}
# Micro sign and Greek mu, also as UTF-8 or GBK read byte by byte and as code page 437 has it.
_MICRO = ("¦Ì", "Âµ", "Î¼", "µ", "μ", "æ")
_WRITTEN_OUT = {
    **{"nanovolt": "nv", "microvolt": "uv", "millivolt": "mv", "volt": "v"},
    **{"nvolt": "nv", "uvolt": "uv", "mvolt": "mv", "nanov": "nv", "microv": "uv", "milliv": "mv"},
}
# Spread within a second that no electrode gives, far outside the 5 to 200 uV of EEG, EOG and EMG.
_LEAST_UV, _MOST_UV = 0.1, 5000.0
# Where a spread must land for another unit to be believed; less than a factor of 1000 wide, so one unit at most fits.
_BELIEVED_UV = (0.5, 500.0)
_MIN_FS_HZ = 50.0  # slower channels are envelopes, which may lie anywhere; their header is believed
_MIN_BLOCK_SAMPLES = 16
_MAX_BLOCKS = 2000
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
    for name, config in channels.items():
        derivation = next((one for one in config.any if _can_derive(file, one)), None)
        if derivation is None:
            if config.optional:
                notes.append(f"{name}: not recorded, left out")
                continue
            wanted = " or ".join(repr(one.name) for one in config.any)
            raise ValueError(f"{file.path} has no channel {wanted}; it has: {list_names(file)}")
        try:
            signal, phrases = _derive(file, name, derivation, config.unit)
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


def _derive(file: SignalFile, name: str, derivation: DerivationConfig, unit: str) -> tuple[RawSignal, list[str]]:
    """One channel, or its difference to the mean of others of the same rate."""
    plus, notes = _read_channel(file, name, derivation.plus, unit)
    if not derivation.minus:
        return plus, notes
    references = []
    for reference in derivation.minus:
        minus, phrases = _read_channel(file, name, reference, unit)
        if (minus.fs_hz, len(minus.values)) != (plus.fs_hz, len(plus.values)):
            raise ValueError(
                f"{file.path}: {derivation.plus} has {plus.fs_hz:g} Hz, {reference} {minus.fs_hz:g} Hz; "
                "a reference needs the same rate"
            )
        notes += [phrase for phrase in phrases if phrase not in notes]
        references.append(minus.values)
    values = plus.values - np.mean(references, axis=0, dtype=np.float32)
    return RawSignal(values, plus.fs_hz, plus.unit), notes


def _read_channel(file: SignalFile, prepared: str, wanted: str, unit: str) -> tuple[RawSignal, list[str]]:
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
        values, phrase = convert_to_uv(values, channel.fs_hz, channel.unit)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return RawSignal(values, channel.fs_hz), [*notes, phrase] if phrase else notes


def read_samples(file: SignalFile, idx: int) -> tuple[np.ndarray, str]:
    """Samples of a channel in its own unit, NaN for fill values, and a phrase on these (empty where there are none)."""
    with np.errstate(over="ignore"):  # of fill values that float32 does not hold
        values = file.read_values(idx)
    return take_for_missing(values, FILL_VALUE)


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


def parse_voltage_unit(text: str) -> float | None:
    """Microvolt in one unit ("µV", "uV", "mV", "Volts"), or None when it is no unit of voltage."""
    plain = text.strip()
    for sign in _MICRO:
        plain = plain.replace(sign, "u")
    plain = unicodedata.normalize("NFKC", plain).casefold()
    return UV_PER_UNIT.get(_WRITTEN_OUT.get(plain.removesuffix("s"), plain))


def convert_to_uv(values: np.ndarray, fs_hz: float, unit: str) -> tuple[np.ndarray, str]:
    """Values in microvolt, and what was done in one phrase (empty when they were in microvolt as they said).

    From 50 Hz on, the unit is not believed where the typical spread within a second would be below 0.1 or above
    5,000 uV and another power of 1000 brings it into 0.5 to 500 uV: then that one is taken. A missing
    unit is taken for microvolt under the same rule.

    Args:
        values: (num_samples,) in `unit`; NaN where nothing was recorded.
        fs_hz: Sampling rate.
        unit: Unit of voltage as written, or empty.

    Raises:
        ValueError: `unit` is no unit of voltage, or no unit makes the values those of an electrode.
    """
    uv = parse_voltage_unit(unit) if unit.strip() else 1.0
    if uv is None:
        raise ValueError(f"it is in {unit!r}; wanted uV, mV or V")
    phrase = ("" if uv == 1.0 else f"converted from {unit} to uV") if unit.strip() else "no unit given; taken for uV"
    spread = measure_spread(values, fs_hz)
    if spread > 0 and fs_hz >= _MIN_FS_HZ and not _LEAST_UV <= spread * uv <= _MOST_UV:
        stated, stated_uv = (f"said to be in {unit}" if unit.strip() else "no unit given"), spread * uv
        fitting = [
            name for name, per_unit in UV_PER_UNIT.items() if _BELIEVED_UV[0] <= spread * per_unit < _BELIEVED_UV[1]
        ]
        if not fitting:
            raise ValueError(
                f"its values would spread over {stated_uv:.3g} uV within a second, as no electrode does; "
                "state the true unit in the cohort's YAML (channels.NAME.unit)"
            )
        uv = UV_PER_UNIT[fitting[0]]
        taken = fitting[0].replace("v", "V")
        phrase = (
            f"{stated}, but the values ({stated_uv:.3g} uV by that) can only be {taken}; converted from {taken} to uV"
        )
    return (values if uv == 1.0 else (values.astype(np.float64) * uv).astype(np.float32)), phrase


def measure_spread(values: np.ndarray, fs_hz: float) -> float:
    """Upper quartile of the standard deviations of one-second blocks; slow drifts do not enter.

    Up to 2,000 blocks spread over the recording are looked at; those with missing samples are left out.
    """
    block_samples = max(_MIN_BLOCK_SAMPLES, round(fs_hz))
    num_blocks = len(values) // block_samples
    if num_blocks == 0:
        return 0.0
    blocks = values[: num_blocks * block_samples].reshape(num_blocks, block_samples)
    blocks = blocks[:: -(-num_blocks // _MAX_BLOCKS)].astype(np.float64)
    spreads = blocks[np.isfinite(blocks).all(axis=1)].std(axis=1)
    return float(np.percentile(spreads, 75)) if len(spreads) else 0.0
