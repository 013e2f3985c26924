"""Model card of a checkpoint: README.md with metadata for the hub, rendered from the checkpoint's config and state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub  # its classes are imported where one is made

from tslm import __version__
from tslm.config.schema import RunConfig
from tslm.data.samples.dataset import find_task
from tslm.data.splits.split import render_leak
from tslm.files import DISCLAIMER, write_beside
from tslm.metric_names import AGREEMENT, METRICS, build_cell
from tslm.models.llm.store import EMBEDDED_LLMS, TINY_LLM, find_licence, get_hub_id
from tslm.table import Row, Table

CARD_FILE = "README.md"
HERE = "path/to/this/folder"  # for a checkpoint without a name on the hub
_SHOWN = (*AGREEMENT, "perplexity")
# of an evaluation, shown in the card
CARD_METRICS = (*_SHOWN, "per_class_f1", "num_samples", "num_parse_failures", "leaky", "within_subject")
_LOAD_PROCESSOR = """import numpy as np
import tslm.hub  # of the package tslm-sleep; makes the classes below known
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{name}")
processor = AutoProcessor.from_pretrained("{name}")
signals = {{{signals}}}  # in microvolt: here half an hour of noise at 100 Hz, put your night in its place
"""
_USE_TEXT = """inputs = processor(signals=signals, fs_hz=100, epoch_idx=[0, 1])
for epoch in processor.batch_decode(model.generate(**inputs)):
    print(epoch.sleep_stage, epoch.rationale)
"""
_USE_CLASSIFIER = """\
probabilities = model(**processor(signals=signals, fs_hz=100)).logits[0].softmax(-1)  # (epochs, stages)
print([model.config.id2label[idx] for idx in probabilities.argmax(-1).tolist()])
"""
_LOAD_OTHER = """import tslm.hub  # of the package tslm-sleep; makes the classes below known
from transformers import AutoModel

