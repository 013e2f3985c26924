import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.signals.channel_names import LINKED, ROLES, UNSTATED, read_channel_name


def spell(*names: str, **said: object) -> list[object]:
    return [pytest.param(name, said, id=name) for name in names]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *spell("EEG Fpz-Cz", "Fpz-Cz", "FPZ:CZ", "FpzCz", role="eeg", plus="Fpz", minus="Cz", region="frontal"),
        *spell("F4-M1", "EEG F4-A1", "EEG_F4-EEG_M1", "f4_m1", "F4A1", role="eeg", plus="F4", minus="M1"),
        *spell("C4:A1", "C4/A1", "EEG C4-M1", "C4M1", "C4 - M1", role="eeg", plus="C4", minus="M1", region="central"),
        *spell("EEG C3-CLE", "C3-A1A2", "C3-LE", role="eeg", plus="C3", minus=LINKED),
        *spell("C3-x", "EEG C3-Ref", role="eeg", plus="C3", minus=UNSTATED),
        *spell("C3", "EEG C3", role="eeg", plus="C3", minus=""),
        *spell("EEG", "EEG_DIFF", "LFP", role="eeg", plus="", region="", number=0),
        *spell("EEG1", "eeg_ch1", "EEG Ch1", "EEG 1", role="eeg", plus="", number=1),
        *spell("EEG(sec)", "EEG2", "EEG sec", role="eeg", plus="", number=2),
        *spell("EEG_P", "eeg_parietal", "EEG parietal", "data.EEG_P", role="eeg", plus="", region="parietal"),
        *spell("EEG A1-A2", "M1M2", "A1", role="eeg", is_reference=True),
        *spell("EOG horizontal", "HEOG", "EOG H", role="eog", plus="HEOG"),
        *spell("E1-M2", "EOG LOC-A2", "EEG LOC-M2", "LEOG-M2", "LOCA2", "EOG1:A2", role="eog", plus="E1", minus="M2"),
        *spell("LOC", "EOG-L", "EOG(L)", "LEOG", "L-EOG", "EOG Left Horiz", "Lefteye", "EOG1", role="eog", plus="E1"),
        *spell("ROC", "EOG-R_Off", "EOG(R)", "REOG", "RightEye", "EOG2", role="eog", plus="E2", minus=""),
        *spell("ROC-LOC", "E2-E1", role="eog", plus="E2", minus="E1"),
        *spell("VEOG", "EOG Upper Vertic", role="eog", plus="VEOG"),
        *spell("EMG submental", "Chin", "EMG chin", "Chin EMG", "EMG_SM", "EMG Submental", role="emg", plus="Chin"),
        *spell("Chin1-Chin2", "EMG CHIN1-CHIN2", "EEG Chin1-Chin2", "Chin 1-Chin 2", role="emg", minus="Chin2"),
        *spell("ChinL", "L Chin", "Lchin", "Chin-L", role="emg", plus="ChinL", minus=""),
        *spell("1-F", role="emg", plus="Chin1", minus="ChinF"),
        *spell("EMG", role="emg", plus="EMG"),
        *spell("EMG1", "EMG 1", "emg_ch1", role="emg", plus="EMG1"),
        *spell("EMG1-EMG2", role="emg", plus="EMG1", minus="EMG2"),
        *spell("EMG_DIFF", "Neck EMG", "EMG L", role="emg", plus=""),
        *spell("LAT", "RAT", "Leg", "TIB", "EMG LAT", "L/RAT", "RAT-L", "EMG Tib Ant", "PLMr", "Leg/L", what="leg EMG"),
        *spell("EMG intercostal", "Arm1", what="EMG of another muscle"),
        *spell("ECG", "EKG", "ECG II", "EMG-EKG", what="ECG"),
        *spell("SpO2", "SaO2", "OSAT", "OX STAT", what="oxygen saturation"),
        *spell("AIRFLOW", "Resp oro-nasal", "THOR RES", "abdomen", "Nasal Pressure", "NEW AIR", what="breathing"),
        *spell("EEG Snore", "SOUND", "MIC", what="snoring or sound"),
        *spell("Position", "BodyPos", "Activity", "ACC", what="position or movement"),
        *spell("Event marker", "STAT", "Status", what="events"),
        *spell("Temp rectal", what="temperature"),
        *spell("LIGHT", what="light"),
        *spell("C3 Impédance", "C3-M2 (Imp)", what="impedance"),
        *spell("X1", "Channel1", "1", "", role="other"),
    ],
)
def test_a_name_is_read_in_all_spellings(name: str, said: dict[str, object]) -> None:
    read = read_channel_name(name)
    assert {key: getattr(read, key) for key in said} == said
    assert read.role == said.get("role", "other")


@given(
    st.sampled_from(("Fpz", "F3", "F4", "Cz", "C3", "C4", "Pz", "O1", "O2", "T3", "AF7", "PO4", "TP9")),
    st.sampled_from(("M1", "M2", "Cz", "Oz")),
    st.sampled_from(("-", ":", "/", "_", " - ", "")),
    st.sampled_from(("", "EEG ", "EEG_", "eeg")),
)
def test_sign_and_prefix_of_a_derivation_do_not_matter(site: str, reference: str, sign: str, prefix: str) -> None:
    read = read_channel_name(f"{prefix}{site}{sign}{reference}")
    assert (read.role, read.plus, read.minus) == ("eeg", site, reference)


@given(st.text(alphabet="EOGMCPTFLRAZacehinmotz0123456789 -_:/().", max_size=16))
def test_case_and_spaces_do_not_matter_and_any_name_has_a_role(name: str) -> None:
    read = read_channel_name(name)
    assert read.role in ROLES
    assert read == read_channel_name(name.upper()) == read_channel_name(name.lower()) == read_channel_name(f" {name} ")
    assert read == read_channel_name(name.replace(" ", "   "))
