"""Rationales in plain English read into claims about one scoring epoch.

1. find the words of the table (`claim_words`) and split them into sentences and phrases
2. join phrases that are one list ("spindles, K-complexes or slow waves")
3. settle per list what is denied, doubted, ranked or only said of sleep in general
4. write the claims of each mention

A sentence about a sleep stage as such ("spindles are typical of stage 2") or a contrast ("rather
than slow waves") claims nothing about the epoch. What is only suggested is a claim, marked hedged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from tslm.answers import split_response
from tslm.scoring.claim_words import LEVEL_WORDS, Token, find_tokens, read_part, read_range


class Feature(StrEnum):
    """What a claim is about."""

    AMPLITUDE = "amplitude"
    RMS = "rms"
    PEAK_TO_PEAK = "peak_to_peak"
    DELTA = "delta"
    THETA = "theta"
    ALPHA = "alpha"
    SIGMA = "sigma"
    BETA = "beta"  # and any fast activity
    GAMMA = "gamma"
    MIXED = "mixed"  # mixed frequencies
    PEAK_FREQUENCY = "peak_frequency"
    SPINDLES = "spindles"
    SPINDLE_DENSITY = "spindle_density"
    SPINDLE_DURATION = "spindle_duration"
    K_COMPLEXES = "k_complexes"
    SLOW_WAVES = "slow_waves"
    SAWTOOTH = "sawtooth"
    VERTEX = "vertex"
    EYE_MOVEMENTS = "eye_movements"
    MUSCLE = "muscle"  # muscle activity in the EEG
    MUSCLE_TONE = "muscle_tone"  # of the EMG channel
    ARTEFACT = "artefact"


class Relation(StrEnum):
    """What is said of it; `Claim.negated` turns it round."""

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


@dataclass(frozen=True)
class Claim:
    """One statement about the epoch and the characters text[start:stop] it rests on."""

    feature: Feature
    relation: Relation
    start: int
    stop: int
    value: float | None = None
    upper: float | None = None  # end of a range; None where it is one value
    unit: str = ""  # of value: uv, hz, s, per_minute, count, time (share of the epoch), power (share of 0.5-30 Hz)
    negated: bool = False
    hedged: bool = False


BANDS = (Feature.DELTA, Feature.THETA, Feature.ALPHA, Feature.SIGMA, Feature.BETA)
_FIGURES = (Feature.RMS, Feature.PEAK_TO_PEAK)
_COUNTED = (Feature.SPINDLES, Feature.K_COMPLEXES, Feature.SAWTOOTH, Feature.VERTEX, Feature.EYE_MOVEMENTS)
_SHARED = (*BANDS, Feature.GAMMA, Feature.SLOW_WAVES, Feature.ARTEFACT)
_MENTIONED = ("term", "state")
_SEPARATORS = ("comma", "and", "or", "with", "clause", "stop")
# Words before a mention that start a statement of its own, so it is not one more item of a list.
_OWN = {
    "neg", "gone", "few", "many", "several", "sometimes", "count", "percent",
    "part", "lead", "second", "verb", "signal", "more", "less", "modal", "hedge",
}  # fmt: skip


def read_claims(text: str) -> tuple[Claim, ...]:
    """Claims of a rationale in the order of the text; what follows `Answer:` is not read."""
    rationale, _ = split_response(text)
    offset = text.find(rationale) if rationale else 0
    claims: list[Claim] = []
    sentence: list[Token] = []
    for token in [*find_tokens(rationale), Token("stop", "", 0, 0, "")]:
        if token.kind == "stop":
            claims += _read_sentence(sentence, offset) if any(item.kind in _MENTIONED for item in sentence) else []
            sentence = []
        else:
            sentence.append(token)
    return tuple(claims)


@dataclass
class _Mention:
    """A term with the words of its phrase before and after it."""

    term: Token
    before: list[Token]
    after: list[Token] = field(default_factory=list)
    negated: bool = False
    hedged: bool = False
    generic: bool = False
    num_together: int = 1  # bands in its list
    is_qualified: bool = False  # a relative clause follows
    is_open: bool = True  # nothing is said after it in its phrase, so a list may go on
    start: int = 0
    stop: int = 0

    @property
    def feature(self) -> Feature:
        return Feature(self.term.value.split()[0])

    def has(self, *kinds: str) -> bool:
        return any(token.kind in kinds for token in (*self.before, *self.after))


@dataclass
class _Phrase:
    """What stands between two separators."""

    joints: tuple[Token, ...]
    tokens: list[Token] = field(default_factory=list)
    mentions: list[_Mention] = field(default_factory=list)

    def joined_by(self, kind: str) -> bool:
        return kind in [token.kind for token in self.joints]

    def has(self, *kinds: str) -> bool:
        return any(token.kind in kinds for token in self.tokens)


def _read_sentence(tokens: Sequence[Token], offset: int) -> Iterator[Claim]:
    phrases = _split_phrases(tokens)
    lists = _find_lists(phrases)
    _mark_generic(phrases, lists)
    _mark_denied(phrases, lists)
    _mark_hedged(phrases, lists)
    _mark_shared(lists)
    for phrase in phrases:
        for mention in phrase.mentions:
            if not mention.generic:
                yield from _write_claims(mention, offset)


# Behind these words stands what a mention suggests, not what is said of it.
_LEADS_ON = ("hedge", "contrast", "signal", "verb")


def _split_phrases(tokens: Sequence[Token]) -> list[_Phrase]:
    phrases = [_Phrase(())]
    joints: list[Token] = []
    for token in tokens:
        if token.kind in _SEPARATORS:
            joints.append(token)
            continue
        if token.value == "nor":
            joints.append(token._replace(kind="or"))
        if joints:
            phrases.append(_Phrase(tuple(joints)))
            joints = []
        phrases[-1].tokens.append(token)
    if joints:
        phrases.append(_Phrase(tuple(joints)))
    last: _Mention | None = None
    for phrase in phrases:
        before: list[Token] = []
        for token in phrase.tokens:
            if token.kind in _MENTIONED:
                if phrase.mentions:
                    before = _share_out(phrase.mentions[-1], token)
                phrase.mentions.append(_Mention(token, before))
                before = []
            elif phrase.mentions:
                phrase.mentions[-1].after.append(token)
            else:
                before.append(token)
        for mention in phrase.mentions:
            mention.is_open = not mention.after
            mention.after = [
                *takewhile(lambda token: token.kind not in _LEADS_ON or token.value == "has", mention.after)
            ]
        kinds = [token.kind for token in phrase.tokens[:2]]
        if last is not None and kinds == ["percent", "second"] and phrase.joined_by("with"):
            last.after.append(phrase.mentions[0].before.pop(0))  # "delta with 60% ahead of theta"
        if not phrase.mentions and last is not None and _continues(phrase, last):
            last.after += phrase.tokens
            last.is_qualified = any(joint.value == "relative" for joint in phrase.joints)
        elif phrase.mentions:
            last = phrase.mentions[-1]
    for mention in (mention for phrase in phrases for mention in phrase.mentions):
        said = [token for token in (*mention.before, *mention.after) if token.kind in _WITHIN_SPAN]
        mention.start = min(token.start for token in (mention.term, *said))
        mention.stop = max(token.stop for token in (mention.term, *said))
    return phrases


_OF_NEXT = {
    "neg", "few", "many", "several", "sometimes", "level", "count", "hedge", "verb", "second", "about", "prominent",
    "modal",
}  # fmt: skip


def _share_out(mention: _Mention, term: Token) -> list[Token]:
    """Takes the words that belong to the next mention of the phrase off the end of this one's."""
    of_next = _OF_NEXT | {"uv"} if term.value in ("rms", "peak_to_peak") else _OF_NEXT
    taken: list[Token] = []
    while mention.after and mention.after[-1].kind in of_next:
        taken.insert(0, mention.after.pop())
    if mention.feature == Feature.PEAK_FREQUENCY and not mention.has("hz"):
        taken.append(mention.term._replace(kind="lead"))  # "the dominant frequency lies in the theta range"
    return taken


