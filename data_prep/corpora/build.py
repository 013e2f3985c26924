"""Build the corpora of the earlier curriculum stages: questions, captions and ECG reasoning, one file per split.

Here are also what the corpora share: question families, and general series (simulated, EEG-like, and real ones from
statsmodels). Answers and captions are measured in the series, never taken from how it was drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tslm.data.prepared.corpora import CorpusSample, write_corpus
from tslm.data.splits.split import SPLITS
from tslm.parallel import ONE_WORKER, Workers, map_parts
from tslm.progress_bar import progress_bar
from tslm.seeds import hash_seed

NUM_SAMPLES = 1000
EEG_FS_HZ = 100.0
_CHUNK_SAMPLES = 200  # each chunk has its own seed, so that the number of workers changes nothing
_TRIES = 12


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
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 or more")


@dataclass(frozen=True)
class SeriesCorpusOptions(CorpusOptions):
    """A corpus of general series, a share of them real (from statsmodels, extra `ecg`)."""

    real_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.real_share <= 1:
            raise ValueError(f"real_share={self.real_share:g}: expected a share from 0 to 1")


def prepare_corpus(
    name: str, module: str, options: CorpusOptions, out_dir: Path, workers: Workers = ONE_WORKER
) -> list[Path]:
    """Write the splits of a corpus, each drawn from its own seeds.

    Args:
        name: Prefix of the sample ids.
        module: Has `build_samples(num_samples, seed, **own)`, where `own` are the options besides sizes and seed.
        options: Sizes, seed and the builder's own options.
        out_dir: Folder of the corpus.
        workers: Where chunks are built; the files do not depend on it.

    Returns:
        One file per split.
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
    done = map_parts(
        partial(_build_chunk, module, own), [(num_samples, seed) for _, num_samples, seed in chunks], workers
    )
    with progress_bar(total=sum(sizes.values()), desc=name, unit="sample") as bar:
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


def _build_chunk(module: str, own: Mapping[str, Any], size_and_seed: tuple[int, int]) -> list[CorpusSample]:
    build_samples: Callable = import_module(module).build_samples
    with threadpool_limits(1):
        return list(build_samples(*size_and_seed, **own))


