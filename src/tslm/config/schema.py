"""Every setting of a run and its default.

The resolved config is saved with every run and in every checkpoint. tslm.config.compose says what changes a default,
tslm.config.files how settings are put together, read and written.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

TEXT_MODELS = ("soft_prompt", "flamingo", "text_only")  # models that hold a language model
SCORERS = ("classifier", "cnn_bilstm", "cnn_transformer", "ssm", "cnn")  # only score; each an encoder and a context
HEADLESS_MODELS = (
    "masked_encoder",
)  # models without a classifier: nothing but the reader of series is shared with them
MODEL_KINDS = (TEXT_MODELS, SCORERS, HEADLESS_MODELS)
SAMPLINGS = {"natural": 0.0, "sqrt": 0.5, "balanced": 1.0}  # chance of a sample ~ its class' frequency^-power
TRACKERS = ("none", "mlflow")
SLOT_MODELS = ("soft_prompt",)  # of these, those whose series take positions in the sequence of words
DIGIT_MODELS = ("text_only",)  # and those that read series as digits in the text, and nothing else of them


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
    """Patch encoder. The guide's values are in configs/preset/guide.yaml."""

    front_end: str = "filterbank"  # filterbank (log band energy beside the raw patch), conv (the guide's) or cnn
    patch_size: int = 100  # signal samples a token
    d_model: int = 128
    num_layers: int = 2  # of the Transformer over the tokens; 0: they are the front end's
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

    kind: str = (
        "bigru"  # none; epoch (the scored one alone, all channels in one); bigru, bilstm, conv, ssm, transformer
    )
    hidden_size: int = 64  # of each direction of GRU and LSTM; half the width of the others
    num_layers: int = 1
    num_heads: int = 4  # transformer only
    state_size: int = 32  # ssm only: numbers that each channel remembers the night in
    window_epochs: int = 25  # epochs in view, the scored one included
    dropout: float = 0.3
    num_tokens: int = 1  # that the language model reads of the state at the scored epoch

    @property
    def sees_neighbours(self) -> bool:
        """Whether a state depends on more than its own epoch."""
        return self.kind not in ("none", "epoch")


@dataclass(frozen=True)
class ProjectorConfig:
    """From encoder tokens to the language model's embedding space."""

    kind: str = "mlp"  # mlp (two layers, scaled to the embeddings) or linear (the guide's)
    merge: int = 1  # neighbouring patches joined into one token
    dropout: float = 0.0
    embedding_scale: float = 3.0  # mlp only: spread of a token at start, in spreads of the word embeddings


@dataclass(frozen=True)
class FlamingoConfig:
    """Perceiver resampler and gated cross-attention (Alayrac et al. 2022)."""

    num_latents: int = 64  # tokens that a series becomes, however long
    resampler_layers: int = 6
    num_heads: int = 8
    head_size: int = 64
    ff_factor: int = 4  # width of the feed-forward parts, in widths of their input
    every_n_layers: int = 1  # cross-attention before each n-th layer of the language model
    relative_gates: bool = True  # a gate lets in so many times the size of the hidden state; false: as in the paper


@dataclass(frozen=True)
class DigitsConfig:
    """A series as text, for a language model without an encoder."""

    num_values: int = 300  # numbers a series, 10 a second of an epoch; with a comma, some 2.4 tokens each

    def __post_init__(self) -> None:
        if self.num_values < 1:
            raise ValueError(f"model.digits.num_values={self.num_values}; wanted 1 or more")