def _continues(phrase: _Phrase, last: _Mention) -> bool:
    """Whether a phrase without a mention speaks of the last one: "Spindles: none", "slow waves, in 30%"."""
    first = phrase.tokens[0].kind if phrase.tokens else ""
    if last.after and any(joint.value == "relative" for joint in phrase.joints):
        return False  # it hangs on another noun
    return (
        any(joint.value == ":" for joint in phrase.joints)
        or (first == "modal" and phrase.joined_by("clause") and len(phrase.tokens) == 1)
        or first in ("percent", "part", "more", "less", "uv", "times", "lasting", "gone", "sometimes", "about")
        or (first in ("neg", "seen") and phrase.has("seen", "gone", "lead", "prominent"))
        or (first in ("level", "lead") and phrase.joined_by("and"))
    ) and not phrase.has("generic", "stage")


def _find_lists(phrases: Sequence[_Phrase]) -> list[list[_Mention]]:
    """Mentions that share what is said before or after them: "no spindles, K-complexes or slow waves"."""
    lists: list[list[_Mention]] = []
    run: list[_Mention] = []
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


def _joins(previous: _Phrase, phrase: _Phrase) -> bool:
    if not (previous.mentions and phrase.mentions) or phrase.joined_by("clause") or phrase.joined_by("with"):
        return False
    if any(joint.value == ":" for joint in phrase.joints) or not previous.mentions[-1].is_open:
        return False
    own = {token.kind for token in phrase.mentions[0].before if token.value != "nor"}
    return not own & _OWN and ("level" not in own or _is_adjective(previous, phrase))


