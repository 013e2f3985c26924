"""Data of a run: checksums of its files, and descriptions of its splits for the model card."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tslm.command import advise
from tslm.config.schema import CurriculumStageConfig
from tslm.data.prepared.corpora import list_corpus_files
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.data.splits.folds import choose_fold
from tslm.files import hash_file
from tslm.progress_bar import progress_bar

_SHOW_BAR_AFTER_S = 3
_SIMULATED = "sim_"  # how the source of every simulated recording begins


def checksum_data(curriculum_stage: CurriculumStageConfig, splits: Sequence[str] = ("train", "val")) -> dict[str, str]:
    """SHA-256 of every file that samples of these splits come from, by its path.

    Of nights: participants.tsv and the recordings of the splits. Of corpora: the samples of the splits, and their
    series. Of other folders, for a user's own reader: every file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: participants.tsv is damaged, or the curriculum stage names no fold of a cohort with folds.
    """
    files = sorted({path for split in splits for path in _list_files(curriculum_stage, split)})
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"{missing} is missing; {advise('prepare it', 'data_prep.prepare NAME --out DIR')}")
    with (
        ThreadPoolExecutor(min(len(files), os.cpu_count() or 1)) as pool,  # hashing large blocks frees the interpreter
        progress_bar(desc="checksums", total=len(files), unit="file", delay=_SHOW_BAR_AFTER_S, leave=False) as bar,
    ):
        hashes = []
        for digest in pool.map(hash_file, files):
            hashes.append(digest)
            bar.update()
    return dict(zip([path.as_posix() for path in files], hashes, strict=True))


def compare_checksums(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line per file that changed, in the order of names; empty where all are the same."""
    lines = []
    for name in sorted({*before, *now}):
        if name not in now:
            lines.append(f"{name}: missing")
        elif name not in before:
            lines.append(f"{name}: new")
        elif before[name] != now[name]:
            lines.append(f"{name}: changed (SHA-256 was {before[name][:12]}, is {now[name][:12]})")
    return lines


def describe_split(curriculum_stage: CurriculumStageConfig, split: str) -> dict[str, Any]:
    """Facts of one split of the data of a curriculum stage, as JSON: folder, and counts.

    Of nights: sources, whether all are simulated, subjects, recordings, epochs (of all splits where a recording is
    split by epoch or by time) and how the split was made. Of corpora: samples. Of a user's own reader: the
    folder.

    Args:
        curriculum_stage: where the data lie.
        split: train, val or test.

    Raises:
        FileNotFoundError: a recording is missing.
        ValueError: participants.tsv is damaged, or the curriculum stage names no fold of a cohort with folds.
    """
    folder = curriculum_stage.data_dir(split)
    if not (folder / PARTICIPANTS_FILE).is_file():
        corpus = folder / f"{split}.parquet"
        samples = {"samples": pq.read_metadata(corpus).num_rows} if corpus.is_file() else {}
        return {"folder": folder.name, **samples}
    everyone = read_participants(folder)
    rows = [row for row in choose_fold(everyone, curriculum_stage.fold) if row.split.serves(split)]
    sources = sorted({row.source or folder.name for row in rows})
    how = f"fold {curriculum_stage.fold} of a cohort split by subject" if curriculum_stage.fold >= 0 else "by subject"
    if any(row.split.leaks for row in rows):
        how = (
            f"within subjects, fold {curriculum_stage.fold} in time" if rows[0].split.is_within_subject else "by epoch"
        )
    return {
        "folder": folder.name,
        "sources": sources,
        "simulated": all(source.startswith(_SIMULATED) for source in sources),
        "species": sorted({row.species for row in rows}),
        "subjects": len({row.subject for row in rows}),
        "recordings": len(rows),
        "epochs": sum(pq.read_metadata(folder / f"{row.recording}.parquet").num_rows for row in rows),
        "split": how,
    }


def _list_files(curriculum_stage: CurriculumStageConfig, split: str) -> list[Path]:
    folder = curriculum_stage.data_dir(split)
    if not (folder / PARTICIPANTS_FILE).is_file():
        corpus = [*list_corpus_files(folder, split)]
        if any(folder.glob("*.parquet")):
            return corpus
        return [path for path in folder.rglob("*") if path.is_file()] or corpus  # of a user's own reader: all
    rows = choose_fold(read_participants(folder), curriculum_stage.fold)
    return [
        folder / PARTICIPANTS_FILE,
        *(folder / f"{row.recording}.parquet" for row in rows if row.split.serves(split)),
    ]
