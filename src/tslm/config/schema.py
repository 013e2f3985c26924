"""Every setting of a run: name, type, default and meaning.

The meaning of a setting is the comment on its line; the docstring of a dataclass is the meaning of the group. Pages of
the documentation are made from both. The resolved settings are saved with every run and in every checkpoint.
tslm.config.compose says what changes a default, tslm.config.files how settings are merged, read and written.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tslm.labels import LABEL_SETS
from tslm.prompts import STYLES

FACTS = ("measured", "none")
INPUTS = ("all", "facts", "series")
REASONS = ("listed", "free")
TEACHERS = ("labels", "classifier")
STATING_FACTS = ("all", "facts")  # inputs of prompts that state the measured facts
HEADS = ("linear", "ordinal")
DOMAINS = ("source", "strain", "subject", "species")  # what may tell sites apart
SAMPLINGS = {"natural": 0.0, "sqrt": 0.5, "balanced": 1.0}  # probability of a sample ~ class frequency^-power
PRECISIONS = ("bf16", "fp32")
TRACKERS = ("none", "mlflow")
_PROBABILITY = (0.0, 1.0)
_MAX_WEIGHTS = 1e9  # of the encoder


@dataclass(frozen=True)
class ModelKind:
    """Traits of a model that settings, data and checkpoints depend on; tslm.models.table builds it."""

    role: str  # writer: a language model with a classifier inside; scorer: a classifier alone; encoder: neither
    series_as: str = "windows"  # windows of a night, slots in the text, memory beside the text, digits in the text


MODEL_KINDS = {
    "soft_prompt": ModelKind("writer", "slots"),
    "flamingo": ModelKind("writer", "memory"),
    "text_only": ModelKind("writer", "digits"),
    **dict.fromkeys(("classifier", "cnn_bilstm", "cnn_transformer", "ssm", "cnn"), ModelKind("scorer")),
    "masked_encoder": ModelKind("encoder"),
}


def _check_sizes(group: str, config: object, sizes: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError where a number lies outside its bounds, which are far beyond what is useful.

    Settings come with downloaded checkpoints: a size that cannot be must not take all memory.
    """
    for name, (least, most) in sizes.items():
        value = getattr(config, name)
        if not least <= value <= most:
            raise ValueError(f"{group}.{name}={value:g}; wanted {least:g} to {most:g}")