def _is_adjective(previous: _Phrase, phrase: _Phrase) -> bool:
    """Whether the last mention is an adjective before a comma: "the low-amplitude, mixed-frequency activity"."""
    term = previous.mentions[-1].term
    return term.text.endswith(("-frequency", "amplitude", "voltage")) and phrase.joints[0].start == term.stop


def _mark_generic(phrases: Sequence[_Phrase], lists: Sequence[Sequence[_Mention]]) -> None:
    """Mentions that speak of a sleep stage as such, of what would be, or of what is not the case here."""
    later = {id(mention) for items in lists for mention in items[1:]}
    generic = contrast = asserted = stage_subject = False
    last_kind = ""
    for phrase in phrases:
        if phrase.joined_by("clause"):
            is_relative = any(joint.value == "relative" for joint in phrase.joints)
            generic, contrast, asserted = last_kind == "stage" and is_relative, False, False
            stage_subject = stage_subject and generic
        elif not (phrase.mentions and id(phrase.mentions[0]) in later):
            goes_on = not (phrase.joined_by("comma") or phrase.joined_by("with"))
            goes_on |= phrase.tokens[:1] != [] and phrase.tokens[0].kind == "example"
            generic, contrast = generic and goes_on, contrast and goes_on
        mentions = iter(phrase.mentions)
        passed: list[_Mention] = []
        for token in phrase.tokens:
            last_kind = token.kind
            if token.kind in _MENTIONED:
                passed.append(next(mentions))
                passed[-1].generic = generic or contrast
            elif token.kind in ("stage", "signal"):
                stage_subject = token.kind == "stage"
            elif token.kind in ("verb", "marks"):
                generic = stage_subject
                asserted = not stage_subject
            elif token.kind in ("neg", "hedge", "count", "percent", "several", "many", "few", "level"):
                asserted = True
            elif token.kind == "contrast":
                contrast = True
            elif token.kind == "generic":
                if not asserted:
                    for mention in _with_list(passed, lists):
                        mention.generic = True
                generic = generic or passed != [] or not asserted or token.text not in _LIKENESS
        for mention in _with_list(passed, lists):
            kinds = [token.kind for token in mention.after]
            if not asserted and "seen" in kinds and "stage" in kinds[kinds.index("seen") + 1 :][:1]:
                mention.generic = True  # "K-complexes occur in stage 2"
    for phrase in phrases:
        for mention in phrase.mentions:
            if _is_denied_after(mention):
                mention.generic = False  # "one would expect slow waves, which are not evident here"


_LIKENESS = ("typical", "characteristic", "characteristic of")


def _with_list(mentions: Sequence[_Mention], lists: Sequence[Sequence[_Mention]]) -> list[_Mention]:
    """The mentions, and those listed before them."""
    wanted = {id(mention) for mention in mentions}
    listed = [item for items in lists if any(id(item) in wanted for item in items) for item in items]
    return [*mentions, *(item for item in listed if id(item) not in wanted)]


def _is_denied_after(mention: _Mention) -> bool:
    kinds = [token.kind for token in mention.after]
    return "gone" in kinds or any(pair == ("neg", "seen") for pair in zip(kinds, kinds[1:], strict=False))


def _mark_denied(phrases: Sequence[_Phrase], lists: Sequence[Sequence[_Mention]]) -> None:
    later = {id(mention) for items in lists for mention in items[1:]}
    scope, pending = "", False
    for phrase in phrases:
        in_list = bool(phrase.mentions) and id(phrase.mentions[0]) in later
        own = {token.kind for token in (phrase.mentions[0].before if phrase.mentions else phrase.tokens)}
        if phrase.joined_by("clause") or phrase.joined_by("with"):
            scope = scope if pending and phrase.joints[-1].text == "that" else ""
        elif not (in_list or pending or phrase.joined_by("or")) and (scope != "verb" or own & (_OWN | {"hedge"})):
            scope = ""
        mentions = iter(phrase.mentions)
        passed = 0
        for token in phrase.tokens:
            if token.kind in _MENTIONED:
                next(mentions).negated = bool(scope) and (scope == "verb" or pending or (in_list and not passed))
                pending, passed = False, passed + 1
            elif token.kind == "neg" and not _speaks_of_last(token, phrase, passed):
                scope, pending = ("", False) if pending and scope in ("verb", "one") else (token.value, True)


