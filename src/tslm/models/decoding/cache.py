"""Keys and values of what was read, in buffers that are copied once in 32 tokens.

transformers' DynamicCache copies itself whole at every token, and its StaticCache attends to its full length from the
first token on and keeps no rows apart. A layer here has some room after the last position. As in a StaticCache, the
room is part of the keys that it returns, and transformers' masks hide it: they end at the position of the query.

Shape letters: B rows, G heads of keys, T positions, D width of a head.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tslm.models.decoding.attention import takes_any_mask

_ROOM = 32  # positions


class RoomyLayer(DynamicLayer):
    """A layer of keys and values with room for the next tokens; a sliding window drops what lies before it.

    Attributes:
        keys: (B, G, T, D), the room included; `values` likewise.
    """

    def __init__(self, sliding_window: int | None = None) -> None:
        super().__init__()
        self.sliding_window = sliding_window
        self.is_sliding = sliding_window is not None
        self.num_dropped, self.num_kept = 0, 0  # positions

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add positions; returns keys and values of all positions that `get_mask_sizes` counted, and of the room."""
        num_new = key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values, self.num_kept = key_states, value_states, num_new
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        if self.num_kept + num_new > self.keys.shape[-2]:
            length, num_dropped = self.get_mask_sizes(num_new)
            begin = num_dropped - self.num_dropped
            self.keys, self.values = (
                _enlarge(old[:, :, begin : self.num_kept], length) for old in (self.keys, self.values)
            )
            self.num_kept, self.num_dropped = self.num_kept - begin, num_dropped
        self.keys[:, :, self.num_kept : self.num_kept + num_new] = key_states
        self.values[:, :, self.num_kept : self.num_kept + num_new] = value_states
        self.num_kept += num_new
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of positions that `update` returns for so many new ones, and the position of the first."""
        if self.keys is None:
            return query_length, 0
        if self.num_kept + query_length <= self.keys.shape[-2]:
            return self.keys.shape[-2], self.num_dropped
        seen = self.num_kept if self.sliding_window is None else min(self.num_kept, self.sliding_window - 1)
        return seen + query_length + _ROOM, self.num_dropped + self.num_kept - seen

    def get_seq_length(self) -> int:
        """Number of positions that were added."""
        return self.num_dropped + self.num_kept

    def fork(self) -> DynamicLayer:
        """The same positions in transformers' layer, which grows by itself; they are shared, not copied."""
        layer = DynamicLayer() if self.sliding_window is None else DynamicSlidingWindowLayer(self.sliding_window)
        if self.keys is None or self.values is None:
            return layer
        begin = 0 if self.sliding_window is None else max(0, self.num_kept - self.sliding_window + 1)
        layer.lazy_initialization(self.keys, self.values)
        layer.keys, layer.values = (states[:, :, begin : self.num_kept] for states in (self.keys, self.values))
        layer.cumulative_length = self.get_seq_length()
        return layer


def build_cache(causal_lm: PreTrainedModel) -> DynamicCache:
    """An empty cache for decoding; transformers' own for attention without masks, and for models of other layers."""
    cache = DynamicCache(config=causal_lm.config)
    kinds = {type(layer) for layer in cache.layers}
    if takes_any_mask(causal_lm) and kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        cache.layers = [RoomyLayer(getattr(layer, "sliding_window", None)) for layer in cache.layers]
    return cache


def fork_cache(cache: DynamicCache) -> DynamicCache:
    """A cache that grows by itself from here on; what is cached so far is shared, not copied."""
    fork = copy.copy(cache)
    fork.layers = [layer.fork() if hasattr(layer, "fork") else copy.copy(layer) for layer in cache.layers]
    return fork


def can_join(cache: DynamicCache) -> bool:
    """Whether caches of this kind can be joined."""
    return all(type(layer) in (RoomyLayer, DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def join_caches(parts: Sequence[DynamicCache], whole: DynamicCache) -> None:
    """Let an empty cache hold the rows of several one after the other; all have read as many positions."""
    for idx, first in enumerate(parts[0].layers):
        layers: list[Any] = [part.layers[idx] for part in parts]  # of the kinds that `can_join` names
        joined: Any = copy.copy(first)
        joined.keys = torch.cat([layer.keys for layer in layers])
        joined.values = torch.cat([layer.values for layer in layers])
        for layer in layers:  # so that memory holds one layer twice at most
            layer.keys = layer.values = None
        whole.layers[idx] = joined


def _enlarge(states_BGTD: Tensor, length: int) -> Tensor:
    num_old = states_BGTD.shape[2]
    enlarged = states_BGTD.new_empty(*states_BGTD.shape[:2], length, states_BGTD.shape[3])
    enlarged[:, :, :num_old] = states_BGTD
    enlarged[:, :, num_old:] = 0  # a mask does not hide NaN
    return enlarged
