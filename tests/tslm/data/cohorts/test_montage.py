from pathlib import Path

import numpy as np
import pytest

from tslm.data.cohorts.cohort import parse_cohort
from tslm.data.cohorts.montage import read_montage
from tslm.data.cohorts.units import convert_to_uv, measure_spread, parse_voltage_unit
from tslm.data.readers.raw import ChannelInfo, RawSignal, SignalFile

EEG = np.random.default_rng(0).normal(0, 30, 12_800).astype(np.float32)


def open_fake(**channels: tuple[np.ndarray, float, str]) -> SignalFile:
    """A file of channels by name; `C4__2` is another one named C4."""
    parts = list(channels.values())
    return SignalFile(
        path=Path("night.edf"),
        channels=tuple(ChannelInfo(name.split("__")[0], unit, fs_hz) for name, (_, fs_hz, unit) in channels.items()),
        duration_s=len(EEG) / 256,
        read_values=lambda idx: parts[idx][0].astype(np.float32),
    )


def read(file: SignalFile, channels: object) -> tuple[dict[str, RawSignal], list[str]]:
    return read_montage(file, parse_cohort({"channels": channels}).channels)


def test_the_first_choice_that_the_file_has_is_taken() -> None:
    file = open_fake(C3=(EEG, 256, "uV"), C4=(EEG * 2, 256, "uV"), M1=(EEG / 2, 256, "uV"))
    signals, notes = read(file, {"EEG": ["C4-M1", {"plus": "c4", "minus": "m1"}, "C3"]})
    np.testing.assert_allclose(signals["EEG"].values, EEG * 1.5, rtol=1e-5)
    assert notes == []


def test_a_reference_to_two_mastoids_is_their_mean() -> None:
    file = open_fake(Cz=(EEG, 256, "uV"), M1=(EEG / 2, 256, "uV"), M2=(EEG / 4, 256, "mV"))
    signals, notes = read(file, {"EEG": {"plus": "Cz", "minus": ["M1", "M2"]}})
    assert notes[0].startswith("EEG: said to be in mV")  # 7 mV of noise within a second are no EEG
    np.testing.assert_allclose(signals["EEG"].values, EEG * 0.625, rtol=1e-4)
    slow = open_fake(Cz=(EEG, 256, "uV"), M1=(EEG[::2], 128, "uV"))
    with pytest.raises(ValueError, match="Cz has 256 Hz, M1 128 Hz; a reference needs the same rate"):
        read(slow, {"EEG": {"plus": "Cz", "minus": "M1"}})


def test_a_missing_channel_lists_what_is_there_unless_it_is_optional() -> None:
    file = open_fake(C3=(EEG, 256, "uV"), EOG=(EEG, 256, "uV"))
    with pytest.raises(ValueError, match=r"night\.edf has no channel 'C4' or 'O1 - M1'; it has: C3, EOG"):
        read(file, {"EEG": ["C4", {"plus": "O1", "minus": "M1"}]})
    signals, notes = read(file, {"EEG": "C3", "EMG": {"any": ["chin"], "optional": True}})
    assert (list(signals), notes) == (["EEG"], ["EMG: not recorded, left out"])


def test_an_optional_channel_that_shows_nothing_is_left_out_and_said() -> None:
    file = open_fake(C3=(EEG, 256, "uV"), chin=(np.zeros(1000), 256, "uV"))
    signals, notes = read(file, {"EEG": "C3", "EMG": {"any": ["chin"], "optional": True}})
    assert list(signals) == ["EEG"]
    assert notes == ["EMG: left out, channel 'chin' of night.edf is 0 throughout; choose another channel"]


def test_of_channels_with_one_name_the_wanted_one_must_be_said() -> None:
    file = open_fake(C4=(EEG, 256, "uV"), C4__2=(EEG * 2, 256, "uV"))
    with pytest.raises(ValueError, match=r"has 2 channels named 'C4'; say which: C4#1, C4#2"):
        read(file, {"EEG": "C4"})
    np.testing.assert_array_equal(read(file, {"EEG": "C4#2"})[0]["EEG"].values, EEG * 2)
    with pytest.raises(ValueError, match="no channel 'C4#3'"):
        read(file, {"EEG": "C4#3"})