def _speaks_of_last(token: Token, phrase: _Phrase, passed: int) -> bool:
    """Whether a negation stands behind a mention and means that one: "spindles are not seen"."""
    return passed > 0 and token in phrase.mentions[passed - 1].after


def _mark_hedged(phrases: Sequence[_Phrase], lists: Sequence[Sequence[_Mention]]) -> None:
    later = {id(mention) for items in lists for mention in items[1:]}
    hedged = carried = False
    for phrase in phrases:
        in_list = bool(phrase.mentions) and id(phrase.mentions[0]) in later
        is_near = in_list or phrase.joined_by("and") or phrase.joined_by("or") or carried
        hedged = hedged and is_near and not phrase.joined_by("clause")
        carried = not phrase.mentions and phrase.has("modal", "hedge")
        mentions = iter(phrase.mentions)
        for token in phrase.tokens:
            if token.kind == "hedge" or (token.kind == "modal" and not phrase.mentions):
                hedged = True
            elif token.kind in _MENTIONED:
                mention = next(mentions)
                mention.hedged = hedged or _is_doubted(mention)
    for items in lists:
        if any(mention.hedged for mention in (items[0], items[-1])):
            for mention in items:
                mention.hedged = True


def _is_doubted(mention: _Mention) -> bool:
    """Whether "may", "possibly" or the like stands beside a mention and not for what it suggests."""
    after = [token.kind for token in mention.after]
    stands_for_more = "modal" in after and "hedge" in after[after.index("modal") :]
    is_modal_after = "modal" in after and not stands_for_more and not mention.negated
    return is_modal_after or any(token.kind == "modal" for token in mention.before)


def _mark_shared(lists: Sequence[Sequence[_Mention]]) -> None:
    """Give the items of a list what is said before the first and behind the last, but for those with own figures."""
    for items in lists:
        before = [token for token in items[0].before if token.kind in _SHARED_BEFORE]
        after = [token for token in items[-1].after if token.kind in _SHARED_AFTER]
        if items[-1].is_qualified:  # "fast activity and delta, which does not lead"
            after = [] if any(token.kind == "lead" for token in after) else after
        is_lead_shared = any(token.kind == "lead" for token in (*before, *after))
        num_bands = sum(mention.feature in BANDS for mention in items) if is_lead_shared else 1
        for idx, mention in enumerate(items):
            mention.num_together = max(num_bands, 1)
            if mention.has(*_OWN_AMOUNT):
                continue
            is_band = mention.feature in BANDS
            shared = [token for token in before if idx and (is_band or token.kind != "lead")]
            mention.before = [*shared, *mention.before]
            mention.after += after if mention is not items[-1] else []


_OWN_AMOUNT = ("count", "several", "level", "percent", "part", "times")
_SHARED_BEFORE = ("few", "many", "several", "sometimes", "lead", "second", "prominent", "gone")
_SHARED_AFTER = ("neg", "seen", "gone", "few", "many", "sometimes", "lead", "prominent", "several")


Statement = tuple[Relation, float | None, float | None, str, bool]
_SILENT = (  # need a figure or a level to say anything
    Feature.AMPLITUDE,
    Feature.RMS,
    Feature.PEAK_TO_PEAK,
    Feature.PEAK_FREQUENCY,
    Feature.SPINDLE_DENSITY,
    Feature.SPINDLE_DURATION,
)
_WITHIN_SPAN = {
    "neg", "few", "many", "several", "sometimes", "prominent", "level", "count", "lead", "second", "percent",
    "part", "uv", "times", "hz", "seconds", "per_minute", "more", "less", "about", "time", "power", "gone", "seen",
}  # fmt: skip


def _write_claims(mention: _Mention, offset: int) -> Iterator[Claim]:
    for relation, value, upper, unit, negated in dict.fromkeys(_read_statements(mention)):
        feature = mention.feature
        if relation == Relation.LEVEL and feature in _FIGURES:
            feature = Feature.AMPLITUDE
        if unit == "uv" and feature in _LARGE_WAVES:
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


_LARGE_WAVES = (Feature.SLOW_WAVES, Feature.K_COMPLEXES)


