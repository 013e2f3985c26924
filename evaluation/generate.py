r"""Write a checkpoint's predictions for every epoch of a prepared cohort, or every sample of a corpus.

Example:
    python -m evaluation.generate --checkpoint results/smollm2-135m/soft_prompt/stage4_sleep_cot/checkpoints/best \\
        --data prepared/sleep_edf --out predictions.jsonl
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tslm import __version__
from tslm.command import run_command
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import INPUTS, RunConfig
from tslm.file_lock import hold_lock

if TYPE_CHECKING:
    from tslm.predictions.epoch_writer import EpochWriter
    from tslm.predictions.night_scorer import Source
    from tslm.predictions.rows import PredictionRow
    from tslm.predictions.stager import Stager

_VERIFIED_BATCHES = 8  # that --verify checks together, so that texts to be written again fill a batch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `tslm.command.run_to_code`."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: _generate(arguments), "the same command with --resume goes on")


def _generate(arguments: argparse.Namespace) -> str:
    if arguments.out.is_dir():
        raise IsADirectoryError(f"--out {arguments.out} is a folder; give a file")
    trained = load_checkpoint_config(arguments.checkpoint)
    with hold_lock(arguments.out.with_name(f"{arguments.out.name}.lock"), str(arguments.out), datetime.now(UTC)):
        rows = generate(trained, _adapt(trained, arguments), arguments)
    from tslm.predictions.scorings import count_unreferenced, parse_scorings, render_unreferenced

    unreferenced = render_unreferenced(count_unreferenced(parse_scorings(rows)))
    changed = ""
    if arguments.verify:
        num_rewritten, num_struck = (sum(bool(row.get(key)) for row in rows) for key in ("tries", "struck"))
        changed = f" ({num_rewritten} texts written again, {num_struck} with a struck sentence)"
    written = (
        f"{len(rows)} predictions{changed} written to {arguments.out}; "
        f"score them: python -m evaluation.score {arguments.out}"
    )
    return "\n".join(filter(None, [unreferenced, written]))


def generate(trained: RunConfig, config: RunConfig, arguments: argparse.Namespace) -> "list[PredictionRow]":
    """Write one prediction row per sample and return them; with --resume, those of an earlier call are kept.

    Args:
        trained: config of the checkpoint.
        config: the same with the settings of the call.
        arguments: of the command line.
    """
    # Imported here, so that --help and a mistyped path answer at once.
    from tslm.data.samples.dataset import TaskDataset, find_task
    from tslm.predictions.journal import PredictionJournal
    from tslm.predictions.stager import check_answers, choose_device, find_test_leak, open_stager
    from tslm.progress_bar import progress_bar

    leaky = arguments.split == "test" and find_test_leak(trained, config.stage.test_dir, config.stage.fold)
    check_answers(config, arguments.checkpoint)
    is_scorer = config.model.kind.role == "scorer"
    _check_options(config, arguments, is_scorer)
    if find_task(config.stage).reads_recordings:
        _check_cohort(trained, config, arguments.data)
    unscored = _choose_unscored(arguments, find_task(config.stage).reads_recordings)
    device = choose_device(arguments.device)
    journal = PredictionJournal(
        arguments.out, describe_request(config, arguments, arguments.split, device), arguments.resume
    )
    try:
        stager = open_stager(arguments.checkpoint, device, config, each_alone=arguments.each_alone, unscored=unscored)
        source = stager.read_split(arguments.split)
        units = stager.list_units(source, config.stage.num_test_samples)
        if arguments.verify and not any(cast(TaskDataset, source).describe(idx).get("evidence") for idx in units):
            raise ValueError(
                f"{arguments.data} holds no evidence to check a text by; --verify needs measured recordings"
            )
        blocks = stager.list_blocks(source, units, _VERIFIED_BATCHES if arguments.verify else 1)
        num_done, unit = sum(map(len, blocks[: journal.num_blocks])), "night" if is_scorer else "sample"
        with progress_bar(total=len(units), initial=num_done, desc="generate", unit=unit) as bar:
            for block in blocks[journal.num_blocks :]:
                rows = _answer_block(stager, source, block, arguments)
                journal.append([row | {"leaky": True} for row in rows] if leaky else rows)
                bar.update(len(block))
        if not journal.has_rows:
            raise ValueError(
                f"{config.stage.test_dir} holds nothing in split {arguments.split!r} that this checkpoint can answer"
            )
        return journal.finish([] if is_scorer else [idx for block in blocks for idx in block])
    finally:
        if not journal.has_rows:
            journal.discard()


def build_parser() -> argparse.ArgumentParser:
    """Command line of `python -m evaluation.generate`."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.generate",
        description="Write a checkpoint's predictions for every epoch of a prepared cohort, with rationales.",
        epilog="example: python -m evaluation.generate --checkpoint RUN/checkpoints/best --data prepared/sleep_edf "
        "--out predictions.jsonl",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="folder with config.json")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared cohort or corpus")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the same call where it was stopped (FILE.jsonl.partial)"
    )
    parser.add_argument("--split", default="test", choices=["train", "val", "test"])
    parser.add_argument(
        "--fold", type=int, metavar="N", help="test fold, for cohorts with folds; default: the checkpoint's"
    )
    parser.add_argument("--channel", default="", help="EEG channel; default: the checkpoint's")
    parser.add_argument(
        "--extra_channels", nargs="*", metavar="NAME", help="further channels; default: the checkpoint's"
    )
    parser.add_argument(
        "--each_alone", action="store_true", help="classifier only: score each epoch without its neighbours"
    )
    parser.add_argument(
        "--no_rationale",
        action="store_true",
        help="language model only: choose the most likely answer without a rationale, many times faster",
    )
    parser.add_argument("--free_answers", action="store_true", help="language model only: do not constrain the answer")
    parser.add_argument(
        "--inputs",
        choices=INPUTS,
        help="language model only: answer from the signal and the measured facts (all), or from one of them alone; "
        "default: the checkpoint's",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="language model only: write a text that the measurements contradict again, then strike what is false",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="language model only: sample the texts, more diverse the higher it is; 0 (default): the likeliest tokens",
    )
    parser.add_argument(
        "--top_p",
        type=float,
        default=1.0,
        metavar="P",
        help="with --temperature: sample from the likeliest tokens that together have this probability; default: 1",
    )
    parser.add_argument(
        "--num_texts",
        type=int,
        default=1,
        metavar="N",
        help="with --temperature: texts a sample; all stand in the row's `texts`, the first one is scored; default: 1",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="with --temperature: default: the checkpoint's")
    parser.add_argument(
        "--unscored",
        action="store_true",
        help="answer also the epochs that the expert left out; without it those of nights without any label alone",
    )
    parser.add_argument("--num_samples", type=int, default=0, help="number of samples to answer, spread evenly; 0: all")
    parser.add_argument("--batch_size", type=int, default=0, help="0: the checkpoint's")
    parser.add_argument("--max_new_tokens", type=int, default=0, help="0: the checkpoint's")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; default: a GPU if there is one")
    return parser