@dataclass(frozen=True)
class QuestionFamily:
    """Questions of one kind about a series or a record."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]  # empty: made from the measured value
    measure: Callable[[Any], str | None]  # the answer that holds; None if it is too close to a border to ask
    explain: Callable[[Any, str], str] | None = None  # rationale of an answer


def draw_question(
    families: tuple[QuestionFamily, ...], rng: np.random.Generator, draw: Callable[[QuestionFamily], Any]
) -> tuple[QuestionFamily, Any, str]:
    """A family, a series or record, and the answer measured in it.

    A family and one of its answers are drawn, then up to 12 series until one has that answer; if none has it, the
    last measured answer is taken. `draw` may return None for an unusable record.
    """
    while True:
        family = families[rng.integers(len(families))]
        target = family.answers[rng.integers(len(family.answers))] if family.answers else None
        found: tuple[QuestionFamily, Any, str] | None = None
        for _ in range(_TRIES):
            drawn = draw(family)
            answer = None if drawn is None else family.measure(drawn)
            if answer is not None:
                found = family, drawn, answer
                if target in (None, answer):
                    break
        if found is not None:
            return found


@dataclass(frozen=True)
class NamedSeries:
    """A series and what is known about its origin."""

    values_L: np.ndarray  # (num_samples,) float32
    name: str
    unit: str
    fs_hz: float = 0.0  # 0 where the series has no sampling rate worth naming
    is_interpolated: bool = False  # then single samples, and so spikes, mean nothing


def draw_simulated(rng: np.random.Generator) -> NamedSeries:
    """A sum of noise and some of: line, cycle, random walk, bump, jump, spikes; of any scale and level."""
    time_L = np.linspace(0.0, 1.0, NUM_SAMPLES)
    noise = rng.normal(size=NUM_SAMPLES)
    if rng.random() < 0.3:
        split = rng.integers(300, 700)
        noise[split:] *= np.exp(rng.choice([-1, 1]) * rng.uniform(0.7, 1.8))
    values_L = rng.choice([0.1, 0.3, 1.0]) * noise
    if rng.random() < 0.45:
        values_L += rng.choice([-1, 1]) * rng.uniform(1.0, 5.0) * time_L
    if rng.random() < 0.5:
        num_cycles = np.exp(rng.uniform(np.log(3), np.log(50)))
        phase_L = 2 * np.pi * (num_cycles * time_L + rng.random())
        values_L += rng.uniform(0.5, 2.0) * (np.sin(phase_L) + rng.choice([0, 0.4]) * np.sin(2 * phase_L))
    if rng.random() < 0.2:
        values_L += rng.uniform(0.01, 0.06) * np.cumsum(rng.normal(size=NUM_SAMPLES))
    if rng.random() < 0.25:
        bump_L = np.exp(-(((time_L - rng.uniform(0.1, 0.9)) / rng.uniform(0.06, 0.15)) ** 2))
        values_L += rng.choice([-1, 1]) * rng.uniform(1.5, 4.0) * bump_L
    if rng.random() < 0.25:
        values_L[rng.integers(200, 800) :] += rng.choice([-1, 1]) * rng.uniform(1.5, 4.0)
    if rng.random() < 0.35:
        positions = rng.choice(np.arange(20, NUM_SAMPLES - 20, 30), size=rng.integers(1, 5), replace=False)
        values_L[positions] += rng.choice([-1, 1], size=len(positions)) * rng.uniform(4, 8, size=len(positions))
    scale, level = np.exp(rng.uniform(-1, 4)), rng.normal(0, 3)
    return NamedSeries((scale * (values_L + level)).astype(np.float32), "Simulated series", "")


def draw_oscillation(rng: np.random.Generator) -> NamedSeries:
    """10 s of an EEG-like signal: sloping background, one rhythm throughout or in a burst."""
    freqs_hz = np.fft.rfftfreq(NUM_SAMPLES, 1 / EEG_FS_HZ)
    gain = np.maximum(freqs_hz, 0.5) ** -rng.uniform(0.5, 1.2)
    background_L = np.fft.irfft(gain * (rng.normal(size=501) + 1j * rng.normal(size=501)), NUM_SAMPLES)
    time_s = np.arange(NUM_SAMPLES) / EEG_FS_HZ
    rhythm_hz = rng.uniform(*((1, 3.5), (4.5, 7.5), (8.5, 11.5), (12.5, 15.5), (17, 28))[rng.integers(5)])
    wobble = np.cumsum(rng.normal(0, 0.02, NUM_SAMPLES))
    envelope_L = np.ones(NUM_SAMPLES)
    if rng.random() < 0.5:
        envelope_L = np.exp(-(((time_s - rng.uniform(0.5, 9.5)) / rng.uniform(0.5, 1.5)) ** 2))
    rhythm_L = envelope_L * np.sin(2 * np.pi * (rhythm_hz * time_s + rng.random()) + wobble)
    values_L = background_L / background_L.std() + rng.uniform(0.5, 4.0) * rhythm_L
    values_uv = values_L / values_L.std() * rng.uniform(8, 50)
    return NamedSeries(values_uv.astype(np.float32), "Simulated EEG, 100 Hz", "uV", EEG_FS_HZ)


def draw_real(rng: np.random.Generator) -> NamedSeries:
    """At least 60 consecutive points of a real series, interpolated linearly to the common length."""
    rows = _load_real()
    name, unit, values = rows[rng.integers(len(rows))]
    num_points = int(rng.integers(min(60, len(values)), len(values) + 1))
    start = int(rng.integers(0, len(values) - num_points + 1))
    part = values[start : start + num_points]
    stretched = np.interp(np.linspace(0, num_points - 1, NUM_SAMPLES), np.arange(num_points), part)
    full_name = f"{name}, {num_points} points drawn out to {NUM_SAMPLES}"
    return NamedSeries(stretched.astype(np.float32), full_name, unit, is_interpolated=True)


@cache
def _load_real() -> tuple[tuple[str, str, np.ndarray], ...]:
    """(name, unit, values) of the time series inside the statsmodels package."""
    try:
        from statsmodels.datasets import co2, elnino, macrodata, nile, sunspots
    except ImportError as error:
        raise ImportError(
            "real series come with statsmodels, which is not installed: pip install 'tslm-sleep[ecg]'"
        ) from error
    weekly_co2 = co2.load_pandas().data["co2"].interpolate().to_numpy()
    surface = elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    macro = macrodata.load_pandas().data
    return (
        ("Sunspots, yearly", "", sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()),
        ("CO2 at Mauna Loa, weekly", "ppm", weekly_co2),
        ("Sea temperature, monthly", "C", surface),
        ("Nile flow, yearly", "1e8 m3", nile.load_pandas().data["volume"].to_numpy()),
        ("US unemployment, quarterly", "%", macro["unemp"].to_numpy()),
        ("US inflation, quarterly", "%", macro["infl"].to_numpy()),
        ("US treasury bill rate, quarterly", "%", macro["tbilrate"].to_numpy()),
        ("US investment, quarterly", "billion USD", macro["realinv"].to_numpy()),
    )
