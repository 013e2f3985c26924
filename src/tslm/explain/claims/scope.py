"""Scope of "no", "may", "typical of" and "abundant": which mentions are denied, hedged, generic or share their words.

A sentence about a sleep stage in general ("spindles are typical of stage 2") or a contrast ("rather than slow waves")
claims nothing about the epoch; its mentions are marked generic.
"""

from collections.abc import Sequence

from tslm.evidence.criteria import BANDS
from tslm.explain.claims.phrases import MENTIONED, OWN, Mention, Phrase
from tslm.explain.claims.words import Token


def mark_generic(phrases: Sequence[Phrase], lists: Sequence[Sequence[Mention]]) -> None:
    """Mark mentions about a sleep stage in general, about a hypothetical, or in a contrast."""
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
        passed: list[Mention] = []
        for token in phrase.tokens:
            last_kind = token.kind
            if token.kind in MENTIONED:
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
                generic = generic or passed != [] or not asserted or token.text not in _TYPICAL
        for mention in _with_list(passed, lists):
            kinds = [token.kind for token in mention.after]
            if not asserted and "seen" in kinds and "stage" in kinds[kinds.index("seen") + 1 :][:1]:
                mention.generic = True  # "K-complexes occur in stage 2"
    for phrase in phrases:
        for mention in phrase.mentions:
            if _is_denied_after(mention):
                mention.generic = False  # "one would expect slow waves, which are not evident here"


_TYPICAL = ("typical", "characteristic", "characteristic of")


def _with_list(mentions: Sequence[Mention], lists: Sequence[Sequence[Mention]]) -> list[Mention]:
    """Return the mentions and all others of their lists."""
    given = {id(mention) for mention in mentions}
    listed = [item for items in lists if any(id(item) in given for item in items) for item in items]
    return [*mentions, *(item for item in listed if id(item) not in given)]


def _is_denied_after(mention: Mention) -> bool:
    kinds = [token.kind for token in mention.after]
    return "gone" in kinds or any(pair == ("neg", "seen") for pair in zip(kinds, kinds[1:], strict=False))


def mark_denied(phrases: Sequence[Phrase], lists: Sequence[Sequence[Mention]]) -> None:
    """Mark mentions in the scope of a negation before them: "no spindles or K-complexes"."""
    later = {id(mention) for items in lists for mention in items[1:]}
    scope, pending = "", False
    for phrase in phrases:
        in_list = bool(phrase.mentions) and id(phrase.mentions[0]) in later
        own = {token.kind for token in (phrase.mentions[0].before if phrase.mentions else phrase.tokens)}
        if phrase.joined_by("clause") or phrase.joined_by("with"):
            scope = scope if pending and phrase.joints[-1].text == "that" else ""
        elif not (in_list or pending or phrase.joined_by("or")) and (scope != "verb" or own & (OWN | {"hedge"})):
            scope = ""
        mentions = iter(phrase.mentions)
        passed = 0
        for token in phrase.tokens:
            if token.kind in MENTIONED:
                next(mentions).negated = bool(scope) and (scope == "verb" or pending or (in_list and not passed))
                pending, passed = False, passed + 1
            elif token.kind == "neg" and not _negates_last(token, phrase, passed):
                scope, pending = ("", False) if pending and scope in ("verb", "one") else (token.value, True)


def _negates_last(token: Token, phrase: Phrase, passed: int) -> bool:
    """Return whether a negation follows a mention and applies to it: "spindles are not seen"."""
    return passed > 0 and token in phrase.mentions[passed - 1].after


def mark_hedged(phrases: Sequence[Phrase], lists: Sequence[Sequence[Mention]]) -> None:
    """Mark mentions that are hedged: "which hints at spindles and perhaps slow waves"."""
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
            elif token.kind in MENTIONED:
                mention = next(mentions)
                mention.hedged = hedged or _is_hedged(mention)
    for items in lists:
        if any(mention.hedged for mention in (items[0], items[-1])):
            for mention in items:
                mention.hedged = True


def _is_hedged(mention: Mention) -> bool:
    """Return whether "may", "possibly" or the like applies to a mention, not to what the mention suggests."""
    after = [token.kind for token in mention.after]
    stands_for_more = "modal" in after and "hedge" in after[after.index("modal") :]
    is_modal_after = "modal" in after and not stands_for_more and not mention.negated
    return is_modal_after or any(token.kind == "modal" for token in mention.before)


def mark_shared(lists: Sequence[Sequence[Mention]]) -> None:
    """Copy the words before the first and after the last item of a list to all items without figures of their own."""
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
