"""Download the published corpora in the layout that `data_prep.prepare` reads; one corpus is one row of `CORPORA`.

The addresses are those that the authors publish: PhysioNet and its SHA256SUMS.txt for PTB-XL (CC BY 4.0), the
repositories of ECG-QA, M4 and TimeSeriesExam, and for the captions and rationales of OpenTSLM the addresses in its
loaders (github.com/StanfordBDHG/OpenTSLM, src/opentslm/time_series_datasets). Only PhysioNet publishes checksums; of
the other files the length that the server announces is checked, and the CRC-32 of what an archive holds.
"""

import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from data_prep.fetch.parallel import DEFAULT_JOBS, Download, fetch_many, fetch_sha256sums
from tslm.fetch import FetchError
from tslm.files import write_beside

_GITHUB = "https://raw.githubusercontent.com"
_POLYBOX = "https://polybox.ethz.ch/index.php/s"
_EXAM_COMMIT = "8ca52c1c8f2f044aaad7891badd4ba1c42a83de6"  # of the questions of the paper, its third round
_QUESTIONS_A_FILE = 10_000
_LAST_FILES = {"train": 260_000, "valid": 60_000, "test": 80_000}  # README of ECG-QA 1.0.2
_FREQUENCIES = ("Daily", "Hourly", "Monthly", "Quarterly", "Weekly", "Yearly")


@dataclass(frozen=True)
class Files:
    """Files of one folder on a server.

    Attributes:
        base_url: Address of the folder.
        paths: Path below `base_url` of each file, by its path in the user's folder.
        listed: Regular expression of further paths, which are taken from SHA256SUMS.txt below `base_url`.
        members: Pattern of the names to extract from the zip archives among `paths`, without the archives' folders.
    """

    base_url: str
    paths: Mapping[str, str] = field(default_factory=dict)
    listed: str = ""
    members: str = ""


@dataclass(frozen=True)
class Corpus:
    """Row of the table of corpora.

    Attributes:
        description: The corpus in words, for the user.
        choices: Files by the value of `option`; the first is the default.
        option: Option of `data_prep.prepare` that needs other files; empty if none does.
    """

    description: str
    choices: Mapping[str, Files]
    option: str = ""


def _list_ecg_qa(wording: str) -> dict[str, str]:
    names = ["answers_for_each_template.csv", *(f"{split}_ecgs.tsv" for split in _LAST_FILES)]
    for split, last in _LAST_FILES.items():
        names += [f"{wording}/{split}/{first:05d}.json" for first in range(0, last + 1, _QUESTIONS_A_FILE)]
    return {name: name for name in names}


def _list_m4() -> dict[str, str]:
    names = [f"{part}/{frequency}-{part.lower()}.csv" for part in ("Train", "Test") for frequency in _FREQUENCIES]
    return {PurePosixPath(name).name: name for name in ("M4-info.csv", *names)}


def _pick_ptbxl(fs_hz: int, kind: str) -> Files:
    listed = rf"ptbxl_database\.csv|records{fs_hz}/\d{{5}}/\d{{5}}_{kind}\.(?:dat|hea)"
    return Files("https://physionet.org/files/ptb-xl/1.0.3", listed=listed)


