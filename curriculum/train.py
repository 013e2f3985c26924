"""Train the curriculum: `accelerate launch curriculum/train.py --stages stage1_mcq ...`."""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from curriculum.plan import (
    DEFAULT_STAGES,
    check_evaluation,
    check_reuse,
    clear_run,
    list_curriculum_stages,
    metrics_path,
)
from tslm.command import run_to_code
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.compose import compose_config, list_group
from tslm.config.schema import RunConfig
from tslm.data.splits.split import render_leak
from tslm.file_lock import hold_lock
from tslm.metric_names import AGREEMENT, describe_metrics
from tslm.training.process import end_with_launcher, release_memory
from tslm.training.runs.folder import BEST, LOCK_FILE, checkpoint_dir, pick_main_metrics, run_dir
from tslm.training.runs.manifest import record_evaluation

logger = logging.getLogger(__name__)

_EXAMPLE = """example:
  accelerate launch curriculum/train.py --stages stage1_mcq stage2_captioning stage3_cot stage4_sleep_cot \\
      --llm smollm2-135m --config guide train.batch_size=8
"""
_SHOWN = (
    *AGREEMENT,
    "perplexity",
    "loss",
    "tokens_per_sample",
    "explained_variance",
    "num_samples",
    "num_parse_failures",
)


def main(argv: list[str] | None = None) -> int:
    """Run the curriculum stages in the given order; the exit code is that of `tslm.command.run_to_code`."""
    args = parse_args(argv)
    return run_to_code(lambda: _run_stages(args), "the same command with --resume goes on")