@pytest.mark.parametrize(("fs_hz", "said"), [(0.0, "has 0 Hz"), (1.0, "has 1 Hz; EEG needs 50 Hz or more")])
def test_eeg_of_no_or_one_hertz_is_refused(fs_hz: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(open_fake(C4=(EEG, fs_hz, "uV")), {"cortex": "C4"})
    with pytest.raises(ValueError, match=said):
        read(open_fake(left=(EEG, fs_hz, "uV")), {"EEG": "left"})


def test_an_envelope_of_one_hertz_is_read_as_it_is() -> None:
    slow = (np.abs(EEG[:300]) / 1000).astype(np.float32)
    signals, notes = read(open_fake(chin=(slow, 1.0, "uV")), {"EMG": "chin"})
    assert signals["EMG"].fs_hz == 1
    np.testing.assert_array_equal(signals["EMG"].values, slow)
    assert notes == []


@pytest.mark.parametrize("value", [0.0, -3276.8])
def test_a_channel_that_never_changes_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"is {value:g} throughout"):
        read(open_fake(C4=(np.full(1000, value), 256, "uV")), {"EEG": "C4"})


def test_a_saturated_channel_is_refused_and_a_clipped_one_said() -> None:
    waves = 60 * np.sin(np.arange(12_800) / 20)
    with pytest.raises(ValueError, match="is saturated: 9.% of it lies at the ends"):
        read(open_fake(C4=(np.clip(waves, -5, 5), 256, "uV")), {"EEG": "C4"})
    _, notes = read(open_fake(C4=(np.clip(waves, -50, 50), 256, "uV")), {"EEG": "C4"})
    assert read(open_fake(C4=(waves, 256, "uV")), {"EEG": "C4"})[1] == []
    assert "clipped at the ends of its range" in notes[0]


@pytest.mark.parametrize(
    ("scale", "unit", "said"),
    [
        (1, "uV", ""),
        (1, "\u00b5V", ""),
        (1, "\u03bcV", ""),
        (1e-3, "mV", "EEG: converted from mV to uV"),
        (1e-6, "V", "EEG: converted from V to uV"),
        (1e3, "nV", "EEG: converted from nV to uV"),
        (1, "", "EEG: no unit given; taken for uV"),
        (1e-6, "", "EEG: no unit given, but the values .* can only be V; converted from V to uV"),
        (1e-6, "uV", "EEG: said to be in uV, but the values .* can only be V; converted from V to uV"),
        (1e-3, "uV", "EEG: said to be in uV, but the values .* can only be mV"),
        (1, "V", "EEG: said to be in V, but the values .* can only be uV"),
        (1, "mV", "EEG: said to be in mV, but the values .* can only be uV"),
    ],
)
def test_voltages_come_out_in_microvolt_and_what_was_done_is_said(scale: float, unit: str, said: str) -> None:
    file = open_fake(C4=(EEG.astype(np.float64) * scale, 256, unit))
    signals, notes = read(file, {"EEG": "C4"})
    np.testing.assert_allclose(signals["EEG"].values, EEG, rtol=1e-5)
    assert signals["EEG"].unit == "uV"
    if said:
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(notes[0])
    else:
        assert notes == []


