"""Parser of rationales in plain English: claims about one scoring epoch.

1. find the words of the table and split them into sentences         (words)
2. split sentences into phrases, and find lists of mentions          (phrases)
3. mark mentions as denied, hedged or generic; share words of a list (scope)
4. read the statements on each mention and build its claims          (here)

A hedged statement is a claim, marked hedged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from tslm.answers.grammar import ANSWER_PREFIX, split_response
from tslm.evidence.criteria import BANDS, Feature
from tslm.explain.claims.phrases import MENTIONED, Mention, find_lists, split_phrases
from tslm.explain.claims.scope import mark_denied, mark_generic, mark_hedged, mark_shared
from tslm.explain.claims.words import LEVEL_WORDS, Token, find_tokens, read_part, read_range, read_times


class Relation(StrEnum):
    """Relation of a claim to its feature; `Claim.negated` inverts it."""

    PRESENT = "present"
    FEW = "few"
    SOMETIMES = "sometimes"
    MANY = "many"
    LEVEL = "level"  # value and upper: positions in LEVEL_WORDS
    LEADS = "leads"  # value: how many lead together
    SECOND = "second"
    EQUALS = "equals"  # value to upper
    ABOUT = "about"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    AT = "at"  # value: a time in s from the start of the epoch; value to upper: a stretch of it
    NEAR = "near"  # the same, roughly


@dataclass(frozen=True)
class Claim:
    """One statement about the epoch, found in the characters text[start:stop]."""

    feature: Feature
    relation: Relation
    start: int
    stop: int
    value: float | None = None
    upper: float | None = None  # end of a range; None where it is one value
    # of value: uv, hz, s, per_minute, count, time (share of the epoch), power (share of 0.5-30 Hz), at_s (see AT)
    unit: str = ""
    negated: bool = False
    hedged: bool = False


FIGURES = (Relation.EQUALS, Relation.ABOUT, Relation.AT_LEAST, Relation.AT_MOST)  # relations that need a value
TIMED = (Relation.AT, Relation.NEAR)


def read_claims(text: str) -> tuple[Claim, ...]:
    """Parse the claims of a rationale in the order of the text, without what follows `Answer:`."""
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


def split_sentences(text: str) -> list[str]:
    """Split a rationale into sentences as `read_claims` does; joined they are the text up to `Answer:`."""
    before, prefix, _ = text.rpartition(ANSWER_PREFIX)
    rationale = before if prefix else text
    stops = [token.stop for token in find_tokens(rationale) if token.kind == "stop"]
    ends = [stop + len(rationale[stop:]) - len(rationale[stop:].lstrip()) for stop in stops]
    edges = sorted({0, *ends, len(rationale)})
    return [text[start:stop] for start, stop in pairwise(edges)]


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
                yield from _build_claims(mention, offset)


def _build_claims(mention: Mention, offset: int) -> Iterator[Claim]:
    start, stop = mention.start + offset, mention.stop + offset
    for relation, value, upper, unit, negated in dict.fromkeys(_read_statements(mention)):
        feature = mention.feature
        if relation == Relation.LEVEL and feature in _AMPLITUDES:
            feature = Feature.AMPLITUDE
        if unit == "uv" and feature in _LARGE_WAVES:
            feature = Feature.PEAK_TO_PEAK
        yield Claim(feature, relation, start, stop, value, upper, unit, negated, mention.hedged)


Statement = tuple[Relation, float | None, float | None, str, bool]
_AMPLITUDES = (Feature.RMS, Feature.PEAK_TO_PEAK)  # without a figure they are the amplitude
_LARGE_WAVES = (Feature.SLOW_WAVES, Feature.K_COMPLEXES)  # a figure in uV is their peak-to-peak amplitude
_COUNTED = (Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SAWTOOTH, Feature.VERTEX, Feature.EYE_MOVEMENTS)
_HAVE_SHARE = (*BANDS, Feature.GAMMA, Feature.SLOW_WAVES, Feature.ARTEFACT)
_HAVE_PLACE = (*_COUNTED, Feature.SLOW_WAVES, Feature.ALPHA, Feature.ARTEFACT)
_UNIT_OF = {"uv": "uv", "hz": "hz", "seconds": "s", "span": "s", "per_minute": "per_minute", "times": "times"}
_UNITS = {
    Feature.AMPLITUDE: "uv",
    Feature.RMS: "uv",
    Feature.PEAK_TO_PEAK: "uv",
    Feature.PEAK_FREQUENCY: "hz",
    Feature.SPINDLE_DENSITY: "per_minute",
    Feature.SPINDLE_DURATION: "s",
    Feature.MUSCLE_TONE: "times",
}
# Features that a claim only names with a figure or a level.
_NEED_FIGURE = tuple(feature for feature in _UNITS if feature != Feature.MUSCLE_TONE)


def _read_statements(mention: Mention) -> list[Statement]:
    """Read the statements on one mention: (relation, value, upper, unit, negated)."""
    if mention.term.kind == "state":
        what = mention.term.value.split()[1]
        if what in LEVEL_WORDS:
            level = float(LEVEL_WORDS.index(what))
            return [(Relation.LEVEL, level, level, "", mention.negated)]
        return [(Relation.PRESENT, None, None, "", (what == "no") != mention.negated)]
    said = [*_list_words(mention)]
    statements = [*_read_figures(mention, said)]
    if levels := [(LEVEL_WORDS.index(token.value), negated) for token, negated in said if token.kind == "level"]:
        statements.append(_read_level(mention.feature, levels))
    for token, negated in said:
        if statement := _read_amount(mention, token, negated):
            statements.append(statement)
    is_seen = any(token.kind == "seen" and not negated for token, negated in said)
    if not statements or (is_seen and all(statement[-1] for statement in statements)):
        if mention.feature == Feature.MUSCLE_TONE:
            return [(Relation.LEVEL, 0.0, 0.0, "", False)] if mention.negated else statements
        is_known = _is_named_before(mention) and not mention.negated
        if mention.feature not in _NEED_FIGURE and (statements or not is_known or mention.has("verb")):
            statements.append((Relation.PRESENT, None, None, "", mention.negated))
    return statements


def _is_named_before(mention: Mention) -> bool:
    """Return whether "these" or "such" stands right before a mention, which then refers to an earlier one."""
    return any(token.kind == "these" and mention.term.start - token.stop <= 1 for token in mention.before)


def _list_words(mention: Mention) -> Iterator[tuple[Token, bool]]:
    """Yield the words before and after a mention, each with whether it is denied."""
    for token in mention.before:
        yield token, mention.negated
    denied = False
    for token in mention.after:
        if token.kind == "neg":
            denied = True
            continue
        yield token, denied or mention.negated
        denied = denied and token.kind in ("plain", "modal", "time", "generic", "more", "less", "about")


def _read_amount(mention: Mention, token: Token, negated: bool) -> Statement | None:
    feature = mention.feature
    if token.kind == "lead":
        if feature in BANDS:
            return Relation.LEADS, float(mention.num_together), None, "", negated
        return (Relation.MANY, None, None, "", negated) if feature in _MEASURABLE_MANY else None
    if token.kind == "second" and feature in BANDS:
        return Relation.SECOND, None, None, "", negated
    if token.kind == "few" and feature in (Feature.AMPLITUDE, Feature.MUSCLE_TONE):
        return Relation.LEVEL, 0.0, 0.0, "", negated
    if token.kind == "gone" and feature == Feature.MUSCLE_TONE:
        return Relation.LEVEL, 0.0, 0.0, "", negated
    if feature in _NEED_FIGURE:
        return None
    if token.kind == "several" and feature in _COUNTED and not negated:
        return Relation.AT_LEAST, 2.0, None, "count", False
    if token.kind in ("prominent", "several"):
        return (Relation.MANY, None, None, "", True) if negated else (Relation.PRESENT, None, None, "", False)
    if token.kind in ("few", "many", "sometimes"):
        return Relation(token.kind), None, None, "", negated
    if token.kind == "gone" or (token.kind == "seen" and negated and token in mention.after and not mention.negated):
        return Relation.PRESENT, None, None, "", True
    return None


_MEASURABLE_MANY = (Feature.SLOW_WAVES, *_COUNTED)


def _read_level(feature: Feature, levels: Sequence[tuple[int, bool]]) -> Statement:
    lowest, highest, negated = min(levels)[0], max(levels)[0], levels[0][1]
    if feature in (Feature.AMPLITUDE, *_AMPLITUDES, Feature.MUSCLE_TONE):
        return Relation.LEVEL, float(lowest), float(highest), "", negated
    return (Relation.FEW if highest == 0 else Relation.PRESENT), None, None, "", negated


_FIGURE_KINDS = ("percent", "part", "count", "more", "less", "about", *_UNIT_OF)


def _read_figures(mention: Mention, said: Sequence[tuple[Token, bool]]) -> Iterator[Statement]:
    feature, relation, strict = mention.feature, Relation.EQUALS, False
    for position, (token, negated) in enumerate(said):
        if token.kind in ("more", "less", "about"):
            relation = {"more": Relation.AT_LEAST, "less": Relation.AT_MOST, "about": Relation.ABOUT}[token.kind]
            is_next = position + 1 < len(said) and said[position + 1][0].kind in _FIGURE_KINDS
            relation = relation if is_next else Relation.EQUALS
            strict = not token.text.startswith(("at ", "no ", "reach", "up to"))
            continue
        if token.kind == "at" and feature in _HAVE_PLACE:
            timed = Relation.NEAR if token.value else Relation.AT
            yield from ((timed, time_s, None, "at_s", negated) for time_s in read_times(token.text))
        elif token.kind == "span" and feature in _HAVE_PLACE and not mention.has("lasting"):
            yield Relation.AT, *read_range(token.text), "at_s", negated
        elif token.kind in ("percent", "part") and feature in _HAVE_SHARE:
            low, high = (
                (read_part(token.text),) * 2 if token.kind == "part" else (v / 100 for v in read_range(token.text))
            )
            yield relation, low, high if high > low else None, _share_unit(mention, token), negated
        elif token.kind in _UNIT_OF and (
            _UNIT_OF[token.kind] == _UNITS.get(feature)
            or (token.kind == "uv" and feature in _LARGE_WAVES and relation == Relation.AT_LEAST)
            or (token.kind == "per_minute" and feature == Feature.SPINDLES)
            or (token.kind in ("seconds", "span") and feature == Feature.SPINDLES and mention.has("lasting"))
        ):
            low, high = read_range(token.text)
            yield relation, low, high if high > low else None, _UNIT_OF[token.kind], negated
        elif token.kind == "count" and feature in _COUNTED and not negated and token not in mention.after[1:]:
            if token.value:
                yield Relation.AT_LEAST, 11.0, None, "count", False
            else:
                low, high = read_range(token.text)
                shift = {Relation.AT_LEAST: 1, Relation.AT_MOST: -1}.get(relation, 0) * strict
                yield relation, low + shift, high if high > low else None, "count", False
        else:
            continue
        relation, strict = Relation.EQUALS, False


def _share_unit(mention: Mention, token: Token) -> str:
    if mention.feature in (Feature.SLOW_WAVES, Feature.ARTEFACT) or mention.has("time"):
        return "time"
    is_power = mention.has("power") or mention.term.text.endswith("power") or mention.feature != Feature.ALPHA
    return "power" if is_power or token.kind == "percent" else "time"
