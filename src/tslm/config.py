"""Every setting and its default, and how YAML and `key=value` change them.

Order of precedence: dataclass default < YAML groups (llm, model, stage) < preset (`demo`, `guide`
or a user's file) < the preset's `per_stage` entry < `key=value`. An unknown key is an error that
names the nearest valid one. The resolved config is saved beside every checkpoint.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

CONFIG_FILE = "config.yaml"
GROUPS = ("llm", "model", "stage")
Config = TypeVar("Config")
TEXT_MODELS = ("soft_prompt",)  # models that hold a language model; the others only score


@dataclass(frozen=True)
class LLMConfig:
    """Which causal language model writes the rationale."""

    name: str = "smollm2-135m"  # names the results folder
    source: str = "smollm2-135m"  # embedded name, Hugging Face hub id or local folder
    attention: str = "sdpa"


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters on the frozen language model (Hu et al. 2021)."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", tuple(self.target_modules))


@dataclass(frozen=True)
class EncoderConfig:
    """Patch encoder. The guide's values are in configs/guide.yaml."""

    front_end: str = "filterbank"  # filterbank (log band energy beside the raw patch) or conv (the guide's)
    patch_size: int = 100  # signal samples a token
    d_model: int = 128
    num_layers: int = 2
    num_heads: int = 8
    d_ff: int = 512
    dropout: float = 0.0
    max_patches: int = 128  # length of the table of learned positions
    raw_patch: bool = True  # filterbank only: add a linear view of the raw patch
    num_bands: int = 40  # filterbank only
    band_window_samples: int = 200  # filterbank only: analysis window, centred on the patch
    band_low: float = 0.003  # filterbank only: edges in cycles a sample (0.3 and 45 Hz at 100 Hz)
    band_high: float = 0.45
    mask_patches: int = 0  # filterbank only, while training: most neighbouring patches hidden (SpecAugment)
    mask_bands: int = 0  # filterbank only, while training: most neighbouring bands hidden
    band_break: float = 0.15  # filterbank only: bands are evenly spaced below, widen above; cycles a sample


@dataclass(frozen=True)
class ContextConfig:
    """The night in view: a sequence network over pooled epochs around the scored one."""

    kind: str = "bigru"  # none or bigru
    hidden_size: int = 64
    window_epochs: int = 25  # epochs in view, the scored one included
    dropout: float = 0.3


@dataclass(frozen=True)
class ProjectorConfig:
    """From encoder tokens to the language model's embedding space."""

    kind: str = "mlp"  # mlp (two layers, scaled to the embeddings) or linear (the guide's)
    merge: int = 1  # neighbouring patches joined into one token
    dropout: float = 0.0
    embedding_scale: float = 3.0  # mlp only: spread of a token at start, in spreads of the word embeddings