def _check_cohort(trained: RunConfig, config: RunConfig, cohort_dir: Path) -> None:
    """Refuse a cohort of another species, or channels that cannot be those of the training; warn of other ones."""
    from tslm.data.cohorts.suitability import check_channels, check_species
    from tslm.data.prepared.recordings import read_participants

    for row in read_participants(cohort_dir):
        check_species(f"{row.recording} of {cohort_dir}", row.species, config.model)
    wanted, given = trained.stage.channels, config.stage.channels
    if len(given) != len(wanted):
        raise ValueError(f"{len(given)} channels were given; the checkpoint was trained with: {', '.join(wanted)}")
    for warning in check_channels(str(cohort_dir), dict(zip(wanted, given, strict=True))):
        logging.getLogger(__name__).warning("warning: %s", warning)


def _check_options(config: RunConfig, arguments: argparse.Namespace, is_scorer: bool) -> None:
    """Raise ValueError for impossible values, and for options without effect."""
    from tslm.data.samples.dataset import find_task

    if is_scorer and (arguments.no_rationale or arguments.free_answers or arguments.inputs or arguments.verify):
        raise ValueError(
            "--no_rationale, --free_answers, --inputs and --verify are for language models; a classifier writes no text"
        )
    for name, is_possible, wanted in (
        ("temperature", 0 <= arguments.temperature < math.inf, "0 (the likeliest tokens) or more"),
        ("top_p", 0 < arguments.top_p <= 1, "a probability above 0, to 1"),
        ("num_texts", arguments.num_texts >= 1, "1 or more"),
    ):
        if not is_possible:
            raise ValueError(f"--{name} {getattr(arguments, name):g}: wanted {wanted}")
    if arguments.temperature and (is_scorer or arguments.no_rationale or arguments.verify):
        raise ValueError(
            "--temperature samples the texts of a language model; leave out --no_rationale, which writes none, and "
            "--verify, which samples by itself"
        )
    if not arguments.temperature and (arguments.top_p < 1 or arguments.num_texts > 1 or arguments.seed is not None):
        raise ValueError("--top_p, --num_texts and --seed are for sampled texts: give --temperature, 0.6 for example")
    if arguments.verify and (arguments.no_rationale or not config.stage.constrained):
        raise ValueError(
            "--verify checks rationales that end in one of the options; leave out --no_rationale and --free_answers "
            "(stage.constrained=false)"
        )
    if arguments.inputs and not find_task(config.stage).reads_recordings:
        raise ValueError(f"--inputs chooses among signal and facts of nights; the task {config.stage.task} has none")
    if arguments.each_alone and not is_scorer:
        raise ValueError("--each_alone is for the classifier; a language model sees what it was trained with")


