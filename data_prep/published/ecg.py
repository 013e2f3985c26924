"""Curriculum stage 3: ECG-QA, and ECG-QA-CoT with rationales, both joined to the records of PTB-XL."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.published.ptbxl import LEADS, SOURCE, EcgPatient, EcgRecords, read_patients
from data_prep.published.rows import Row, find_raw_dir, read_csv_rows, read_json_rows, write_published
from tslm.data.prepared.corpora import CorpusSample, render_lead
from tslm.parallel import Workers

ANSWERS_FILE = "answers_for_each_template.csv"
_ECG_QA_SOURCE = "ecgqa/ptbxl of github.com/Jwoo5/ecg-qa"
_FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # split names of ECG-QA and of this project
_COT_FILES = {"ecg_qa_cot_train.csv": "train", "ecg_qa_cot_val.csv": "val", "ecg_qa_cot_test.csv": "test"}
_COT_COLUMNS = ("ecg_id", "question", "answer", "template_id", "question_type", "rationale")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_ORDINALS = ("First", "Second")


@dataclass(frozen=True)
class EcgOptions:
    """Location of PTB-XL, and the rate and leads to read."""

    raw_dir: Path | None = None
    ptbxl_dir: Path | None = None
    records_dir: Path | None = None  # folder of the records, if not ptbxl_dir
    fs_hz: int = 100  # or 500
    leads: str = "all"  # or some, such as II,V1,V5

    def open_records(self) -> EcgRecords:
        """Open the records. FileNotFoundError or ValueError if an option is wrong."""
        option, folder = ("records_dir", self.records_dir) if self.records_dir else ("ptbxl_dir", self.ptbxl_dir)
        leads = LEADS if self.leads == "all" else tuple(self.leads.split(","))
        return EcgRecords(find_raw_dir(folder, option, SOURCE), self.fs_hz, leads)


@dataclass(frozen=True)
class EcgQaOptions(EcgOptions):
    """ECG-QA: its folder ecgqa/ptbxl in `raw_dir`."""

    wording: str = "template"  # or paraphrased
    split: str = "published"  # or strat_fold: PTB-XL's folds 1-8, 9 and 10

    def __post_init__(self) -> None:
        if self.wording not in ("template", "paraphrased"):
            raise ValueError(f"wording={self.wording}: expected template or paraphrased")
        if self.split not in ("published", "strat_fold"):
            raise ValueError(f"split={self.split}: expected published or strat_fold")


@dataclass(frozen=True)
class EcgQaCotOptions(EcgOptions):
    """ECG-QA-CoT: OpenTSLM's three CSV files in `raw_dir`, the answer table of ECG-QA in `ecg_qa_dir`."""

    ecg_qa_dir: Path | None = None
    context: str = "patient"  # age and sex in PTB-XL; published: OpenTSLM's, often wrong (docs/decisions); or none

    def __post_init__(self) -> None:
        if self.context not in CONTEXTS:
            raise ValueError(f"context={self.context}: expected {', '.join(CONTEXTS)}")


def prepare_ecg_qa(options: EcgQaOptions, out_dir: Path, _workers: Workers | None = None) -> list[Path]:
    """Prepare the questions of ECG-QA; those about missing records are left out.

    Raises:
        FileNotFoundError: a folder, the answer table or the questions are missing.
        ImportError: wfdb is not installed.
        ValueError: a file is damaged, or no question can be used.
    """
    folder = _find_ecg_qa(options.raw_dir, "raw_dir")
    records, options_of = options.open_records(), read_template_answers(folder / ANSWERS_FILE)
    if options.split == "strat_fold":
        patients = read_patients(find_raw_dir(options.ptbxl_dir, "ptbxl_dir", SOURCE))
        split_of = {ecg_id: _fold_split(patient.strat_fold) for ecg_id, patient in patients.items()}
    else:
        split_of = _read_split_lists(folder)
    return write_published(
        "ecg_qa",
        _read_questions(folder / options.wording),
        lambda row: (
            _choose_split(row, split_of, published=options.split == "published"),
            build_question(row, options_of, records),
        ),
        out_dir,
        how_split="published, by ECG" if options.split == "published" else "PTB-XL's strat_fold, by patient",
    )