@dataclass(frozen=True)
class ModelConfig:
    """One row of the model table and its parts."""

    name: str = "soft_prompt"
    label_set: str = "aasm"
    normalization: str = "whitened"  # whitened or recording (by the night's typical spectrum or amplitude), zscore
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class StageConfig:
    """One row of the curriculum."""

    name: str = "stage4_sleep_cot"
    reader: str = "sleep"  # sleep (prepared recordings) or one of the corpus tasks: choice, caption, ecg, sleep_cot
    metric: str = "sleep"  # sleep, accuracy or perplexity
    predecessor: str = ""  # the stage whose best checkpoint this one starts from
    trained: tuple[str, ...] = ("encoder", "projector", "context", "lora")
    train_dir: str = "prepared/sim_human"
    val_dir: str = ""  # empty: the train folder
    test_dir: str = ""  # empty: the train folder
    fold: int = -1  # of a cohort with folds: the one to test on; the next one validates. -1: the cohort has none
    channel: str = "EEG Fpz-Cz"  # sleep only
    prompt_style: str = "full"  # sleep only: full or brief
    balanced: bool = False  # draw classes evenly while training
    num_train_samples: int = 0  # 0: all
    num_val_samples: int = 0
    num_test_samples: int = 0
    max_new_tokens: int = 400

    def __post_init__(self) -> None:
        object.__setattr__(self, "trained", tuple(self.trained))


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with one rate a part; warm-up, then linear decay."""

    lr_encoder: float = 2e-4  # encoder, context network and classifier head
    lr_projector: float = 1e-4
    lr_lora: float = 2e-4
    weight_decay: float = 1e-2
    warmup_fraction: float = 0.03
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    train_epochs: int = 60
    batch_size: int = 4  # samples a step and process
    grad_accum: int = 1
    eval_batch_size: int = 16
    patience: int = 5  # passes without improvement before stopping
    min_delta: float = 1e-4
    precision: str = "bf16"  # bf16 (autocast) or fp32
    num_workers: int = 0
    label_smoothing: float = 0.0  # classifier only
    class_weight_power: float = 0.5  # classifier only: weight ~ frequency^-power
    log_every_steps: int = 10


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of a training window's raw signal, drawn anew each time (classifier only; 0: off)."""

    gain_jitter: float = 0.2  # sd of a window's ln gain
    band_jitter: float = 0.2  # sd of its ln gain at each of seven frequencies
    max_shift_s: float = 0.0  # epochs begin up to this much earlier or later; 0.1 is usual
    max_noise: float = 0.0  # largest RMS of noise over that of the epoch; 0.1 is a signal-to-noise ratio of 20 dB
    max_notch_hz: float = 0.0  # widest band taken out at a random frequency
    electrode_loss: float = 0.0  # probability that the signal is lost for a stretch of the window


