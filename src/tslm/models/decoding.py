"""Greedy decoding from embeddings, for batches of prompts padded on the left.

Shape letters: B prompts, R prompts still being answered, T sequence positions, E LLM width,
V vocabulary.

transformers' own `generate` does the same one step at a time. Two things cost it time here: it
takes the last position as a (B, 1, E) view, for which the CPU kernel copies the whole vocabulary
matrix B times over, and it carries finished answers to the end of the longest one.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

_FINISHED_SHARE = 0.25  # answered rows leave the batch once they are this share of it


def position_ids(attention_mask_BT: Tensor) -> Tensor:
    """Positions counted over real tokens only, so left padding shifts nothing: (B, T) int64."""
    return (attention_mask_BT.long().cumsum(dim=1) - 1).clamp(min=0)


def read_prompts(causal_lm: PreTrainedModel, embeds_BTE: Tensor, mask_BT: Tensor, cache: DynamicCache) -> Tensor:
    """Hidden states of what follows a cache, (B, T, E); the cache holds it afterwards.

    Args:
        causal_lm: the language model.
        embeds_BTE: what is read.
        mask_BT: which positions are real, of those in the cache and then of these.
        cache: what was read before; may be empty.
    """
    decoder = causal_lm.base_model
    assert isinstance(decoder, nn.Module)
    return decoder(
        inputs_embeds=embeds_BTE,
        attention_mask=mask_BT.long(),
        position_ids=position_ids(mask_BT)[:, -embeds_BTE.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state


@torch.no_grad()
def decode_greedy(
    causal_lm: PreTrainedModel,
    embeds_BTE: Tensor,
    attention_mask_BT: Tensor,
    max_new_tokens: int,
    end_token_ids: list[int],
    pad_token_id: int,
    select_rows: Callable[[Tensor], None] = lambda _rows: None,
    cache: DynamicCache | None = None,
) -> Tensor:
    """The most likely continuation, token by token: (B, <= max_new_tokens) int64.

    A row ends with the first of `end_token_ids` and is filled up with `pad_token_id`. `select_rows` hears
    which rows go on whenever some leave the batch, for what is kept of them elsewhere. `cache` holds the
    first columns where they were read before (tslm.models.prefix_cache); `embeds_BTE` is then of the others,
    the mask of all.
    """
    words, head = causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings()
    assert isinstance(words, nn.Module) and isinstance(head, nn.Module)
    device, num_rows = embeds_BTE.device, len(embeds_BTE)
    end_ids = torch.tensor(end_token_ids, device=device)
    answers_BT = torch.full((num_rows, max_new_tokens), pad_token_id, device=device)
    row_R, finished_R = torch.arange(num_rows, device=device), torch.zeros(num_rows, dtype=torch.bool, device=device)
    cache = DynamicCache(config=causal_lm.config) if cache is None else cache
    mask_RT = attention_mask_BT.long()
    inputs = embeds_BTE
    for step in range(max_new_tokens):
        hidden_RTE = read_prompts(causal_lm, inputs, mask_RT, cache)
        token_R = head(hidden_RTE[:, -1].contiguous()).argmax(dim=-1).masked_fill(finished_R, pad_token_id)
        answers_BT[row_R, step] = token_R
        finished_R = finished_R | torch.isin(token_R, end_ids)
        num_finished = int(finished_R.sum())
        if num_finished == len(finished_R):
            return answers_BT[:, : step + 1]
        if num_finished >= _FINISHED_SHARE * len(finished_R):
            open_R = ~finished_R
            open_rows = open_R.nonzero()[:, 0]
            cache.batch_select_indices(open_rows)
            select_rows(open_rows)
            row_R, token_R, mask_RT, finished_R = row_R[open_R], token_R[open_R], mask_RT[open_R], finished_R[open_R]
        inputs = words(token_R[:, None])
        mask_RT = nn.functional.pad(mask_RT, (0, 1), value=1)
    return answers_BT
