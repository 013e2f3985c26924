"""Answers held to their grammar while they are written: in our own decoding and in transformers' `generate`.

Shape letters: R responses being written, T positions, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from tslm.models.decoding.answer_grammar import AnswerGrammar, AnswerState, AnswerVocabulary


class AnswerGrammars:
    """Grammars of a run, one for each list of options it meets."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, several: bool = False) -> None:
        self.vocabulary, self.several = AnswerVocabulary(tokenizer), several
        self._grammars: dict[tuple[str, ...], AnswerGrammar] = {}

    def begin(self, options: Sequence[Sequence[str]], max_new_tokens: int, prompt_length: int = 0) -> "AnswerProcessor":
        """What watches over the responses of a batch.

        Args:
            options: of each sample; empty where a task has no answers, whose text is then free.
            max_new_tokens: within which every response ends. One too small for any answer is widened.
            prompt_length: ids of the prompt that `generate` hands over before new ones; 0 for `inputs_embeds`.

        Raises:
            ValueError: an option that cannot be read back from a response.
        """
        states = [AnswerState(self._grammar(tuple(one)), max_new_tokens) if one else None for one in options]
        return AnswerProcessor(states, prompt_length)

    def _grammar(self, options: tuple[str, ...]) -> AnswerGrammar:
        if options not in self._grammars:
            self._grammars[options] = AnswerGrammar(self.vocabulary, options, self.several)
        return self._grammars[options]


class AnswerProcessor(LogitsProcessor):
    """One grammar a response. For greedy decoding and sampling; beams would need a copy of each state."""

    def __init__(self, states: Sequence[AnswerState | None], prompt_length: int = 0) -> None:
        self.states, self.prompt_length = list(states), prompt_length
        self.waiting: dict[int, tuple[AnswerState, int]] = {}  # rows whose options are to be scored, and since when
        self._num_seen = 0

    def num_steps(self, max_new_tokens: int) -> int:
        """Tokens that the longest response may take."""
        return max([max_new_tokens, *(state.num_left for state in self.states if state is not None)])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """What transformers asks at each step: the scores (R, V) with -inf where a token is not allowed."""
        num_new = input_ids.shape[1] - self.prompt_length
        if num_new not in (self._num_seen, self._num_seen + 1) or len(input_ids) != len(self.states):
            raise ValueError("an AnswerProcessor follows one generation from its start, without beams; begin a new one")
        if num_new > self._num_seen:
            self._num_seen = num_new
            self.advance(range(len(self.states)), input_ids[:, -1].tolist())
        masked = scores.clone()
        for row, preferred in enumerate(scores.argmax(dim=-1).tolist()):
            state = self.states[row]
            allowed, banned = state.restrict(preferred) if state is not None else (None, frozenset[int]())
            if allowed is not None:
                masked[row] = -torch.inf
                masked[row, list(allowed)] = scores[row, list(allowed)]
            elif banned:
                masked[row, list(banned)] = -torch.inf
        return masked

    def choose(self, rows: Sequence[int], scores_RV: Tensor) -> list[int]:
        """The most likely allowed token of each of these responses; as `__call__`, with less work."""
        tokens = scores_RV.argmax(dim=-1).tolist()
        for place, row in enumerate(rows):
            state = self.states[row]
            if state is None or row in self.waiting:
                continue
            allowed, banned = state.restrict(tokens[place])
            if allowed is not None and tokens[place] not in allowed:
                choices = sorted(allowed)
                tokens[place] = choices[int(scores_RV[place, choices].argmax())]
            elif tokens[place] in banned:
                others_V = scores_RV[place].index_fill(0, scores_RV.new_tensor(sorted(banned)).long(), -torch.inf)
                tokens[place] = int(others_V.argmax())
        return tokens

    def advance(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Take note of what was written."""
        for row, token in zip(rows, tokens, strict=True):
            state = self.states[row]
            if state is not None and row not in self.waiting:
                state.advance(token)

    def await_scores(self, rows: Sequence[int], step: int) -> list[int]:
        """Places of the rows that have just written `Answer:` and whose options can now be scored at once."""
        places = []
        for place, row in enumerate(rows):
            state = self.states[row]
            if state is not None and state.at_answer and row not in self.waiting and not state.grammar.joints:
                self.waiting[row] = state, step
                places.append(place)
        return places