def _read_statements(mention: _Mention) -> list[Statement]:
    """What is said of one mention: (relation, value, upper, unit, negated)."""
    if mention.term.kind == "state":
        what = mention.term.value.split()[1]
        if what == "low":
            return [(Relation.LEVEL, 0.0, 0.0, "", mention.negated)]
        return [(Relation.PRESENT, None, None, "", (what == "no") != mention.negated)]
    said = [*_said(mention)]
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
        if mention.feature not in _SILENT and (statements or not is_known or mention.has("verb")):
            statements.append((Relation.PRESENT, None, None, "", mention.negated))
    return statements


def _is_named_before(mention: _Mention) -> bool:
    """Whether "these" or "such" stands right before a mention, which then was spoken of earlier."""
    return any(token.kind == "these" and mention.term.start - token.stop <= 1 for token in mention.before)


def _said(mention: _Mention) -> Iterator[tuple[Token, bool]]:
    """Words before and after a mention, each with whether it is denied."""
    for token in mention.before:
        yield token, mention.negated
    denied = False
    for token in mention.after:
        if token.kind == "neg":
            denied = True
            continue
        yield token, denied or mention.negated
        denied = denied and token.kind in ("plain", "modal", "time", "generic", "more", "less", "about")


def _read_amount(mention: _Mention, token: Token, negated: bool) -> Statement | None:
    feature = mention.feature
    if token.kind == "lead":
        if feature in BANDS:
            return Relation.LEADS, float(mention.num_together), None, "", negated
        return (Relation.MANY, None, None, "", negated) if feature in _MEASURABLE_MANY else None
    if token.kind == "second" and feature in BANDS:
        return Relation.SECOND, None, None, "", negated
    if token.kind == "few" and feature in (Feature.AMPLITUDE, Feature.MUSCLE_TONE):
        return Relation.LEVEL, 0.0, 0.0, "", negated
    if feature in _SILENT:
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
    if feature in (Feature.AMPLITUDE, *_FIGURES, Feature.MUSCLE_TONE):
        return Relation.LEVEL, float(lowest), float(highest), "", negated
    return (Relation.FEW if highest == 0 else Relation.PRESENT), None, None, "", negated


_UNIT_OF = {"uv": "uv", "hz": "hz", "seconds": "s", "per_minute": "per_minute", "times": "times"}
_UNITS = {
    Feature.AMPLITUDE: "uv",
    Feature.RMS: "uv",
    Feature.PEAK_TO_PEAK: "uv",
    Feature.PEAK_FREQUENCY: "hz",
    Feature.SPINDLE_DENSITY: "per_minute",
    Feature.SPINDLE_DURATION: "s",
    Feature.MUSCLE_TONE: "times",
}


_FIGURE_KINDS = ("percent", "part", "count", "more", "less", "about", *_UNIT_OF)


def _read_figures(mention: _Mention, said: Sequence[tuple[Token, bool]]) -> Iterator[Statement]:
    feature, relation, strict = mention.feature, Relation.EQUALS, False
    for position, (token, negated) in enumerate(said):
        if token.kind in ("more", "less", "about"):
            relation = {"more": Relation.AT_LEAST, "less": Relation.AT_MOST, "about": Relation.ABOUT}[token.kind]
            is_next = position + 1 < len(said) and said[position + 1][0].kind in _FIGURE_KINDS
            relation = relation if is_next else Relation.EQUALS
            strict = not token.text.startswith(("at ", "no ", "reach", "up to"))
            continue
        if token.kind in ("percent", "part") and feature in _SHARED:
            low, high = (
                (read_part(token.text),) * 2 if token.kind == "part" else (v / 100 for v in read_range(token.text))
            )
            yield relation, low, high if high > low else None, _share_unit(mention, token), negated
        elif token.kind in _UNIT_OF and (
            _UNIT_OF[token.kind] == _UNITS.get(feature)
            or (token.kind == "uv" and feature in _LARGE_WAVES and relation == Relation.AT_LEAST)
            or (token.kind == "per_minute" and feature == Feature.SPINDLES)
            or (token.kind == "seconds" and feature == Feature.SPINDLES and mention.has("lasting"))
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


def _share_unit(mention: _Mention, token: Token) -> str:
    if mention.feature in (Feature.SLOW_WAVES, Feature.ARTEFACT):
        return "time"
    if mention.has("time"):
        return "time"
    is_power = mention.has("power") or mention.term.text.endswith("power") or mention.feature != Feature.ALPHA
    return "power" if is_power or token.kind == "percent" else "time"