model = AutoModel.from_pretrained("{name}")
"""
_LIMITS = f"""- {DISCLAIMER} Research only.
- Other derivations, amplifiers, age groups and illnesses than those of the data above were not tried.
- Rationales may state what is not in the signal: `tslm stage` checks each claim and strikes what the measurements do
  not confirm."""


def write_model_card(config: RunConfig, state: Mapping[str, Any], checkpoint_dir: Path, name: str = HERE) -> None:
    """Write README.md into a checkpoint's folder.

    Args:
        config: of the checkpoint.
        state: of the checkpoint; `trained_on` and `evaluation` are shown if present.
        checkpoint_dir: the folder.
        name: by which users load the checkpoint.
    """
    with write_beside(checkpoint_dir / CARD_FILE) as partial:
        render_model_card(config, state, name).save(partial)


def render_model_card(
    config: RunConfig,
    state: Mapping[str, Any],
    name: str = HERE,
    title: str = "",
    sections: Mapping[str, str] | None = None,
) -> "huggingface_hub.ModelCard":
    """Render the card.

    Args:
        config: as in `write_model_card`.
        state: likewise.
        name: likewise.
        title: of the card; empty: model and curriculum stage.
        sections: by heading; they replace the usual ones or follow them.
    """
    title = title or _title(config)
    citation = f"@software{{tslm_sleep, title = {{tslm-sleep}}, version = {{{__version__}}}, year = {{2026}}}}"
    sections = {
        "Data": _render_data(config, state.get("trained_on", {})),
        "Scores": _render_scores(state.get("evaluation", {})),
        "Use": _render_use(config),
        "How to load": f"```python\n{_render_loading(config, name)}```",
        "Limits": render_limits(config),
        "Citation": f"```\n{citation}\n```",
        **(sections or {}),
    }
    head = f"# {title}\n\n{_render_model(config, bool(state.get('merged')))}"
    text = "\n\n".join([head, *(f"## {heading}\n{body}" for heading, body in sections.items())])
    return huggingface_hub.ModelCard(f"---\n{_card_data(config, state, title).to_yaml()}\n---\n\n{text}\n")


def render_limits(config: RunConfig) -> str:
    """The limits that hold for every checkpoint of a kind, as list items."""
    return _LIMITS if config.writes_text else _LIMITS.rsplit("\n- ", 1)[0]


def _card_data(config: RunConfig, state: Mapping[str, Any], title: str) -> "huggingface_hub.ModelCardData":
    base = get_hub_id(config.llm.source)
    is_id = base.count("/") == 1 and base[0] not in ".~/"
    return huggingface_hub.ModelCardData(
        language="en" if config.writes_text else None,
        license=(find_licence(config.llm.source) or "other") if config.writes_text else "mit",
        library_name="tslm-sleep",
        base_model=base if config.writes_text and is_id else None,
        tags=["sleep-staging", "eeg", "time-series", config.model.name],
        model_name=title,
        eval_results=_list_results(config, state.get("evaluation", {})) or None,
    )


def _list_results(config: RunConfig, evaluation: Mapping[str, Any]) -> "list[huggingface_hub.EvalResult]":
    data = evaluation.get("data", {})
    sources = ", ".join(data.get("sources", [data.get("folder", "unknown")]))
    leaky = " (split leaks)" if evaluation.get("leaky") else ""
    leaky = " (within-subject)" if evaluation.get("within_subject") else leaky
    return [
        huggingface_hub.EvalResult(
            task_type="text-generation" if config.writes_text else "time-series-classification",
            task_name=config.stage.name,
            dataset_type=sources,
            dataset_name=f"{sources}{leaky}",
            dataset_split="test",
            metric_type=key,
            metric_name=METRICS[key].name,
            metric_value=round(evaluation[key], 4),
        )
        for key in _SHOWN
        if evaluation.get(key) is not None
    ]


def _title(config: RunConfig) -> str:
    on_llm = f" on {config.llm.name}" if config.writes_text else ""
    return f"{config.model.name}{on_llm}, {config.stage.name}"


def _render_model(config: RunConfig, is_merged: bool) -> str:
    if not config.has_classifier:
        return (
            "An encoder of series that learnt to fill in what is hidden; a classifier or language model starts from it."
        )
    if not config.writes_text:
        return "A small network that stages sleep: probabilities of the stages of every epoch of a night."
    source = config.llm.source
    licence = find_licence(source) or "not known here: see its own card"
    quantized = (
        " It was trained on weights that went through 4-bit quantisation (they come from the package index); the hub's "
        "differ a little."
        if source in EMBEDDED_LLMS
        else ""
    )
    base = "a tiny random model, for tests" if source == TINY_LLM else get_hub_id(source)
    where = (
        "What is here was trained beside it and as a LoRA adapter, which `peft` alone can load from `adapter/`; the "
        "base model is not in this folder."
    )
    if is_merged:
        where = "It is here with its trained adapter added, in `llm/`, which AutoModelForCausalLM loads alone."
    return (
        "A language model that reads time series and says what it saw, ending in `Answer: <label>`. "
        f"Base model: {base}; licence: {licence}. {where}{quantized}"
    )


def _render_data(config: RunConfig, trained_on: Mapping[str, Any]) -> str:
    lines = [
        f"- {use}: {_render_split(trained_on[split])}"
        for split, use in (("train", "trained on"), ("val", "chosen by its loss on"))
        if split in trained_on
    ]
    if not lines:
        lines = ["- not recorded in this checkpoint"]
    if config.stage.predecessor:
        lines.append(f"- started from what was learnt in {config.stage.predecessor}")
    if trained_on.get("leaky"):
        lines.append("- **the test data leak into the training data: scores flatter**")
    return "\n".join(lines)


def _render_split(facts: Mapping[str, Any]) -> str:
    if "recordings" not in facts:
        number = f"{facts['samples']:,} " if "samples" in facts else ""
        return f"{number}samples of the corpus `{facts['folder']}`"
    kind = "simulated" if facts["simulated"] else "real"
    return (
        f"{facts['epochs']:,} epochs of {facts['recordings']} {kind} recordings of {facts['subjects']} subjects "
        f"({', '.join(facts['species'])}; {', '.join(facts['sources'])}; split {facts['split']})"
    )


def _render_scores(evaluation: Mapping[str, Any]) -> str:
    if not evaluation:
        return "Not evaluated yet."
    rows: list[Row] = [
        [METRICS[key].name, build_cell(key, evaluation)] for key in _SHOWN if evaluation.get(key) is not None
    ]
    rows += [[f"F1 {label}", f1] for label, f1 in (evaluation.get("per_class_f1") or {}).items() if f1 is not None]
    about = f"On {_render_split(evaluation['data'])}." if "data" in evaluation else ""
    if evaluation.get("within_subject"):
        about += f" **{render_leak(evaluation)}.**"
    elif evaluation.get("leaky"):
        about += " **This split leaks: training has seen these subjects, and the scores flatter.**"
    if evaluation.get("num_parse_failures"):
        about += f" {evaluation['num_parse_failures']} of {evaluation['num_samples']} answers could not be read: wrong."
    return f"{about}\n\n{Table(['metric', 'value'], rows).markdown()}".rstrip()


def _render_use(config: RunConfig) -> str:
    model = config.model
    if not find_task(config.stage).stages_sleep:
        return "A step on the way: it answers questions about series, for training what comes after it."
    channels = ", ".join(config.stage.channels)
    rate = f" at {model.fs_hz:g} Hz in epochs of {model.epoch_s:g} s" if model.fs_hz else ""
    return f"Research on sleep staging from {channels}{rate}; labels: {model.label_set}."


def _render_loading(config: RunConfig, name: str) -> str:
    if not find_task(config.stage).stages_sleep:
        return _LOAD_OTHER.format(name=name)
    channels = (f'"{channel}": np.random.default_rng(0).normal(0, 20, 180_000)' for channel in config.stage.channels)
    load = _LOAD_PROCESSOR.format(name=name, signals=", ".join(channels))
    return load + (_USE_TEXT if config.writes_text else _USE_CLASSIFIER)
