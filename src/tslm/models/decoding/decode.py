"""Greedy decoding from embeddings, for batches of prompts padded on the left.

Shape letters: B prompts, R prompts still being answered, T sequence positions, E LLM width,
V vocabulary.

transformers' own `generate` does the same one step at a time. Two things cost it time here: it
takes the last position as a (B, 1, E) view, for which the CPU kernel copies the whole vocabulary
matrix B times over, and it carries finished answers to the end of the longest one.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from tslm.models.decoding.constrained import AnswerProcessor
from tslm.models.decoding.label_scoring import build_label_tree, fork_cache, score_label_trees

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


class RowKeeper(Protocol):
    """Who keeps something of every prompt beside the sequence (see tslm.models.text_model.Fusion)."""

    kept: Any

    def select_rows(self, rows: Tensor) -> None:
        """Go on with these rows."""


@torch.no_grad()
def decode_greedy(
    causal_lm: PreTrainedModel,
    embeds_BTE: Tensor,
    attention_mask_BT: Tensor,
    max_new_tokens: int,
    end_token_ids: list[int],
    pad_token_id: int,
    keeper: RowKeeper | None = None,
    cache: DynamicCache | None = None,
    answers: AnswerProcessor | None = None,
) -> Tensor:
    """The most likely continuation, token by token: (B, <= max_new_tokens) int64.

    A row ends with the first of `end_token_ids` and is filled up with `pad_token_id`.

    Args:
        causal_lm: the language model.
        embeds_BTE: the prompts, or what of them `cache` does not hold.
        attention_mask_BT: of the whole prompts.
        max_new_tokens: longest continuation.
        end_token_ids: what ends it.
        pad_token_id: what stands after its end.
        keeper: hears which rows go on whenever some leave the batch.
        cache: the first columns, where they were read before (tslm.models.decoding.prefix_cache).
        answers: the grammars that the rows are held to. Once a row has written `Answer:`, all its options are
            scored in one pass and the most likely one is its answer.
    """
    head = causal_lm.get_output_embeddings()
    words = causal_lm.get_input_embeddings()
    assert isinstance(head, nn.Module) and isinstance(words, nn.Module)
    num_steps = max_new_tokens if answers is None else answers.num_steps(max_new_tokens)
    cache = DynamicCache(config=causal_lm.config) if cache is None else cache
    batch = _Rows(attention_mask_BT, num_steps, pad_token_id)
    end_ids = torch.tensor(end_token_ids, device=embeds_BTE.device)
    may_wait = not any(cache.is_sliding)  # in a window, the pads of a waiting row would push out what it still sees
    inputs = embeds_BTE
    for step in range(num_steps):
        logits_RV = head(read_prompts(causal_lm, inputs, batch.mask_RT, cache)[:, -1].contiguous())
        token_R = batch.write(step, _choose(logits_RV, batch, answers))
        batch.finished_R |= torch.isin(token_R, end_ids)
        waiting = answers.await_scores(batch.rows, step) if answers is not None else []
        if waiting:
            batch.finished_R[waiting] = True
        num_finished = int(batch.finished_R.sum())
        leave = num_finished >= _FINISHED_SHARE * len(batch.finished_R)
        if answers is not None and (leave or waiting and not may_wait):
            _close_answers(causal_lm, cache, batch, answers, keeper)
        if num_finished == len(batch.finished_R):
            break
        if leave and num_finished:
            open_rows = (~batch.finished_R).nonzero()[:, 0]
            cache.batch_select_indices(open_rows)
            if keeper is not None:
                keeper.select_rows(open_rows)
            token_R = token_R[open_rows]
            batch.select(open_rows)
        inputs = words(token_R[:, None])
        batch.mask_RT = torch.cat([batch.mask_RT, (~batch.finished_R)[:, None].long()], dim=1)
    return batch.answers_BT[:, : batch.num_written]


class _Rows:
    """The rows that are still read, and all that was written."""

    def __init__(self, mask_BT: Tensor, num_steps: int, pad_token_id: int) -> None:
        self.answers_BT = mask_BT.new_full((len(mask_BT), num_steps), pad_token_id, dtype=torch.int64)
        self.num_written = 0
        self.mask_RT = mask_BT.long()
        self.row_R = torch.arange(len(mask_BT), device=mask_BT.device)
        self.rows = list(range(len(mask_BT)))
        self.finished_R = torch.zeros(len(mask_BT), dtype=torch.bool, device=mask_BT.device)
        self.pad_token_id = pad_token_id

    def write(self, step: int, token_R: Tensor) -> Tensor:
        """Put down one token a row; pads where a row has finished."""
        token_R = token_R.masked_fill(self.finished_R, self.pad_token_id)
        self.answers_BT[self.row_R, step] = token_R
        self.num_written = max(self.num_written, step + 1)
        return token_R

    def write_rest(self, row: int, step: int, ids: list[int]) -> None:
        """Put down the end of a row, from a step on."""
        self.answers_BT[row, step : step + len(ids)] = torch.tensor(ids, device=self.answers_BT.device)
        self.num_written = max(self.num_written, step + len(ids))

    def select(self, rows: Tensor) -> None:
        """Go on with these of the rows that are read."""
        self.row_R, self.mask_RT, self.finished_R = self.row_R[rows], self.mask_RT[rows], self.finished_R[rows]
        self.rows = self.row_R.tolist()


def _choose(logits_RV: Tensor, batch: _Rows, answers: AnswerProcessor | None) -> Tensor:
    if answers is None:
        return logits_RV.argmax(dim=-1)
    tokens = answers.choose(batch.rows, logits_RV)
    answers.advance(batch.rows, tokens)
    return torch.tensor(tokens, device=logits_RV.device)


def _close_answers(
    causal_lm: PreTrainedModel, cache: DynamicCache, batch: _Rows, answers: AnswerProcessor, keeper: RowKeeper | None
) -> None:
    """Answer the rows that wait for it: all options of each, read behind the last token it wrote."""
    places = [place for place, row in enumerate(batch.rows) if row in answers.waiting]
    if not places:
        return
    rows, place_W = [batch.rows[place] for place in places], torch.tensor(places, device=batch.mask_RT.device)
    states = [answers.waiting.pop(row) for row in rows]
    fork = fork_cache(cache)
    fork.batch_select_indices(place_W)
    kept = None if keeper is None else keeper.kept
    if keeper is not None:
        keeper.select_rows(place_W)
    trees = [
        build_label_tree(state.grammar.labels, int(batch.answers_BT[row, step]))
        for row, (state, step) in zip(rows, states, strict=True)
    ]
    scores = score_label_trees(causal_lm, fork, batch.mask_RT[place_W], trees)
    if keeper is not None:
        keeper.kept = kept
    for place, (row, (state, step)) in enumerate(zip(rows, states, strict=True)):
        num_labels = len(state.grammar.labels)
        log_likelihoods = scores.log_likelihood_RK[place, :num_labels].tolist()
        ids = state.finish(log_likelihoods, scores.is_greedy_RK[place, :num_labels].tolist())
        batch.write_rest(row, step + 1, ids)
