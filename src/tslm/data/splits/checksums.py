"""Checksums of the prepared files that a stage's samples come from, so that a run knows its data again."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tslm.config.schema import CurriculumStageConfig
from tslm.data.prepared.corpora import list_corpus_files
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.data.splits.rules import choose_fold
from tslm.files import hash_file

_SHOW_BAR_AFTER_S = 3


def checksum_data(stage: CurriculumStageConfig, splits: Sequence[str] = ("train", "val")) -> dict[str, str]:
    """SHA-256 of every file that samples of these splits come from, by the file's path as the stage's folders name it.

    Of nights: participants.tsv and the recordings of the splits. Of corpora: the samples of the splits, and their
    series. Of folders that hold neither, for a reader of one's own: every file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: participants.tsv is damaged, or the stage names no fold of a cohort with folds.
    """
    files = sorted({path for split in splits for path in _list_files(stage, split)})
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"{missing} is missing; prepare it with: python -m data_prep.prepare NAME --out DIR")
    with (
        ThreadPoolExecutor(min(len(files), os.cpu_count() or 1)) as pool,  # hashing large blocks frees the interpreter
        tqdm(desc="checksums", total=len(files), unit="file", delay=_SHOW_BAR_AFTER_S, leave=False) as bar,
    ):
        hashes = []
        for digest in pool.map(hash_file, files):
            hashes.append(digest)
            bar.update()
    return dict(zip([path.as_posix() for path in files], hashes, strict=True))


def compare_checksums(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line a file that is not what it was, in the order of their names; empty where all are the same."""
    lines = []
    for name in sorted({*before, *now}):
        if name not in now:
            lines.append(f"{name}: missing")
        elif name not in before:
            lines.append(f"{name}: new")
        elif before[name] != now[name]:
            lines.append(f"{name}: changed (SHA-256 was {before[name][:12]}, is {now[name][:12]})")
    return lines


def _list_files(stage: CurriculumStageConfig, split: str) -> list[Path]:
    folder = stage.data_dir(split)
    if not (folder / PARTICIPANTS_FILE).is_file():
        corpus = [*list_corpus_files(folder, split)]
        if any(folder.glob("*.parquet")):
            return corpus
        return [path for path in folder.rglob("*") if path.is_file()] or corpus  # of a reader of one's own: all
    rows = choose_fold(read_participants(folder), stage.fold)
    return [
        folder / PARTICIPANTS_FILE,
        *(folder / f"{row.recording}.parquet" for row in rows if row.split == split or row.is_leaky),
    ]