def prepare_ecg_qa_cot(options: EcgQaCotOptions, out_dir: Path, _workers: Workers | None = None) -> list[Path]:
    """Prepare the questions and rationales of ECG-QA-CoT, in their published splits.

    Raises:
        FileNotFoundError: a folder, the answer table or a CSV file is missing.
        ImportError: wfdb is not installed.
        ValueError: a file is damaged, or no row can be used.
    """
    folder = find_raw_dir(options.raw_dir, "raw_dir", f"OpenTSLM's {', '.join(_COT_FILES)}")
    options_of = read_template_answers(_find_ecg_qa(options.ecg_qa_dir, "ecg_qa_dir") / ANSWERS_FILE)
    records = options.open_records()
    patients = {}
    if options.context == "patient":
        patients = read_patients(find_raw_dir(options.ptbxl_dir, "ptbxl_dir", SOURCE))
    return write_published(
        "ecg_qa_cot",
        _read_cot(folder, "clinical_context" if options.context == "published" else ""),
        lambda row: (
            row.cells["split"],
            build_reasoning(row, options_of, records, CONTEXTS[options.context](row, patients)),
        ),
        out_dir,
        how_split="published, by ECG",
    )


def build_question(row: Row, options_of: Mapping[int, tuple[str, ...]], records: EcgRecords) -> CorpusSample:
    """One question of ECG-QA with its one or two ECGs.

    Raises:
        UnusableRowError: a part is missing, or the question has several answers.
    """
    answers = row.cells.get("answer")
    if not isinstance(answers, list) or not answers:
        raise row.unusable("answer", "is empty")
    if len(answers) > 1:
        raise row.unusable("answer", "names several answers", "; ".join(map(str, answers))[:60])
    return _join(row, "ecg_qa", row.text("question"), str(answers[0]), "", options_of, records)


def build_reasoning(
    row: Row, options_of: Mapping[int, tuple[str, ...]], records: EcgRecords, context: str
) -> CorpusSample:
    """One row of ECG-QA-CoT. UnusableRowError if a part is missing or the rationale ends in another answer."""
    answer, options = row.text("answer"), _template_options(row, options_of)
    rationale = row.rationale("rationale", answer, options)
    question = " ".join(part for part in (context, row.text("question")) if part)
    return _join(row, "ecg_qa_cot", question, answer, rationale, options_of, records)


def read_template_answers(path: Path) -> dict[int, tuple[str, ...]]:
    """Answers allowed by each question template. ValueError if a row is not a list of quoted texts."""
    options_of = {}
    for row in read_csv_rows(path, ("template_id", "classes")):
        options = tuple(single or double for single, double in _QUOTED.findall(row.text("classes")))
        if not options or not row.text("template_id").isdigit():
            raise ValueError(f"{path}, row {row.number}: expected a number and a list of quoted answers")
        options_of[int(row.text("template_id"))] = options
    return options_of


def _join(
    row: Row,
    corpus: str,
    question: str,
    answer: str,
    rationale: str,
    options_of: Mapping[int, tuple[str, ...]],
    records: EcgRecords,
) -> CorpusSample:
    options, ecg_ids = _template_options(row, options_of), _ecg_ids(row)
    if answer not in options:
        raise row.unusable("answer", "is none of the template's answers", answer[:60])
    if len(ecg_ids) > len(_ORDINALS):
        raise row.unusable("ecg_id", f"names more than {len(_ORDINALS)} records")
    series: list[np.ndarray] = []
    names: list[str] = []
    for ordinal, ecg_id in zip(_ORDINALS, ecg_ids, strict=False):
        try:
            series.extend(records.read(ecg_id))
        except FileNotFoundError as error:
            raise row.unusable("ecg_id", f"names a record that is not in {records.records_dir}", str(ecg_id)) from error
        except ValueError as error:
            raise row.unusable("ecg_id", "names a record that cannot be used", str(error)) from error
        record = f"{ordinal} ECG" if len(ecg_ids) > 1 else ""
        names.extend(render_lead(lead, records.fs_hz, record) for lead in records.leads)
    sample_id, fs_hz = f"{corpus}:{row.where}", float(records.fs_hz)
    return CorpusSample(sample_id, question, options, tuple(series), tuple(names), "mV", rationale, answer, fs_hz)


