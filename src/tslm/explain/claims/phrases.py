"""Phrases of a sentence, the mentions of features in them, and lists of mentions.

A phrase stands between two separators ("no spindles", "K-complexes", "or slow waves"). A
mention takes the words around it. Mentions that share such words are one list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from tslm.evidence.criteria import Feature
from tslm.explain.claims.words import Token

MENTIONED = ("term", "state")  # kinds of tokens that name a feature
_SEPARATORS = ("comma", "and", "or", "with", "clause", "stop")
# Words before a mention that start a new statement, so that the mention does not continue a list.
OWN = {
    "neg", "gone", "few", "many", "several", "sometimes", "count", "percent",
    "part", "lead", "second", "verb", "signal", "more", "less", "modal", "hedge",
}  # fmt: skip


@dataclass
class Mention:
    """A term with the words of its phrase before and after it."""

    term: Token
    before: list[Token]
    after: list[Token] = field(default_factory=list)
    negated: bool = False
    hedged: bool = False
    generic: bool = False
    num_together: int = 1  # bands in its list
    is_qualified: bool = False  # a relative clause follows
    is_open: bool = True  # no word follows it in its phrase, so a list may continue
    start: int = 0
    stop: int = 0

    @property
    def feature(self) -> Feature:
        """The feature that the term names."""
        return Feature(self.term.value.split()[0])

    def has(self, *kinds: str) -> bool:
        """Return whether a word of one of these kinds stands before or after the term."""
        return any(token.kind in kinds for token in (*self.before, *self.after))


@dataclass
class Phrase:
    """Tokens between two separators."""

    joints: tuple[Token, ...]
    tokens: list[Token] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)

    def joined_by(self, kind: str) -> bool:
        """Return whether a separator of that kind stands before the phrase."""
        return kind in [token.kind for token in self.joints]

    def has(self, *kinds: str) -> bool:
        """Return whether the phrase holds a word of one of these kinds."""
        return any(token.kind in kinds for token in self.tokens)


def split_phrases(tokens: Sequence[Token]) -> list[Phrase]:
    """Split a sentence into phrases, each with its mentions and their words."""
    phrases = _cut_at_separators(_drop_unnamed_waves(tokens))
    for phrase in phrases:
        phrase.mentions = _find_mentions(phrase)
    _attach_later_words(phrases)
    for mention in (mention for phrase in phrases for mention in phrase.mentions):
        said = [token for token in (*mention.before, *mention.after) if token.kind in _WITHIN_SPAN]
        mention.start = min(token.start for token in (mention.term, *said))
        mention.stop = max(token.stop for token in (mention.term, *said))
    return phrases


_OF_NOUN = ("sometimes", "several", "many", "few", "level", "prominent", "count")


def _drop_unnamed_waves(tokens: Sequence[Token]) -> list[Token]:
    """Drop words about waves of no named kind: "occasional larger spikes"."""
    kept: list[Token] = []
    for token in tokens:
        while token.kind == "noun" and kept and kept[-1].kind in _OF_NOUN:
            kept.pop()
        kept.append(token)
    return kept


# Words that belong to the span of a claim.
_WITHIN_SPAN = {
    "neg", "few", "many", "several", "sometimes", "prominent", "level", "count", "lead", "second", "percent",
    "part", "uv", "times", "hz", "seconds", "per_minute", "more", "less", "about", "time", "power", "gone", "seen",
    "at", "span",
}  # fmt: skip


def _cut_at_separators(tokens: Sequence[Token]) -> list[Phrase]:
    phrases = [Phrase(())]
    joints: list[Token] = []
    for token in tokens:
        if token.kind in _SEPARATORS:
            if not _is_between_adjectives(token, phrases[-1], joints):
                joints.append(token)
            continue
        if token.value == "nor":
            joints.append(token._replace(kind="or"))
        if joints:
            phrases.append(Phrase(tuple(joints)))
            joints = []
        phrases[-1].tokens.append(token)
    if joints:
        phrases.append(Phrase(tuple(joints)))
    return phrases


def _is_between_adjectives(token: Token, phrase: Phrase, joints: Sequence[Token]) -> bool:
    """Return whether a comma follows an adjective of the next mention: "the pronounced, slow waves"."""
    if token.text != "," or joints or not phrase.tokens or phrase.has(*MENTIONED):
        return False
    is_label = any(joint.value == ":" for joint in phrase.joints)  # "Slow waves: prominent, spindles: none"
    return phrase.tokens[-1].kind == "prominent" and phrase.tokens[-1].stop == token.start and not is_label


def _find_mentions(phrase: Phrase) -> list[Mention]:
    mentions: list[Mention] = []
    before: list[Token] = []
    for token in phrase.tokens:
        if token.kind in MENTIONED:
            if mentions:
                before = _take_words_of_next(mentions[-1], token)
            mentions.append(Mention(token, before))
            before = []
        elif mentions:
            mentions[-1].after.append(token)
        else:
            before.append(token)
    for mention in mentions:
        mention.is_open = not mention.after
        said = [*takewhile(lambda token: token.kind not in _CONCLUDES or token.value == "has", mention.after)]
        rest = mention.after[len(said) :]
        if [token.kind for token in rest[:1]] == ["signal"]:
            said += [token for token in rest[1:2] if token.kind in _PLACES]  # "spindles appear in the EEG at 12 s"
        mention.after = said
    return mentions


_PLACES = ("at", "span")


# What follows these words is suggested by a mention, not said of it.
_CONCLUDES = ("hedge", "contrast", "signal", "verb")
_OF_NEXT = {
    "neg", "few", "many", "several", "sometimes", "level", "count", "hedge", "verb", "second", "about", "prominent",
    "modal",
}  # fmt: skip


def _take_words_of_next(mention: Mention, term: Token) -> list[Token]:
    """Remove from the end of a mention's words those that belong to the next mention, and return them."""
    of_next = _OF_NEXT | {"uv"} if term.value in ("rms", "peak_to_peak") else _OF_NEXT
    taken: list[Token] = []
    while mention.after and mention.after[-1].kind in of_next:
        taken.insert(0, mention.after.pop())
    if mention.feature == Feature.PEAK_FREQUENCY and not mention.has("hz"):
        taken.append(mention.term._replace(kind="lead"))  # "the dominant frequency lies in the theta range"
    return taken


