"""Units of voltage: how headers write them, and which one they mean, judged once for a file."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tslm.data.readers.raw import ChannelInfo, SignalFile
from tslm.signals.artifacts import FILL_VALUE, take_for_missing
from tslm.signals.channel_names import read_channel_name

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
_ELECTRODES = ("eeg", "eog", "emg")


class UnitWitness(NamedTuple):
    """The unit that a file's header must mean, and the channel that shows it."""

    unit: str
    channel: str


def judge_units(file: SignalFile, positions: Iterable[int]) -> dict[float, UnitWitness]:
    """Units of a header that are wrong for the whole file, by their microvolts.

    A file has one writer: where one channel shows that "mV" means microvolt, "mV" means microvolt for the channels
    whose values would have passed for millivolt, too. It is not so where the values of another channel would then be
    those of no electrode. Channels that are not wanted are looked at only where the wanted ones leave a doubt.

    Args:
        file: An open signal file.
        positions: Channels that are to be read.
    """
    spreads: dict[float, dict[int, float]] = {}
    for idx in positions:
        _add_spread(spreads, file, idx)
    for uv, of_unit in spreads.items():
        in_doubt = any(not _fits(spread * uv, _BELIEVED_UV) for spread in of_unit.values())
        if not in_doubt or any(not _is_possible(spread * uv) for spread in of_unit.values()):
            continue
        for idx, channel in enumerate(file.channels):
            if _get_stated_uv(channel.unit) == uv and read_channel_name(channel.name).role in _ELECTRODES:
                _add_spread(spreads, file, idx)
    witnesses = {}
    for uv, of_unit in spreads.items():
        wrong = {idx: _find_unit(spread) for idx, spread in of_unit.items() if not _is_possible(spread * uv)}
        unit = next(iter(wrong.values()), "")
        # No recorder means nV where it writes uV: a channel that only nV explains is a noisy one.
        if not unit or unit == "nv" or len(set(wrong.values())) > 1:
            continue
        if all(_fits(spread * UV_PER_UNIT[unit], (_LEAST_UV, _BELIEVED_UV[1])) for spread in of_unit.values()):
            witnesses[uv] = UnitWitness(unit, file.channels[next(iter(wrong))].name)
    return witnesses


def find_witness(witnesses: Mapping[float, UnitWitness], channel: ChannelInfo) -> UnitWitness | None:
    """What `judge_units` found for the unit of a channel; None for channels as slow as envelopes."""
    uv = _get_stated_uv(channel.unit)
    return None if uv is None or channel.fs_hz < _MIN_FS_HZ else witnesses.get(uv)


def _add_spread(spreads: dict[float, dict[int, float]], file: SignalFile, idx: int) -> None:
    channel = file.channels[idx]
    uv = _get_stated_uv(channel.unit)
    if uv is None or channel.fs_hz < _MIN_FS_HZ or idx in spreads.get(uv, {}):
        return
    try:
        spread = measure_spread(read_samples(file, idx)[0], channel.fs_hz)
    except ValueError:  # said, or left out as optional, where the channel itself is read
        return
    if spread > 0:
        spreads.setdefault(uv, {})[idx] = spread


def _fits(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value < limits[1]


def _is_possible(spread_uv: float) -> bool:
    return _LEAST_UV <= spread_uv <= _MOST_UV


def _find_unit(spread: float) -> str:
    """The unit that makes a spread that of an electrode; empty where none does."""
    return next((name for name, uv in UV_PER_UNIT.items() if _fits(spread * uv, _BELIEVED_UV)), "")


def read_samples(file: SignalFile, idx: int) -> tuple[np.ndarray, str]:
    """Samples of a channel in its own unit, NaN for fill values, and a phrase on these (empty where there are none)."""
    with np.errstate(over="ignore"):  # of fill values that float32 does not hold
        values = file.read_values(idx)
    return take_for_missing(values, FILL_VALUE)


def parse_voltage_unit(text: str) -> float | None:
    """Microvolt in one unit ("µV", "uV", "mV", "Volts"), or None when it is no unit of voltage."""
    plain = text.strip()
    for sign in _MICRO:
        plain = plain.replace(sign, "u")
    plain = unicodedata.normalize("NFKC", plain).casefold()
    return UV_PER_UNIT.get(_WRITTEN_OUT.get(plain.removesuffix("s"), plain))


def _get_stated_uv(unit: str) -> float | None:
    """Microvolt in the unit of a header, where a missing one is microvolt."""
    return parse_voltage_unit(unit) if unit.strip() else 1.0


def convert_to_uv(
    values: np.ndarray, fs_hz: float, unit: str, witness: UnitWitness | None = None
) -> tuple[np.ndarray, str]:
    """Values in microvolt, and what was done in one phrase (empty when they were in microvolt as they said).

    From 50 Hz on, the unit is not believed where the typical spread within a second would be below 0.1 or above
    5,000 uV and another power of 1000 brings it into 0.5 to 500 uV: then that one is taken. A missing
    unit is taken for microvolt under the same rule.

    Args:
        values: (num_samples,) in `unit`; NaN where nothing was recorded.
        fs_hz: Sampling rate.
        unit: Unit of voltage as written, or empty.
        witness: What `unit` means in this file by another channel (`judge_units`).

    Raises:
        ValueError: `unit` is no unit of voltage, or no unit makes the values those of an electrode.
    """
    uv = _get_stated_uv(unit)
    if uv is None:
        raise ValueError(f"it is in {unit!r}; wanted uV, mV or V")
    phrase = ("" if uv == 1.0 else f"converted from {unit} to uV") if unit.strip() else "no unit given; taken for uV"
    stated = f"said to be in {unit}" if unit.strip() else "no unit given"
    spread = measure_spread(values, fs_hz)
    taken = ""
    if spread > 0 and fs_hz >= _MIN_FS_HZ and not _is_possible(spread * uv):
        taken = _find_unit(spread) or (witness.unit if witness else "")
        if not taken:
            raise ValueError(
                f"its values would spread over {spread * uv:.3g} uV within a second, as no electrode does; "
                "state the true unit in the cohort's YAML (channels.NAME.unit)"
            )
        phrase = f"{stated}, but the values ({spread * uv:.3g} uV by that) can only be {_write_unit(taken)}"
    elif witness:
        taken = witness.unit
        phrase = f"{stated} like {witness.channel!r}, whose values can only be {_write_unit(taken)}"
    if taken:
        uv = UV_PER_UNIT[taken]
        phrase += "; taken for uV" if uv == 1.0 else f"; converted from {_write_unit(taken)} to uV"
    return (values if uv == 1.0 else (values.astype(np.float64) * uv).astype(np.float32)), phrase


def _write_unit(unit: str) -> str:
    return unit.replace("v", "V")


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
