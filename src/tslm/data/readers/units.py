"""Units of voltage: what headers write, and whether the values can be what the header says."""

import numpy as np

UV_PER_UNIT: dict[str, float] = {"nv": 1e-3, "uv": 1.0, "mv": 1e3, "v": 1e6}
# Micro sign and Greek mu, also as UTF-8 read byte by byte and as code page 437 has it.
_MICRO = ("Âµ", "Î¼", "µ", "μ", "æ")
_WRITTEN_OUT = {"nanovolt": "nv", "microvolt": "uv", "millivolt": "mv", "volt": "v"}
# Spread within a second that no electrode gives, far outside the 5 to 200 uV of EEG, EOG and EMG.
_LEAST_UV, _MOST_UV = 0.1, 5000.0
# Where a spread must land for another unit to be believed; less than a factor of 1000 wide, so one unit at most fits.
_BELIEVED_UV = (0.5, 500.0)
_MIN_FS_HZ = 50.0  # slower channels are envelopes, which may lie anywhere; their header is believed
_MIN_BLOCK_SAMPLES = 16
_MAX_BLOCKS = 2000


def parse_voltage_unit(text: str) -> float | None:
    """Microvolt in one unit ("µV", "uV", "mV", "Volts"), or None when it is no unit of voltage."""
    plain = text.strip()
    for sign in _MICRO:
        plain = plain.replace(sign, "u")
    plain = plain.casefold()
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
