"""Prepare cohorts of recordings, and the corpora of the earlier curriculum stages.

Example:
    python -m data_prep.prepare sim_human --out data/sim_human --workers 2 num_subjects=40
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.cohorts.cohort import CohortOptions, prepare_cohort
from data_prep.cohorts.simulated import (
    SimHumanOptions,
    SimPeopleOptions,
    SimRodentOptions,
    prepare_sim_human,
    prepare_sim_rodent,
)
from data_prep.corpora.build import CorpusOptions, SeriesCorpusOptions, prepare_corpus
from data_prep.published.choice import TimeSeriesExamOptions, TsqaOptions, prepare_timeseriesexam, prepare_tsqa
from data_prep.published.ecg import EcgQaCotOptions, EcgQaOptions, prepare_ecg_qa, prepare_ecg_qa_cot
from data_prep.published.m4 import M4Options, prepare_m4
from data_prep.published.sleep_cot import SleepCotOptions, prepare_sleep_cot
from tslm.command import run_command
from tslm.config.compose import list_group
from tslm.config.files import parse_options, suggest
from tslm.data.cohorts.cohort import COHORT_GROUP, describe_cohorts, load_cohort
from tslm.data.prepared.corpora import read_corpus
from tslm.data.prepared.recordings import Participant
from tslm.data.splits.folds import render_counts
from tslm.parallel import Workers, add_worker_arguments, read_workers


@dataclass(frozen=True)
class Cohort:
    """A row of the table of cohorts and corpora."""

    description: str
    options: type
    prepare: Callable[..., Sequence[Any]]  # (options, out_dir, workers) -> participants, or the files of a corpus


COHORTS: dict[str, Cohort] = {
    "sim_human": Cohort("simulated human nights", SimHumanOptions, prepare_sim_human),
    "sim_people": Cohort("simulated people of every kind, as sim_human", SimPeopleOptions, prepare_sim_human),
    "sim_rodent": Cohort("simulated mice and rats", SimRodentOptions, prepare_sim_rodent),
    "mcq": Cohort(
        "multiple-choice questions on series",
        SeriesCorpusOptions,
        partial(prepare_corpus, "mcq", "data_prep.corpora.mcq"),
    ),
    "captions": Cohort(
        "captions of series", SeriesCorpusOptions, partial(prepare_corpus, "captions", "data_prep.corpora.captions")
    ),
    "ecg_cot": Cohort(
        "ECG questions with rationales", CorpusOptions, partial(prepare_corpus, "ecg_cot", "data_prep.corpora.ecg")
    ),
    "tsqa": Cohort("TSQA, published multiple choice on series", TsqaOptions, prepare_tsqa),
    "timeseriesexam": Cohort(
        "TimeSeriesExam, published multiple choice on series", TimeSeriesExamOptions, prepare_timeseriesexam
    ),
    "m4": Cohort("M4 series with captions", M4Options, prepare_m4),
    "ecg_qa": Cohort("ECG-QA, published questions on PTB-XL", EcgQaOptions, prepare_ecg_qa),
    "ecg_qa_cot": Cohort("ECG-QA-CoT, ECG-QA with rationales", EcgQaCotOptions, prepare_ecg_qa_cot),
    "sleep_cot": Cohort("sleep_cot.csv, epochs of Sleep-EDF with rationales", SleepCotOptions, prepare_sleep_cot),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 done, 1 a file cannot be read or written, 2 a mistake in the call or the data."""
    arguments = build_parser().parse_intermixed_args(argv)
    return run_command(lambda: _prepare(arguments.cohort, arguments.out, read_workers(arguments), arguments.options))


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m data_prep.prepare`."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.prepare",
        description="Prepare a cohort of recordings or a corpus.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"cohorts and their options:\n{_render_table()}\n\n"
        "example: python -m data_prep.prepare sim_human --out data/sim_human --workers 2 num_subjects=40",
    )
    names = ", ".join((*list_group(COHORT_GROUP), *COHORTS))
    parser.add_argument("cohort", metavar="COHORT", help=f"{names}, or a YAML file of your own cohort")
    parser.add_argument("options", metavar="key=value", nargs="*", help="options of the cohort, see below")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the prepared data")
    add_worker_arguments(parser)
    return parser


def _prepare(name: str, out_dir: Path, workers: Workers, assignments: Sequence[str]) -> str:
    file_cohorts = list_group(COHORT_GROUP)
    if name in COHORTS:
        cohort = COHORTS[name]
        prepared = cohort.prepare(parse_options(cohort.options, assignments), out_dir, workers)
    elif name in file_cohorts or Path(name).is_file():
        own = [word for word in assignments if word.partition("=")[0] in {item.name for item in fields(CohortOptions)}]
        config = load_cohort(name, [word for word in assignments if word not in own])
        prepared = prepare_cohort(config, parse_options(CohortOptions, own), out_dir, workers)
    else:
        known = suggest(name, [*file_cohorts, *COHORTS])
        raise ValueError(f"unknown cohort {name!r}, and no YAML file; {known}")
    if prepared and isinstance(prepared[0], Participant):
        return f"{render_counts(prepared)} in {out_dir}"
    if prepared and prepared[0].suffix == ".edf":
        return f"{len(prepared) // 2} nights as EDF+ in {prepared[0].parent}"
    counts = ", ".join(f"{len(read_corpus(path.parent, path.stem))} {path.stem}" for path in prepared)
    return f"{counts} samples in {out_dir}"


def _render_table() -> str:
    lines = [f"  {name}: {description}" for name, description in describe_cohorts().items()]
    lines.append("  FILE.yaml: your own recordings, in the format of configs/cohort")
    lines.append(f"      {_render_options(CohortOptions)}, and any key of the YAML (fs_hz=100 hypnogram.epoch_s=20)")
    for name, cohort in COHORTS.items():
        lines.append(f"  {name}: {cohort.description}\n      {_render_options(cohort.options)}")
    return "\n".join(lines)


def _render_options(kind: type) -> str:
    return " ".join(f"{item.name}={'DIR' if item.default is None else item.default}" for item in fields(kind))


if __name__ == "__main__":
    sys.exit(main())
