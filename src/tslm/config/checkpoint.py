"""config.json of a checkpoint: all settings of the run, beside the keys that transformers needs.

It is the only record of a checkpoint's settings; config.yaml in the folder of a run is for people.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tslm import __version__
from tslm.config.files import merge_config, to_plain
from tslm.config.schema import RunConfig
from tslm.files import parse_json
from tslm.labels import LABEL_SETS

CHECKPOINT_CONFIG_FILE = "config.json"
ADAPTER_DIR = "adapter"  # LoRA weights, as peft writes them
ENCODER_GRAPH, CONTEXT_GRAPH = "encoder.onnx", "context.onnx"  # of an export to ONNX, in place of weights
SETTINGS_KEY, VERSION_KEY = "settings", "tslm_version"
TEXT_MODEL_TYPE, CLASSIFIER_TYPE, ENCODER_TYPE = "tslm_text", "tslm_classifier", "tslm_encoder"
_MODEL_TYPES = {"writer": TEXT_MODEL_TYPE, "scorer": CLASSIFIER_TYPE, "encoder": ENCODER_TYPE}  # by role
_ARCHITECTURES = {
    TEXT_MODEL_TYPE: "TSLMTextModel",
    CLASSIFIER_TYPE: "TSLMClassifier",
    ENCODER_TYPE: "MaskedEncoder",  # for pretraining; transformers has no class that loads it
}


def save_checkpoint_config(config: RunConfig, checkpoint_dir: Path) -> None:
    """Write config.json into a checkpoint's folder."""
    text = json.dumps(render_checkpoint_config(config), indent=1, ensure_ascii=False)
    (checkpoint_dir / CHECKPOINT_CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def load_checkpoint_config(checkpoint_dir: Path) -> RunConfig:
    """The settings a checkpoint was made with.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it was made by a newer version, is damaged, or holds a key that this version does not know.
    """
    path = checkpoint_dir / CHECKPOINT_CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint in {checkpoint_dir}; its folder holds a {CHECKPOINT_CONFIG_FILE}")
    found = parse_json(path.read_bytes(), str(path))
    if not isinstance(found, dict) or found.get("model_type") not in _ARCHITECTURES:
        raise ValueError(f"{path} is of another kind of model than this library's; give a checkpoint's folder")
    return parse_checkpoint_config(found, str(path))


def render_checkpoint_config(config: RunConfig) -> dict[str, Any]:
    """Content of config.json."""
    model_type = _MODEL_TYPES[config.model.kind.role]
    answers = LABEL_SETS[config.model.label_set].answers
    return {
        "model_type": model_type,
        "architectures": [_ARCHITECTURES[model_type]],
        VERSION_KEY: __version__,
        "id2label": {str(idx): answer for idx, answer in enumerate(answers)},
        "label2id": {answer: idx for idx, answer in enumerate(answers)},
        SETTINGS_KEY: OmegaConf.to_container(to_plain(config)),
    }


def parse_checkpoint_config(found: dict[str, Any], where: str) -> RunConfig:
    """Inverse of `render_checkpoint_config`; errors as `load_checkpoint_config`, which name `where`."""
    made_by = str(found.get(VERSION_KEY, __version__))
    if _release(made_by) > _release(__version__):
        raise ValueError(f"{where} was made by tslm {made_by}, newer than this {__version__}; upgrade tslm-sleep")
    if not isinstance(found.get(SETTINGS_KEY), dict):
        raise ValueError(f"{where} is damaged: it has no {SETTINGS_KEY!r}")
    stage = found[SETTINGS_KEY].get("stage")
    if isinstance(stage, dict):  # made before prompts could state facts
        found = found | {SETTINGS_KEY: found[SETTINGS_KEY] | {"stage": {"facts": "none"} | stage}}
    try:
        return merge_config(found[SETTINGS_KEY])
    except ValueError as error:
        raise ValueError(f"{where}, made by tslm {made_by}, does not fit this {__version__}: {error}") from error


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number, which decide the format; text that is no version counts as the oldest."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0, 0)
