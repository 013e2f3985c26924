"""Decoding from embeddings, greedy or sampled, for batches of prompts padded on the left.

Shape letters: B prompts, R prompts still being answered, T sequence positions, E LLM width,
V vocabulary.

transformers' own `generate` does the same one step at a time. Two things cost it time here: it
takes the last position as a (B, 1, E) view, for which the CPU kernel copies the whole vocabulary
matrix B times over, and it carries finished answers to the end of the longest one.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from tslm.models.decoding.cache import build_cache, can_join, fork_cache, join_caches
from tslm.models.decoding.grammar import AnswerState
from tslm.models.decoding.label_scoring import build_label_tree, score_label_trees
from tslm.models.fusion import DecoderInputs, SeriesMemory, run_decoder
from tslm.models.llm.backbone import cap_logits

_FINISHED_SHARE = 0.25  # answered rows leave the batch once they are this share of it
_ROWS_AT_ONCE = 8  # prompts that a CPU reads at a time: memory for more comes from the system, at every operation anew


@dataclass(frozen=True)
class Sampling:
    """Random choice of each token.

    Attributes:
        temperature: divides the logits; above 0.
        generators: one a prompt, on the CPU, so that no text depends on its batch or on the device.
        top_p: draw from the most likely tokens that together have this probability (Holtzman et al. 2020); 1: from all.
    """

    temperature: float
    generators: Sequence[torch.Generator]
    top_p: float = 1.0

    def draw(self, row: int, logits_V: Tensor) -> int:
        """The next token of one row."""
        probability_V = (logits_V.cpu() / self.temperature).softmax(-1)
        if self.top_p < 1:
            sorted_V, token_V = probability_V.sort(descending=True, stable=True)
            before_V = sorted_V.cumsum(-1) - sorted_V  # 0 for the most likely token, so one is always left
            probability_V = probability_V.index_fill(-1, token_V[before_V >= self.top_p], 0.0)
        return int(torch.multinomial(probability_V, 1, generator=self.generators[row]))


def position_ids(attention_mask_BT: Tensor) -> Tensor:
    """Positions counted over real tokens only, so left padding shifts nothing: (B, T) int64."""
    return (attention_mask_BT.long().cumsum(dim=1) - 1).clamp(min=0)


def read_prompts(causal_lm: PreTrainedModel, inputs: DecoderInputs, mask_BT: Tensor, cache: DynamicCache) -> Tensor:
    """Hidden states of what follows a cache, (B, T, E); the cache holds it afterwards.

    Args:
        causal_lm: the language model.
        inputs: the positions to read, and their memory.
        mask_BT: which positions are real, of those in the cache and then of these.
        cache: what was read before; may be empty.
    """
    return run_decoder(
        causal_lm,
        **inputs.arguments,
        attention_mask=mask_BT.long(),
        position_ids=position_ids(mask_BT)[:, -inputs.embeds_BTE.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    )


def read_first_prompts(
    causal_lm: PreTrainedModel, inputs: DecoderInputs, mask_BT: Tensor, cache: DynamicCache
) -> Tensor:
    """Hidden states of the last position of prompts, (B, E); the cache, empty before, holds them afterwards.

    Arguments are those of `read_prompts`.
    """
    num_rows = len(mask_BT)
    if mask_BT.device.type != "cpu" or num_rows <= _ROWS_AT_ONCE or not can_join(cache):
        return read_prompts(causal_lm, inputs, mask_BT, cache)[:, -1].contiguous()
    last, parts = [], []
    for rows in torch.arange(num_rows).split(_ROWS_AT_ONCE):
        part = copy.deepcopy(cache)
        last.append(read_prompts(causal_lm, inputs.select_rows(rows), mask_BT[rows], part)[:, -1])
        parts.append(part)
    join_caches(parts, cache)
    return torch.cat(last)


@torch.no_grad()
def decode(
    causal_lm: PreTrainedModel,
    inputs: DecoderInputs,
    attention_mask_BT: Tensor,
    max_new_tokens: int,
    end_token_id: int,
    pad_token_id: int,
    answers: Sequence[AnswerState | None] | None = None,
    sampling: Sampling | None = None,
) -> Tensor:
    """A continuation, token by token: (B, <= max_new_tokens) int64.

    A row ends with `end_token_id` and is filled up with `pad_token_id`.

    Args:
        causal_lm: the language model.
        inputs: the prompts.
        attention_mask_BT: which positions are real.
        max_new_tokens: longest continuation.
        end_token_id: closes a response.
        pad_token_id: stands after the end of a row.
        answers: grammar state of each row, None for a free one. Once a row has written `Answer:`, all its options
            are scored in one pass and the most likely one is its answer, in a sampled text, too.
        sampling: chooses the tokens before the answer; None: the most likely ones.
    """
    head, words = causal_lm.get_output_embeddings(), causal_lm.get_input_embeddings()
    assert isinstance(head, nn.Module) and isinstance(words, nn.Module)
    answers = [None] * len(attention_mask_BT) if answers is None else answers
    num_steps = max([max_new_tokens, *(state.num_left for state in answers if state is not None)])
    cache = build_cache(causal_lm)
    batch = _Rows(attention_mask_BT, inputs.memory, answers, num_steps, pad_token_id, sampling)
    may_wait = not any(cache.is_sliding)  # in a window, the pads of a waiting row would push out what it still sees
    hidden_RE = read_first_prompts(causal_lm, inputs, batch.mask_RT, cache)
    for step in range(num_steps):
        logits_RV = head(hidden_RE)
        if sampling is not None:
            logits_RV = cap_logits(logits_RV.float(), causal_lm)
        token_R = batch.write(step, batch.choose(logits_RV))
        batch.finished_R |= token_R == end_token_id
        batch.finish_answered(step)
        num_finished = int(batch.finished_R.sum())
        leave = num_finished >= _FINISHED_SHARE * len(batch.finished_R)
        if batch.waiting and (leave or not may_wait):
            _close_answers(causal_lm, cache, batch)
        if num_finished == len(batch.finished_R):
            break
        if leave and num_finished:
            open_rows = (~batch.finished_R).nonzero()[:, 0]
            cache.batch_select_indices(open_rows)
            token_R = token_R[open_rows]
            batch.select(open_rows)
        inputs = DecoderInputs(words(token_R[:, None]), batch.memory)
        batch.mask_RT = torch.cat([batch.mask_RT, (~batch.finished_R)[:, None].long()], dim=1)
        hidden_RE = read_prompts(causal_lm, inputs, batch.mask_RT, cache)[:, -1].contiguous()
    return batch.answers_BT[:, : batch.num_written]


class _Rows:
    """The rows that are still read, and all that was written."""

    def __init__(
        self,
        mask_BT: Tensor,
        memory: SeriesMemory | None,
        states: Sequence[AnswerState | None],
        num_steps: int,
        pad_token_id: int,
        sampling: Sampling | None,
    ) -> None:
        self.answers_BT = mask_BT.new_full((len(mask_BT), num_steps), pad_token_id, dtype=torch.int64)
        self.num_written = 0
        self.mask_RT = mask_BT.long()
        self.memory = memory
        self.states = states  # of all rows
        self.waiting: dict[int, int] = {}  # row whose options are to be scored -> step at which it wrote `Answer:`
        self.row_R = torch.arange(len(mask_BT), device=mask_BT.device)
        self.rows = list(range(len(mask_BT)))
        self.finished_R = torch.zeros(len(mask_BT), dtype=torch.bool, device=mask_BT.device)
        self.pad_token_id = pad_token_id
        self.sampling = sampling

    def choose(self, logits_RV: Tensor) -> Tensor:
        """The token of each row, one that its grammar allows: (R,) int64."""
        tokens = self._pick(logits_RV, self.rows)
        for place, row in enumerate(self.rows):
            state = self.states[row]
            if state is None or state.is_at_answer:
                continue
            forced, banned = state.restrict(tokens[place])
            if forced is not None:
                tokens[place] = forced
            elif tokens[place] in banned:
                banned_idx = torch.tensor(sorted(banned), device=logits_RV.device)
                allowed_V = logits_RV[place].index_fill(0, banned_idx, -torch.inf)
                (tokens[place],) = self._pick(allowed_V[None], [row])
            state.advance(tokens[place])
        return torch.tensor(tokens, device=logits_RV.device)

    def write(self, step: int, token_R: Tensor) -> Tensor:
        """Put down one token a row but for finished ones, whose answer may stand there; they go on with pads."""
        token_R = token_R.masked_fill(self.finished_R, self.pad_token_id)
        self.answers_BT[self.row_R[~self.finished_R], step] = token_R[~self.finished_R]
        self.num_written = max(self.num_written, step + 1)
        return token_R

    def finish_answered(self, step: int) -> None:
        """Let rows that have just written `Answer:` wait for the scores of their options."""
        for place, row in enumerate(self.rows):
            state = self.states[row]
            if state is not None and state.is_at_answer and state.label_scores is None and row not in self.waiting:
                self.waiting[row] = step
                self.finished_R[place] = True

    def write_rest(self, row: int, step: int, ids: list[int]) -> None:
        """Put down the end of a row, from a step on."""
        self.answers_BT[row, step : step + len(ids)] = torch.tensor(ids, device=self.answers_BT.device)
        self.num_written = max(self.num_written, step + len(ids))

    def select(self, places: Tensor) -> None:
        """Go on with these of the rows that are read."""
        self.row_R, self.mask_RT, self.finished_R = self.row_R[places], self.mask_RT[places], self.finished_R[places]
        self.memory = None if self.memory is None else self.memory.select_rows(places)
        self.rows = self.row_R.tolist()

    def _pick(self, logits_RV: Tensor, rows: Sequence[int]) -> list[int]:
        if self.sampling is None:
            return logits_RV.float().argmax(dim=-1).tolist()  # four times as fast as in bfloat16 on a CPU
        return [self.sampling.draw(row, logits_V) for row, logits_V in zip(rows, logits_RV, strict=True)]


def _close_answers(causal_lm: PreTrainedModel, cache: DynamicCache, batch: _Rows) -> None:
    """Answer the rows that wait for it: all options of each, read behind the last token it wrote."""
    places = [place for place, row in enumerate(batch.rows) if row in batch.waiting]
    place_W = torch.tensor(places, device=batch.mask_RT.device)
    waiting = [(batch.rows[place], batch.waiting.pop(batch.rows[place])) for place in places]
    states = [state for row, _ in waiting if (state := batch.states[row]) is not None]
    fork = fork_cache(cache)
    fork.batch_select_indices(place_W)
    trees = [
        build_label_tree(state.grammar.scored, int(batch.answers_BT[row, step]))
        for state, (row, step) in zip(states, waiting, strict=True)
    ]
    memory = None if batch.memory is None else batch.memory.select_rows(place_W)
    scores = score_label_trees(causal_lm, fork, batch.mask_RT[place_W], trees, memory=memory)
    for place, (state, (row, step)) in enumerate(zip(states, waiting, strict=True)):
        num_labels = len(state.grammar.scored)
        log_likelihoods = scores.log_likelihood_RK[place, :num_labels].tolist()
        ids = state.finish(log_likelihoods, scores.is_greedy_RK[place, :num_labels].tolist())
        batch.write_rest(row, step + 1, ids)
