"""The card of a model of the package: its scores with intervals, how to use it, and how it was made."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tslm.files import read_json
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.pretrained.table import Score
from tslm.table import Row, Table

if TYPE_CHECKING:
    from tslm.config.schema import RunConfig

_SYSTEMS = ("classifier", "language_model")  # whose scores are taken from a metrics.json, the first that it has
_METRICS = (*AGREEMENT, "precision")
_DECIMALS = 4


@dataclass(frozen=True)
class Origin:
    """How a checkpoint was made.

    Attributes:
        commands: that make it again from a clone, in order.
        seeds: of the runs.
        commit: of the code; empty: not recorded.
        machine: processor and versions of packages; empty: not recorded.
        limits: sentences for the card.
    """

    commands: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    commit: str = ""
    machine: str = ""
    limits: tuple[str, ...] = ()


def read_origin(checkpoint_dir: Path) -> Origin:
    """What the run of a checkpoint recorded; empty where there is no run.json two folders above it."""
    from tslm.training.runs.folder import MANIFEST_FILE

    found = read_json(checkpoint_dir.parent.parent / MANIFEST_FILE)
    if not found.get("launches"):
        return Origin()
    last = found["launches"][-1]
    packages = ", ".join(f"{name} {last['packages'][name]}" for name in ("torch", "transformers", "peft"))
    return Origin(
        (f"accelerate launch {shlex.join(last['command'])}",),
        (found["seed"],),
        last["git_commit"] or "",
        f"{last['cpu']}, {packages}",
    )


def read_score(data: str, path: Path, system: str = "") -> Score:
    """The scores of one system in a metrics.json.

    Args:
        data: what was scored, in words.
        path: the file.
        system: whose; empty: the classifier's, or else the language model's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no such system, no intervals, or scores of a leaking split.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; a run writes one, and so does python -m evaluation.score")
    from tslm.scoring.intervals import render_unit

    found = read_json(path)
    systems = {name: part for name, part in found.get("systems", {}).items() if "cohen_kappa" in part}
    wanted = [system] if system else list(_SYSTEMS)
    part = next((systems[name] for name in wanted if name in systems), None)
    if part is None:
        known = ", ".join(systems) or "none"
        raise ValueError(f"{path} has no scores of {' or '.join(wanted)} (of {known}); name one by --system")
    if "cohen_kappa" not in part.get("intervals", {}):
        raise ValueError(f"{path} has no intervals; score the predictions again: python -m evaluation.score")
    if found.get("leaky"):
        raise ValueError(f"{path} is of recordings that leak into the training; give scores of others")
    texts = part.get("faithfulness", {})
    values, bounds = {**texts, **part}, {**texts.get("intervals", {}), **part["intervals"]}
    keys = [key for key in _METRICS if values.get(key) is not None]
    return Score(
        data,
        part["num_samples"],
        {key: round(values[key], _DECIMALS) for key in keys},
        {key: (round(bounds[key][0], _DECIMALS), round(bounds[key][1], _DECIMALS)) for key in keys if bounds.get(key)},
        render_unit(part["intervals"]),
    )


def render_sections(name: str, config: "RunConfig", scores: Sequence[Score], origin: Origin) -> dict[str, str]:
    """The sections of the card that a checkpoint's own lacks."""
    from tslm.training.checkpoints.model_card import render_limits

    shown = [key for key in _METRICS if any(key in score.metrics for score in scores)]
    rows: list[Row] = [
        [
            score.data,
            score.num_samples,
            *(build_cell(key, {**score.metrics, "intervals": score.intervals}) for key in shown),
        ]
        for score in scores
    ]
    notes = [f"{score.data}: {score.note}." for score in scores]
    table = Table(
        ["recordings, none seen in training", "epochs", *(METRICS[key].name for key in shown)], rows, notes=notes
    )
    option = "--llm" if config.writes_text else "--model"
    command, call = ("stage", "stage_night") if config.writes_text else ("score", "score_night")
    how = [f"- seed: {', '.join(map(str, origin.seeds or (config.seed,)))}"]
    how += [f"- commit: {origin.commit}"] * bool(origin.commit)
    how += [f"- machine: {origin.machine}"] * bool(origin.machine)
    if config.writes_text:
        how.append(
            f"- base model: {config.llm.name}, GGUF file of SHA-256 `{config.llm.sha256}`; no other is accepted, and "
            "its tokenizer is used"
        )
    made_by = "\n".join(origin.commands)
    return {
        "Scores": table.markdown().rstrip(),
        "How to load": (
            f"```\ntslm {command} NIGHT.edf {option} {name}\n```\n```python\nimport tslm\n\n"
            f'night = tslm.{call}("NIGHT.edf", {option.removeprefix("--")}="{name}")\n```'
        ),
        "Limits": "\n".join([render_limits(config), *(f"- {limit}" for limit in origin.limits)]),
        "How it was made": f"```\n{made_by}\n```\n" + "\n".join(how),
    }