@dataclass(frozen=True)
class ModelConfig:
    """One row of the model table and its parts."""

    name: str = "soft_prompt"
    label_set: str = "aasm"
    num_channels: int = 1  # of a night window: stage.channel and stage.extra_channels
    normalization: str = "whitened"  # whitened or recording (by the night's typical spectrum or amplitude), zscore
    fs_hz: float = 0.0  # of the nights it reads; 0: that of those it is trained on, which the checkpoint then says
    epoch_s: float = 0.0  # likewise
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    flamingo: FlamingoConfig = field(default_factory=FlamingoConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    gradient_checkpointing: bool = False

    @property
    def has_slots(self) -> bool:
        """Whether series and context stand in the language model's sequence."""
        return self.name in SLOT_MODELS

    @property
    def reads_digits(self) -> bool:
        """Whether series reach the language model as digits, and no encoder reads them."""
        return self.name in DIGIT_MODELS


@dataclass(frozen=True)
class StageConfig:
    """One row of the curriculum."""

    name: str = "stage4_sleep_cot"
    reader: str = (
        "sleep"  # sleep, night or unlabelled (prepared recordings), choice, caption, ecg or sleep_cot (corpora)
    )
    metric: str = "sleep"  # sleep, accuracy, perplexity or reconstruction
    predecessor: str = ""  # the stage whose best checkpoint this one starts from
    own_model: str = ""  # what it trains where the chosen model is of another kind; empty: whatever is chosen
    trained: tuple[str, ...] = ("encoder", "projector", "context", "lora")
    train_dir: str = "prepared/sim_human"
    val_dir: str = ""  # empty: the train folder
    test_dir: str = ""  # empty: the train folder
    fold: int = -1  # of a cohort with folds: the one to test on; the next one validates. -1: the cohort has none
    channel: str = "EEG Fpz-Cz"  # sleep only: the EEG that is staged and spoken of
    extra_channels: tuple[str, ...] = ()  # sleep only: read beside it (EOG, EMG)
    extra_in_text: bool = True  # sleep only: the language model reads them as series too, not in the context alone
    prompt_style: str = "full"  # sleep only: full or brief
    sampling: str = "natural"  # while training: natural (as frequent as they are), balanced (evenly), sqrt (between)
    oversample: dict[str, float] = field(default_factory=dict)  # on top, by class: {REM: 2.0} doubles its chance
    hard_examples: float = 0.0  # chance of a sample ~ (its last loss / the mean)^this, within 1/4 and 4; 0: all alike
    num_train_samples: int = 0  # 0: all
    num_val_samples: int = 0
    num_test_samples: int = 0
    max_new_tokens: int = 400
    constrained: bool = True  # after `Answer:` only the sample's options can be written, and one of them is
    num_calibration_samples: int = 128  # validation samples a language model's temperatures are fitted on; 0: none

    def __post_init__(self) -> None:
        object.__setattr__(self, "trained", tuple(self.trained))
        object.__setattr__(self, "extra_channels", tuple(self.extra_channels))
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"stage.sampling={self.sampling}; wanted one of: {', '.join(SAMPLINGS)}")
        if not all(0 < factor < math.inf for factor in self.oversample.values()):
            raise ValueError(f"stage.oversample={self.oversample}; wanted factors above 0, as in {{REM: 2.0}}")
        if not 0 <= self.hard_examples < math.inf:
            raise ValueError(f"stage.hard_examples={self.hard_examples:g}; wanted 0 (off) or more, 1 is usual")

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of a night window, the EEG first."""
        return (self.channel, *self.extra_channels)

    @property
    def answers_for_nights(self) -> bool:
        """Whether what the stage trains can be asked about an epoch of a night."""
        return self.reader in ("sleep", "night", "sleep_cot")

    def data_dir(self, split: str) -> Path:
        """Where the samples of a split lie: train, val or test."""
        return Path({"train": self.train_dir, "val": self.val_dir, "test": self.test_dir}[split] or self.train_dir)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with one rate a part; warm-up, then linear decay."""

    lr_encoder: float = 2e-4  # encoder, context network and classifier head
    lr_projector: float = 1e-4
    lr_gates: float = 1e-2  # flamingo's gates: numbers that start at zero and have to come near one
    lr_lora: float = 2e-4
    weight_decay: float = 1e-2
    warmup_fraction: float = 0.03
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """The classifier's loss, and its share where a language model is trained."""

    class_weight_power: float = 0.5  # weight of a class ~ frequency^-power
    focal_gamma: float = 0.0  # how much less an epoch counts that is told well already; 2 is usual, 0: off
    label_smoothing: float = 0.0  # share of an epoch's target that all classes have alike
    boundary_smoothing: float = 0.0  # share that the stages of the two epochs beside it have, half each
    scorer_votes: bool = True  # the target is the share of votes where a recording counts them (data/soft_targets.py)
    classifier_weight: float = 0.0  # language models: so many tokens is one epoch's class worth; 0: not trained

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "boundary_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"loss.{name}={getattr(self, name):g}; wanted a share from 0 to below 1")
        if not 0 <= self.focal_gamma < math.inf:
            raise ValueError(f"loss.focal_gamma={self.focal_gamma:g}; wanted 0 (off) or more, 2 is usual")


@dataclass(frozen=True)
class MaskingConfig:
    """What a masked encoder has to fill in."""

    share: float = 0.5  # of the patches that are hidden
    block_patches: int = 5  # hidden together; a patch alone could be read off its neighbours

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.block_patches < 1:
            raise ValueError(
                f"masking.share={self.share:g} and block_patches={self.block_patches}: wanted a share between 0 and 1 "
                "and blocks of 1 or more"
            )


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    train_epochs: int = 60
    batch_size: int = 4  # samples a step and process
    bucket_batches: int = 16  # so many batches are drawn at a time and sorted by length; 0: as drawn
    grad_accum: int = 1
    eval_batch_size: int = 16
    patience: int = 5  # passes without improvement before stopping
    min_delta: float = 1e-4
    precision: str = "bf16"  # bf16 (autocast) or fp32
    num_workers: int = 0
    compile: bool = False  # the language model's layers, by torch.compile: half a minute once, then faster steps
    log_every_steps: int = 10
    timeout_min: float = 30.0  # several processes: how long one waits for the others before it ends with an error
    checkpoint_every_steps: int = 1000  # what `--resume` goes on from; 0: at the end of a pass only
    checkpoint_every_min: float = 10.0  # and after so many minutes, whichever comes first; 0: never by the clock


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
class MLflowConfig:
    """Where runs are kept with `tracking=mlflow`."""

    uri: str = ""  # e.g. http://host:5000; empty: $MLFLOW_TRACKING_URI, or else a database mlflow.db in results_dir
    experiment: str = "tslm"


@dataclass(frozen=True)
class RunConfig:
    """One curriculum stage of one model."""

    seed: int = 0
    results_dir: str = "results"
    tracking: str = "none"  # none or mlflow; beside the run's log, which is always written
    mlflow: MLflowConfig = field(default_factory=MLflowConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stage: StageConfig = field(default_factory=StageConfig)
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
        return self.model.name in TEXT_MODELS

    @property
    def has_classifier(self) -> bool:
        """Whether the configured model is a classifier or holds one."""
        return self.model.name not in HEADLESS_MODELS
