"""The grammar of a response: free text, then ` Answer: ` and one of the options, then the end token.

1. Before `Answer:` the text is free, but for the end token and for tokens that run on past the colon of `Answer:`,
   however the tokenizer splits these words (they are followed letter by letter).
2. ` Answer:` is forced where the model would end without an answer, and where only enough tokens for one are left.
3. After `Answer:` the options are scored, each with the tokens that training supervises, and the most likely one is
   written (tslm.models.decoding.decode).
"""

import re
from collections.abc import Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, render_answer
from tslm.data.samples.collate import end_token_id, tokenize_response, tokenize_text

_SPACE_MARKS = str.maketrans({"Ġ": " ", "▁": " "})  # how byte-level and sentence-piece vocabularies write a space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class AnswerVocabulary:
    """How the tokens of a tokenizer spell `Answer:`; built once a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.end_id = end_token_id(tokenizer)
        special = set(tokenizer.all_special_ids)  # not part of the text that is parsed
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._pieces = ["" if idx in special else _spell(token) for idx, token in enumerate(tokens)]

    def follow(self, matched: int, token: int) -> int:
        """Number of letters of `Answer:` that the text ends with once a token follows `matched` of them."""
        text = ANSWER_PREFIX[:matched] + self._piece(token)
        return next(count for count in range(len(ANSWER_PREFIX), -1, -1) if text.endswith(ANSWER_PREFIX[:count]))

    @cached_property
    def banned(self) -> list[frozenset[int]]:
        """By the number of matched letters: the end token, and tokens that run on past `Answer:`."""
        with_colon = [(idx, piece) for idx, piece in enumerate(self._pieces) if ANSWER_PREFIX[-1] in piece]
        return [
            frozenset(idx for idx, piece in with_colon if ANSWER_PREFIX in (ANSWER_PREFIX[:matched] + piece)[:-1])
            | {self.end_id}
            for matched in range(len(ANSWER_PREFIX))
        ]

    def split_after_prefix(self, ids: Sequence[int]) -> int:
        """How many leading ids spell everything up to `Answer:`; 0 where a token runs on past it."""
        matched = 0
        for count, token in enumerate(ids, start=1):
            matched = self.follow(matched, token)
            if matched == len(ANSWER_PREFIX):
                return count
        return 0

    def _piece(self, token: int) -> str:
        return self._pieces[token] if token < len(self._pieces) else ""


class AnswerGrammar:
    """The answers of one list of options, as tokens.

    Raises:
        ValueError: an option that would not be read back from a response as itself.
    """

    def __init__(self, vocabulary: AnswerVocabulary, options: Sequence[str]) -> None:
        self.vocabulary, self.options = vocabulary, tuple(options)
        tokenizer = vocabulary.tokenizer
        for option in options:
            if parse_answer(render_answer(option), options) != option:
                raise ValueError(
                    f"the option {option!r} cannot be read back from a response; mend the corpus, or let answers be "
                    "free (--free_answers, stage.constrained=false)"
                )
        whole = [tokenize_response(tokenizer, render_answer(option)) for option in options]
        begins = [vocabulary.split_after_prefix(ids) for ids in whole]
        self.labels = [
            ids[begin:] if begin else tokenize_response(tokenizer, option)
            for ids, begin, option in zip(whole, begins, options, strict=True)
        ]
        self.opening = whole[0][: begins[0]] if begins[0] else tokenize_text(tokenizer, f" {ANSWER_PREFIX}")
        self.longest = max(len(label) for label in self.labels)

    @property
    def num_closing(self) -> int:
        """Tokens that the longest answer takes, with `Answer:` and the end token."""
        return len(self.opening) + self.longest


class AnswerState:
    """Progress of one response through its grammar."""

    def __init__(self, grammar: AnswerGrammar, max_new_tokens: int) -> None:
        self.grammar = grammar
        self.num_left = max(max_new_tokens, grammar.num_closing)  # a budget too small is widened to an answer
        self.forced = False  # ` Answer:` was not the model's own choice
        self.corrected = False  # some token of the answer after it was not
        self.label_scores: list[float] | None = None  # log-likelihood of every option after `Answer:`
        self.is_at_answer = False  # `Answer:` stands; an option is due
        self._num_matched = 0
        self._forced_ids: list[int] = []

    def restrict(self, preferred: int) -> tuple[int | None, frozenset[int]]:
        """(the only token allowed, or None; the tokens not allowed), given the token that the model prefers."""
        grammar = self.grammar
        if not self._forced_ids and (preferred == grammar.vocabulary.end_id or self.num_left <= grammar.num_closing):
            self._forced_ids, self.forced = list(grammar.opening), True
        if self._forced_ids:
            return self._forced_ids[0], frozenset()
        return None, grammar.vocabulary.banned[self._num_matched]

    def advance(self, token: int) -> None:
        """Record the token that was written."""
        self.num_left -= 1
        self._forced_ids = self._forced_ids[1:]
        self._num_matched = self.grammar.vocabulary.follow(self._num_matched, token)
        self.is_at_answer = self._num_matched == len(ANSWER_PREFIX)

    def finish(self, label_scores: list[float], is_preferred: list[bool]) -> list[int]:
        """Take the most likely option as the answer; returns its tokens after `Answer:`.

        Args:
            label_scores: log-likelihood of every option.
            is_preferred: whether every token of it would have been the model's free choice.
        """
        best = max(range(len(label_scores)), key=label_scores.__getitem__)
        self.label_scores, self.corrected = label_scores, not is_preferred[best]
        return self.grammar.labels[best]


class AnswerGrammars:
    """Grammars of a run, one for each list of options."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vocabulary = AnswerVocabulary(tokenizer)
        self._grammars: dict[tuple[str, ...], AnswerGrammar] = {}

    def begin(self, options: Sequence[Sequence[str]], max_new_tokens: int) -> list[AnswerState | None]:
        """The states of a batch of responses; None where a sample has no options and its text is free.

        Args:
            options: of each sample.
            max_new_tokens: within which every response ends. One too small for any answer is widened.

        Raises:
            ValueError: an option that cannot be read back from a response.
        """
        return [AnswerState(self._grammar(tuple(one)), max_new_tokens) if one else None for one in options]

    def _grammar(self, options: tuple[str, ...]) -> AnswerGrammar:
        if options not in self._grammars:
            self._grammars[options] = AnswerGrammar(self.vocabulary, options)
        return self._grammars[options]


def _spell(token: str) -> str:
    byte = _BYTE_TOKEN.fullmatch(token)
    return chr(int(byte.group(1), 16)) if byte else token.translate(_SPACE_MARKS)
