"""Curriculum stage 2: M4 series with OpenTSLM's captions, or with captions written from measured facts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.corpora.build import NamedSeries
from data_prep.corpora.captions import build_caption_sample, write_caption
from data_prep.published.rows import ROW_SPLIT, Row, draw_split, find_raw_dir, read_csv_rows, write_published
from tslm.data.prepared.corpora import CorpusSample
from tslm.data.splits.rules import parse_shares
from tslm.evidence.series import MIN_SAMPLES
from tslm.parallel import Workers
from tslm.seeds import hash_seed

FREQUENCIES = ("Daily", "Hourly", "Monthly", "Quarterly", "Weekly", "Yearly")
_INFO_FILE = "M4-info.csv"
_SOURCE = (
    "m4_series_*.csv and m4_captions_*.csv of OpenTSLM's M4TimeSeriesCaptionDataset, or *-train.csv of the M4 "
    "competition (github.com/Mcompetitions/M4-methods)"
)


@dataclass(frozen=True)
class M4Options:
    """M4: CSV files in `raw_dir`; `captions` are the published ones or are written from measured facts."""

    raw_dir: Path | None = None
    captions: str = "published"  # or measured
    frequencies: str = ",".join(FREQUENCIES)  # those without files are skipped
    split: str = ROW_SPLIT  # by series
    seed: int = 0  # of the splits and the wording of measured captions

    def __post_init__(self) -> None:
        parse_shares(self.split)
        if self.captions not in ("published", "measured"):
            raise ValueError(f"captions={self.captions}: expected published or measured")
        unknown = [name for name in self.frequencies.split(",") if name not in FREQUENCIES]
        if unknown:
            raise ValueError(f"frequencies={self.frequencies}: {unknown[0]!r} is none of {', '.join(FREQUENCIES)}")


def prepare_m4(options: M4Options, out_dir: Path, _workers: Workers | None = None) -> list[Path]:
    """Prepare captions of M4 series; each series is in one split.

    Raises:
        FileNotFoundError: `raw_dir` holds no series, or no captions while `captions` is "published".
        ValueError: a file is damaged, or no series can be used.
    """
    folder = find_raw_dir(options.raw_dir, "raw_dir", _SOURCE)
    frequencies = [name for name in options.frequencies.split(",") if find_series_files(folder, name)]
    if not frequencies:
        raise FileNotFoundError(f"{folder} holds no series of {options.frequencies}; expected {_SOURCE}")
    captions = _read_captions(folder, frequencies) if options.captions == "published" else None
    categories = _read_categories(folder)
    return write_published(
        "m4",
        (row for name in frequencies for row in read_series_rows(folder, name)),
        lambda row: (
            draw_split(row.text("id"), options.split, options.seed),
            build_sample(row, categories, captions, options.seed),
        ),
        out_dir,
        how_split=f"{options.split} by series",
    )


def build_sample(
    row: Row, categories: dict[str, str], captions: dict[str, str] | None = None, seed: int = 0
) -> CorpusSample:
    """A series with its published caption, or with a measured one if `captions` is None."""
    series_id = row.text("id")
    name = ", ".join(part for part in (f"{row.cells['frequency']} series", categories.get(series_id, "")) if part)
    series = NamedSeries(row.series("series"), name, unit="")
    if captions is None:
        if len(series.values_L) < MIN_SAMPLES:
            raise row.unusable("series", f"has fewer than {MIN_SAMPLES} values, too few to measure")
        caption = write_caption(series, np.random.default_rng(hash_seed(seed, series_id)))
    else:
        caption = captions.get(series_id, "")
    if not caption:
        raise row.unusable("id", "has no caption")
    return build_caption_sample(f"m4:{series_id}", series, caption)


def find_series_files(folder: Path, frequency: str) -> list[Path]:
    """Files with the series of one frequency: OpenTSLM's, or else the competition's train and test parts."""
    own = folder / f"m4_series_{frequency}.csv"
    if own.is_file():
        return [own]
    return [path for part in ("train", "test") if (path := folder / f"{frequency}-{part}.csv").is_file()]


def read_series_rows(folder: Path, frequency: str) -> Iterator[Row]:
    """Rows with the cells `id`, `series` and `frequency`; a competition's test part continues its train part."""
    first, *rest = find_series_files(folder, frequency)
    if first.name.startswith("m4_series_"):
        for row in read_csv_rows(first, ("id", "series")):
            yield Row(row.where, row.number, {**row.cells, "frequency": frequency})
        return
    ends = {series_id: values for path in rest for series_id, values in _read_ragged(path)}
    for number, (series_id, values) in enumerate(_read_ragged(first), start=1):
        cells = {"id": series_id, "series": f"[{','.join(values + ends.get(series_id, []))}]", "frequency": frequency}
        yield Row(f"{first.name}, row {number}", number, cells)


def _read_ragged(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(id, values as text) of each row of a competition file; rows are padded with empty cells."""
    for row in read_csv_rows(path, ("V1", "V2")):
        cells = [str(cell) for column, cell in row.cells.items() if isinstance(cell, str) and column is not None]
        while cells and not cells[-1]:
            cells.pop()
        yield (cells[0] if cells else ""), cells[1:]


def _read_captions(folder: Path, frequencies: list[str]) -> dict[str, str]:
    files = [path for name in frequencies if (path := folder / f"m4_captions_{name}.csv").is_file()]
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no m4_captions_*.csv; they come with OpenTSLM's M4TimeSeriesCaptionDataset, or give "
            "captions=measured for captions measured in the series"
        )
    return {
        str(row.cells["id"]): str(row.cells["caption"] or "").strip()
        for path in files
        for row in read_csv_rows(path, ("id", "caption"))
    }


def _read_categories(folder: Path) -> dict[str, str]:
    if not (folder / _INFO_FILE).is_file():
        return {}
    return {
        str(row.cells["M4id"]): str(row.cells["category"]).lower()
        for row in read_csv_rows(folder / _INFO_FILE, ("M4id", "category"))
    }