def _run_stages(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO if _is_main_process() else logging.WARNING, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # the tracker reports an unreachable server itself
    end_with_launcher()
    configs = [compose(curriculum_stage, args) for curriculum_stage in args.stages]
    _check_cuts(configs, args)
    # All of them, before the first is scored.
    changes = [check_evaluation(config, args.overwrite) if args.eval_only else [] for config in configs]
    from tslm.data.splits.leakage import check_leakage  # pyarrow loads here, not for --help

    leaky = check_leakage([*trace_lineage(configs, args), *configs], args.eval_only or args.resume)
    with logging_redirect_tqdm():  # log lines above the progress bar, not in it
        for config, changed in zip(configs, changes, strict=True):
            run(config, args, config.stage.name in leaky, changed)
    return 0


def _check_cuts(configs: list[RunConfig], args: argparse.Namespace) -> None:
    """Say which stages --from_scratch cuts from another one of the command; ValueError for one that is not run."""
    if unknown := [name for name in args.from_scratch if name not in args.stages]:
        raise ValueError(f"--from_scratch {unknown[0]} is none of --stages: {', '.join(args.stages)}")
    pairs = [(config.stage.name, config.stage.predecessor) for config in configs]
    cut = [pair for pair in pairs if pair[0] in args.from_scratch and pair[1] in args.stages]
    if cut:
        listed = ", ".join(f"{name} does not start from {predecessor}" for name, predecessor in cut)
        logger.warning("--from_scratch: %s; name the stages behind it that shall start anew, the others go on", listed)


def compose(curriculum_stage: str, args: argparse.Namespace) -> RunConfig:
    """Compose the settings of one curriculum stage under the options of the command, in a precision of the device."""
    config = compose_config(curriculum_stage, args.config, args.llm, args.model, args.overrides, args.config_dir)
    if config.train.precision != "bf16":
        return config
    from tslm.nn.precision import with_usable_precision  # torch loads here, not for --help

    return with_usable_precision(config, args.device)


def trace_lineage(configs: list[RunConfig], args: argparse.Namespace) -> list[RunConfig]:
    """Load the configs of the earlier runs that these start from, oldest first, without those about to run."""
    lineage: list[RunConfig] = []
    known = {config.stage.name for config in configs}
    pending = [config.stage.predecessor for config in configs if config.stage.name not in args.from_scratch]
    while pending:
        curriculum_stage = pending.pop(0)
        if not curriculum_stage or curriculum_stage in known:
            continue
        known.add(curriculum_stage)
        saved = checkpoint_dir(compose(curriculum_stage, args), BEST)
        if saved.is_dir():
            lineage.insert(0, load_checkpoint_config(saved))
            pending.append(lineage[0].stage.predecessor)
    return lineage


def run(config: RunConfig, args: argparse.Namespace, leaky: bool = False, changes: Sequence[str] = ()) -> None:
    """Train (unless --eval_only) and evaluate one curriculum stage.

    Args:
        config: of the curriculum stage.
        args: of the command.
        leaky: mark its outputs.
        changes: settings of --eval_only that differ from the run's, for run.json.
    """
    if _is_complete(config, args):
        return
    start_from = None if args.eval_only else find_start(config, args)
    with _hold_run(config):
        if _is_complete(config, args):  # the process that held the folder before may have finished it
            return
        _train_and_evaluate(config, args, start_from, leaky)
        if args.eval_only and _is_main_process():
            record_evaluation(run_dir(config), sys.argv, changes, datetime.now(UTC))


def _is_complete(config: RunConfig, args: argparse.Namespace) -> bool:
    """Return whether there is nothing to do; errors as `check_reuse`."""
    if not args.eval_only:
        check_reuse(config, args.resume, args.overwrite)
    if not (args.resume and metrics_path(config).is_file()):
        return False
    logger.info("%s is complete in %s: skipped", config.stage.name, run_dir(config))
    return True


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _hold_run(config: RunConfig) -> AbstractContextManager[None]:
    """Keep other processes from the folder of a run; of several processes of this run the main one does."""
    if not _is_main_process():
        return nullcontext()
    return hold_lock(run_dir(config) / LOCK_FILE, str(run_dir(config)), datetime.now(UTC))


def _train_and_evaluate(config: RunConfig, args: argparse.Namespace, start_from: Path | None, leaky: bool) -> None:
    from curriculum.evaluate_stage import evaluate_stage  # torch loads here, not for --help
    from curriculum.processes import apply_launch_options, build_accelerator, report_lost_processes
    from curriculum.train_stage import train_stage

    config = apply_launch_options(config)
    with report_lost_processes(config):
        accelerator = build_accelerator(config, args.device)
        if not args.eval_only:
            accelerator.wait_for_everyone()  # all have looked before the first writes
            if args.overwrite and accelerator.is_main_process:
                clear_run(config)
            train_stage(config, start_from, accelerator, leaky, args.resume, args.accept_changed_data)
            release_memory()
        metrics = evaluate_stage(config, accelerator, leaky)
        release_memory()
    if accelerator.is_main_process:
        print(render_summary(metrics))


def find_start(config: RunConfig, args: argparse.Namespace) -> Path | None:
    """Find the best checkpoint of the predecessor; None if the curriculum stage has no predecessor.

    Raises:
        FileNotFoundError: the predecessor is not trained; the message has the command that trains it.
    """
    predecessor = config.stage.predecessor
    if not predecessor or config.stage.name in args.from_scratch:
        return None
    found = checkpoint_dir(compose(predecessor, args), BEST)
    if not found.is_dir():
        options = shlex.join(
            ["--config", args.config] * (args.config != "config")
            + ["--llm", args.llm] * bool(args.llm)
            + ["--model", args.model] * bool(args.model)
            + ["--config_dir", str(args.config_dir)] * bool(args.config_dir)
            + args.overrides
        )
        raise FileNotFoundError(
            f"{config.stage.name} starts from {predecessor}, which has no checkpoint in {found}; train it first: "
            f"accelerate launch curriculum/train.py --stages {predecessor} {options}".rstrip()
            + " (or pass --from_scratch)"
        )
    return found


def render_summary(metrics: dict) -> str:
    """Render the main scores in one line."""
    from tslm.explain.faithfulness import describe_faithfulness  # not before a run ends: --help shall be fast

    texts = [f"\n{line}" for line in describe_faithfulness(metrics)]
    metrics = pick_main_metrics(metrics)
    per_class = metrics.get("per_class_f1")
    fold = f" fold {metrics['fold']}" if "fold" in metrics else ""
    leak = render_leak(metrics).partition(":")[0]
    leaky = f"{leak}, flatters: " if leak else ""
    rounded = {name: round(f1, 3) for name, f1 in per_class.items() if f1 is not None} if per_class else {}
    f1 = f"; F1 {json.dumps(rounded)}" if rounded else ""
    return f"{metrics['stage']}{fold}: {leaky}{describe_metrics(metrics, _SHOWN)}{f1}{''.join(texts)}"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        action="extend",
        metavar="STAGE",
        help=f"of: {', '.join(list_curriculum_stages())}",
    )
    parser.add_argument("--model", default="", help=f"one of: {', '.join(list_group('model'))}")
    parser.add_argument("--llm", default="", help=f"hub id, folder, or one of: {', '.join(list_group('llm'))}")
    parser.add_argument("--config", default="config", help="preset (demo, guide) or a YAML file")
    parser.add_argument(
        "--config_dir",
        type=Path,
        metavar="DIR",
        help="folder with your own stage/NAME.yaml, model/, llm/ and presets, searched first",
    )
    parser.add_argument(
        "--device", default="", metavar="NAME", help="cpu, cuda or cuda:1 ...; default: as accelerate launch chooses"
    )
    parser.add_argument(
        "--gradient_checkpointing",
        action="store_true",
        help="recompute activations of the language model to save memory (model.gradient_checkpointing=true)",
    )
    parser.add_argument("--eval_only", action="store_true", help="score the best checkpoints, train nothing")
    parser.add_argument("--resume", action="store_true", help="skip complete stages and continue a stopped one")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete existing results and start again; of --eval_only the scores"
    )
    parser.add_argument(
        "--accept_changed_data", action="store_true", help="with --resume: continue although the data have changed"
    )
    parser.add_argument(
        "--from_scratch",
        nargs="*",
        action="extend",
        metavar="STAGE",
        help="start these stages without their predecessor's checkpoint; without a name: all of --stages",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any setting, e.g. optim.lr_lora=1e-4")
    args = parser.parse_intermixed_args(argv)
    # argparse takes the override in `--stages a b key=value` for a stage; the equals sign distinguishes them.
    given = {*args.overrides, *(item for item in (*(args.stages or ()), *(args.from_scratch or ())) if "=" in item)}
    args.overrides = [word for word in (sys.argv[1:] if argv is None else argv) if word in given]  # the last one counts
    args.stages = [item for item in args.stages or () if "=" not in item] or list(DEFAULT_STAGES)
    if args.from_scratch is not None:
        args.from_scratch = [item for item in args.from_scratch if "=" not in item] or args.stages
    args.from_scratch = args.from_scratch or []
    args.overrides += ["model.gradient_checkpointing=true"] * args.gradient_checkpointing
    if args.resume and args.overwrite:
        parser.error("--resume continues a run, --overwrite starts again: give only one of them")
    return args


if __name__ == "__main__":
    sys.exit(main())