def _attach_later_words(phrases: Sequence[Phrase]) -> None:
    """Add to a mention the words that a later phrase says of it."""
    last: Mention | None = None
    for phrase in phrases:
        kinds = [token.kind for token in phrase.tokens[:2]]
        if last is not None and kinds == ["percent", "second"] and phrase.joined_by("with"):
            last.after.append(phrase.mentions[0].before.pop(0))  # "delta with 60% ahead of theta"
        if not phrase.mentions and last is not None and _continues(phrase, last):
            last.after += phrase.tokens
            last.is_qualified = any(joint.value == "relative" for joint in phrase.joints)
        elif phrase.mentions:
            last = phrase.mentions[-1]


def _continues(phrase: Phrase, last: Mention) -> bool:
    """Return whether a phrase without a mention is about the last one: "Spindles: none", "slow waves, in 30%"."""
    said = [token for token in phrase.tokens if token.text not in ("it", "there is", "there are")]
    first = said[0].kind if said else ""
    if last.after and any(joint.value == "relative" for joint in phrase.joints):
        return False  # it hangs on another noun
    return (
        any(joint.value == ":" for joint in phrase.joints)
        or (first == "modal" and phrase.joined_by("clause") and len(phrase.tokens) == 1)
        or first
        in ("percent", "part", "more", "less", "uv", "times", "lasting", "gone", "sometimes", "about", "at", "span")
        or (first in ("neg", "seen") and phrase.has("seen", "gone", "lead", "prominent"))
        or (first in ("level", "lead") and phrase.joined_by("and"))
    ) and not phrase.has("generic", "stage", "noun")


def find_lists(phrases: Sequence[Phrase]) -> list[list[Mention]]:
    """Find lists of mentions that share words: "no spindles, K-complexes or slow waves"."""
    lists: list[list[Mention]] = []
    run: list[Mention] = []
    num_sure = 0  # items of the run up to the last "and" or "or"; a comma alone makes no list
    for previous, phrase in zip([None, *phrases], [*phrases, None], strict=True):
        joins = previous is not None and phrase is not None and _joins(previous, phrase)
        if joins and previous is not None and phrase is not None:
            is_adjective = _is_adjective(previous, phrase)
            is_firm = phrase.joined_by("and") or phrase.joined_by("or") or is_adjective
            has_comma = phrase.joined_by("comma") and not is_adjective
            # "two spindles, and alpha is rare", "no spindles or K-complexes, and slow waves": the comma ends the list
            if not (is_firm and has_comma and (num_sure or len(run) < 2)):
                run = [*(run or [previous.mentions[-1]]), phrase.mentions[0]]
                num_sure = len(run) if is_firm else num_sure
                if len(phrase.mentions) == 1:
                    continue
        if num_sure:
            lists.append(run[:num_sure])
        run, num_sure = [], 0
    return lists


def _joins(previous: Phrase, phrase: Phrase) -> bool:
    if not (previous.mentions and phrase.mentions) or phrase.joined_by("clause") or phrase.joined_by("with"):
        return False
    if any(joint.value == ":" for joint in phrase.joints) or not previous.mentions[-1].is_open:
        return False
    own = {token.kind for token in phrase.mentions[0].before if token.value != "nor"}
    return not own & OWN and ("level" not in own or _is_adjective(previous, phrase))


def _is_adjective(previous: Phrase, phrase: Phrase) -> bool:
    """Return whether the last mention is an adjective before a comma: "the low-amplitude, mixed-frequency activity"."""
    term = previous.mentions[-1].term
    return (
        term.text.endswith(("-frequency", "amplitude", "voltage", "fast", "rapid"))
        and phrase.joints[0].start == term.stop
    )
