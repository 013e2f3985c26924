"""`tslm inspect`: settings, origin, data, progress and scores of a run or a checkpoint."""

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tslm.data.splits.split import render_leak
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.table import Cell, render_pairs

_SCORES = (*AGREEMENT, "perplexity", "explained_variance", "loss", "num_samples")


def inspect(arguments: argparse.Namespace) -> str:
    """Describe a run as text or JSON; errors as `describe_run`."""
    from tslm.training.runs.manifest import describe_run

    facts = describe_run(arguments.run_dir)
    return json.dumps(facts, indent=1, ensure_ascii=False) if arguments.json else render_facts(facts, arguments.all)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `tslm inspect`."""
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="folder of a run or of a checkpoint")
    parser.add_argument("--all", action="store_true", help="the whole config, not only what differs from the defaults")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def render_facts(facts: Mapping[str, Any], whole_config: bool = False) -> str:
    """Render the facts of `describe_run` as text."""
    from tslm.config.files import flatten_settings

    model = ", ".join(filter(None, (facts["stage"], facts["model"], facts["llm"])))
    sections = [f"{facts['folder']}\n{facts['kind']} of {model}, seed {facts['seed']}"]
    sections += [_render_training(facts["training"])] if "training" in facts else []
    sections += [_render_checkpoints(facts["checkpoints"])] if facts["checkpoints"] else []
    sections += [_render_scores("test", facts["test"])] if facts.get("test") else []
    if "launches" in facts:
        sections += [_render_origin(facts), _render_data(facts["data"])]
    settings = flatten_settings(facts["config"]) if whole_config else facts["changed"]
    title = "config" if whole_config else "config, where it differs from the defaults"
    unknown = dict.fromkeys(facts["unknown"], " (unknown to this version)")
    values = {key: f"{json.dumps(value)}{unknown.get(key, '')}" for key, value in settings.items()}
    sections.append(render_pairs(title, values))
    sections.append(render_pairs("files", {name: _render_size(size) for name, size in facts["files"].items()}))
    return "\n\n".join(sections)


def _render_training(training: Mapping[str, Any]) -> str:
    total = f" of {training['num_steps']}" if training["num_steps"] else ""
    train_epoch = f", train_epoch {training['train_epoch']}" if training["train_epoch"] is not None else ""
    state = "finished" if training["is_finished"] else "not finished"
    early = ", stopped early" if training["stopped_early"] else ""
    duration = f", {training['wall_s']:.0f} s" if training["wall_s"] is not None else ""
    return f"training  {state}: step {training['step']}{total}{train_epoch}{early}{duration}"


def _render_checkpoints(checkpoints: Mapping[str, Mapping[str, Any]]) -> str:
    rows = {}
    for name, state in checkpoints.items():
        words = [f"{key} {state[key]}" for key in ("step", "train_epoch") if key in state]
        words += [f"{key} {state[key]:.4f}" for key in ("val_loss", "val_kappa") if state.get(key) is not None]
        rows[name] = ", ".join([*words, _render_size(state["size_bytes"])])
    return render_pairs("checkpoints", rows)


def _render_scores(title: str, metrics: Mapping[str, Any]) -> str:
    leak = render_leak(metrics).partition(":")[0]
    leaky = f", {leak}: the scores flatter" if leak else ""
    rows = {METRICS[key].name: build_cell(key, metrics) for key in _SCORES if metrics.get(key) is not None}
    rows |= {f"F1 {label}": Cell(value) for label, value in (metrics.get("per_class_f1") or {}).items()}
    return render_pairs(f"{title}{leaky}", rows)


def _render_origin(facts: Mapping[str, Any]) -> str:
    if not facts["launches"]:
        return "origin  not recorded in this run"
    last = facts["launches"][-1]
    commit = last["git_commit"] or "not known: no checkout"
    changed = ", with changed files" if last["git_dirty"] else ""
    rows = {
        "command": shlex.join(last["command"]),
        "started": facts["launches"][0]["started_at"],
        "resumed": ", ".join(launch["started_at"] for launch in facts["launches"][1:]) or "never",
        "ended": facts["ended_at"] or "no end recorded",
        "git commit": f"{commit}{changed}",
        "machine": f"{last['os']}; {last['cpu']} x {last['num_cpus']}; {', '.join(last['gpus']) or 'no GPU'}",
        "processes": str(last["num_processes"]),
        "packages": ", ".join([f"Python {last['python']}", *(f"{k} {v}" for k, v in last["packages"].items())]),
        **{f"scored again {number}": _render_evaluation(each) for number, each in enumerate(facts["evaluations"], 1)},
        **{f"{name} run": run_id for name, run_id in facts["tracker_runs"].items()},
    }
    return render_pairs("origin", rows)


def _render_evaluation(evaluation: Mapping[str, Any]) -> str:
    return f"{evaluation['started_at']}, {'; '.join(evaluation['changes']) or 'with the settings of the run'}"


def _render_data(data: Mapping[str, Mapping[str, Any]]) -> str:
    if not data:
        return "data  no checksums recorded"
    return render_pairs(
        "data", {folder: f"{facts['num_files']} files, {facts['sha256'][:12]}" for folder, facts in data.items()}
    )


def _render_size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
