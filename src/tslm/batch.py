"""Inputs of a model: Example (one sample, NumPy) and Batch (tensors).

Shape letters: B samples, T sequence positions, S series of all samples in order, L signal
samples, W neighbouring epochs of a night window, C channels of it, F numbers beside the signal, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = -100  # label of a position or an epoch without supervision
TEXT_SLOT, SERIES_SLOT, CONTEXT_SLOT = 0, 1, 2  # kinds of sequence positions


@dataclass(frozen=True)
class ToneScale:
    """Distribution of muscle tone over a recording, by which its epochs are ranked (tslm.evidence.muscle)."""

    log_envelope_Q: np.ndarray  # (Q,) quantiles of the ln envelope, ascending
    window_samples: int  # samples per value of the envelope: one second
    is_envelope: bool  # the channel holds a rectified EMG already


@dataclass(frozen=True)
class Reference:
    """Typical amplitude, spectrum or muscle tone of a recording, by which its epochs are normalised."""

    scale: float = 1.0  # amplitude, in the unit of the series
    # ln amplitude relative to `scale`, at the knots of tslm.signals.normalize; None: unknown
    log_amplitude_K: np.ndarray | None = None
    tone: ToneScale | None = None  # of an EMG, which is read as muscle tone; None: any other signal


@dataclass(frozen=True)
class Series:
    """One signal of a sample with the line of text that introduces it."""

    values_L: np.ndarray  # float32, in the unit the text names
    text: str
    reference: Reference = Reference()
    channel_idx: int = 0  # channel of a night window; 0 outside nights


@dataclass(frozen=True)
class NightWindow:
    """Consecutive epochs of one recording around the scored one."""

    values_WCL: np.ndarray  # float32, microvolt; rows outside the recording are zero
    epoch_mask_W: np.ndarray  # bool, True = inside the recording
    sleep_stage_idx_W: np.ndarray  # int64 class index, IGNORE_INDEX where unscored
    scored_idx: int  # position of the scored epoch in the window
    references: tuple[Reference | None, ...]  # one per channel; None: the recording lacks the channel
    target_WK: np.ndarray | None = None  # float32, soft targets; None: sleep_stage_idx_W alone
    domain_idx: int | None = None  # site of the recording among those of training; None: no sites are told apart
    inputs_WF: np.ndarray | None = None  # float32, what is read beside the signal (`model.inputs`); None: nothing


@dataclass(frozen=True)
class Example:
    """One sample of any curriculum stage, before tokenisation and normalisation."""

    sample_id: str
    pre_prompt: str
    series: tuple[Series, ...]
    post_prompt: str
    response: str  # the target text
    answer: str  # the label in the response; empty where the task has none
    options: tuple[str, ...]  # the labels the answer may take
    window: NightWindow | None = None
    closings: tuple[str, ...] = ()  # of each option, the closing reason that holds for it; empty: closings are free
    reads_night: bool = True  # False: the window stands in a batch with others, but the language model does not read it


_TOGETHER = (  # tensors of a batch that are there together: text, series, night windows
    ("input_ids_BT", "attention_mask_BT", "slot_BT", "series_seen_BT"),
    ("series_SL", "series_lengths_S", "series_row_S", "series_channel_S"),
    ("window_BWCL", "epoch_mask_BW", "sleep_stage_idx_BW", "scored_idx_B", "reads_night_B"),
)


@dataclass
class Batch:
    """Tensors of B samples. Sequences are padded on the left; masks are True where real."""

    sample_ids: list[str]
    input_ids_BT: "torch.Tensor | None" = None  # int64; the pad id where a series or context stands
    attention_mask_BT: "torch.Tensor | None" = None  # bool
    slot_BT: "torch.Tensor | None" = None  # uint8: TEXT_SLOT, SERIES_SLOT or CONTEXT_SLOT
    series_seen_BT: "torch.Tensor | None" = None  # int64: number of the sample's series before a position
    labels_BT: "torch.Tensor | None" = None  # int64, IGNORE_INDEX except on the response and its end token
    # float32, normalised, zero-padded on the right; (S, V, L) where the normalisation gives V views
    series_SL: "torch.Tensor | None" = None
    series_lengths_S: "torch.Tensor | None" = None  # int64, signal samples
    series_row_S: "torch.Tensor | None" = None  # int64, sample of each series
    series_channel_S: "torch.Tensor | None" = None  # int64, channel of a night window; 0 outside nights
    window_BWCL: "torch.Tensor | None" = None  # float32, normalised; (B, W, C, V, L) in V views
    epoch_mask_BW: "torch.Tensor | None" = None  # bool
    channel_mask_BC: "torch.Tensor | None" = None  # bool, False where a recording lacks a channel; None: all are there
    domain_B: "torch.Tensor | None" = None  # int64, site of each window's recording; None: no sites are told apart
    inputs_BWF: "torch.Tensor | None" = None  # float32, numbers beside the signal; None: the model reads none
    sleep_stage_idx_BW: "torch.Tensor | None" = None  # int64, IGNORE_INDEX where unscored or outside
    target_BWK: "torch.Tensor | None" = None  # float32, soft targets; None: hard labels
    scored_idx_B: "torch.Tensor | None" = None  # int64
    reads_night_B: "torch.Tensor | None" = None  # bool: whether the language model reads the window
    class_counts: dict[str, int] = field(
        default_factory=dict
    )  # supervised samples or epochs per answer; empty: no classes
    closings: list[tuple[str, ...]] = field(default_factory=list)  # of each sample; empty: all are free
    is_filler: bool = False  # keeps this process in step with the others; its loss does not count

    def to(self, device: "torch.device | str", non_blocking: bool = False) -> "Batch":
        """The same batch on another device; `non_blocking` copies from pinned memory while the device computes."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU can read by itself."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: "Callable[[torch.Tensor], torch.Tensor]") -> "Batch":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(value) for name, value in values.items() if hasattr(value, "to")}
        return replace(self, **changed)

    @property
    def num_positions(self) -> int:
        """Sequence positions that a language model reads, pads left out; 0 without text."""
        return 0 if self.attention_mask_BT is None else int(self.attention_mask_BT.sum())

    def check(self) -> "Batch":
        """Return self; AssertionError where shapes, padding or supervision are inconsistent."""
        import torch

        for names in _TOGETHER:
            assert len({getattr(self, name) is None for name in names}) == 1, f"only some of {', '.join(names)}"
        if self.input_ids_BT is not None:
            assert self.attention_mask_BT is not None and self.slot_BT is not None
            assert self.attention_mask_BT.shape == self.input_ids_BT.shape == self.slot_BT.shape
            assert len(self.input_ids_BT) == len(self.sample_ids)
            steps = self.attention_mask_BT.int().diff(dim=1)
            assert bool((steps >= 0).all()), "padding must stand on the left"
            if self.labels_BT is not None:
                supervised = self.labels_BT != IGNORE_INDEX
                assert not bool((supervised & ~self.attention_mask_BT).any()), "a pad is supervised"
                assert not bool((supervised & (self.slot_BT != TEXT_SLOT)).any()), "a series slot is supervised"
        if self.series_SL is not None:
            assert self.series_lengths_S is not None and bool(torch.isfinite(self.series_SL).all())
            assert int(self.series_lengths_S.max()) <= self.series_SL.shape[-1]
        if self.window_BWCL is not None:
            assert self.epoch_mask_BW is not None and self.epoch_mask_BW.shape == self.window_BWCL.shape[:2]
        return self