@pytest.mark.parametrize("prepared", [("EEG", "EMG", "EOG"), ("EMG",), ("EOG", "EMG")])
@pytest.mark.parametrize(
    ("unit", "scale", "meant"),
    [("mV", 1, "uV"), ("V", 1, "uV"), ("uV", 1e-3, "mV"), ("", 1e-6, "V"), ("V", 1e-3, "mV")],
)
def test_a_unit_that_one_channel_refutes_is_wrong_for_the_file(
    prepared: tuple[str, ...], unit: str, scale: float, meant: str
) -> None:
    sizes = {"EEG": 1.0, "EMG": 0.1, "EOG": 4 / 30} if unit != "uV" else {"EEG": 1.0, "EMG": 10.0, "EOG": 4.0}
    true = {name: EEG.astype(np.float64) * size for name, size in sizes.items()}
    file = open_fake(**{name: (values * scale, 256, unit) for name, values in true.items()})
    signals, notes = read(file, {name: name for name in prepared})
    for name in prepared:
        np.testing.assert_allclose(signals[name].values, true[name], rtol=1e-5)
    assert len(notes) == len(prepared)
    assert all(f"can only be {meant}; " in note and "from uV to uV" not in note for note in notes)


@pytest.mark.parametrize(
    ("unit", "eeg_scale", "other_scale"),
    [("uV", 1.0, 1e-5), ("uV", 1.0, 500.0), ("mV", 1e-3, 1.0), ("uV", 0.1, 1e-4)],
)
def test_a_channel_that_no_other_unit_explains_keeps_the_unit_of_the_header(
    unit: str, eeg_scale: float, other_scale: float
) -> None:
    wide = EEG.astype(np.float64)
    signals, _ = read(
        open_fake(C4=(wide * eeg_scale, 256, unit), EMG=(wide * other_scale, 256, unit)), {"EEG": "C4", "EMG": "EMG"}
    )
    stated_uv = 1e3 if unit == "mV" else 1.0
    np.testing.assert_allclose(signals["EEG"].values, wide * eeg_scale * stated_uv, rtol=1e-5)


def test_a_unit_stated_in_the_cohort_is_believed() -> None:
    file = open_fake(C4=(EEG * 1e-3, 256, "uV"), acc=(EEG, 50, "g"), temp=(EEG, 1, "DegC"))
    signals, notes = read(file, {"EEG": {"any": "C4", "unit": "mV"}, "ACC": {"any": "acc", "unit": "g"}})
    np.testing.assert_allclose(signals["EEG"].values, EEG, rtol=1e-5)
    assert signals["ACC"].unit == "g"
    assert notes == ["EEG: taken as mV, as the cohort states"]
    with pytest.raises(ValueError, match="'temp' of .* is in 'DegC'; wanted uV, mV or V"):
        read(file, {"T": "temp"})


def test_values_that_no_unit_explains_are_refused() -> None:
    with pytest.raises(ValueError, match="as no electrode does"):
        read(open_fake(C4=(EEG * 1e12, 256, "uV")), {"EEG": "C4"})


def test_a_slow_drift_does_not_pass_for_another_unit() -> None:
    drift = EEG + np.linspace(-2e5, 2e5, len(EEG))
    assert convert_to_uv(drift, 256, "uV")[1] == ""
    assert measure_spread(np.full(100, np.nan), 256) == measure_spread(EEG[:3], 256) == 0


@pytest.mark.parametrize(
    ("text", "uv"),
    [("uV", 1), ("UV", 1), ("\u00c2\u00b5V", 1), ("microvolts", 1), (" mV ", 1e3), ("%", None), ("", None)],
)
def test_units_as_headers_write_them(text: str, uv: float | None) -> None:
    assert parse_voltage_unit(text) == uv


def test_vectors_of_one_rate_but_of_two_lengths_are_refused() -> None:
    file = open_fake(EEG=(EEG, 256, "uV"), EMG=(EEG[::2], 256, "uV"))
    with pytest.raises(ValueError, match="EEG holds 12800 samples, EMG 6400, so they are not both of 256 Hz"):
        read(file, ["EEG", "EMG"])


@pytest.mark.parametrize("unit", ["uVolt", "microV", "\uff55\uff36", "\xa6\xccV"])
def test_units_are_read_as_recorders_write_them(unit: str) -> None:
    assert parse_voltage_unit(unit) == 1.0
