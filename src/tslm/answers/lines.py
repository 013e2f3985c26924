"""Parser of one line: the option or sleep stage that it names as its answer.

    line = (filler | denial name)* name (filler | denial name | same name)* [aside] [reason]

1. split the line into words and marks
2. take the longest name at each position: an option, an option's letter, a spelling of a sleep stage
3. leave out denied names ("not REM") and reasons ("since ...")

A word that is none of these makes the line unreadable, and so does a second name.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from tslm.labels import ANSWER_NAMES, SleepStage, fold_dashes, parse_sleep_stage

_WORD = re.compile(r"(?:(?<![^\W_])[-+])?\d+(?:[.,]\d+)*%?(?![^\W_])|[^\W_]+(?:'[^\W_]+)?|[^\w\s]")
_LETTERED = re.compile(r"\(?([a-z])\)\s*|([a-z])$")
_ENDS = frozenset(".!?")
_ASIDES = frozenset(",:([-")  # no semicolon: another answer may follow it
_CLOSINGS = frozenset(")]")
_FILLERS = {
    *("a", "an", "the", "this", "that", "these", "it", "its", "our", "my", "i", "think", "is", "be", "was", "would"),
    *("appears", "seems", "to", "as", "of", "in", "by", "so", "therefore", "thus", "hence", "also", "rather"),
    *("epoch", "segment", "window", "signal", "eeg", "recording", "patient", "subject", "series", "stage", "state"),
    *(
        "phase",
        "sleep",
        "activity",
        "answer",
        "final",
        "correct",
        "best",
        "right",
        "true",
        "option",
        "choice",
        "letter",
    ),
    *("label", "class", "classified", "scored", "labelled", "labeled", "most", "more", "very", "likely", "probable"),
    *("probably", "clearly", "definitely", "boxed", "text"),  # the last two: LaTeX
    *("light", "superficial", "transitional", "onset"),  # of N1 and N2 alike: they name neither
}
_REASONS = {
    *("because", "since", "as", "due", "given", "with", "without", "for", "based", "which", "where", "when", "while"),
    *("although", "though", "despite", "considering", "owing", "whereas", "indicating", "suggesting", "showing"),
}
_DENIALS = {
    *("not", "no", "nor", "neither", "never", "cannot", "can't", "isn't", "wasn't", "doesn't", "than", "instead"),
    *("unlike", "excluding", "excludes", "versus", "vs"),
}
_TURNS = {"but", "it", "this", "so"}  # "not REM, it is N2"
_ALTERNATIVES = {"or", "either", "maybe", "perhaps", "possibly", "alternatively"}
_SECOND_THOUGHTS = _ALTERNATIVES | {"no", "wait", "actually", "correction"}
_NREM_STAGES = {ANSWER_NAMES[each] for each in (SleepStage.N1, SleepStage.N2, SleepStage.N3)}
_MAX_STAGE_WORDS = 8


class _Word(NamedTuple):
    text: str
    start: int
    stop: int

    @property
    def is_mark(self) -> bool:
        return not self.text[-1].isalnum() and self.text[-1] != "%"


class _Vocabulary(NamedTuple):
    names: dict[tuple[str, ...], str]  # words of an option -> the option; "" where several options share them
    letters: dict[str, str]
    of_stages: bool
    longest: int


def find_answer(line: str, options: Sequence[str]) -> str | None:
    """The one name that a line gives as its answer; None for a line that names none or several, or is unreadable.

    A sleep stage that is none of the options is given by its answer name.
    """
    vocabulary = _build_vocabulary(tuple(options))
    text, words = _find_words(line)
    found: list[str] = []
    denied = aside = False
    position = 0
    while position < len(words):
        name, length = _match(vocabulary, text, words, position)
        word = words[position].text
        position += length or 1
        if length:
            found += [] if denied or name in found else [name]
        elif word in _ENDS and found:
            if position >= len(words) or words[position].text not in _SECOND_THOUGHTS:
                break
            aside = True
        elif word in _REASONS and found and not denied:
            break
        elif word in _DENIALS:
            denied = denied or words[position : position + 1] == [] or words[position].text != ","  # "No, N3."
        elif words[position - 1].is_mark:
            opens = word in _ASIDES and found != [] and (word != "-" or _is_dash(words, position - 1))
            aside = (aside or opens) and word not in _CLOSINGS
            denied = denied and word not in _CLOSINGS and word not in _ENDS
        elif word == "and" and found and not aside:  # another name, or something that is none
            is_denied = [item.text for item in words[position : position + 1] if item.text in _DENIALS]
            if not is_denied and not _match(vocabulary, text, words, position)[1]:
                return None
        elif word in _TURNS:
            denied = False
        elif word not in _FILLERS | _ALTERNATIVES and not aside:
            return None
    if ANSWER_NAMES[SleepStage.NREM] not in options and _NREM_STAGES & {*found}:
        found = [name for name in found if name != ANSWER_NAMES[SleepStage.NREM]]  # "NREM sleep, stage 2"
    if ANSWER_NAMES[SleepStage.NREM] in options and not _NREM_STAGES & {*options}:  # "slow-wave sleep" of a mouse
        found = [*dict.fromkeys(ANSWER_NAMES[SleepStage.NREM] if name in _NREM_STAGES else name for name in found)]
    return found[0] if len(found) == 1 and found[0] else None


def is_answer_alone(line: str, options: Sequence[str]) -> bool:
    """Whether a line is one name and nothing else but marks: "(b)", "**N2**."."""
    text, words = _find_words(line)
    first = next((position for position, word in enumerate(words) if not word.is_mark), len(words))
    _, length = _match(_build_vocabulary(tuple(options)), text, words, first)
    return length > 0 and all(word.is_mark for word in words[first + length :])


@lru_cache(maxsize=256)
def _build_vocabulary(options: tuple[str, ...]) -> _Vocabulary:
    names: dict[tuple[str, ...], str] = {}
    letters: dict[str, str] = {}
    for option in options:
        text = fold_dashes(option).lower().strip()
        lettered = _LETTERED.match(text)
        aliases = {_words_of(text)}
        if lettered:
            letter = lettered[1] or lettered[2]
            letters[letter] = "" if letter in letters else option
            aliases |= {_words_of(text[lettered.end() :])} if lettered[1] else set()
        for alias in aliases - {()}:
            names[alias] = "" if alias in names else option
    return _Vocabulary(
        {
            alias: option
            for alias, option in names.items()
            if alias != () and not (len(alias) == 1 and alias[0] in letters)
        },
        letters,
        any(option in ANSWER_NAMES.values() for option in options),
        max((len(alias) for alias in names), default=0),
    )


def _words_of(text: str) -> tuple[str, ...]:
    return tuple(word.text for word in _find_words(text)[1] if not word.is_mark)


def _find_words(line: str) -> tuple[str, list[_Word]]:
    text = fold_dashes(line).lower()
    return text, [_Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


def _match(vocabulary: _Vocabulary, text: str, words: Sequence[_Word], position: int) -> tuple[str, int]:
    """(name, number of words and marks it takes) of the longest name that begins at a position; ("", 0) for none."""
    if position >= len(words) or words[position].is_mark:
        return "", 0
    texts: list[str] = []
    best = ("", 0)
    for count, word in enumerate(words[position:], start=1):
        if word.is_mark:
            continue
        texts.append(word.text)
        if len(texts) > max(vocabulary.longest, _MAX_STAGE_WORDS):
            break
        if tuple(texts) in vocabulary.names:
            best = (vocabulary.names[tuple(texts)], count)
        elif vocabulary.of_stages and len(texts) <= _MAX_STAGE_WORDS:
            sleep_stage = parse_sleep_stage(text[words[position].start : word.stop])
            if sleep_stage in ANSWER_NAMES:
                best = (ANSWER_NAMES[sleep_stage], count)
    if not best[1] and words[position].text in vocabulary.letters and _stands_alone(words, position):
        best = (vocabulary.letters[words[position].text], 1)
    return best


def _is_dash(words: Sequence[_Word], position: int) -> bool:
    """Whether a hyphen stands between spaces and not inside a word: "N2 - spindles", not "N1-2"."""
    return position > 0 and words[position - 1].stop < words[position].start


def _stands_alone(words: Sequence[_Word], position: int) -> bool:
    """Whether a letter is the answer's letter and not an article: "(b)", "b because", but not "a rising", "a b"."""
    after = words[position + 1 : position + 2]
    is_last = not after or after[0].is_mark or after[0].text in _REASONS
    return is_last and (position == 0 or words[position - 1].text not in ("a", "an"))