@dataclass(frozen=True)
class LLMConfig:
    """The causal language model that writes the rationale."""

    name: str = "smollm2-135m"  # short name; names the results folder
    source: str = "smollm2-135m"  # embedded name, Hugging Face hub id or local folder
    sha256: str = ""  # of the embedded weights a checkpoint was trained on, filled when it is saved; others are refused
    attention: str = "sdpa"  # attention kernel of transformers: sdpa or eager


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adapters on the frozen language model (Hu et al. 2021)."""

    rank: int = 16  # rank of the update
    alpha: int = 32  # scale of the update, divided by the rank
    dropout: float = 0.0  # dropout before the adapter
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )  # linear layers that get an adapter

    def __post_init__(self) -> None:
        _check_sizes("model.lora", self, {"rank": (0, 4096), "alpha": (0, 65536), "dropout": _PROBABILITY})


@dataclass(frozen=True)
class EncoderConfig:
    """The patch encoder. configs/preset/guide.yaml holds the values of the guide."""

    front_end: str = "filterbank"  # filterbank (log band energies and the raw patch), conv (the guide) or cnn
    patch_size: int = 100  # samples per patch, that is per token
    d_model: int = 128  # width of a token
    num_layers: int = 2  # Transformer layers; 0: the tokens of the front end
    num_heads: int = 8  # attention heads
    d_ff: int = 512  # width of the feed-forward layers
    dropout: float = 0.0  # dropout in the Transformer layers
    max_patches: int = 128  # learned positions, the most patches of a series
    raw_patch: bool = True  # filterbank: add a linear projection of the raw patch
    num_bands: int = 40  # filterbank: number of bands
    band_window_samples: int = 200  # filterbank: analysis window, centred on the patch
    band_low: float = 0.003  # filterbank: lowest frequency, cycles per sample (0.3 Hz at 100 Hz)
    band_high: float = 0.45  # filterbank: highest frequency, cycles per sample (45 Hz at 100 Hz)
    mask_patches: int = 0  # filterbank, training: most neighbouring patches masked (SpecAugment); 0: off
    mask_bands: int = 0  # filterbank, training: most neighbouring bands masked; 0: off
    band_break: float = 0.15  # filterbank: bands are evenly spaced below, widen above; cycles per sample

    def __post_init__(self) -> None:
        sizes = {
            **{"patch_size": (1, 100_000), "d_model": (1, 8192), "num_layers": (0, 96), "num_heads": (1, 256)},
            **{"d_ff": (1, 65536), "dropout": _PROBABILITY, "max_patches": (1, 100_000), "num_bands": (1, 4096)},
            **{"band_window_samples": (1, 100_000), "mask_patches": (0, 100_000), "mask_bands": (0, 4096)},
            **{"band_low": (0, 0.5), "band_high": (0, 0.5), "band_break": (0, 10)},
        }
        _check_sizes("model.encoder", self, sizes)
        if self.num_layers and self.d_model % self.num_heads:
            raise ValueError(f"model.encoder.d_model={self.d_model} is no multiple of num_heads={self.num_heads}")
        num_weights = self.num_layers * self.d_model * (4 * self.d_model + 2 * self.d_ff)
        if num_weights > _MAX_WEIGHTS:
            raise ValueError(f"model.encoder has {num_weights:.2g} weights; wanted {_MAX_WEIGHTS:.2g} or fewer")


@dataclass(frozen=True)
class ContextConfig:
    """The context of the night: a sequence network over the pooled epochs around the scored one."""

    kind: str = "bigru"  # none, epoch (no neighbours, all channels), bigru, bilstm, conv, ssm, transformer
    hidden_size: int = 64  # width of a direction of GRU and LSTM; half the width of the others
    num_layers: int = 1  # layers of the network
    num_heads: int = 4  # transformer: attention heads
    state_size: int = 32  # ssm: numbers in the state of a channel
    window_epochs: int = 25  # epochs in view, including the scored one
    dropout: float = 0.3  # dropout in the network
    num_tokens: int = 1  # tokens of the context in the language model
    causal: bool = False  # look at epochs before alone, as a live recording allows: bigru, bilstm (one way), conv, ssm

    def __post_init__(self) -> None:
        if self.causal and self.kind == "transformer":
            raise ValueError("model.context.causal=true with kind transformer; wanted one of: bigru, bilstm, conv, ssm")
        sizes = {
            **{"hidden_size": (1, 4096), "num_layers": (1, 32), "num_heads": (1, 256), "state_size": (1, 4096)},
            **{"window_epochs": (1, 10_000), "dropout": _PROBABILITY, "num_tokens": (1, 1024)},
        }
        _check_sizes("model.context", self, sizes)

    @property
    def sees_neighbours(self) -> bool:
        """Whether a state depends on more than its own epoch."""
        return self.kind not in ("none", "epoch")


@dataclass(frozen=True)
class ProjectorConfig:
    """From encoder tokens to the language model's embedding space."""

    kind: str = "mlp"  # mlp (two layers, scaled to the embeddings) or linear (the guide)
    merge: int = 1  # neighbouring patches joined into one token
    dropout: float = 0.0  # dropout behind the projection
    embedding_scale: float = 3.0  # mlp: initial spread of a token, relative to that of the word embeddings
    classifier_token: bool = False  # one more token of the night: vectors of the stages, weighted by the classifier

    def __post_init__(self) -> None:
        sizes = {"merge": (1, 1024), "dropout": _PROBABILITY, "embedding_scale": (0, 1000)}
        _check_sizes("model.projector", self, sizes)