def describe_request(config: RunConfig, arguments: argparse.Namespace, split: str, device: str) -> dict[str, Any]:
    """What the rows of a call depend on, by name."""
    import torch

    from tslm.data.splits.provenance import checksum_data
    from tslm.training.checkpoints.checkpoint import hash_checkpoint

    options = {name: value for name, value in vars(arguments).items() if name not in ("out", "resume", "device")}
    return {name: str(value) for name, value in options.items()} | {
        "device": device.partition(":")[0],
        "weights": hash_checkpoint(arguments.checkpoint),
        "samples": checksum_data(config.stage, [split]),
        "versions": f"tslm {__version__}, torch {torch.__version__}",
    }


def _answer_block(
    stager: "Stager", source: "Source", block: list[int], arguments: argparse.Namespace
) -> "list[PredictionRow]":
    from tslm.explain.verify import Writer, verify_rows

    if arguments.temperature:
        return _sample(cast("EpochWriter", stager), source, block, arguments)
    rows = list(stager.answer(source, block, not arguments.no_rationale))
    return verify_rows(cast(Writer, stager), source, block, rows) if arguments.verify else rows


def _sample(
    writer: "EpochWriter", source: "Source", units: list[int], arguments: argparse.Namespace
) -> "list[PredictionRow]":
    """Rows of the first text of each sample; `texts` holds all where there are several."""
    how = {"temperature": arguments.temperature, "top_p": arguments.top_p, "seed": writer.config.seed}
    drawn = [
        writer.rewrite(source, units, attempt, arguments.temperature, top_p=arguments.top_p)
        for attempt in range(1, arguments.num_texts + 1)
    ]
    rows: list[PredictionRow] = []
    for of_sample in zip(*drawn, strict=True):
        row = of_sample[0].copy()
        row["sampling"] = how
        if len(of_sample) > 1:
            row["texts"] = [one["generated"] for one in of_sample]
        rows.append(row)
    return rows


def _choose_unscored(arguments: argparse.Namespace, reads_recordings: bool) -> str:
    """Which epochs without an expert's stage are answered; none where epochs of one recording are in several splits.

    Raises:
        FileNotFoundError, ValueError: no cohort, or --unscored where it cannot be.
    """
    from tslm.data.prepared.recordings import read_participants

    if not reads_recordings:
        if arguments.unscored:
            raise ValueError("--unscored is for nights; a corpus has an answer to each of its questions")
        return "none"
    if any(row.split.leaks for row in read_participants(arguments.data)):
        if arguments.unscored:
            raise ValueError(
                f"--unscored: the split of {arguments.data} hides labels of other parts of a recording; split it by "
                "subject: python -m data_prep.split"
            )
        return "none"
    return "all" if arguments.unscored else "nights"


def _adapt(config: RunConfig, arguments: argparse.Namespace) -> RunConfig:
    curriculum_stage = replace(
        config.stage,
        train_dir=str(arguments.data),
        val_dir=str(arguments.data),
        test_dir=str(arguments.data),
        num_test_samples=arguments.num_samples,
        fold=config.stage.fold if arguments.fold is None else arguments.fold,
        channel=arguments.channel or config.stage.channel,
        extra_channels=config.stage.extra_channels if arguments.extra_channels is None else arguments.extra_channels,
        max_new_tokens=arguments.max_new_tokens or config.stage.max_new_tokens,
        inputs=arguments.inputs or config.stage.inputs,
        constrained=config.stage.constrained and not arguments.free_answers,
    )
    train = replace(config.train, eval_batch_size=arguments.batch_size or config.train.eval_batch_size)
    seed = config.seed if arguments.seed is None else arguments.seed
    return replace(config, seed=seed, stage=curriculum_stage, train=train)


if __name__ == "__main__":
    sys.exit(main())
