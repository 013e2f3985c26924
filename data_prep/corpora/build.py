"""Corpora of the earlier curriculum stages: questions, captions and ECG reasoning, one file a split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from tslm.data.prepared.corpora import CorpusSample, write_corpus
from tslm.data.splits.split import SPLITS
from tslm.seeds import hash_seed

_CHUNK_SAMPLES = 200  # each chunk has its own seed, so the number of workers changes nothing


@dataclass(frozen=True)
class CorpusOptions:
    """Size and seed of a corpus."""

    num_train: int = 4000
    num_val: int = 200
    num_test: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val", "num_test", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: wanted 0 or more")


@dataclass(frozen=True)
class SeriesCorpusOptions(CorpusOptions):
    """A corpus of general series, some of them real (they come with statsmodels, extra `ecg`)."""

    real_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.real_share <= 1:
            raise ValueError(f"real_share={self.real_share:g}: wanted a share from 0 to 1")


def prepare_corpus(name: str, module: str, options: CorpusOptions, out_dir: Path, workers: int = 1) -> list[Path]:
    """Write the splits of a corpus; each is drawn from seeds of its own.

    Args:
        name: Begins every sample's id.
        module: Offers `build_samples(num_samples, seed, **own)`, where `own` are the options beyond sizes and seed.
        options: Sizes and seed, and what the module's builder takes besides.
        out_dir: Folder of the corpus.
        workers: Processes; the files do not depend on their number.

    Returns:
        One file a split.
    """
    sizes = {"train": options.num_train, "val": options.num_val, "test": options.num_test}
    chunks = [
        (
            split,
            min(_CHUNK_SAMPLES, sizes[split] - start),
            hash_seed(options.seed, split, start // _CHUNK_SAMPLES),
        )
        for split in SPLITS
        for start in range(0, sizes[split], _CHUNK_SAMPLES)
    ]
    general = {option.name for option in fields(CorpusOptions)}
    own = {option.name: getattr(options, option.name) for option in fields(options) if option.name not in general}
    samples: dict[str, list[CorpusSample]] = {split: [] for split in SPLITS}
    done = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_build_chunk)(module, num_samples, seed, own) for _, num_samples, seed in chunks
    )
    with tqdm(total=sum(sizes.values()), desc=name, unit="sample") as bar:
        for (split, _, _), built in zip(chunks, done, strict=True):
            samples[split].extend(built)
            bar.update(len(built))
    return [
        write_corpus(
            [replace(sample, sample_id=f"{name}_{split}_{idx:06d}") for idx, sample in enumerate(samples[split])],
            out_dir,
            split,
        )
        for split in SPLITS
    ]


def _build_chunk(module: str, num_samples: int, seed: int, own: Mapping[str, Any]) -> list[CorpusSample]:
    build_samples: Callable = import_module(module).build_samples
    with threadpool_limits(1):
        return list(build_samples(num_samples, seed, **own))
