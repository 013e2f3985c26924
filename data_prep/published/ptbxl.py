"""PTB-XL: twelve-lead ECGs of 10 s as WFDB records, and the table of patients."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.published.rows import read_csv_rows
from tslm.signals.filters import resample_polyphase

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATES_HZ = (100, 500)
TABLE_FILE = "ptbxl_database.csv"
SOURCE = "PTB-XL of physionet.org/content/ptb-xl (records100 or records500, and ptbxl_database.csv)"
_CACHED_RECORDS = 256  # 12 MB at 100 Hz, 60 MB at 500 Hz
_SEX = {"0": "male", "1": "female"}  # Wagner et al. 2020, table 2; mean heights in the table are 173 and 161 cm
_OVER_89 = 300  # stands for older patients in the table of version 1.0.3


@dataclass(frozen=True)
class EcgPatient:
    """Patient of an ECG; what the table lacks is empty."""

    patient_id: str
    age: str
    sex: str
    strat_fold: int  # 1 to 10, all of a patient's records in one (Wagner et al. 2020)

    def describe(self) -> str:
        """The patient in words."""
        known = [f"{self.age}-year-old" if self.age.isdigit() else self.age, self.sex]
        return " ".join(word for word in known if word) or "of unknown age and sex"


def read_patients(ptbxl_dir: Path) -> dict[int, EcgPatient]:
    """Patient of each record number. ValueError if the table is damaged or lacks a column."""
    patients = {}
    for row in read_csv_rows(ptbxl_dir / TABLE_FILE, ("ecg_id", "patient_id", "age", "sex", "strat_fold")):
        cells = {name: str(value or "").strip() for name, value in row.cells.items()}
        try:
            age = round(float(cells["age"])) if cells["age"] else -1
            patients[int(cells["ecg_id"])] = EcgPatient(
                patient_id=cells["patient_id"],
                age="" if age < 0 else str(age) if age < _OVER_89 else "over 89 years old",
                sex=_SEX.get(cells["sex"], ""),
                strat_fold=int(cells["strat_fold"]),
            )
        except ValueError as error:
            raise ValueError(f"{ptbxl_dir / TABLE_FILE}, row {row.number}: {error}") from error
    return patients


class EcgRecords:
    """Records in PTB-XL's folders, or in one folder as in the PhysioNet/CinC 2021 challenge (HR00001).

    A record that is missing at the requested rate is resampled from the other rate.
    """

    def __init__(self, records_dir: Path, fs_hz: int, leads: Sequence[str]) -> None:
        if fs_hz not in RATES_HZ:
            raise ValueError(f"fs_hz={fs_hz}: PTB-XL has {RATES_HZ[0]} and {RATES_HZ[1]} Hz")
        unknown = [lead for lead in leads if lead not in LEADS]
        if unknown or not leads:
            raise ValueError(f"leads={','.join(leads)}: expected all, or some of {', '.join(LEADS)}")
        self.records_dir, self.fs_hz, self.leads = records_dir, fs_hz, tuple(leads)
        self.read = lru_cache(maxsize=_CACHED_RECORDS)(self._read)

    def find(self, ecg_id: int) -> Path | None:
        """Path of a record without suffix; None if it is missing."""
        folder = f"{ecg_id // 1000 * 1000:05d}"
        own, other = (("records100", "lr"), ("records500", "hr"))[:: 1 if self.fs_hz == RATES_HZ[0] else -1]
        names = [f"{records}/{folder}/{ecg_id:05d}_{kind}" for records, kind in (own, other)] + [f"HR{ecg_id:05d}"]
        return next((path for name in names if (path := self.records_dir / name).with_suffix(".hea").is_file()), None)

    def _read(self, ecg_id: int) -> np.ndarray:
        """The leads, (num_leads, num_samples) float32, millivolt.

        Raises:
            FileNotFoundError: the record is missing.
            ValueError: the record cannot be read, lacks a lead or holds invalid samples.
        """
        path = self.find(ecg_id)
        if path is None:
            raise FileNotFoundError(f"record {ecg_id} is not in {self.records_dir}")
        signals, fs_hz, names, units = _read_wfdb(path)
        idx_of = {name.lower(): idx for idx, name in enumerate(names)}
        missing = [lead for lead in self.leads if lead.lower() not in idx_of]
        if missing:
            raise ValueError(f"record {path.name} has no lead {missing[0]}")
        kept = [idx_of[lead.lower()] for lead in self.leads]
        if {units[idx].lower() for idx in kept} != {"mv"}:
            raise ValueError(f"record {path.name} is in {units[kept[0]]}, not in mV")
        ecg_CL = signals[:, kept].T
        if not np.isfinite(ecg_CL).all():
            raise ValueError(f"record {path.name} holds invalid samples")
        if fs_hz != self.fs_hz:
            return resample_polyphase(ecg_CL, fs_hz, self.fs_hz)
        return np.ascontiguousarray(ecg_CL, dtype=np.float32)


def _read_wfdb(path: Path) -> tuple[np.ndarray, float, list[str], list[str]]:
    """(num_samples, num_leads) in the header's units, rate, lead names and units."""
    try:
        import wfdb
    except ImportError as error:
        raise ImportError("ECG records need wfdb: pip install 'tslm-sleep[ecg]'") from error
    logging.getLogger("wfdb").setLevel(logging.WARNING)
    try:
        signals, header = wfdb.rdsamp(str(path), return_res=32)
    except (OSError, ValueError, IndexError, KeyError, TypeError, wfdb.io.header.HeaderSyntaxError) as error:
        raise ValueError(f"record {path.name} cannot be read ({' '.join(str(error).split())})") from error
    return signals, float(header["fs"]), list(header["sig_name"]), list(header["units"])
