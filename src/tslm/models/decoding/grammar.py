"""The grammar of a response: free text, then a cue and one of the endings that may follow it, then the end token.

The cue is `Answer:`, and the endings are the options. Where a sample lists the closing reasons that hold
(`tslm.batch.Example.closings`), the cue is the word that begins them, and an ending is a closing with its answer.

1. Before the cue the text is free, but for the end token and for tokens that run on past the last letter of the cue,
   however the tokenizer splits it (it is followed letter by letter).
2. The cue is forced where the model would end without it, and where only enough tokens for an ending are left.
3. After the cue the endings are scored, each with the tokens that training supervises, and the most likely one is
   written (tslm.models.decoding.decode). A closing is scored up to the first token that tells it from the others: what
   follows is decided by then, and the longer ones are not at a disadvantage.
"""

import re
from collections.abc import Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from tslm.answers.grammar import ANSWER_PREFIX, parse_answer, render_answer, render_response
from tslm.data.samples.collate import count_shared, end_token_id, tokenize_response, tokenize_text
from tslm.evidence.text.closing import CLOSING_PREFIX

_SPACE_MARKS = str.maketrans({"Ġ": " ", "▁": " "})  # how byte-level and sentence-piece vocabularies write a space
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class AnswerVocabulary:
    """How the tokens of a tokenizer spell a cue; built once a tokenizer and cue."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, cue: str = ANSWER_PREFIX) -> None:
        self.tokenizer, self.cue = tokenizer, cue
        self.end_id = end_token_id(tokenizer)
        special = set(tokenizer.all_special_ids)  # not part of the text that is parsed
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._pieces = ["" if idx in special else _spell(token) for idx, token in enumerate(tokens)]

    def follow(self, matched: int, token: int) -> int:
        """Number of letters of the cue that the text ends with once a token follows `matched` of them."""
        text = self.cue[:matched] + self._piece(token)
        return next(count for count in range(len(self.cue), -1, -1) if text.endswith(self.cue[:count]))

    @cached_property
    def banned(self) -> list[frozenset[int]]:
        """By the number of matched letters: the end token, and tokens that run on past the cue."""
        with_last = [(idx, piece) for idx, piece in enumerate(self._pieces) if self.cue[-1] in piece]
        return [
            frozenset(idx for idx, piece in with_last if self.cue in (self.cue[:matched] + piece)[:-1]) | {self.end_id}
            for matched in range(len(self.cue))
        ]

    def split_after_prefix(self, ids: Sequence[int]) -> int:
        """How many leading ids spell everything up to the cue; 0 where a token runs on past it."""
        matched = 0
        for count, token in enumerate(ids, start=1):
            matched = self.follow(matched, token)
            if matched == len(self.cue):
                return count
        return 0

    def _piece(self, token: int) -> str:
        return self._pieces[token] if token < len(self._pieces) else ""


class AnswerGrammar:
    """The endings of one list of options, as tokens.

    Args:
        vocabulary: of the cue.
        options: the answers.
        closings: of each option, the sentence before its answer, which begins with the cue; empty: none.

    Raises:
        ValueError: an option that would not be read back from a response as itself.
    """

    def __init__(self, vocabulary: AnswerVocabulary, options: Sequence[str], closings: Sequence[str] = ()) -> None:
        self.vocabulary, self.options = vocabulary, tuple(options)
        tokenizer = vocabulary.tokenizer
        for option in options:
            if parse_answer(render_answer(option), options) != option:
                raise ValueError(
                    f"the option {option!r} cannot be read back from a response; mend the corpus, or let answers be "
                    "free (--free_answers, stage.constrained=false)"
                )
        pairs = zip(closings or [""] * len(self.options), options, strict=True)
        endings = [render_response(closing, option) for closing, option in pairs]
        whole = [tokenize_response(tokenizer, ending) for ending in endings]
        begins = [vocabulary.split_after_prefix(ids) for ids in whole]
        self.labels = [
            ids[begin:] if begin else tokenize_response(tokenizer, ending.removeprefix(vocabulary.cue).lstrip())
            for ids, begin, ending in zip(whole, begins, endings, strict=True)
        ]
        self.scored = [_cut_to_distinct(self.labels, idx) for idx in range(len(options))] if closings else self.labels
        self.opening = whole[0][: begins[0]] if begins[0] else tokenize_text(tokenizer, f" {vocabulary.cue}")
        self.longest = max(len(label) for label in self.labels)

    @property
    def num_closing(self) -> int:
        """Tokens that the longest ending takes, with the cue and the end token."""
        return len(self.opening) + self.longest


class AnswerState:
    """Progress of one response through its grammar.

    Args:
        grammar: of the endings.
        max_new_tokens: of the response.
        other: grammar of the endings after another cue, where the model writes that one first.
    """

    def __init__(self, grammar: AnswerGrammar, max_new_tokens: int, other: AnswerGrammar | None = None) -> None:
        self.grammar = grammar
        self.num_left = max(max_new_tokens, grammar.num_closing)  # a budget too small is widened to an ending
        self.forced = False  # the cue was not the model's own choice
        self.corrected = False  # some token of the ending after it was not
        self.label_scores: list[float] | None = None  # log-likelihood of every ending
        self.is_at_answer = False  # the cue stands; an ending is due
        self._num_matched = {grammar: 0} | ({other: 0} if other else {})
        self._forced_ids: list[int] = []

    def restrict(self, preferred: int) -> tuple[int | None, frozenset[int]]:
        """(the only token allowed, or None; the tokens not allowed), given the token that the model prefers."""
        grammar = self.grammar
        if not self._forced_ids and (preferred == grammar.vocabulary.end_id or self.num_left <= grammar.num_closing):
            self._forced_ids, self.forced = list(grammar.opening), True
        if self._forced_ids:
            return self._forced_ids[0], frozenset()
        return None, frozenset().union(
            *(each.vocabulary.banned[matched] for each, matched in self._num_matched.items())
        )

    def advance(self, token: int) -> None:
        """Record the token that was written."""
        self.num_left -= 1
        self._forced_ids = self._forced_ids[1:]
        for grammar, matched in self._num_matched.items():
            self._num_matched[grammar] = grammar.vocabulary.follow(matched, token)
            if self._num_matched[grammar] == len(grammar.vocabulary.cue):
                self.grammar, self.is_at_answer = grammar, True

    def finish(self, label_scores: list[float], is_preferred: list[bool]) -> list[int]:
        """Take the most likely ending; returns its tokens after the cue.

        Args:
            label_scores: log-likelihood of every ending.
            is_preferred: whether every token of it would have been the model's free choice.
        """
        best = max(range(len(label_scores)), key=label_scores.__getitem__)
        self.label_scores, self.corrected = label_scores, not is_preferred[best]
        return self.grammar.labels[best]


class AnswerGrammars:
    """Grammars of a run, one for each list of options."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vocabulary = AnswerVocabulary(tokenizer)
        self._closings = AnswerVocabulary(tokenizer, CLOSING_PREFIX)
        self._grammars: dict[tuple[str, ...], AnswerGrammar] = {}

    def begin(
        self, options: Sequence[Sequence[str]], max_new_tokens: int, closings: Sequence[Sequence[str]] = ()
    ) -> list[AnswerState | None]:
        """The states of a batch of responses; None where a sample has no options and its text is free.

        Args:
            options: of each sample.
            max_new_tokens: within which every response ends. One too small for any ending is widened.
            closings: of each sample, one an option; empty: the closing is free.

        Raises:
            ValueError: an option that cannot be read back from a response.
        """
        return [
            self._begin(tuple(some), sentences, max_new_tokens) if some else None
            for some, sentences in zip(options, closings or [()] * len(options), strict=True)
        ]

    def _begin(self, options: tuple[str, ...], closings: Sequence[str], max_new_tokens: int) -> AnswerState:
        answers = self._grammar(options)
        if not closings:
            return AnswerState(answers, max_new_tokens)
        return AnswerState(AnswerGrammar(self._closings, options, closings), max_new_tokens, other=answers)

    def _grammar(self, options: tuple[str, ...]) -> AnswerGrammar:
        if options not in self._grammars:
            self._grammars[options] = AnswerGrammar(self.vocabulary, options)
        return self._grammars[options]


def _cut_to_distinct(sequences: Sequence[Sequence[int]], idx: int) -> list[int]:
    """The shortest beginning of a sequence that no other one shares."""
    own, others = list(sequences[idx]), [*sequences[:idx], *sequences[idx + 1 :]]
    return own[: 1 + max((count_shared([own, other]) for other in others), default=0)]


def _spell(token: str) -> str:
    byte = _BYTE_TOKEN.fullmatch(token)
    return chr(int(byte.group(1), 16)) if byte else token.translate(_SPACE_MARKS)
