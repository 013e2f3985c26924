"""Prepared data as tables of Hugging Face `datasets`, published or not, and tables of the hub as rows.

The only module that imports `datasets` (extra `evaluate`), at first use.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tslm.data.prepared.corpora import list_corpus_files, read_corpus
from tslm.data.prepared.recordings import (
    EPOCH_SPLIT_COLUMN,
    PARTICIPANTS_FILE,
    Participant,
    read_checked,
    read_participants,
)
from tslm.data.splits.split import BY_EPOCH, SPLITS
from tslm.files import hash_file
from tslm.labels import LABEL_SETS, species_group

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_LABELS = (LABEL_SETS["aasm"], LABEL_SETS["rodent"])


def import_datasets() -> Any:
    """The package `datasets`; ImportError that names the extra where it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError("this needs the extra `evaluate`: pip install 'tslm-sleep[evaluate]'") from error
    return datasets


def as_dataset(folder: Path | str, split: str = "train", columns: Sequence[str] = ()) -> "Dataset":
    """Open one split of a prepared cohort (an epoch a row) or corpus (a sample a row).

    Of a cohort the columns are `recording`, `subject`, `epoch_idx`, `onset_s`, `label` (ClassLabel; None where the
    epoch is not scored) and each channel that all recordings have at one rate: float32 of fixed length, in microvolt.
    The table is memory-mapped from the cache of `datasets`, 12 kB an epoch and channel of 100 Hz; a cohort that changed
    is read anew.

    Args:
        folder: of `data_prep.prepare`.
        split: train, val or test.
        columns: further columns of the recordings, such as rationale or an evidence.

    Raises:
        FileNotFoundError: nothing is prepared there.
        ImportError: `datasets` is not installed.
        ValueError: the split is unknown or empty, needs a fold, or the recordings have no channel in common.
    """
    datasets, folder = import_datasets(), Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split {split!r}; expected {', '.join(SPLITS)}")
    if not (folder / PARTICIPANTS_FILE).is_file() and list_corpus_files(folder, split)[0].is_file():
        return _open_corpus(datasets, folder, split)
    rows = tuple(row for row in read_participants(folder) if row.split.serves(split))
    if not rows:
        raise ValueError(f"{folder} has no recording in the split {split}")
    if any(row.split.is_within_subject for row in rows):
        raise ValueError(f"{folder} is split in time ({rows[0].split.text}): its parts depend on the fold")
    features = _declare_features(datasets, rows, folder, columns)
    channels = tuple(name for name, kind in features.items() if hasattr(kind, "length"))
    given = {"rows": rows, "folder": folder, "split": split, "columns": tuple(columns), "channels": channels}
    return _collect(datasets, _list_epochs, features, given)


