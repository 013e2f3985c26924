"""The channels a person would take, on the channel lists of public cohorts."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.data.cohorts.channel_choice import ChannelChoice, choose_channels, list_channels
from tslm.data.cohorts.nights import read_single_night
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import ChannelInfo, SignalFile, SignalsConfig

TRAINED = ("EEG Fpz-Cz", "EOG horizontal", "EMG submental")
DURATION_S = 60.0


def open_list(names: str | Sequence[str], flat: Sequence[str] = (), units: str = "uV") -> SignalFile:
    """A file of noise; a name may end in its rate ("EMG@1"), which is 200 Hz otherwise."""
    parts = [name.strip().split("@") for name in (names.split(",") if isinstance(names, str) else names)]
    channels = tuple(ChannelInfo(name, units, float(rate[0]) if rate else 200.0) for name, *rate in parts)

    def read_values(idx: int) -> np.ndarray:
        noise = np.random.default_rng(idx).normal(0, 30, round(DURATION_S * channels[idx].fs_hz)).astype(np.float32)
        return np.zeros_like(noise) if channels[idx].name in flat else noise

    return SignalFile(Path("night.edf"), channels, DURATION_S, read_values)


def choose(names: str, *trained: str, **more: Sequence[str]) -> ChannelChoice:
    return choose_channels(open_list(names, **more), trained or TRAINED)


COHORTS = {
    "sleep_edf": (
        "EEG Fpz-Cz, EEG Pz-Oz, EOG horizontal, Resp oro-nasal@1, EMG submental@1, Temp rectal@1, Event marker@1",
        ("EEG Fpz-Cz", "EOG horizontal", "EMG submental"),
    ),
    "shhs": (
        "SaO2@1, H.R.@1, EEG(sec)@125, ECG, EMG@125, EOG(L)@50, EOG(R)@50, EEG@125, SOUND, AIRFLOW, THOR RES, ABDO RES,"
        "POSITION, LIGHT, NEW AIR, OX stat",
        ("EEG", "EOG(L) - EOG(R)", "EMG"),
    ),
    "mesa": (
        "EKG, EOG-L, EOG-R, EMG, EEG1, EEG2, EEG3, Flow, Snore, Thor, Abdo, Leg, Pos, EEG1_Off, Pleth, DHR",
        ("EEG1", "EOG-L - EOG-R", "EMG"),
    ),
    "mros": (
        "SaO2, HR, ECG L, ECG R, Leg L, Leg R, Airflow, Thoracic, Abdominal, EOG L, EOG R, L Chin, R Chin,"
        "C3, C4, A1, A2, Position, STAT",
        ("C4 - A1", "EOG L - EOG R", "L Chin - R Chin"),
    ),
    "chat": (
        "E1, E2, F3, F4, C3, C4, T3, T4, O1, O2, M1, M2, Cchin, Lchin, Rchin, ECG1, Lleg1, Rleg2, Chest, Snore",
        ("F4 - M1", "E1 - E2", "Cchin - Lchin"),
    ),
    "wsc": (
        "F3_M2, Fz_M2, Cz_M2, C3_M2, Pz_M2, O1_M2, E1, E2, chin, lleg_rleg, ECG, snore, flow, nas_pres, sum, spo2",
        ("F3_M2", "E1 - E2", "chin"),
    ),
    "physionet_2018": (
        "F3-M2, F4-M1, C3-M2, C4-M1, O1-M2, O2-M1, E1-M2, Chin1-Chin2, CHEST, AIRFLOW, SaO2, ECG",
        ("F4-M1", "E1-M2", "Chin1-Chin2"),
    ),
    "isruc": (  # X1 is the chin, which its name does not say
        "LOC-A2, ROC-A1, F3-A2, C3-A2, O1-A2, F4-A1, C4-A1, O2-A1, X1, X2, X3, X4, X5, X6, DC3, X7, X8, SaO2, DC8",
        ("F4-A1", "LOC-A2", None),
    ),
    "cap": (
        "Fp2-F4, F4-C4, C4-P4, P4-O2, F8-T4, F3-C3, C4-A1, ROC-LOC, EMG1-EMG2, ECG1-ECG2, SAO2, HR, PLETH, STAT, MIC",
        ("F4-C4", "ROC-LOC", "EMG1-EMG2"),
    ),
    "hmc": (
        "EEG F4-M1, EEG C4-M1, EEG O2-M1, EEG C3-M2, EMG chin, EOG E1-M2, EOG E2-M2, ECG",
        ("EEG F4-M1", "EOG E1-M2 - EOG E2-M2", "EMG chin"),
    ),
    "ucddb": (
        "Lefteye@64, RightEye@64, EMG@64, C3A2@128, C4A1@128, ECG@128, SpO2@8, Sum@8, abdo@8, ribcage@8, Flow@8",
        ("C4A1", "Lefteye - RightEye", "EMG"),
    ),
    "mass": (
        "EEG F3-CLE, EEG F4-CLE, EEG C3-CLE, EEG Fz-CLE, EEG A2-CLE, EOG Left Horiz, EOG Right Horiz, EMG Chin1,"
        "EMG Chin2, EMG Chin3, ECG ECGI, Resp Cannula",
        ("EEG F4-CLE", "EOG Left Horiz - EOG Right Horiz", "EMG Chin1 - EMG Chin2"),
    ),
    "dreem": (
        "C3_M2, F3_F4, F3_M2, F3_O1, F4_M1, F4_O2, FP1_F3, FP1_M2, FP1_O1, FP2_M1, FP2_O2, ECG, EMG, EOG1, EOG2",
        ("F4_M1", "EOG1 - EOG2", "EMG"),
    ),
    "dcsm": (
        "ABDOMEN, C3-M2, C4-M1, CHIN, E1-M2, E2-M2, ECG-II, F3-M2, F4-M1, LAT, NASAL, O1-M2, O2-M1, RAT, SNORE, SPO2",
        ("F4-M1", "E1-M2 - E2-M2", "CHIN"),
    ),
    "nch": (
        "EOG LOC-M2, EOG ROC-M1, EMG CHIN1-CHIN2, EEG F3-M2, EEG F4-M1, EEG C3-M2, EMG LLEG-RLEG, ECG EKG2-EKG, Snore",
        ("EEG F4-M1", "EOG LOC-M2", "EMG CHIN1-CHIN2"),
    ),
    "bids": ("Fp1, Fp2, F3, F4, C3, C4, O1, O2, Cz, Pz, TP9, TP10, EOG, EMG, ECG", ("F4 - TP9", "EOG", "EMG")),
    "cap of leads": ("Fpz, Fz, Cz, F3, F4, M1, M2, HEOG, VEOG, Chin1, Chin2", ("Fpz - Cz", "HEOG", "Chin1 - Chin2")),
    "headband": ("EEG TP9, EEG AF7, EEG AF8, EEG TP10", ("EEG AF7 - EEG TP10", None, None)),
}  # fmt: skip


@pytest.mark.parametrize(("names", "expected"), COHORTS.values(), ids=COHORTS)
def test_public_cohorts_are_read_as_a_person_reads_them(names: str, expected: tuple[str | None, ...]) -> None:
    file = open_list(names)
    choice = choose_channels(file, TRAINED)
    wanted = dict(zip(TRAINED, expected, strict=True))
    assert choice.channels == {name: source for name, source in wanted.items() if source}
    assert choice.missing == tuple(name for name, source in wanted.items() if not source)
    assert all(f"'{choice.channels[name]}'" in reason for name, reason in choice.reasons.items())
    assert list(read_single_night(file, choice.channels, 100.0, 30.0, "human").recording.channels) == [*choice.channels]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("EEG, EMG, ACC", {"EEG": "EEG", "EMG": "EMG"}),
        ("EEG1, EEG2, EMG", {"EEG": "EEG1", "EMG": "EMG"}),
        ("EEG_F, EEG_P, EMG_DIFF", {"EEG": "EEG_P", "EMG": "EMG_DIFF"}),
        ("eeg_frontal, EMG L", {"EEG": "eeg_frontal", "EMG": "EMG L"}),
        ("LFP, EMG1, EMG2", {"EEG": "LFP", "EMG": "EMG1"}),
    ],
)
def test_rodents_are_read_by_the_same_table(names: str, expected: dict[str, str]) -> None:
    assert choose(names, "EEG", "EMG").channels == expected


@pytest.mark.parametrize(
    ("trained", "names", "chosen"),
    [
        ("EEG C4-M1", "F3-M2, F4-M1, C3-M2, C4:A1", "C4:A1"),
        ("C3-A2", "F4-M1, F3-M2, C4-M1", "C4-M1"),
        ("C3-A2", "F4-M1, F3-M2, O1-M2", "F3-M2"),
        ("EEG Pz-Oz", "F4-M1, O2-M1, P4-M1", "P4-M1"),
        ("EEG Fpz-Cz", "C4-M1, Fpz-M2, F4-M1", "Fpz-M2"),
        ("EEG Fpz-Cz", "F4, C4-M1", "F4"),
        ("EEG Fpz-Cz", "F4, F3-M2", "F3-M2"),
        ("EEG Fpz-Cz", "F4-M2, F3-M2", "F3-M2"),
        ("EEG Fpz-Cz", "Fz, M1, M2", "Fz - M1 + M2"),
        ("EEG Fpz-Cz", "F3, M1", "F3 - M1"),
        ("EEG Fpz-Cz", "F4, M1@100, M2", "F4 - M2"),
        ("EEG Fpz-Cz", "Fp2-F4, C4-M1, F3-F4", "C4-M1"),
        ("EEG Fpz-Cz", "Fp2-F4, C4-P4, C4-M1", "C4-M1"),
        ("EEG Fpz-Cz", "EEG(sec), EEG, O2-M1, T3", "O2-M1"),
        ("EOG E1-M2", "HEOG, E2-M1, LOC", "LOC"),
        ("EOG E1-M2", "HEOG, E2-M1, LOC, A2", "LOC - A2"),
        ("EOG E1-M2", "HEOG, E2-M1, VEOG", "E2-M1"),
        ("EOG", "VEOG, E1-M2", "E1-M2"),
        ("EMG chin", "EMG, Chin2, LAT", "Chin2"),
        ("EMG chin", "EMG2, EMG1", "EMG1"),
    ],
)
def test_the_order_of_preference_is_the_documented_one(trained: str, names: str, chosen: str) -> None:
    file = open_list(names)
    assert choose_channels(file, (trained,)).channels[trained] == chosen


def test_what_was_chosen_is_said_and_another_region_is_a_warning() -> None:
    near, far, same = choose("F3-M2", TRAINED[0]), choose("C4-M1", TRAINED[0]), choose("fpz:cz", TRAINED[0])
    assert near.notes == ["EEG: 'F3-M2' (no channel 'EEG Fpz-Cz' in the file; frontal)"]
    assert near.warnings == same.warnings == ()
    assert far.warnings == (
        "'C4-M1' is a central EEG; the model was trained on a frontal one and may stage it less well",
    )
    assert same.notes == ["EEG: 'fpz:cz' ('EEG Fpz-Cz' by another name)"]
    assert choose("EEG Fpz-Cz, F4-M1", TRAINED[0]).notes == []
    assert "no stated site" in choose("EEG", TRAINED[0]).warnings[0]


def test_a_flat_or_slow_channel_or_one_of_no_voltage_is_passed_over_and_said() -> None:
    choice = choose("F4-M1, F3-M2, C4-M1", TRAINED[0], flat=["F4-M1"])
    assert choice.channels[TRAINED[0]] == "F3-M2"
    assert "passed over: F4-M1 is 0 throughout" in choice.notes[0]
    assert choose("F4-M1@20, C4-M1", TRAINED[0]).channels[TRAINED[0]] == "C4-M1"
    assert choose("F4, M1, C4-M2", TRAINED[0], flat=["M1"]).channels[TRAINED[0]] == "F4"
    trained = choose("EEG Fpz-Cz, C4-M1", TRAINED[0], flat=["EEG Fpz-Cz"])
    assert "'EEG Fpz-Cz' cannot be read" in trained.notes[0]
    with pytest.raises(ValueError, match=r"no EEG .*\(F4-M1 is in Ohm, no voltage\); it has: F4-M1"):
        choose_channels(open_list("F4-M1", units="Ohm"), TRAINED[:1])


def test_no_eeg_is_an_error_in_one_line_and_no_emg_is_left_to_the_caller() -> None:
    with pytest.raises(ValueError, match=r"^night\.edf has no EEG .*; it has: ECG, M1, SpO2; name a channel") as caught:
        choose("ECG, M1, SpO2")
    assert "\n" not in str(caught.value)
    choice = choose("F4-M1, ECG, Leg L")
    assert choice.missing == TRAINED[1:]
    assert "no EOG to read as 'EOG horizontal' and no EMG to read as 'EMG submental'; it has: F4" in choice.complaint


def test_equal_candidates_are_said_and_of_channels_with_one_name_the_first_is_taken() -> None:
    assert choose("EEG R, EEG L", TRAINED[0]).notes[0].endswith("as good: EEG R)")
    choice = choose("C4-M1, C4-M1, C3-M2", TRAINED[0])
    assert choice.channels[TRAINED[0]] == "C4-M1#1"
    assert "the first of several channels of this name" in choice.notes[0]
    assert choose("EEG, EEG", "EEG").channels == {"EEG": "EEG#1"}


def test_a_channel_is_taken_once_and_a_given_one_is_never_chosen_again() -> None:
    assert choose("F4-M1, F3-M2", "EEG Fpz-Cz", "EEG Fp1-M2").channels == {
        "EEG Fpz-Cz": "F4-M1",
        "EEG Fp1-M2": "F3-M2",
    }
    file = open_list("F4-M1, Fpz-Cz, E1-M2")
    choice = choose_channels(file, TRAINED[:2], given={TRAINED[1]: "F4-M1"})
    assert choice.channels == {TRAINED[0]: "Fpz-Cz", TRAINED[1]: "F4-M1"}
    assert list(choice.reasons) == [TRAINED[0]]


def test_a_channel_of_no_role_is_taken_by_its_name_only() -> None:
    choice = choose("EEG, Activity, acc", "EEG", "ACC")
    assert choice.channels["ACC"] == "acc"
    assert choose("EEG, Activity", "EEG", "ACC").missing == ("ACC",)


NAMES = sorted({name.strip() for names, _ in COHORTS.values() for name in names.split(",") if "@" not in name})


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=10, unique_by=str.casefold), st.randoms())
def test_order_case_and_spaces_of_the_channels_do_not_matter(names: list[str], random: object) -> None:
    def choose_from(names: Sequence[str]) -> object:
        try:
            choice = choose_channels(open_list(names), TRAINED)
        except ValueError:
            return None
        return {name: " ".join(source.split()).casefold() for name, source in choice.channels.items()}, choice.missing

    expected = choose_from(names)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose_from(shuffled) == expected
    assert choose_from([f" {name.upper().replace(' ', '  ')}" for name in names]) == expected


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=10, unique_by=str.casefold))
def test_the_list_says_of_every_channel_what_becomes_of_it(names: list[str]) -> None:
    file = open_list(names)
    table = list_channels(file, TRAINED)
    assert [row[0] for row in table.rows] == names
    used = {row[0] for row in table.rows if not str(row[4]).startswith("left out: ")}
    try:
        sources = choose_channels(file, TRAINED).channels.values()
    except ValueError:
        return
    assert used == {name for name in names if any(name in (s, *s.split(" - "), *s.split(" + ")) for s in sources)} | {
        part for source in sources for part in source.partition(" - ")[2].split(" + ") if part in names
    }


def test_the_list_says_why_a_channel_is_left_out() -> None:
    file = open_list("F4-M1, EEG F4-A1, C4-M1, F3-M2@20, M2, E1-M2, Leg L, ECG, X1", flat=["EEG F4-A1"])
    left_out = {row[0]: row[4] for row in list_channels(file, TRAINED[:1]).rows}
    assert left_out == {
        "F4-M1": "EEG Fpz-Cz",
        "EEG F4-A1": "left out: it is 0 throughout",
        "C4-M1": "left out: F4-M1 comes first",
        "F3-M2": "left out: it has 20 Hz, too few",
        "M2": "left out: not needed as a reference",
        "E1-M2": "left out: the model reads no EOG",
        "Leg L": "left out: no EEG, EOG or chin EMG",
        "ECG": "left out: no EEG, EOG or chin EMG",
        "X1": "left out: its name tells no role",
    }
    twice = list_channels(open_list("EEG F4-A1, F4-M1"), TRAINED)
    assert twice.rows[1][4] == "left out: the same electrodes as EEG F4-A1"
    assert twice.notes == ["missing: EOG, EMG"]


def test_a_clinical_polysomnogram_of_90_signals_is_read() -> None:
    if "TSLM_DATA_DIR" not in os.environ:
        pytest.skip("set TSLM_DATA_DIR to read an excerpt of a clinical polysomnogram")
    file = open_signals(Path(os.environ["TSLM_DATA_DIR"]) / "nox_a1_excerpt" / "subject1.edf", SignalsConfig())
    choice = choose_channels(file, TRAINED)
    assert choice.channels == dict(zip(TRAINED, ("F4-M1", "E1 - E2", "1-2"), strict=True))
    assert list(read_single_night(file, choice.channels, 100.0, 30.0, "human").recording.channels) == list(TRAINED)
