"""What data a run has seen, in numbers and names: for the card that goes with its checkpoint."""

from typing import Any

import pyarrow.parquet as pq

from tslm.config.schema import CurriculumStageConfig
from tslm.data.prepared.recordings import PARTICIPANTS_FILE, read_participants
from tslm.data.splits.rules import choose_fold

_SIMULATED = "sim_"  # how the source of every simulated recording begins


def describe_split(stage: CurriculumStageConfig, split: str) -> dict[str, Any]:
    """Facts of one split of a stage's data, as JSON: folder, and how many recordings or samples of what.

    Of nights: sources, whether all are simulated, subjects, recordings, epochs (of all splits where a recording is
    split by epoch or by time) and how the split was made. Of corpora: samples. Of what a reader of one's own reads: the
    folder.

    Args:
        stage: where the data lie.
        split: train, val or test.

    Raises:
        FileNotFoundError: a recording is missing.
        ValueError: participants.tsv is damaged, or the stage names no fold of a cohort with folds.
    """
    folder = stage.data_dir(split)
    if not (folder / PARTICIPANTS_FILE).is_file():
        corpus = folder / f"{split}.parquet"
        samples = {"samples": pq.read_metadata(corpus).num_rows} if corpus.is_file() else {}
        return {"folder": folder.name, **samples}
    everyone = read_participants(folder)
    rows = [row for row in choose_fold(everyone, stage.fold) if row.split == split or row.is_leaky]
    sources = sorted({row.source or folder.name for row in rows})
    how = f"fold {stage.fold} of a cohort split by subject" if stage.fold >= 0 else "by subject"
    if any(row.is_leaky for row in rows):
        how = f"within subjects, fold {stage.fold} in time" if rows[0].is_within_subject else "by epoch"
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
