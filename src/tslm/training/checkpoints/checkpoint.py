"""Checkpoints: a folder with config, weights as safetensors, and the PEFT adapter.

The frozen language model is not part of it: the config names it, and its small files (tokenizer, licence) are copied.
A folder is written beside and renamed, so it is never incomplete; a run killed between the two renames leaves the old
checkpoint as `<name>.old`. A checkpoint contains no pickle, and a folder with one is refused.

Modules of language models are imported where a model has one: `tslm score` starts without transformers.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tslm.config.checkpoint import ADAPTER_DIR, CHECKPOINT_CONFIG_FILE, load_checkpoint_config, save_checkpoint_config
from tslm.config.files import CONFIG_FILE
from tslm.config.schema import ModelConfig, RunConfig
from tslm.data.novelty import NOVELTY_FILE
from tslm.files import hash_file, read_json, swap_in, write_beside
from tslm.models import build_model
from tslm.models.epoch_reader import SeriesReader
from tslm.models.llm.store import check_base, copy_small_files, fetch_llm, get_hub_id, get_sha256, is_small_file
from tslm.nn.precision import with_usable_precision
from tslm.predictions.calibration import CALIBRATION_FILE
from tslm.predictions.transitions import TRANSITIONS_FILE
from tslm.training.checkpoints.model_card import CARD_FILE, write_model_card

WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "state.json"
LLM_DIR = "llm"  # of an exported checkpoint: the language model with the merged adapter
Found = TypeVar("Found")
_NUM_READS = 5  # of a checkpoint that is replaced meanwhile
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_LLM_PREFIX = "llm."
_CLASSIFIER_PREFIX = "classifier."
_READER_PREFIX = "reader."
_OF_TRAINING = (
    "lora",
    "gradient_checkpointing",
    "view_dropout",
    "domains",
)  # may differ from those of the weights to start from
_OF_NIGHTS = ("fs_hz", "epoch_s", "typical_spectrum")  # of training's nights; 0 or empty: unknown, matches any value


@dataclass(frozen=True)
class Snapshot:
    """Weights of a checkpoint, copied to the CPU, so that training can continue while they are written."""

    weights: dict[str, Tensor]  # all but the language model
    adapter: dict[str, Tensor]  # LoRA parameters of the language model; may be empty


def take_snapshot(model: nn.Module) -> Snapshot:
    """Copy the weights of a model; called on every process, as sharded tensors are gathered."""
    weights = {name: copy_to_cpu(tensor) for name, tensor in model.state_dict().items() if not _is_llm(name)}
    llm = getattr(model, "llm", nn.Module())  # a model without one has no adapter
    return Snapshot(weights, {name: copy_to_cpu(tensor) for name, tensor in llm.named_parameters() if "lora_" in name})


def copy_to_cpu(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU; a sharded tensor is gathered."""
    sharded: Any = tensor
    whole = sharded.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # no import of torch.distributed.tensor
    return whole.detach().to("cpu", copy=True).contiguous()


def save_checkpoint(
    model: nn.Module, config: RunConfig, state: Mapping[str, Any], checkpoint_dir: Path, with_llm: bool = False
) -> None:
    """Write a checkpoint folder; an existing one is replaced when the new one is complete.

    With `with_llm`, the language model with its merged adapter is written into the folder `llm`.
    """
    with fill_beside(take_snapshot(model), model, config, state, checkpoint_dir) as partial:
        if with_llm:
            from tslm.models.llm.backbone import has_lora

            llm: Any = model.llm
            assert not has_lora(llm), "merge the adapter first"
            llm.save_pretrained(str(partial / LLM_DIR))
            copy_small_files(Path(llm.name_or_path or ""), partial / LLM_DIR)
        swap_in(partial, checkpoint_dir)


