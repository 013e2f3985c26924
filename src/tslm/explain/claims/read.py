"""Rationales in plain English read into claims about one scoring epoch.

1. find the words of the table and split them into sentences         (claim_words)
2. cut sentences into phrases; join those that are one list           (claim_phrases)
3. settle what is denied, doubted, shared or said of sleep in general (claim_scope)
4. read what is said of each mention and write its claims             (claim_statements)

What is only suggested is a claim, marked hedged. `claim_kinds` says what a claim is.
"""

from collections.abc import Iterator, Sequence

from tslm.answers.grammar import split_response
from tslm.explain.claims.kinds import Claim, Feature, Relation
from tslm.explain.claims.phrases import MENTIONED, Mention, find_lists, split_phrases
from tslm.explain.claims.scope import mark_denied, mark_generic, mark_hedged, mark_shared
from tslm.explain.claims.statements import AMPLITUDES, LARGE_WAVES, read_statements
from tslm.explain.claims.words import Token, find_tokens


def read_claims(text: str) -> tuple[Claim, ...]:
    """Claims of a rationale in the order of the text; what follows `Answer:` is not read."""
    rationale, _ = split_response(text)
    offset = text.find(rationale) if rationale else 0
    claims: list[Claim] = []
    sentence: list[Token] = []
    for token in [*find_tokens(rationale), Token("stop", "", 0, 0, "")]:
        if token.kind == "stop":
            claims += _read_sentence(sentence, offset) if any(item.kind in MENTIONED for item in sentence) else []
            sentence = []
        else:
            sentence.append(token)
    return tuple(claims)


def _read_sentence(tokens: Sequence[Token], offset: int) -> Iterator[Claim]:
    phrases = split_phrases(tokens)
    lists = find_lists(phrases)
    mark_generic(phrases, lists)
    mark_denied(phrases, lists)
    mark_hedged(phrases, lists)
    mark_shared(lists)
    for phrase in phrases:
        for mention in phrase.mentions:
            if not mention.generic:
                yield from _write_claims(mention, offset)


def _write_claims(mention: Mention, offset: int) -> Iterator[Claim]:
    for relation, value, upper, unit, negated in dict.fromkeys(read_statements(mention)):
        feature = mention.feature
        if relation == Relation.LEVEL and feature in AMPLITUDES:
            feature = Feature.AMPLITUDE
        if unit == "uv" and feature in LARGE_WAVES:
            feature = Feature.PEAK_TO_PEAK
        yield Claim(
            feature,
            relation,
            mention.start + offset,
            mention.stop + offset,
            value,
            upper,
            unit,
            negated,
            hedged=mention.hedged,
        )