@dataclass(frozen=True)
class RunConfig:
    """One curriculum stage of one model."""

    seed: int = 0
    results_dir: str = "results"
    llm: LLMConfig = field(default_factory=LLMConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stage: StageConfig = field(default_factory=StageConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @property
    def writes_text(self) -> bool:
        """Whether the configured model holds a language model."""
        return self.model.name in TEXT_MODELS


def configs_dir() -> Path:
    """Folder of the YAML groups: inside the installed package, or the checkout's top level."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def list_group(group: str) -> list[str]:
    """Names that a YAML group offers, e.g. the curriculum stages."""
    return sorted(path.stem for path in (configs_dir() / group).glob("*.yaml"))


def resolve_source(llm: str) -> str:
    """Hub id, folder or embedded name behind a short name of configs/llm; any other text stays as it is."""
    if llm not in list_group("llm"):
        return llm
    return str(OmegaConf.select(OmegaConf.load(configs_dir() / "llm" / f"{llm}.yaml"), "source", default=llm))


def compose_config(
    stage: str, preset: str = "config", llm: str = "", model: str = "", overrides: Sequence[str] = ()
) -> RunConfig:
    """Resolve the settings of one curriculum stage.

    Args:
        stage: a name from configs/stage.
        preset: `config`, a name in configs/ (demo, guide) or a path to a YAML file.
        llm: short name from configs/llm, hub id or folder; empty for the preset's.
        model: a name from configs/model; empty for the preset's.
        overrides: `key=value` in Hydra's grammar.

    Raises:
        ValueError: unknown stage, model, preset or key (naming the nearest valid one), or a bad value.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    groups = [f"stage={_known('stage', stage)}"]
    if model:
        groups.append(f"model={_known('model', model)}")
    if llm:
        groups += [f"llm={llm}"] if llm in list_group("llm") else ["llm=custom", f"llm.source='{llm}'"]
    ConfigStore.instance().store(name="defaults", node=_to_plain(RunConfig()))
    preset_dir, preset_name, search = _find_preset(preset)
    try:
        with initialize_config_dir(str(preset_dir), version_base="1.3"):
            composed = compose(preset_name, overrides=[*search, *groups])
    except (HydraException, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {preset!r}: {_one_line(error)}{_hint(error)}") from error
    OmegaConf.set_struct(composed, False)
    per_stage = composed.pop("per_stage", {})
    for name in per_stage:
        _known("stage", name)
    merged = merge_config(composed, per_stage.get(stage, {}), _parse_overrides(overrides))
    return _name_custom_llm(merged)


def merge_config(*layers: Any) -> RunConfig:
    """RunConfig from dict-like layers, later ones first in precedence; ValueError on a bad key or value."""
    return build_config(RunConfig, *layers)


def build_config(kind: type[Config], *layers: Any, prefix: str = "") -> Config:
    """A frozen dataclass of settings from dict-like layers, later ones first in precedence.

    Args:
        kind: the dataclass; its own fields may be dataclasses.
        layers: mappings, each with some of the fields.
        prefix: where this dataclass stands in a larger one ("channels.EEG."), for messages only.

    Raises:
        ValueError: an unknown key (the nearest valid one is named) or a bad value.
    """
    merged: Any = _unlock(OmegaConf.structured(kind))
    try:
        for layer in layers:
            plain = OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer  # drop the layer's own flags
            merged = OmegaConf.merge(merged, plain)
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(prefix + (error.full_key or str(error.key)), kind, prefix)) from error
    except (ValidationError, OmegaConfBaseException) as error:
        key = f" for {prefix}{error.full_key}" if getattr(error, "full_key", None) else ""
        raise ValueError(f"bad value{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, kind)
    return config


def load_config(path: Path) -> RunConfig:
    """Read a saved config; ValueError for keys this version does not know."""
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}; a checkpoint folder holds one named {CONFIG_FILE}")
    try:
        loaded = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is damaged: {_one_line(error)}") from error
    return merge_config(loaded)


def save_config(config: RunConfig, path: Path) -> None:
    """Write the whole resolved config as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(_to_plain(config)), encoding="utf-8")


def valid_keys(kind: type = RunConfig, prefix: str = "") -> list[str]:
    """All dotted keys of the configuration."""
    hints = get_type_hints(kind)
    keys: list[str] = []
    for item in fields(kind):
        name = f"{prefix}{item.name}"
        keys += valid_keys(hints[item.name], f"{name}.") if is_dataclass(hints[item.name]) else [name]
    return keys


def _to_plain(config: RunConfig) -> DictConfig:
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(config)))  # type: ignore[return-value]


def _unlock(node: DictConfig) -> DictConfig:
    # OmegaConf marks frozen dataclasses read-only, which would forbid merging into them.
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _unlock(child)
    return node


def _parse_overrides(overrides: Sequence[str]) -> DictConfig:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    values = OmegaConf.create({})
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ValueError(f"cannot read an override (wanted key=value): {_one_line(error)}") from error
    for override in parsed:
        key = override.key_or_group
        if key in GROUPS:
            raise ValueError(f"{key}= chooses a YAML group; use --{'stages' if key == 'stage' else key} instead")
        if not key or override.is_add() or override.is_delete() or override.is_sweep_override():
            raise ValueError(f"{override.input_line!r}: only plain key=value is understood here")
        inside = [name for name in valid_keys() if name.startswith(f"{key}.")]
        if inside:
            raise ValueError(f"{key} is a group of settings; set one of them: {', '.join(inside)}")
        OmegaConf.update(values, key, override.value(), force_add=True)
    return values


def _find_preset(preset: str) -> tuple[Path, str, list[str]]:
    own = configs_dir()
    if preset in list_group("."):
        return own, preset, []
    path = Path(preset)
    if path.is_file():
        return path.resolve().parent, path.stem, [f"hydra.searchpath=[file://{own}]"]
    raise ValueError(f"no preset {preset!r}; give a YAML file or one of: {', '.join(list_group('.'))}")


def _known(group: str, name: str) -> str:
    names = list_group(group)
    if name not in names:
        raise ValueError(f"unknown {group} {name!r}; one of: {', '.join(names)}")
    return name


def _name_custom_llm(config: RunConfig) -> RunConfig:
    if config.llm.name != "custom":
        return config
    name = Path(config.llm.source).name.lower() or "custom"
    return replace(config, llm=replace(config.llm, name=name))


def _unknown_key(key: str, kind: type, prefix: str) -> str:
    valid = valid_keys(kind, prefix)
    nearest = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    same_leaf = [name for name in valid if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    return f"unknown key {key!r}; the nearest valid one is {(same_leaf or nearest)[0]!r}"


def _hint(error: Exception) -> str:
    return "; begin the file with `defaults: [config, _self_]`" if "defaults list" in str(error) else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