def _template_options(row: Row, options_of: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    template_id = row.text("template_id").removesuffix(".0")
    if not template_id.isdigit() or int(template_id) not in options_of:
        raise row.unusable("template_id", f"is none of {ANSWERS_FILE}", template_id)
    return options_of[int(template_id)]


def _ecg_ids(row: Row) -> list[int]:
    ecg_ids = [int(number) for number in re.findall(r"\d+", row.text("ecg_id"))]
    if not ecg_ids:
        raise row.unusable("ecg_id", "names no record")
    return ecg_ids


def _choose_split(row: Row, split_of: Mapping[int, str], published: bool) -> str:
    splits = {split_of.get(ecg_id, "") for ecg_id in _ecg_ids(row)}
    if published:
        split = str(row.cells["split"])
        if split_of and splits != {split}:
            raise row.unusable("ecg_id", "names an ECG that is not in the list of its split")
        return split
    if len(splits) > 1 or splits == {""}:
        raise row.unusable("ecg_id", "names ECGs of different splits" if len(splits) > 1 else "is not in PTB-XL")
    return splits.pop()


def _fold_split(strat_fold: int) -> str:
    return {9: "val", 10: "test"}.get(strat_fold, "train")


def _read_split_lists(folder: Path) -> dict[int, str]:
    """Split of each ECG in `{train,valid,test}_ecgs.tsv`; empty if these lists are missing."""
    split_of = {}
    for name, split in _FOLDERS.items():
        path = folder / f"{name}_ecgs.tsv"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
            ecg_id = line.split("\t")[-1].strip()
            if not ecg_id.isdigit():
                raise ValueError(f"{path}, line {number}: expected the number of an ECG, found {ecg_id[:20]!r}")
            split_of[int(ecg_id)] = split
    return split_of


def _read_questions(folder: Path) -> Iterator[Row]:
    """Questions of each split, sorted by ECG."""
    num_files = 0
    for name, split in _FOLDERS.items():
        files = sorted((folder / name).glob("*.json"))
        num_files += len(files)
        rows = [
            Row(f"{folder.name}/{name}/{row.where}", row.number, {**row.cells, "split": split})
            for path in files
            for row in read_json_rows(path)
        ]
        yield from _sort_by_ecg(rows)
    if not num_files:
        raise FileNotFoundError(f"{folder} holds no */*.json; expected the questions of github.com/Jwoo5/ecg-qa")


def _read_cot(folder: Path, context_column: str) -> Iterator[Row]:
    columns = (*_COT_COLUMNS, context_column) if context_column else _COT_COLUMNS
    for name, split in _COT_FILES.items():
        yield from _sort_by_ecg(
            Row(row.where, row.number, {**{column: row.cells[column] for column in columns}, "split": split})
            for row in read_csv_rows(folder / name, columns)
        )


def _sort_by_ecg(rows: Iterable[Row]) -> list[Row]:
    """Sort the questions by ECG, so that each record is read once; their texts, about 1 kB each, stay in memory."""
    return sorted(rows, key=lambda row: (str(row.cells.get("ecg_id")), row.where))


def _find_ecg_qa(folder: Path | None, option: str) -> Path:
    found = find_raw_dir(folder, option, _ECG_QA_SOURCE)
    for candidate in (found, found / "ptbxl", found / "ecgqa" / "ptbxl"):
        if (candidate / ANSWERS_FILE).is_file():
            return candidate
    raise FileNotFoundError(
        f"{found} holds no {ANSWERS_FILE}; expected the folder ecgqa/ptbxl of github.com/Jwoo5/ecg-qa"
    )


def _describe_patient(row: Row, patients: Mapping[int, EcgPatient]) -> str:
    patient = patients.get(_ecg_ids(row)[0])
    return f"Patient: {patient.describe()}." if patient else ""


CONTEXTS: dict[str, Callable[[Row, Mapping[int, EcgPatient]], str]] = {
    "patient": _describe_patient,
    "published": lambda row, _patients: str(row.cells.get("clinical_context") or "").strip(),
    "none": lambda _row, _patients: "",
}