@contextmanager
def fill_beside(
    snapshot: Snapshot, model: nn.Module, config: RunConfig, state: Mapping[str, Any], checkpoint_dir: Path
) -> Iterator[Path]:
    """Yield a complete checkpoint folder beside `checkpoint_dir`; the block adds to it and renames it.

    The folder is removed if the block does not rename it. The weights come from `snapshot`, not from `model`.
    """
    partial = checkpoint_dir.with_name(f"{checkpoint_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        llm_config = replace(config.llm, sha256=get_sha256(config.llm.source)) if config.writes_text else config.llm
        save_checkpoint_config(replace(config, llm=llm_config), partial)
        save_file(snapshot.weights, partial / WEIGHTS_FILE, {"format": "pt"})
        llm = getattr(model, "llm", None)
        if llm is not None:
            from tslm.models.llm.backbone import save_lora, unwrap_lora

            save_lora(llm, partial, get_hub_id(config.llm.source), snapshot.adapter)
            copy_small_files(Path(unwrap_lora(llm).name_or_path or ""), partial)
        write_state(state, config, partial)
        yield partial
    except SafetensorError as error:  # it has no class of its own for a full disk
        raise OSError(f"{checkpoint_dir} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_state(state: Mapping[str, Any], config: RunConfig, checkpoint_dir: Path) -> None:
    """Write state.json and the model card of a checkpoint."""
    with write_beside(checkpoint_dir / STATE_FILE) as partial:
        partial.write_text(json.dumps(dict(state), indent=1) + "\n", encoding="utf-8")
    write_model_card(config, state, checkpoint_dir)


def read_state(checkpoint_dir: Path) -> dict[str, Any]:
    """Read state.json; empty if there is none. ValueError if it is damaged."""
    return read_json(checkpoint_dir / STATE_FILE)


def record_evaluation(checkpoint_dir: Path, evaluation: Mapping[str, Any]) -> None:
    """Write test scores into the state and the card of a checkpoint."""
    write_state(
        read_state(checkpoint_dir) | {"evaluation": dict(evaluation)},
        load_checkpoint_config(checkpoint_dir),
        checkpoint_dir,
    )


def load_checkpoint(
    checkpoint_dir: Path, merge_adapter: bool = True, device: torch.device | str | None = None
) -> tuple[nn.Module, RunConfig]:
    """Load a trained model for inference, by default with its adapter merged into the language model for speed.

    Args:
        checkpoint_dir: folder of the checkpoint.
        merge_adapter: without it the adapter stays separate, so it can be saved again.
        device: where the model will run, in a precision that the device has; None: the precision that is saved.
    """
    return read_unmoved(checkpoint_dir, lambda: _load_checkpoint(checkpoint_dir, merge_adapter, device))


def _load_checkpoint(
    checkpoint_dir: Path, merge_adapter: bool, device: torch.device | str | None
) -> tuple[nn.Module, RunConfig]:
    config = load_checkpoint_config(checkpoint_dir)
    if device is not None:
        config = with_usable_precision(config, device)
    if holds_llm(checkpoint_dir):
        config = replace(config, llm=replace(config.llm, source=str(checkpoint_dir / LLM_DIR), sha256=""))
    model: Any = build_model(config)
    load_weights(model, config, checkpoint_dir)
    if config.writes_text and merge_adapter:
        from tslm.models.llm.backbone import merge_lora

        model.llm = merge_lora(model.llm)
    return model.requires_grad_(False).eval(), config


def fetch_base(checkpoint_dir: Path) -> None:
    """Fetch the language model that a text model's checkpoint was trained on, if it is not at hand.

    Raises:
        OSError: it cannot be fetched.
        ValueError: it is not the one that the checkpoint was trained on.
    """
    llm = load_checkpoint_config(checkpoint_dir).llm
    if not holds_llm(checkpoint_dir):
        fetch_llm(llm.source, sha256=llm.sha256)


def read_unmoved(checkpoint_dir: Path, read: Callable[[], Found]) -> Found:
    """Return what `read` reads from a checkpoint's folder, all of it from one checkpoint.

    A run in progress renames another folder to `last` or `best`. What was read across that is read again.

    Raises:
        OSError: the folder changes faster than it can be read.
    """
    for _ in range(_NUM_READS):
        before = _identify(checkpoint_dir)
        try:
            found = read()
        except (OSError, ValueError):
            if _identify(checkpoint_dir) == before:
                raise
            continue
        if _identify(checkpoint_dir) == before:
            return found
    raise OSError(f"{checkpoint_dir} is replaced again and again while it is read; wait for the run that writes it")


def _identify(folder: Path) -> tuple[int, int, int] | None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns  # numbers of deleted folders are given again


def hash_checkpoint(checkpoint_dir: Path) -> dict[str, str]:
    """SHA-256 of the files of a checkpoint that its answers depend on, by their path in its folder."""
    names = (CHECKPOINT_CONFIG_FILE, CALIBRATION_FILE)
    paths = [path for name in ("*.safetensors", *names) for path in sorted(checkpoint_dir.rglob(name))]
    return {path.relative_to(checkpoint_dir).as_posix(): hash_file(path) for path in paths}


def holds_llm(checkpoint_dir: Path) -> bool:
    """Return whether a checkpoint contains the language model itself, with the merged adapter."""
    return (checkpoint_dir / LLM_DIR).is_dir()


def load_weights(model: nn.Module, config: RunConfig, checkpoint_dir: Path, train_lora: bool = False) -> None:
    """Load the weights of a checkpoint into a newly built model.

    A checkpoint of the same kind of model is loaded completely, with its adapter. From another kind, the shared parts
    are loaded: the classifier (the epoch reader, and the heads if the label set is the same), or the encoder alone if
    one of the two models has no classifier. A model without night context skips the context network.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: the model settings differ (they are named), or the weights are damaged.
    """
    saved = load_checkpoint_config(checkpoint_dir)
    _refuse_pickles(checkpoint_dir)
    same_kind = saved.model.name == config.model.name
    has_adapter = (checkpoint_dir / ADAPTER_DIR).is_dir()
    _check_settings(saved, config, checkpoint_dir, same_kind, has_adapter)
    tensors = _read_tensors(checkpoint_dir / WEIGHTS_FILE)
    target: Any = model
    if not same_kind:
        target, tensors = _choose_shared(model, config, saved, tensors)
    _check_shapes(tensors, target, checkpoint_dir)
    missing, unexpected = target.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not _is_llm(name)]
    if missing or unexpected:
        raise ValueError(f"{checkpoint_dir} does not fit the model: {(missing or unexpected)[0]} has no counterpart")
    llm: Any = getattr(model, "llm", None)
    if llm is not None and has_adapter:
        from tslm.models.llm.backbone import load_lora

        model.llm = load_lora(llm, checkpoint_dir, train_lora)


def find_foreign_file(folder: Path) -> Path | None:
    """Find a file that does not belong to a checkpoint and would be lost if a checkpoint replaced the folder."""
    own = {CHECKPOINT_CONFIG_FILE, CONFIG_FILE, WEIGHTS_FILE, STATE_FILE, CALIBRATION_FILE, TRANSITIONS_FILE}
    own |= {CARD_FILE, NOVELTY_FILE, ADAPTER_DIR, LLM_DIR}
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((path for path in entries if path.name not in own and not is_small_file(path.name)), None)


def _choose_shared(
    model: Any, config: RunConfig, saved: RunConfig, tensors: dict[str, Tensor]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Find the part that a model shares with a checkpoint of another kind, and the tensors of that part.

    Tensors of a classifier inside a text model are named as in a classifier alone.
    """
    classifier = model.classifier if config.writes_text else model
    tensors = _strip_prefix(tensors, _CLASSIFIER_PREFIX) if saved.writes_text else tensors
    if getattr(classifier, "domain_head", None) is None:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("domain_head.")}
    if not (saved.has_classifier and config.has_classifier):
        tensors = _strip_prefix(tensors, _READER_PREFIX)
        shared = SeriesReader(config.model, len(config.stage.channels)).state_dict()
        shared = {name: tensors[name] for name in shared if name in tensors}
        return classifier.reader, {**classifier.reader.state_dict(), **shared}
    if not config.model.context.sees_neighbours:
        tensors = _drop_context(tensors)
    if saved.model.label_set != config.model.label_set:
        return classifier.reader, _strip_prefix(tensors, _READER_PREFIX)
    return classifier, tensors


def _drop_context(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the context network of a classifier; the head for single epochs becomes its only head."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{_READER_PREFIX}context.")}
    return kept | {name.removeprefix("epoch_"): kept[name] for name in kept if name.startswith("epoch_head.")}


def _is_llm(name: str) -> bool:
    return name.startswith(_LLM_PREFIX)


def _strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint weights at {path}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}; restore it or train the stage again") from error
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"{path} is damaged: {bad[0]} holds NaN or infinite values; train the stage again")
    return tensors


def _refuse_pickles(checkpoint_dir: Path) -> None:
    for pattern in _PICKLES:
        for path in sorted(checkpoint_dir.rglob(pattern)):
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is loaded; only safetensors are loaded: "
                "delete the file if you trust the rest of the folder"
            )


def _check_shapes(tensors: Mapping[str, Tensor], module: nn.Module, checkpoint_dir: Path) -> None:
    for name, param in module.state_dict(keep_vars=True).items():
        if name in tensors and tensors[name].shape != param.shape:
            raise ValueError(
                f"{checkpoint_dir} does not fit the model: {name} has shape {tuple(tensors[name].shape)}, "
                f"its config and language model ask for {tuple(param.shape)}"
            )


def _check_settings(
    saved: RunConfig, wanted: RunConfig, checkpoint_dir: Path, same_kind: bool, has_adapter: bool
) -> None:
    names = ["normalization", "prior_epochs", "channel_dropout", *_OF_NIGHTS, "encoder", "context"]
    names += ["inputs", "head"] * (saved.has_classifier and wanted.has_classifier)
    if same_kind:
        names = [item.name for item in fields(ModelConfig) if item.name not in _OF_TRAINING]
        names += ["lora"] * has_adapter
    elif not wanted.model.context.sees_neighbours or not (saved.has_classifier and wanted.has_classifier):
        names.remove("context")
    for name in names:
        was, now = getattr(saved.model, name), getattr(wanted.model, name)
        if was != now and not (name in _OF_NIGHTS and not (was and now)):
            was_text, now_text = _differences(was, now)
            raise ValueError(f"{checkpoint_dir} was made with model.{name} {was_text}, this run has {now_text}")
    if len(saved.stage.channels) != len(wanted.stage.channels):
        was_text, now_text = (", ".join(config.stage.channels) for config in (saved, wanted))
        raise ValueError(f"{checkpoint_dir} was made for the channels {was_text}, this run has {now_text}")
    if same_kind and saved.writes_text and holds_llm(checkpoint_dir):
        if Path(wanted.llm.source) != checkpoint_dir / LLM_DIR:
            raise ValueError(f"{checkpoint_dir} is an export with a merged adapter; train on from what it was made of")
        return
    if same_kind and saved.writes_text and saved.llm.source != wanted.llm.source:
        raise ValueError(f"{checkpoint_dir} was made for {saved.llm.source}, this run has {wanted.llm.source}")
    if same_kind and saved.writes_text:
        check_base(saved.llm.source, saved.llm.sha256, str(checkpoint_dir))
    if "lora" in saved.stage.trained and same_kind and saved.writes_text and not has_adapter:
        raise ValueError(f"{checkpoint_dir} is damaged: its {ADAPTER_DIR} folder is missing; train the stage again")


def _differences(was: Any, now: Any) -> tuple[str, str]:
    if not hasattr(was, "__dataclass_fields__"):
        return repr(was), repr(now)
    old, new = asdict(was), asdict(now)
    changed = [key for key in old if old[key] != new[key]]
    return tuple(", ".join(f"{key}={side[key]}" for key in changed) for side in (old, new))  # type: ignore[return-value]
