"""ECG-QA and ECG-QA-CoT on small WFDB records laid out as PTB-XL's, and on the real ones where there are any."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import main
from data_prep.published.ptbxl import LEADS, EcgPatient, EcgRecords, read_patients
from tslm.data.prepared.corpora import read_corpus
from tslm.data.samples.dataset import TASKS

wfdb = pytest.importorskip("wfdb", reason="the extra `ecg` is not installed")
FINDINGS = "['none', 'sinus rhythm', \"patient's own rhythm\", 'bigeminal pattern (ventricular, or other)']"


def write_record(folder: Path, ecg_id: int, fs_hz: int, leads: tuple[str, ...] = LEADS, unit: str = "mV") -> np.ndarray:
    kind = "lr" if fs_hz == 100 else "hr"
    target = folder / f"records{fs_hz}" / f"{ecg_id // 1000 * 1000:05d}"
    target.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(10 * fs_hz) / fs_hz
    ecg = np.stack([np.sin(2 * np.pi * (1 + idx / 4) * time_s + ecg_id) for idx in range(len(leads))], axis=1)
    name = f"{ecg_id:05d}_{kind}"
    names = [lead.upper() for lead in leads]
    gains = [1000.0] * len(leads)
    formats, zeros = ["16"] * len(leads), [0] * len(leads)
    units = [unit] * len(leads)
    wfdb.wrsamp(name, fs_hz, units, names, ecg, fmt=formats, adc_gain=gains, baseline=zeros, write_dir=str(target))
    return ecg.T


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def ptbxl(tmp_path: Path) -> Path:
    folder = tmp_path / "ptbxl"
    for ecg_id in (1, 2, 3, 1004):
        write_record(folder, ecg_id, 100)
    rows = [
        [1, "7.0", "56.0", "1", 3],
        [2, "8.0", "300.0", "0", 9],
        [3, "9.0", "", "", 10],
        [1004, "7.0", "57.0", "1", 3],
    ]
    write_table(folder / "ptbxl_database.csv", ["ecg_id", "patient_id", "age", "sex", "strat_fold"], rows)
    return folder


@pytest.fixture
def ecg_qa(tmp_path: Path) -> Path:
    folder = tmp_path / "ecg_qa"
    write_table(
        folder / "answers_for_each_template.csv",
        ["template_id", "classes"],
        [[1, "['no', 'not sure', 'yes']"], [2, FINDINGS]],
    )
    questions = {
        "train": [
            question("Is it regular?", ["yes"], [1]),
            question("What is it?", ["patient's own rhythm"], [1], 2, "single-query"),
            question("What of the second is new?", ["none"], [1, 1004], 2, "comparison_irrelevant-query"),
        ],
        "valid": [question("Is it regular?", ["not sure"], [2])],
        "test": [question("Is it fast?", ["no"], [3])],
    }
    for split, items in questions.items():
        path = folder / "template" / split / "0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(items), encoding="utf-8")
    lists = {"train": [1, 1004], "valid": [2], "test": [3]}
    for split, ids in lists.items():
        (folder / f"{split}_ecgs.tsv").write_text("".join(f"{idx}\t{ecg_id}\n" for idx, ecg_id in enumerate(ids)))
    return folder


def question(
    text: str, answer: list[str], ecg_id: list[int], template_id: int = 1, kind: str = "single-verify"
) -> dict:
    return {"question": text, "answer": answer, "ecg_id": ecg_id, "template_id": template_id, "question_type": kind}


def add_question(ecg_qa: Path, item: dict, split: str = "train") -> None:
    path = ecg_qa / "template" / split / "0.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), item]), encoding="utf-8")


def prepare(ptbxl: Path, ecg_qa: Path, *words: str) -> dict[str, list]:
    out = ptbxl.parent / "out"
    assert main(["ecg_qa", "--out", str(out), f"raw_dir={ecg_qa}", f"ptbxl_dir={ptbxl}", *words]) == 0
    return {split: list(read_corpus(out, split)) for split in ("train", "val", "test")}


def test_questions_are_joined_to_their_records_in_the_published_splits(ptbxl: Path, ecg_qa: Path) -> None:
    samples = prepare(ptbxl, ecg_qa)
    assert {split: len(rows) for split, rows in samples.items()} == {"train": 3, "val": 1, "test": 1}
    first = next(sample for sample in samples["train"] if sample.question == "Is it regular?")
    assert (first.options, first.answer, first.unit) == (("no", "not sure", "yes"), "yes", "mV")
    assert first.series_names == tuple(f"Lead {lead}, 100 Hz" for lead in LEADS)
    expected_CL = write_record(ptbxl, 1, 100)
    np.testing.assert_allclose(np.stack(first.series), expected_CL, atol=0.0011)


def test_a_comparison_shows_both_ecgs_in_order(ptbxl: Path, ecg_qa: Path) -> None:
    sample = next(row for row in prepare(ptbxl, ecg_qa, "leads=II,V1")["train"] if len(row.series) > 2)
    assert sample.series_names == (
        "First ECG, lead II, 100 Hz",
        "First ECG, lead V1, 100 Hz",
        "Second ECG, lead II, 100 Hz",
        "Second ECG, lead V1, 100 Hz",
    )
    np.testing.assert_allclose(sample.series[3], write_record(ptbxl, 1004, 100)[LEADS.index("V1")], atol=0.0011)


def test_folds_of_ptbxl_keep_a_patient_on_one_side(ptbxl: Path, ecg_qa: Path) -> None:
    samples = prepare(ptbxl, ecg_qa, "split=strat_fold")
    assert {split: len(rows) for split, rows in samples.items()} == {"train": 3, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (question("Old?", ["yes"], [77]), "names a record that is not in"),
        (
            question("Old?", ["maybe"], [1]),
            "column answer is none of the template's answers (template/train/0.json, item 4)",
        ),
        (question("Old?", [], [1]), "column answer is empty"),
        (
            question("What is it?", ["none", "sinus rhythm"], [1], 2, "single-query"),
            "column answer names several answers",
        ),
        (question("Old?", ["yes"], [1], 99), "column template_id is none of answers_for_each_template.csv"),
        (question("Old?", ["yes"], [3]), "not in the list of its split"),
        (question("Old?", ["yes"], []), "column ecg_id names no record"),
    ],
)
def test_a_question_that_cannot_be_used_is_named(
    item: dict, said: str, ptbxl: Path, ecg_qa: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if item["ecg_id"] == [77]:
        for split in ("train", "valid", "test"):
            (ecg_qa / f"{split}_ecgs.tsv").unlink()
    add_question(ecg_qa, item)
    assert len(prepare(ptbxl, ecg_qa)["train"]) == 3
    assert said in caplog.text
    assert "left out 1 of 6 rows" in caplog.text


@pytest.mark.parametrize("spoil", ["lead missing", "in microvolt", "cut", "broken header"])
def test_a_record_that_cannot_be_used_is_named(
    spoil: str, ptbxl: Path, ecg_qa: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if spoil == "lead missing":
        write_record(ptbxl, 2, 100, LEADS[:5])
    elif spoil == "in microvolt":
        write_record(ptbxl, 2, 100, unit="uV")
    elif spoil == "cut":
        path = ptbxl / "records100" / "00000" / "00002_lr.dat"
        path.write_bytes(path.read_bytes()[:1001])
    else:
        (ptbxl / "records100" / "00000" / "00002_lr.hea").write_text("nonsense\n")
    samples = prepare(ptbxl, ecg_qa)
    assert (len(samples["train"]), len(samples["val"])) == (3, 0)
    assert "column ecg_id names a record that cannot be used (template/valid/0.json, item 1)" in caplog.text


def test_records_at_the_other_rate_are_resampled_in_time(tmp_path: Path) -> None:
    write_record(tmp_path, 5, 500)
    at_100_CL = EcgRecords(tmp_path, 100, LEADS).read(5)
    assert at_100_CL.shape == (12, 1000)
    time_s = np.arange(1000) / 100
    inner = slice(50, -50)
    for idx in (0, 4, 11):
        expected = np.sin(2 * np.pi * (1 + idx / 4) * time_s + 5)
        np.testing.assert_allclose(at_100_CL[idx][inner], expected[inner], atol=0.003)
    write_record(tmp_path, 5, 100)
    assert EcgRecords(tmp_path, 500, LEADS).read(5).shape == (12, 5000)
    assert EcgRecords(tmp_path, 100, ("V6",)).find(5) == tmp_path / "records100" / "00000" / "00005_lr"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fs_hz=250"], "fs_hz=250"),
        (["leads=II,XX"], "leads=II,XX"),
        (["wording=spoken"], "wording=spoken"),
        (["split=70/15/15"], "split=70/15/15"),
        (["ptbxl_dir=/nowhere"], "ptbxl_dir=/nowhere is not a folder"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    words: list[str], said: str, ptbxl: Path, ecg_qa: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ecg_qa", "--out", str(ptbxl / "out"), f"raw_dir={ecg_qa}", f"ptbxl_dir={ptbxl}", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_package_names_its_extra(
    ptbxl: Path, ecg_qa: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wfdb", None)
    assert main(["ecg_qa", "--out", str(ptbxl / "out"), f"raw_dir={ecg_qa}", f"ptbxl_dir={ptbxl}"]) == 1
    assert "tslm-sleep[ecg]" in capsys.readouterr().err


def test_patients_read_as_the_table_says(ptbxl: Path) -> None:
    patients = read_patients(ptbxl)
    assert patients[1] == EcgPatient("7.0", "56", "female", 3)
    assert [patients[ecg_id].describe() for ecg_id in (1, 2, 3)] == [
        "56-year-old female",
        "over 89 years old male",
        "of unknown age and sex",
    ]


COT_HEADER = ["ecg_id", "question", "answer", "template_id", "question_type", "clinical_context", "rationale"]


def write_cot(folder: Path, rows: list[list[object]]) -> None:
    for idx, name in enumerate(("train", "val", "test")):
        write_table(folder / f"ecg_qa_cot_{name}.csv", COT_HEADER, rows if idx == 0 else [[idx + 1, *rows[0][1:]]])


def prepare_cot(ptbxl: Path, ecg_qa: Path, rows: list[list[object]], *words: str) -> list:
    raw_dir, out = ptbxl.parent / "cot", ptbxl.parent / "out"
    write_cot(raw_dir, rows)
    options = [f"raw_dir={raw_dir}", f"ecg_qa_dir={ecg_qa}", f"ptbxl_dir={ptbxl}", *words]
    assert main(["ecg_qa_cot", "--out", str(out), *options]) == 0
    return list(read_corpus(out, "train"))


RATIONALE = "Beats are even,\nso it is regular. Answer: yes."
COT_ROW = ["[1]", "Is it regular?", "yes", "1.0", "single-verify", "A man. Noise.", RATIONALE]


@pytest.mark.parametrize(
    ("context", "asked"),
    [
        ("patient", "Patient: 56-year-old female. Is it regular?"),
        ("published", "A man. Noise. Is it regular?"),
        ("none", "Is it regular?"),
    ],
)
def test_rationales_are_read_with_the_context_that_is_asked_for(
    context: str, asked: str, ptbxl: Path, ecg_qa: Path
) -> None:
    (sample,) = prepare_cot(ptbxl, ecg_qa, [COT_ROW], f"context={context}")
    assert sample.question == asked
    assert (sample.rationale, sample.answer) == ("Beats are even,\nso it is regular.", "yes")
    assert sample.options == ("no", "not sure", "yes")
    assert len(sample.series) == 12


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("rationale", "Uneven. Answer: no", "column rationale ends in another answer than the row's"),
        ("rationale", "", "column rationale empty"),
        ("rationale", "Answer: yes", "column rationale gives no reason"),
        ("answer", "perhaps", "column rationale ends in another answer"),
        ("template_id", "x", "column template_id is none of"),
    ],
)
def test_a_reasoning_row_that_cannot_be_used_is_named(
    column: str, value: str, said: str, ptbxl: Path, ecg_qa: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = [value if name == column else cell for name, cell in zip(COT_HEADER, COT_ROW, strict=True)]
    assert len(prepare_cot(ptbxl, ecg_qa, [COT_ROW, spoilt])) == 1
    assert said in caplog.text
    assert "ecg_qa_cot_train.csv, row 2" in caplog.text


def test_questions_without_rationales_are_not_asked_for_one(ptbxl: Path, ecg_qa: Path) -> None:
    from tests.factories.small import small_config

    prepare(ptbxl, ecg_qa, "leads=II")
    example = TASKS["ecg"].read(small_config(), ptbxl.parent / "out", "val")[0]
    assert "Rationale" not in example.post_prompt
    assert example.response == "Answer: not sure"


@pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="set TSLM_DATA_DIR to read real ECGs")
@pytest.mark.parametrize("fs_hz", [100, 500])
def test_real_questions_meet_real_records(fs_hz: int, tmp_path: Path) -> None:
    data_dir = Path(os.environ["TSLM_DATA_DIR"])
    words = [f"raw_dir={data_dir / 'ecg_qa'}", f"ptbxl_dir={data_dir / 'ptbxl'}", f"fs_hz={fs_hz}"]
    assert main(["ecg_qa", "--out", str(tmp_path), *words, f"records_dir={data_dir / 'ecg_12lead'}"]) == 0
    samples = list(read_corpus(tmp_path, "train"))
    assert len(samples) == 3
    for sample in samples:
        assert {values.shape for values in sample.series} == {(10 * fs_hz,)}
        limb = dict(zip(LEADS, sample.series, strict=True))
        np.testing.assert_allclose(limb["I"] + limb["III"], limb["II"], atol=0.03)  # Einthoven


@pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="set TSLM_DATA_DIR to read real ECGs")
def test_real_headers_agree_with_the_patient_table() -> None:
    data_dir = Path(os.environ["TSLM_DATA_DIR"])
    patients = read_patients(data_dir / "ptbxl")
    for path in sorted((data_dir / "ecg_12lead").glob("HR*.hea")):
        said = dict(re.findall(r"# (Age|Sex): (\w+)", path.read_text()))
        patient = patients[int(path.stem[2:])]
        assert (patient.age, patient.sex) == (said["Age"], said["Sex"].lower())
