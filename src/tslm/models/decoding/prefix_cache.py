"""Keys and values of the text that all prompts of a run begin with, computed once.

A batch padded on the left keeps its layout: its first columns hold, row by row, pads and the shared
text, shifted by the row's padding. So masks, positions and sliding windows are those of the whole batch,
and the decoder only reads the columns that are left. A prefix cache lives no longer than a run: it
knows nothing of a change of the weights.

Shape letters: B samples, T sequence positions, C cached columns, P positions of the shared text, E LLM width,
H heads, D head width.
"""

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tslm.batch import TEXT_SLOT, Batch
from tslm.data.samples.label_tokens import count_shared

_MIN_LENGTH = 16  # tokens; a shorter text is not worth the gathering
_REUSED_SHARE = 0.75  # of what a batch's rows have in common, enough to go on with what is cached


class PrefixCache:
    """What was read of the text before the first difference between prompts."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.layers: list[tuple[Tensor, Tensor]] = []  # keys and values, (1, H, P, D) each

    @torch.no_grad()
    def start(self, causal_lm: PreTrainedModel, batch: Batch) -> DynamicCache:
        """A cache for this batch: empty, or with its first columns filled in."""
        assert batch.attention_mask_BT is not None
        cache = DynamicCache(config=causal_lm.config)
        shared = find_shared_text(batch)
        if len(shared) < _MIN_LENGTH or any(type(layer) not in _KNOWN_LAYERS for layer in cache.layers):
            return cache
        num_shared = count_shared([self.ids, shared])
        if num_shared < _REUSED_SHARE * len(shared):
            self._read(causal_lm, shared)
            num_shared = len(shared)
        pad_B = (~batch.attention_mask_BT).sum(dim=1)
        column_BC = (torch.arange(num_shared, device=pad_B.device)[None] - pad_B[:, None]).clamp(min=0)
        rows = [tuple(kept[0][:, column_BC].transpose(0, 1) for kept in layer) for layer in self.layers]
        return DynamicCache(rows, config=causal_lm.config)

    def _read(self, causal_lm: PreTrainedModel, ids: list[int]) -> None:
        decoder, words = causal_lm.base_model, causal_lm.get_input_embeddings()
        assert isinstance(decoder, nn.Module)
        whole = DynamicCache()  # without the config no layer drops what lies outside its window
        ids_1P = torch.tensor([ids], device=words.weight.device)  # type: ignore[arg-type]
        decoder(input_ids=ids_1P, past_key_values=whole, use_cache=True)
        self.ids, self.layers = ids, [(keys, values) for keys, values, _window in whole]


_KNOWN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


def find_shared_text(batch: Batch) -> list[int]:
    """Ids that all prompts of a batch begin with, up to the first difference or the first series.

    None where a batch has no series: nothing then says where a night's state comes into view.
    """
    if batch.series_SL is None:
        return []
    assert batch.input_ids_BT is not None and batch.slot_BT is not None
    assert batch.attention_mask_BT is not None and batch.series_seen_BT is not None
    is_text_BT = (batch.slot_BT == TEXT_SLOT) & (batch.series_seen_BT == 0)
    begins = []
    for ids_T, is_real_T, is_text_T in zip(batch.input_ids_BT, batch.attention_mask_BT, is_text_BT, strict=True):
        text_N = is_text_T[is_real_T]
        num_text = int(text_N.long().cumprod(dim=0).sum())
        begins.append(ids_T[is_real_T][:num_text].tolist()[: len(text_N) - 1])  # something is left to read
    return begins[0][: count_shared(begins)]
