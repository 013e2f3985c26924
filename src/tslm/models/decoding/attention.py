"""Attention for decoding, without the copies of keys and values that transformers' eager attention makes.

With grouped queries several heads share the keys of one. The eager attention repeats the keys for each of them, at
every token; here the heads of a group are further queries to the same keys. The sums are the same.

Shape letters: B rows, H heads, G groups of them, Q queries, T positions, D width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

_GROUPED, _EAGER = "tslm_grouped", "eager"
_MASKED = (_EAGER, "sdpa", _GROUPED)  # those that take a mask of any shape


def takes_any_mask(causal_lm: PreTrainedModel) -> bool:
    """Whether the model's attention takes a mask of any shape."""
    return causal_lm.config._attn_implementation in _MASKED


def takes_added_mask(causal_lm: PreTrainedModel) -> bool:
    """Whether its masks are added to the scores; others are True where a position is seen."""
    return causal_lm.config._attn_implementation in (_EAGER, _GROUPED)


@contextmanager
def any_mask(causal_lm: PreTrainedModel) -> Iterator[None]:
    """An attention that takes any mask, where the model's own (flash attention) does not."""
    with _replace_attention(causal_lm, _EAGER, not takes_any_mask(causal_lm)):
        yield


@contextmanager
def grouped_attention(causal_lm: PreTrainedModel) -> Iterator[None]:
    """The attention of this module in place of an eager one, where the model's is an ordinary attention."""
    own, is_ordinary = causal_lm.config._attn_implementation, causal_lm._supports_sdpa
    with _replace_attention(causal_lm, _GROUPED, own == _EAGER and is_ordinary):
        yield


@contextmanager
def _replace_attention(causal_lm: PreTrainedModel, name: str, wanted: bool) -> Iterator[None]:
    own = causal_lm.config._attn_implementation
    if not wanted:
        yield
        return
    causal_lm.set_attn_implementation(name)
    try:
        yield
    finally:
        causal_lm.set_attn_implementation(own)


def attend_grouped(
    module: nn.Module,  # noqa: ARG001 - as transformers calls every attention
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: object,
) -> tuple[Tensor, Tensor]:
    """As transformers' eager attention, without dropout.

    Args:
        module: the layer; not used.
        query: (B, H, Q, D).
        key: (B, G, T, D).
        value: (B, G, T, D).
        attention_mask: (B, 1, Q, T), added to the scores.
        scaling: factor of the scores.
        softcap: bound of the scores by a tanh (Gemma 2).

    Returns:
        (B, Q, H, D), and the weights (B, H, Q, T).
    """
    num_rows, num_heads, num_queries, width = query.shape
    num_groups, num_positions = key.shape[1:3]
    score = query.reshape(num_rows, num_groups, -1, width).matmul(key.transpose(2, 3)) * scaling
    if softcap is not None:
        score = torch.tanh(score / softcap) * softcap
    score = score.view(num_rows, num_heads, num_queries, num_positions)
    if attention_mask is not None:
        score = score + attention_mask
    weight = score.softmax(-1, dtype=torch.float32).to(query.dtype)
    mixed = weight.view(num_rows, num_groups, -1, num_positions).matmul(value)
    return mixed.view(num_rows, num_heads, num_queries, -1).transpose(1, 2).contiguous(), weight


AttentionInterface.register(_GROUPED, attend_grouped)
AttentionMaskInterface.register(_GROUPED, eager_mask)
