"""What may be written of an answer: after `Answer:` one of the options and the end token, and nothing else.

1. Until then the text is free, but for the end token and for tokens that run on past the colon of `Answer:`,
   however the tokenizer splits these words (they are followed letter by letter).
2. Where the model would end without an answer, or only just enough tokens are left, ` Answer:` is forced.
3. From there on only tokens that spell an option, as training would tokenise it, and then the end token.
   Where a sample may have several answers, `; ` and another option may follow instead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from tslm.answers.grammar import ANSWER_PREFIX, SEVERAL_SEPARATOR, parse_answer, render_answer
from tslm.data.samples.label_tokens import end_token_id, tokenize_response, tokenize_text

_SPACE_MARKS = str.maketrans({"Ġ": " ", "▁": " "})  # how byte-level and sentence-piece vocabularies write a space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class AnswerVocabulary:
    """What a tokenizer's tokens do to the words `Answer:`; made once a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.end_id = end_token_id(tokenizer)
        special = set(tokenizer.all_special_ids)  # left out of the text that is parsed
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._pieces = ["" if idx in special else _spell(token) for idx, token in enumerate(tokens)]

    def follow(self, matched: int, token: int) -> int:
        """How many letters of `Answer:` the text ends with, after it ended with `matched` and a token was added."""
        text = ANSWER_PREFIX[:matched] + self._piece(token)
        return next(count for count in range(len(ANSWER_PREFIX), -1, -1) if text.endswith(ANSWER_PREFIX[:count]))

    @cached_property
    def banned(self) -> list[frozenset[int]]:
        """For each number of letters that stand already: the end, and tokens that run on past `Answer:`."""
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
    """The answers that one list of options allows, as tokens.

    Raises:
        ValueError: an option that would not be read back from a response as itself.
    """

    def __init__(self, vocabulary: AnswerVocabulary, options: Sequence[str], several: bool = False) -> None:
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
        # An option with a semicolon in it could not be told apart from two.
        separator = SEVERAL_SEPARATOR.strip()
        joinable = [idx for idx, option in enumerate(options) if separator not in option] if several else []
        self.joints = {idx: tokenize_text(tokenizer, SEVERAL_SEPARATOR + options[idx]) for idx in joinable}
        self.longest = max(len(label) for label in self.labels)

    @property
    def num_closing(self) -> int:
        """Tokens that the longest answer takes, with `Answer:` and the end token."""
        return len(self.opening) + self.longest


@dataclass(frozen=True)
class _Path:
    """One way to complete an answer: all its tokens, and the options it names."""

    ids: list[int]
    named: tuple[int, ...]


class AnswerState:
    """Where the response of one sample stands in its grammar."""

    def __init__(self, grammar: AnswerGrammar, max_new_tokens: int) -> None:
        self.grammar = grammar
        self.num_left = max(max_new_tokens, grammar.num_closing)  # a budget too small is widened to an answer
        self.forced = False  # ` Answer:` was not the model's own choice
        self.corrected = False  # some token of the answer after it was not
        self.label_scores: list[float] | None = None  # log-likelihood of every option after `Answer:`
        self.is_done = False
        self._matched = 0
        self._queue: list[int] = []
        self._paths: list[_Path] | None = None
        self._num_written = 0
        self._preferred: int | None = None

    @property
    def at_answer(self) -> bool:
        """Whether `Answer:` was written just now."""
        return self._paths is not None and self._num_written == 0 and not self.is_done

    def restrict(self, preferred: int) -> tuple[set[int] | None, frozenset[int]]:
        """(tokens that are allowed, None: all; tokens that are not) given the one that the model prefers."""
        self._preferred = preferred
        grammar = self.grammar
        if self.is_done:
            return None, frozenset()
        if self._paths is not None:
            return {path.ids[self._num_written] for path in self._paths}, frozenset()
        if not self._queue and (preferred == grammar.vocabulary.end_id or self.num_left <= grammar.num_closing):
            self._queue, self.forced = list(grammar.opening), True
        if self._queue:
            return {self._queue[0]}, frozenset()
        return None, grammar.vocabulary.banned[self._matched]

    def advance(self, token: int) -> None:
        """Take note of the token that was written."""
        if self.is_done:
            return
        self.num_left -= 1
        if self._paths is not None:
            self._num_written += 1
            self.corrected |= token != self._preferred
            self.is_done = token == self.grammar.vocabulary.end_id
            self._keep_paths(token)
            return
        self._queue = self._queue[1:]
        self._matched = self.grammar.vocabulary.follow(self._matched, token)
        if self._matched == len(ANSWER_PREFIX):
            self._queue = []
            self._paths = [_Path(label, (idx,)) for idx, label in enumerate(self.grammar.labels)]
            self._join_paths()

    def finish(self, label_scores: list[float], is_preferred: list[bool]) -> list[int]:
        """Take the most likely option as the answer; returns its tokens after `Answer:`.

        Args:
            label_scores: log-likelihood of every option.
            is_preferred: whether every token of it would have been the model's free choice.
        """
        best = max(range(len(label_scores)), key=label_scores.__getitem__)
        self.label_scores, self.corrected, self.is_done = label_scores, not is_preferred[best], True
        return self.grammar.labels[best]

    def _keep_paths(self, token: int) -> None:
        assert self._paths is not None
        self._paths = [path for path in self._paths if path.ids[self._num_written - 1] == token]
        self._join_paths()

    def _join_paths(self) -> None:
        """Where an option is complete, the ways on to another one that was not named and still fits."""
        assert self._paths is not None
        for path in list(self._paths):
            if len(path.ids) != self._num_written + 1 or path.named[0] not in self.grammar.joints:
                continue
            for idx, joint in self.grammar.joints.items():
                if idx not in path.named and len(joint) + 1 <= self.num_left:
                    self._paths.append(_Path([*path.ids[:-1], *joint, path.ids[-1]], (*path.named, idx)))


def _spell(token: str) -> str:
    byte = _BYTE_TOKEN.fullmatch(token)
    return chr(int(byte.group(1), 16)) if byte else token.translate(_SPACE_MARKS)
