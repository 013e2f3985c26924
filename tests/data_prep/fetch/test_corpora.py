"""Published corpora from a server on this machine: downloaded, checked, and read by `data_prep.prepare`."""

import csv
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.download import main
from data_prep.fetch.parallel import MOST_FAILURES
from data_prep.prepare import main as prepare
from data_prep.published.ptbxl import LEADS
from tslm.data.prepared.corpora import read_corpus

SERIES = [float(value % 7) for value in range(90)]
RHYTHM = [20.0 * (-1) ** (idx // 5) + idx % 3 for idx in range(1500)]  # microvolt, 50 Hz
IDS = [f"H{idx}" for idx in range(1, 21)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tslm.fetch.time.sleep", lambda pause_s: None)
    monkeypatch.setattr("data_prep.fetch.parallel.BACKOFF_S", 0)


def render_csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue().encode()


def pack(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def download(name: str, out_dir: Path, base_url: str, *words: str) -> int:
    return main([name, "--out", str(out_dir), "--base_url", base_url, *words])


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def add_captions(server: Any) -> bytes:
    """OpenTSLM's archive of one frequency, with files that nobody asked for."""
    archive = pack(
        {
            "M4TimeSeriesCaptionDataset/m4_series_Hourly.csv": render_csv(["id", "series"], [[i, SERIES] for i in IDS]),
            "M4TimeSeriesCaptionDataset/m4_captions_Hourly.csv": render_csv(
                ["id", "caption"], [[name, f"Series {name} repeats."] for name in IDS]
            ),
            "M4TimeSeriesCaptionDataset/README.md": b"not asked for",
            "__MACOSX/M4TimeSeriesCaptionDataset/._m4_series_Hourly.csv": b"junk",
        }
    )
    server.files["/M4TimeSeriesCaptionDatasetV02.zip"] = archive
    return archive


def add_competition(server: Any) -> None:
    for frequency in ("Daily", "Hourly", "Monthly", "Quarterly", "Weekly", "Yearly"):
        rows = [[f"{frequency[0]}{idx}", *SERIES] for idx in range(1, 11)]
        server.files[f"/Train/{frequency}-train.csv"] = render_csv([f"V{idx}" for idx in range(1, 92)], rows)
        server.files[f"/Test/{frequency}-test.csv"] = render_csv(["V1", "V2"], [[row[0], 3] for row in rows])
    server.files["/M4-info.csv"] = render_csv(["M4id", "category"], [["H1", "Macro"]])


def add_exam(server: Any) -> None:
    item = {"question": "Which trend?", "options": ["Up", "Down"], "answer": "Up", "ts": SERIES}
    server.files["/qa_dataset.json"] = json.dumps([item]).encode()


def add_sleep_cot(server: Any) -> None:
    stages = ["Wake", "Non-REM stage 2"] * 10
    rows = [[[RHYTHM], stage, f"The rhythm is fast. Answer: {stage}"] for stage in stages]
    server.files["/download"] = render_csv(["time_series", "label", "rationale"], rows)


def add_ecg_qa(server: Any, wording: str = "template") -> None:
    server.files["/answers_for_each_template.csv"] = render_csv(["template_id", "classes"], [[1, "['no', 'yes']"]])
    for split, last, ecg_id in (("train", 260_000, 1), ("valid", 60_000, 2), ("test", 80_000, 3)):
        for first in range(0, last + 1, 10_000):
            server.files[f"/{wording}/{split}/{first:05d}.json"] = b"[]"
        question = {"question": "Is it regular?", "answer": ["yes"], "ecg_id": [ecg_id], "template_id": 1}
        server.files[f"/{wording}/{split}/{last}.json"] = json.dumps([question]).encode()
        server.files[f"/{split}_ecgs.tsv"] = f"0\t{ecg_id}\n".encode()


def add_ptbxl(server: Any, num_records: int = 3) -> list[str]:
    """A folder of PTB-XL whose checksums also name files nobody asked for; returns the files at 100 Hz."""
    patients = [[idx, idx, 50, 0, 1] for idx in range(1, 4)]
    contents = {
        "ptbxl_database.csv": render_csv(["ecg_id", "patient_id", "age", "sex", "strat_fold"], patients),
        "scp_statements.csv": b"not asked for",
        "../records100/00000/00001_lr.dat": b"above the folder",
    }
    for idx in range(1, num_records + 1):
        for path in (f"records100/00000/{idx:05d}_lr", f"records500/00000/{idx:05d}_hr"):
            rate, name = path[len("records") : len("records") + 3], path.rpartition("/")[2]
            leads = "".join(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
            contents[f"{path}.hea"] = f"{name} 12 {rate} {10 * int(rate)}\n{leads}".encode()
            contents[f"{path}.dat"] = np.arange(120 * int(rate), dtype="<i2").tobytes()
    server.files |= {f"/{path}": content for path, content in contents.items()}
    sums = [f"{hashlib.sha256(content).hexdigest()} {path}" for path, content in contents.items()]
    server.files["/SHA256SUMS.txt"] = "\n".join(sums).encode()
    return sorted(path for path in contents if path.startswith("records100"))


@pytest.mark.parametrize(
    ("name", "words", "add", "options", "num_samples"),
    [
        ("m4", [], add_captions, [], 20),
        ("m4", ["--captions", "measured"], add_competition, ["captions=measured"], 60),
        ("timeseriesexam", [], add_exam, [], 1),
        ("sleep_cot", [], add_sleep_cot, ["unit=uV"], 20),
    ],
)
def test_what_is_downloaded_is_prepared_as_it_lies(
    name: str, words: list[str], add: Any, options: list[str], num_samples: int, server: Any, tmp_path: Path
) -> None:
    add(server)
    assert download(name, tmp_path / "raw", server.url, *words) == 0
    assert prepare([name, "--out", str(tmp_path / "out"), f"raw_dir={tmp_path / 'raw'}", *options]) == 0
    assert sum(len(read_corpus(tmp_path / "out", split)) for split in ("train", "val", "test")) == num_samples


def test_questions_are_prepared_with_the_records_of_their_ecgs(server: Any, tmp_path: Path) -> None:
    pytest.importorskip("wfdb", reason="the extra `ecg` is not installed")
    add_ecg_qa(server)
    add_ptbxl(server)
    assert download("ecg_qa", tmp_path / "qa", server.url, "--jobs", "8") == 0
    assert download("ptbxl", tmp_path / "ptbxl", server.url) == 0
    folders = [f"raw_dir={tmp_path / 'qa'}", f"ptbxl_dir={tmp_path / 'ptbxl'}"]
    assert prepare(["ecg_qa", "--out", str(tmp_path / "out"), *folders]) == 0
    assert [len(read_corpus(tmp_path / "out", split)) for split in ("train", "val", "test")] == [1, 1, 1]


def test_rationales_come_out_of_their_archive_without_its_folders(server: Any, tmp_path: Path) -> None:
    names = [f"ecg_qa_cot_{split}.csv" for split in ("test", "train", "val")]
    archive = pack({f"ecg_qa_cot/{name}": name.encode() for name in names})
    server.files["/ecg_qa_cot_final.zip"] = archive
    assert download("ecg_qa_cot", tmp_path, server.url) == 0
    assert names_in(tmp_path) == ["ecg_qa_cot_final.zip", *names]
    assert all((tmp_path / name).read_text() == name for name in names)
    server.requests.clear()
    assert download("ecg_qa_cot", tmp_path, server.url) == 0
    assert server.requests == []


@pytest.mark.parametrize(("words", "folder"), [([], "records100"), (["--fs_hz", "500"], "records500")])
def test_of_ptbxl_come_the_listed_records_of_one_rate(
    words: list[str], folder: str, server: Any, tmp_path: Path
) -> None:
    add_ptbxl(server)
    assert download("ptbxl", tmp_path / "raw" / "ptbxl", server.url, *words) == 0
    wanted = sorted(path for path in server.files if path.startswith((f"/{folder}/", "/ptbxl_database")))
    assert [f"/{name}" for name in names_in(tmp_path / "raw" / "ptbxl")] == wanted
    assert all((tmp_path / "raw" / "ptbxl" / path[1:]).read_bytes() == server.files[path] for path in wanted)
    assert names_in(tmp_path) == [f"raw/ptbxl{path}" for path in wanted]  # nothing above the folder


@pytest.mark.parametrize("faults", [["drop"], ["drop"] * 9, ["503", "drop"], ["short"], ["long"], ["corrupt"]])
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_records_arrive_from_an_unruly_server(faults: list[str], jobs: str, server: Any, tmp_path: Path) -> None:
    paths = add_ptbxl(server)
    server.faults = {f"/{path}": list(faults) for path in paths}
    assert download("ptbxl", tmp_path, server.url, "--jobs", jobs) == 0
    assert names_in(tmp_path) == ["ptbxl_database.csv", *paths]
    assert all((tmp_path / path).read_bytes() == server.files[f"/{path}"] for path in paths)


def test_a_download_cut_off_continues_where_it_ended(server: Any, tmp_path: Path) -> None:
    archive = add_captions(server)
    server.faults = {"/M4TimeSeriesCaptionDatasetV02.zip": ["drop", *["503"] * 5]}
    assert download("m4", tmp_path, server.url) == 1
    assert names_in(tmp_path) == ["M4TimeSeriesCaptionDatasetV02.zip.partial"]
    server.requests.clear()
    assert download("m4", tmp_path, server.url) == 0
    assert server.requests == [("/M4TimeSeriesCaptionDatasetV02.zip", f"bytes={len(archive) // 2}-")]
    assert names_in(tmp_path) == ["M4TimeSeriesCaptionDatasetV02.zip", "m4_captions_Hourly.csv", "m4_series_Hourly.csv"]


def test_a_record_with_another_checksum_is_refused_and_leaves_nothing(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = add_ptbxl(server)
    bad = "records100/00000/00002_lr.dat"
    server.files[f"/{bad}"] = b"another recording"
    assert download("ptbxl", tmp_path, server.url) == 1
    assert names_in(tmp_path) == ["ptbxl_database.csv", *(path for path in paths if path != bad)]
    assert last_line(capsys).startswith("error: 1 of 7 files failed: 00002_lr.dat (checksum error: 00002_lr.dat from")


def test_a_missing_file_is_named_in_one_line_and_the_next_run_fetches_it_alone(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_ecg_qa(server)
    missing = server.files.pop("/template/valid/00000.json")  # train and test have files of this name
    assert download("ecg_qa", tmp_path, server.url) == 1
    assert last_line(capsys) == (
        f"error: 1 of 47 files failed: 00000.json ({server.url}/template/valid/00000.json was refused by the server: "
        "404 Not Found); what arrived is kept, run the same command again"
    )
    server.files["/template/valid/00000.json"] = missing
    server.requests.clear()
    assert download("ecg_qa", tmp_path, server.url) == 0
    assert [path for path, _ in server.requests] == ["/template/valid/00000.json"]


def test_many_failures_end_the_run(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    num_files = len(add_ptbxl(server, 10 * MOST_FAILURES)) + 1
    server.files = {"/SHA256SUMS.txt": server.files["/SHA256SUMS.txt"]}
    assert download("ptbxl", tmp_path, server.url) == 1
    assert f"{MOST_FAILURES} of {num_files} files failed" in last_line(capsys)
    assert len(server.requests) < num_files / 2


def test_jobs_are_connections_at_a_time(server: Any, tmp_path: Path) -> None:
    paths = add_ptbxl(server, 4)
    server.meeting = threading.Barrier(4)  # none of the four signals is answered before all are asked for
    assert download("ptbxl", tmp_path, server.url, "--jobs", "8") == 0
    assert names_in(tmp_path) == ["ptbxl_database.csv", *paths]


def damage(archive: bytes) -> bytes:
    """Spoil the data of the first member, so that the directory of the archive stays intact."""
    start = 30 + archive[26] + archive[28]
    return archive[:start] + bytes(byte ^ 0xFF for byte in archive[start : start + 8]) + archive[start + 8 :]


@pytest.mark.parametrize("spoil", [damage, lambda archive: b"<html>moved</html>", lambda archive: archive[:-30]])
def test_a_damaged_archive_is_removed_and_nothing_of_it_is_kept(
    spoil: Any, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = add_captions(server)
    server.files["/M4TimeSeriesCaptionDatasetV02.zip"] = spoil(archive)
    assert download("m4", tmp_path, server.url) == 1
    assert names_in(tmp_path) == []
    assert "M4TimeSeriesCaptionDatasetV02.zip is not an intact zip archive" in last_line(capsys)
    server.files["/M4TimeSeriesCaptionDatasetV02.zip"] = archive
    assert download("m4", tmp_path, server.url) == 0


@pytest.mark.parametrize(
    ("name", "path", "content", "said"),
    [
        ("ptbxl", "/SHA256SUMS.txt", b"<html>hello</html>", "lists no file of ptbxl; is the base address right?"),
        ("m4", "/M4TimeSeriesCaptionDatasetV02.zip", pack({"a": b""}), "holds no m4_*.csv; is the base address right?"),
    ],
)
def test_another_folder_than_the_corpuss_is_one_line(
    name: str, path: str, content: bytes, said: str, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files[path] = content
    assert download(name, tmp_path, server.url) == 1
    assert last_line(capsys).endswith(said)