CORPORA: dict[str, Corpus] = {
    "timeseriesexam": Corpus(
        "TimeSeriesExam, questions on series",
        {
            "": Files(
                f"{_GITHUB}/moment-timeseries-foundation-model/TimeSeriesExam/{_EXAM_COMMIT}/output/round_3_folder",
                {"qa_dataset.json": "qa_dataset.json"},
            )
        },
    ),
    "m4": Corpus(
        "M4 series: with OpenTSLM's captions (published), or those of the competition for measured captions (measured)",
        {
            "published": Files(
                f"{_POLYBOX}/MT3y9WdEebT8wfj/download",
                {"M4TimeSeriesCaptionDatasetV02.zip": "M4TimeSeriesCaptionDatasetV02.zip"},
                members="m4_*.csv",
            ),
            "measured": Files(f"{_GITHUB}/Mcompetitions/M4-methods/master/Dataset", _list_m4()),
        },
        option="captions",
    ),
    "ecg_qa": Corpus(
        "ECG-QA, questions on PTB-XL",
        {
            wording: Files(f"{_GITHUB}/Jwoo5/ecg-qa/master/ecgqa/ptbxl", _list_ecg_qa(wording))
            for wording in ("template", "paraphrased")
        },
        option="wording",
    ),
    "ecg_qa_cot": Corpus(
        "ECG-QA-CoT, OpenTSLM's rationales for ECG-QA",
        {
            "": Files(
                f"{_POLYBOX}/D5QaJSEw4dXkzXm/download",
                {"ecg_qa_cot_final.zip": "ecg_qa_cot_final.zip"},
                members="ecg_qa_cot_*.csv",
            )
        },
    ),
    "sleep_cot": Corpus(
        "sleep_cot.csv, OpenTSLM's rationales for epochs of Sleep-EDF",
        {"": Files(f"{_POLYBOX}/ZryWSdCFJZ9JR3R", {"sleep_cot.csv": "download"})},
    ),
    "ptbxl": Corpus(
        "PTB-XL 1.0.3, ECGs in 43,598 files: 0.5 GB at 100 Hz, 2.6 GB at 500 Hz",
        {"100": _pick_ptbxl(100, "lr"), "500": _pick_ptbxl(500, "hr")},
        option="fs_hz",
    ),
}


def download_corpus(
    name: str, choice: str, out_dir: Path, base_url: str = "", *, num_jobs: int = DEFAULT_JOBS
) -> list[Path]:
    """Download the files of a published corpus; complete files are not downloaded again.

    Args:
        name: Name in `CORPORA`.
        choice: Value of the corpus's option.
        out_dir: Folder for the files, the `raw_dir` (of PTB-XL the `ptbxl_dir`) of `data_prep.prepare`.
        base_url: A mirror of the folder; empty: the published address.
        num_jobs: Files downloaded at the same time.

    Returns:
        The files, sorted; of an archive, which is kept, those extracted from it.

    Raises:
        FetchError: Some downloads failed, and the next run continues them; or an archive is damaged.
        ValueError: `base_url` is not an address, or `num_jobs` is below 1.
    """
    files = CORPORA[name].choices[choice]
    base_url = (base_url or files.base_url).rstrip("/")
    downloads = [Download(f"{base_url}/{path}", out_dir / local) for local, path in files.paths.items()]
    if files.listed:
        sha256_of = fetch_sha256sums(base_url, out_dir)
        listed = sorted(path for path in sha256_of if re.fullmatch(files.listed, path))
        if not listed:
            raise FetchError(f"{base_url}/SHA256SUMS.txt lists no file of {name}; is the base address right?")
        downloads += [Download(f"{base_url}/{path}", out_dir / path, sha256_of[path]) for path in listed]
    fetch_many(downloads, num_jobs, name)
    paths = [download.path for download in downloads]
    if files.members:
        paths = [path for archive in paths for path in _extract(archive, files.members)]
    return sorted(paths)


def _extract(archive_path: Path, pattern: str) -> list[Path]:
    """Extract the files that match a pattern beside the archive; a damaged archive is removed."""
    paths = []
    try:
        with zipfile.ZipFile(archive_path) as archive:
            for member in archive.namelist():
                name = PurePosixPath(member).name
                if not fnmatchcase(name, pattern):
                    continue
                paths.append(archive_path.with_name(name))
                with archive.open(member) as packed, write_beside(paths[-1]) as partial, partial.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive_path.unlink()
        raise FetchError(f"{archive_path} is not an intact zip archive ({error}); it was removed, run again") from error
    if not paths:
        raise FetchError(f"{archive_path} holds no {pattern}; is the base address right?")
    return paths
