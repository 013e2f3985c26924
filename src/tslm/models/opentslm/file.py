"""Files of the published OpenTSLM, read without running anything in them.

Its trainer pickles a dict of state dicts (opentslm 0.1.0: `OpenTSLMSP.store_to_file` and the curriculum script). A
file whose language model has adapters also holds peft's own settings object, for which an inert record stands in here.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PEFT_NAMES = (
    "peft.tuners.lora.config.LoraConfig",
    "peft.tuners.lora.config.LoraRuntimeConfig",
    "peft.utils.peft_types.PeftType",
    "peft.utils.peft_types.TaskType",
)


class InertRecord:
    """Stands where a pickle names one of peft's classes: it keeps the values it is given and does nothing."""

    def __init__(self, *values: Any) -> None:
        self.values = values


def read_torch_file(path: Path) -> dict[str, Any]:
    """The dict in a file of torch.save, by the reader that builds tensors and plain containers only.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such file, it is damaged, or it holds objects whose code would have to run (named).
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        file.read(1)  # an OSError from here on is torch's, of a file that was cut
    with torch.serialization.safe_globals([(InertRecord, name) for name in _PEFT_NAMES]):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            raise ValueError(_say_unsafe(path)) from error
        except (OSError, RuntimeError, EOFError, LookupError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is no file of torch.save, or it is damaged: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; wanted a checkpoint, a dict of state dicts")
    return content


def read_state(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Tensor]:
    """One state dict of a checkpoint in float32.

    Raises:
        ValueError: it is missing, or holds what is no tensor, or NaN or infinite weights (named).
    """
    state = content.get(key)
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} has no {key}; it holds: {', '.join(map(str, content)) or 'nothing'}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{path}: {key} holds {name!r}, a {type(tensor).__name__} in the place of a tensor")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{path}: {key} holds NaN or infinite weights in {name!r}; the training had diverged")
    return {str(name): tensor.float() for name, tensor in state.items()}


def _say_unsafe(path: Path) -> str:
    try:
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError):
        unsafe = []
    if not unsafe:
        return f"{path} is no file of torch.save, or it holds more than tensors and plain values; it was not read"
    return (
        f"{path} needs {', '.join(sorted(unsafe))} to be read, which may run any code; it was not read. "
        "Save it again with its state dicts alone"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