def push_dataset(folder: Path | str, repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Upload all splits of a prepared cohort or corpus with a card; returns the card.

    Names of recordings and subjects are uploaded as they are, dates are not.

    Raises:
        FileNotFoundError, ImportError, ValueError: as `as_dataset`.
        OSError: the hub refused or cannot be reached.
    """
    from huggingface_hub import DatasetCard

    folder = Path(folder)
    splits = import_datasets().DatasetDict({name: as_dataset(folder, name) for name in list_splits(folder)})
    card = render_card(folder, repo_id, splits)
    splits.push_to_hub(repo_id, private=private, token=token)
    DatasetCard(card).push_to_hub(repo_id, token=token)
    return card


def list_splits(folder: Path) -> list[str]:
    """Splits of a prepared cohort or corpus that have a row. FileNotFoundError where nothing is prepared."""
    if any(list_corpus_files(folder, name)[0].is_file() for name in SPLITS):
        return [name for name in SPLITS if list_corpus_files(folder, name)[0].is_file() and read_corpus(folder, name)]
    rows = read_participants(folder)
    return [name for name in SPLITS if any(row.split.serves(name) for row in rows)]


def render_card(folder: Path, name: str, splits: "DatasetDict") -> str:
    """The card of a dataset: its splits, columns, how it was split, and what it is not."""
    is_cohort = (folder / PARTICIPANTS_FILE).is_file()
    rows = read_participants(folder) if is_cohort else []
    tags = ["eeg", "sleep-staging"] if is_cohort else ["time-series"]
    sources = sorted({row.source for row in rows if row.source})
    lines = [
        "---",
        f"pretty_name: {name.rpartition('/')[2]}",
        "tags:",
        *(f"- {tag}" for tag in (*tags, "tslm-sleep")),
        "---",
        f"# {name.rpartition('/')[2]}",
        "",
        "Prepared by tslm-sleep. "
        + ("A row is a scoring epoch; channels are in microvolt." if is_cohort else "A row is a sample."),
        "",
        "| split | rows | recordings | subjects |" if is_cohort else "| split | rows |",
        "|---|---|---|---|" if is_cohort else "|---|---|",
    ]
    for split, table in splits.items():
        of_split = [row for row in rows if row.split.serves(str(split))]
        counts = [str(len(of_split)), str(len({row.subject for row in of_split}))] * is_cohort
        lines.append("| " + " | ".join([str(split), str(table.num_rows), *counts]) + " |")
    if sources:
        lines += ["", f"Sources: {', '.join(sources)}. Their licences hold for this copy."]
    if any(row.split.leaks for row in rows):
        lines += ["", "The splits share subjects: scores on them say nothing about other people."]
    lines += ["", "| column | type |", "|---|---|"]
    features = next(iter(splits.values())).features
    lines += [f"| `{column}` | `{kind}` |" for column, kind in features.items()]
    return "\n".join([*lines, "", "For research; not for diagnosis.", ""])


def read_hub_table(repo_id: str, revision: str, columns: Sequence[str]) -> tuple[int, Iterator[dict[str, str]]]:
    """Number of rows of a dataset on the hub, all of its splits together, and the rows with some columns as text.

    Raises:
        ImportError: `datasets` is not installed.
        OSError: the hub cannot be reached, or has no such dataset.
        ValueError: a column is missing, or a file is damaged.
    """
    datasets = import_datasets()
    try:
        splits = datasets.load_dataset(repo_id, revision=revision)
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(f"{repo_id} is damaged: {' '.join(str(error).split())}") from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{repo_id} cannot be fetched from the hub ({reason}); give raw_dir=DIR with its files"
        ) from error
    table = datasets.concatenate_datasets([splits[name] for name in sorted(splits)])
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ValueError(f"{repo_id} lacks the column(s) {', '.join(missing)}; it has: {', '.join(table.column_names)}")
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    return table.num_rows, iter(table.select_columns(list(columns)).cast(features))


def _declare_features(datasets: Any, rows: Sequence[Participant], folder: Path, columns: Sequence[str]) -> Any:
    """Types of the columns of a cohort; the channels are those that all recordings have at one rate."""
    lengths = _read_channel_lengths(folder, rows[0])
    for row in rows[1:]:
        lengths = dict(lengths.items() & _read_channel_lengths(folder, row).items())
        if not lengths:
            raise ValueError(f"{row.recording} has no channel of the same name and rate as {rows[0].recording}")
    sleep_stages = next(labels.sleep_stages for labels in _LABELS if labels.species == species_group(rows[0].species))
    kinds = {
        "recording": datasets.Value("string"),
        "subject": datasets.Value("string"),
        "epoch_idx": datasets.Value("int32"),
        "onset_s": datasets.Value("float64"),
        "label": datasets.ClassLabel(names=[sleep_stage.value for sleep_stage in sleep_stages]),
    }
    known = read_checked(rows[0], folder, ()).columns
    for name in columns:
        if name not in known:
            raise ValueError(f"{rows[0].recording} has no column {name!r}; it has: {', '.join(known)}")
        values = known[name]
        kinds[name] = datasets.Value("string" if isinstance(values, list) else str(values.dtype))
    for name in sorted(lengths):
        kinds[name] = datasets.Sequence(datasets.Value("float32"), length=lengths[name])
    return datasets.Features(kinds)


def _read_channel_lengths(folder: Path, row: Participant) -> dict[str, int]:
    """Samples an epoch of each channel of a recording."""
    path = folder / f"{row.recording}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; prepare the cohort again")
    return {
        field.name: field.type.list_size for field in pq.read_schema(path) if pa.types.is_fixed_size_list(field.type)
    }


def _list_epochs(
    rows: Sequence[Participant], folder: Path, split: str, columns: Sequence[str], channels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        recording = read_checked(row, folder, channels)
        labels = next(labels for labels in _LABELS if labels.species == species_group(row.species))
        parts = recording.columns[EPOCH_SPLIT_COLUMN] if row.split.rule == BY_EPOCH else None
        for idx in range(recording.num_epochs):
            if parts is not None and parts[idx] != split:
                continue
            yield {
                "recording": row.recording,
                "subject": row.subject,
                "epoch_idx": idx,
                "onset_s": float(recording.onset_s[idx]),
                "label": None if (label := labels.index(recording.sleep_stages[idx])) < 0 else label,
                **{name: recording.columns[name][idx] for name in columns},
                **{name: recording.channels[name][idx] for name in channels},
            }


def _open_corpus(datasets: Any, folder: Path, split: str) -> "Dataset":
    text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))
    features = {"sample_id": text, "question": text, "options": texts, "answer": text, "rationale": text}
    features |= {"unit": text, "fs_hz": datasets.Value("float64"), "series_names": texts}
    features["series"] = datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
    sha256 = tuple(hash_file(path) for path in list_corpus_files(folder, split))
    given = {"folder": folder, "split": split, "names": tuple(features), "sha256": sha256}
    return _collect(datasets, _list_samples, datasets.Features(features), given)


def _collect(datasets: Any, generator: Callable[..., Any], features: Any, given: dict[str, Any]) -> "Dataset":
    """The rows of a generator as a table on disk; its key there are the arguments, tuples rather than lists."""
    try:
        return datasets.Dataset.from_generator(generator, features=features, gen_kwargs=given)
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(str(error.__cause__ or error)) from error


def _list_samples(folder: Path, split: str, names: Sequence[str], sha256: Sequence[str]) -> Iterator[dict[str, Any]]:
    del sha256  # part of the cache's key
    for sample in read_corpus(folder, split):
        yield {name: getattr(sample, name) for name in names}