@dataclass(frozen=True)
class FlamingoConfig:
    """Perceiver resampler and gated cross-attention (Alayrac et al. 2022)."""

    num_latents: int = 64  # tokens per series, whatever its length
    resampler_layers: int = 6  # layers of the resampler
    num_heads: int = 8  # attention heads
    head_size: int = 64  # width of a head
    ff_factor: int = 4  # width of the feed-forward layers, relative to their input
    every_n_layers: int = 1  # cross-attention before each n-th layer of the language model
    relative_gates: bool = True  # scale a gate by the size of the hidden state; false: as published

    def __post_init__(self) -> None:
        sizes = {
            **{"num_latents": (1, 4096), "resampler_layers": (0, 64), "num_heads": (1, 256), "head_size": (1, 1024)},
            **{"ff_factor": (1, 64), "every_n_layers": (1, 1024)},
        }
        _check_sizes("model.flamingo", self, sizes)


@dataclass(frozen=True)
class DigitsConfig:
    """A series as digits in the text, for a language model without an encoder."""

    num_values: int = 300  # numbers per series; at 300, 10 per second of an epoch

    def __post_init__(self) -> None:
        _check_sizes("model.digits", self, {"num_values": (1, 100_000)})


@dataclass(frozen=True)
class ModelConfig:
    """The model and its parts."""

    name: str = "soft_prompt"  # row of the model table: soft_prompt, flamingo, text_only, classifier, cnn_bilstm ...
    label_set: str = "aasm"  # sleep stages that can be answered: aasm, aasm_movement or rodent
    normalization: str = "whitened"  # zscore (epoch), recording (amplitude), whitened (spectrum) or zscore_whitened
    inputs: tuple[str, ...] = ()  # read beside the signal of an epoch: features, flags, light, clock; empty: nothing
    view_dropout: float = 0.0  # training: probability that a channel of a night lacks a view (zscore_whitened)
    prior_epochs: float = 0.0  # epochs that weigh as much as training's typical spectrum; 0: a recording's own alone
    typical_spectrum: tuple[float, ...] = ()  # of training's nights, for each channel; empty: measured in training
    head: str = "linear"  # of the classifier: linear, or ordinal (thresholds on one score, in the order of the stages)
    domains: tuple[str, ...] = ()  # sites of the training recordings (loss.domain_weight); filled in training
    fs_hz: float = 0.0  # sampling rate of the nights; 0: that of the training data
    epoch_s: float = 0.0  # epoch length of the nights; 0: that of the training data
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    flamingo: FlamingoConfig = field(default_factory=FlamingoConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    gradient_checkpointing: bool = False  # recompute activations of the language model to save memory
    channel_dropout: float = 0.0  # training: probability that a night lacks EOG or EMG, each; 0: none may lack

    def __post_init__(self) -> None:
        if self.name not in MODEL_KINDS:
            raise ValueError(f"unknown model.name {self.name!r}; one of: {', '.join(MODEL_KINDS)}")
        if self.label_set not in LABEL_SETS:
            raise ValueError(f"unknown model.label_set {self.label_set!r}; one of: {', '.join(LABEL_SETS)}")
        if self.head not in HEADS:
            raise ValueError(f"unknown model.head {self.head!r}; one of: {', '.join(HEADS)}")
        if self.head == "ordinal":
            LABEL_SETS[self.label_set].places  # noqa: B018 - ValueError where the stages have no order
        _check_sizes("model", self, {"fs_hz": (0, 5000), "epoch_s": (0, 3600)})
        if not all(map(math.isfinite, self.typical_spectrum)):
            raise ValueError("model.typical_spectrum holds NaN or infinite values; train the checkpoint again")
        for name in ("channel_dropout", "view_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name):g}; wanted a probability from 0 to below 1")
        if self.inputs and self.context.causal:
            raise ValueError(
                f"model.inputs=[{', '.join(self.inputs)}] are measured on a whole recording, which a live one is not; "
                "leave them out with model.context.causal=true"
            )
        if not 0 <= self.prior_epochs < math.inf:
            raise ValueError(f"model.prior_epochs={self.prior_epochs:g}; wanted 0 (off) or more, 60 is half an hour")

    @property
    def kind(self) -> ModelKind:
        """The model's traits."""
        return MODEL_KINDS[self.name]

    @property
    def num_context_tokens(self) -> int:
        """Positions of the night in a sequence of the language model."""
        return self.context.num_tokens + (self.num_context_classes > 0)

    @property
    def num_context_classes(self) -> int:
        """Sleep stages whose probabilities the language model reads in a token; 0: it reads none."""
        is_read = self.projector.classifier_token and self.context.kind != "none"
        return len(LABEL_SETS[self.label_set].sleep_stages) if is_read else 0

    def count_series_tokens(self, num_samples: int) -> int:
        """Positions of the language model that a series takes, with `soft_prompt`."""
        num_patches = -(-num_samples // self.encoder.patch_size)  # the last patch may be partly padding
        return -(-num_patches // self.projector.merge)


@dataclass(frozen=True)
class CurriculumStageConfig:
    """A curriculum stage: its task, data and sampling."""

    name: str = "stage4_sleep_cot"  # name of its YAML in configs/stage; names the results folder
    task: str = "sleep"  # row of the table of tasks (data/samples/dataset.py): reader, prompt and metric
    predecessor: str = ""  # curriculum stage whose best checkpoint this one starts from; empty: none
    own_model: str = ""  # model trained where the chosen one is of another kind; empty: the chosen one
    trained: tuple[str, ...] = ("encoder", "projector", "context", "lora")  # parts that are trained
    train_dir: str = "prepared/sim_human"  # folder of the training data
    val_dir: str = ""  # folder of the validation data; empty: train_dir
    test_dir: str = ""  # folder of the test data; empty: train_dir
    fold: int = -1  # fold that is tested, the next one validates; -1: the cohort has no folds
    channel: str = "EEG Fpz-Cz"  # nights: EEG channel that is staged and described
    extra_channels: tuple[str, ...] = ()  # nights: channels read beside it (EOG, EMG)
    drop_flagged: tuple[str, ...] = ()  # training: artefacts whose epochs are not learned from, such as [motion]
    extra_in_text: bool = True  # sleep: the language model reads them as series too, not in the context alone
    prompt_style: str = "full"  # sleep: full, brief, or guide: the words of the guide to stage 4
    facts: str = ""  # line of measured facts in the prompt: measured or none; empty: as the task has it
    inputs: str = "all"  # sleep: what a prompt holds: all, facts (no signal) or series (the signal, no facts)
    facts_dropout: float = 0.25  # training: probability that a prompt states no fact
    fact_dropout: float = 0.05  # training: probability that a single fact is not stated
    series_dropout: float = 0.1  # training: probability that a prompt holds facts alone, no series and no night
    sampling: str = "natural"  # training samples by class: natural (as they are), balanced (evenly), sqrt (between)
    oversample: dict[str, float] = field(default_factory=dict)  # further factors by class, such as {REM: 2}
    hard_examples: float = 0.0  # probability ~ (last loss / mean loss)^this, between 1/4 and 4; 0: off
    num_train_samples: int = 0  # training samples per pass; 0: all
    num_val_samples: int = 0  # validation samples; 0: all
    num_test_samples: int = 0  # test samples; 0: all
    max_new_tokens: int = 400  # longest generated response
    constrained: bool = True  # allow only the options of the sample after `Answer:`
    reasons: str = "listed"  # closing of a brief rationale whose prompt states the facts: one that holds, or free
    taught_by: str = "labels"  # sleep, brief: stage that a response ends in: labels, or drawn by the classifier inside
    num_alone_samples: int = 0  # sleep: test samples answered also from the facts alone and from the series alone
    num_calibration_samples: int = 128  # validation samples for the temperatures of a language model; 0: none

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"stage.sampling={self.sampling}; wanted one of: {', '.join(SAMPLINGS)}")
        if self.prompt_style not in STYLES:
            raise ValueError(f"stage.prompt_style={self.prompt_style}; wanted one of: {', '.join(STYLES)}")
        named = {"facts": ("", *FACTS), "inputs": INPUTS, "reasons": REASONS, "taught_by": TEACHERS}
        for name, choices in named.items():
            if getattr(self, name) not in choices:
                wanted = ", ".join(filter(None, choices))
                raise ValueError(f"stage.{name}={getattr(self, name)}; wanted one of: {wanted}")
        if self.facts == "none" and self.inputs == "facts":
            raise ValueError(
                "stage.inputs=facts with stage.facts=none leaves nothing to read; set stage.facts=measured"
            )
        for name in ("facts_dropout", "fact_dropout", "series_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"stage.{name}={getattr(self, name):g}; wanted a probability, 0 to 1")
        if self.facts_dropout + self.series_dropout > 1:
            raise ValueError(
                "stage.facts_dropout and stage.series_dropout exclude each other; wanted 1 or less together"
            )
        if not all(0 < factor < math.inf for factor in self.oversample.values()):
            raise ValueError(f"stage.oversample={self.oversample}; wanted factors above 0, as in {{REM: 2.0}}")
        if not 0 <= self.hard_examples < math.inf:
            raise ValueError(f"stage.hard_examples={self.hard_examples:g}; wanted 0 (off) or more, 1 is usual")

    @property
    def prompt_inputs(self) -> str:
        """What a prompt holds, as a row of predictions states it: all, facts or series."""
        return "series" if self.facts == "none" else self.inputs

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of a night window, the EEG first."""
        return (self.channel, *self.extra_channels)

    def data_dir(self, split: str) -> Path:
        """Where the samples of a split lie: train, val or test."""
        return Path({"train": self.train_dir, "val": self.val_dir, "test": self.test_dir}[split] or self.train_dir)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a learning rate per part; linear warm-up, then linear decay."""

    lr_encoder: float = 2e-4  # encoder, context network and classifier head
    lr_projector: float = 1e-4  # projector or resampler and cross-attention
    lr_gates: float = 1e-2  # gates of flamingo, single numbers that start at zero
    lr_lora: float = 2e-4  # adapters
    weight_decay: float = 1e-2  # weight decay of AdamW
    warmup_fraction: float = 0.03  # share of the steps in the warm-up
    max_grad_norm: float = 1.0  # gradients are clipped to this norm


@dataclass(frozen=True)
class LossConfig:
    """The classifier's loss."""

    class_weight_power: float = 0.5  # weight of a class ~ frequency^-power
    focal_gamma: float = 0.0  # focal loss (Lin et al. 2017): 2 is usual; 0: off
    label_smoothing: float = 0.0  # share of the target spread over all classes
    boundary_smoothing: float = 0.0  # share of the target given to the sleep stages of the two neighbouring epochs
    scorer_votes: bool = True  # use the scorers' votes as soft targets where a recording has them
    domain_weight: float = 0.0  # domain-adversarial training (Ganin & Lempitsky 2015): reversed gradient; 0: off
    domain_by: str = "source"  # what tells the sites of recordings apart: source, strain, subject or species

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "boundary_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"loss.{name}={getattr(self, name):g}; wanted a share from 0 to below 1")
        if not 0 <= self.domain_weight < math.inf:
            raise ValueError(f"loss.domain_weight={self.domain_weight:g}; wanted 0 (off) or more, .1 to 1 is usual")
        if self.domain_by not in DOMAINS:
            raise ValueError(f"loss.domain_by={self.domain_by}; wanted one of: {', '.join(DOMAINS)}")
        if not 0 <= self.focal_gamma < math.inf:
            raise ValueError(f"loss.focal_gamma={self.focal_gamma:g}; wanted 0 (off) or more, 2 is usual")


@dataclass(frozen=True)
class MaskingConfig:
    """Masked reconstruction, for pretraining the encoder."""

    share: float = 0.5  # share of masked patches
    block_patches: int = 5  # patches masked together

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.block_patches < 1:
            raise ValueError(
                f"masking.share={self.share:g} and block_patches={self.block_patches}: wanted a share between 0 and 1 "
                "and blocks of 1 or more"
            )


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    train_epochs: int = 60  # passes over the training data
    batch_size: int = 4  # samples per step and process
    bucket_batches: int = 16  # batches drawn together and sorted by length; 0: no sorting
    grad_accum: int = 1  # batches per optimizer step
    eval_batch_size: int = 16  # samples per batch in evaluation
    patience: int = 5  # passes without a better checkpoint or a lower validation loss before training stops
    min_delta: float = 1e-4  # smallest improvement of the validation loss that counts
    precision: str = "bf16"  # bf16 (autocast) or fp32
    num_workers: int = 0  # processes that load data; 0: the main process
    memory_gb: float = 4.0  # signals of a split kept in memory, in each of these processes; others are read when needed
    compile: bool = False  # torch.compile the language model's layers
    log_every_steps: int = 10  # optimizer steps between lines of the log
    timeout_min: float = 30.0  # several processes: longest wait for another process, in minutes
    checkpoint_every_steps: int = 1000  # steps between checkpoints for --resume; 0: at the end of a pass only
    checkpoint_every_min: float = 10.0  # minutes between checkpoints for --resume; 0: not by time

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"train.precision={self.precision}; wanted one of: {', '.join(PRECISIONS)}")
        for name in ("train_epochs", "batch_size", "grad_accum", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name}={getattr(self, name)}; wanted 1 or more")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training windows of the classifier, drawn anew each time; 0: off."""

    gain_jitter: float = 0.2  # standard deviation of the log gain of a window
    band_jitter: float = 0.2  # standard deviation of the log gain at each of seven frequencies
    max_shift_s: float = 0.0  # largest shift of the epochs in time; 0.1 is usual
    max_noise: float = 0.0  # largest RMS of added noise, relative to the epoch; 0.1 is usual
    max_notch_hz: float = 0.0  # widest band removed at a random frequency
    electrode_loss: float = 0.0  # probability of a stretch without signal in a window, for each channel
    electrode_loss_of: dict[str, float] = field(default_factory=dict)  # by channel instead, such as {EMG: 0.3}
    excerpt_share: float = 0.0  # probability that a window is normalised as part of a shorter recording
    amplifier_jitter: float = 0.0  # as both jitters, but of a recording: its typical spectrum changes alike

    def __post_init__(self) -> None:
        if not 0 <= self.excerpt_share <= 1:
            raise ValueError(f"augment.excerpt_share={self.excerpt_share:g}; wanted a probability, 0 to 1")
        if not all(0 <= loss <= 1 for loss in self.electrode_loss_of.values()):
            raise ValueError(
                f"augment.electrode_loss_of={self.electrode_loss_of}; wanted probabilities, as {{EMG: 0.3}}"
            )


@dataclass(frozen=True)
class MLflowConfig:
    """MLflow, with `tracking=mlflow`."""

    uri: str = ""  # tracking server; empty: $MLFLOW_TRACKING_URI, else mlflow.db in results_dir
    experiment: str = "tslm"  # name of the experiment


@dataclass(frozen=True)
class RunConfig:
    """A run: one curriculum stage of one model."""

    seed: int = 0  # seed of every draw
    results_dir: str = "results"  # folder of all results
    tracking: str = "none"  # none or mlflow, beside the log of the run
    mlflow: MLflowConfig = field(default_factory=MLflowConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stage: CurriculumStageConfig = field(default_factory=CurriculumStageConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.tracking not in TRACKERS:
            raise ValueError(f"tracking={self.tracking}: wanted one of: {', '.join(TRACKERS)}")

    @property
    def writes_text(self) -> bool:
        """Whether the configured model holds a language model."""
        return self.model.kind.role == "writer"

    @property
    def has_classifier(self) -> bool:
        """Whether the configured model is a classifier or holds one."""
        return self.model.kind.role != "encoder"

    @property
    def optional_channels(self) -> tuple[str, ...]:
        """Channels that a night may lack: the model is trained to do without, and no prompt shows them as series."""
        in_text = self.writes_text and self.stage.extra_in_text
        return self.stage.extra_channels if self.model.channel_dropout and self.has_classifier and not in_text else ()
