"""Arguments of a rationale: claims that it cites for its answer or against it, and whether they speak so.

"Decisive (6.A): leading delta; doubt (6.B): slow waves under a fifth" cites the first claim for the answer and the
second against it. Whether a claim speaks for a sleep stage is decided by the table of criteria.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tslm.evidence import words
from tslm.evidence.criteria import RULES, Feature, weigh_feature, weigh_finding
from tslm.explain.claims.read import FIGURES, Claim, Relation
from tslm.explain.claims.words import CITED_RULE, fold
from tslm.labels import SleepStage


@dataclass(frozen=True)
class Argument:
    """A claim that a rationale cites for its answer, or against it."""

    claim: Claim
    is_for: bool
    rule: str = ""  # that is cited with it (`tslm.evidence.criteria.RULES`); empty: none


def read_arguments(text: str, claims: Sequence[Claim]) -> list[Argument]:
    """The arguments among the claims of a text (`tslm.explain.claims.read.read_claims`), in order.

    A part of a sentence that says what decides, or what leaves doubt, makes arguments of all claims in it.
    """
    folded = fold(text)
    rules = [(match.end(), _RULE_NAMES.get(match[1], match[1])) for match in CITED_RULE.finditer(folded)]
    arguments = []
    for start, stop in _split_parts(folded):
        part = folded[start:stop]
        is_against = _AGAINST.search(part) is not None
        if not (is_against or _FOR.search(part)):
            continue
        for claim in claims:
            if start <= claim.start < stop:
                after = [name for end, name in rules if claim.stop <= end <= stop]  # "theta (4.B)"
                before = [name for end, name in rules if start <= end <= claim.start]  # "decisive (4.B): theta"
                rule = (after[:1] or before[-1:] or [""])[0]
                arguments.append(Argument(claim, not is_against, rule))
    return arguments


def weigh_rationale(text: str, claims: Sequence[Claim], answer: SleepStage | None) -> float:
    """Weigh a rationale for its answer: above 0 it speaks for it, below 0 against it, 0 for neither.

    Where the text says what decides, its arguments are weighed: they speak for the answer if some are cited for it and
    none is misused (`find_misused`). A text that only states its doubts weighs 0. Without arguments all claims are
    weighed.
    """
    if answer is None:
        return 0.0
    arguments = read_arguments(text, claims)
    if not arguments:
        return sum(weigh_feature(claim.feature, answer) * find_polarity(claim) for claim in claims)
    if find_misused(arguments, answer):
        return -1.0
    return 1.0 if any(argument.is_for for argument in arguments) else 0.0


def find_misused(arguments: Sequence[Argument], answer: SleepStage) -> list[Argument]:
    """Arguments that do not speak as they are cited: by no criterion of the answer, or by one for the other side."""
    told = {(argument.claim.feature, argument.is_for) for argument in arguments if argument.claim.unit != "power"}
    misused = []
    for argument in arguments:
        if argument.claim.unit == "power" and (argument.claim.feature, argument.is_for) in told:
            continue  # "leading delta 45%": the lead is the argument
        weight = _weigh(argument, answer)
        if weight is None or (weight < 0 if argument.is_for else weight > 0):
            misused.append(argument)
    return misused


def _weigh(argument: Argument, answer: SleepStage) -> float | None:
    """Weigh one argument; None where no criterion of the sleep stage has its feature and its rule."""
    claim = argument.claim
    is_present = find_polarity(claim) > 0
    if claim.unit == "power":
        is_present = (claim.value or 0.0) >= words.BAND_SHARES.get(claim.feature, 1.0)
    return weigh_finding(claim.feature, is_present, answer, argument.rule)


def _split_parts(folded: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _END_OF_PART.finditer(folded):
        yield start, match.start()
        start = match.end()
    yield start, len(folded)


_RULE_NAMES = {name.lower(): name for name in RULES}
_END_OF_PART = re.compile(r"[.!?](?=\s|$)|[;\n]|, (?=though|but|yet|still|although|however)")
_FOR = re.compile(
    r"\b(?:decisive|deciding|telling|decides|decided|settles|settled|weighs most|weighed most|made the case"
    r"|tipped the balance|carried the decision|(?:scored|judged) (?:on|by)|in (?:favou?r|support)"
    r"|(?:decision|choice|label|score) (?:rests on|builds on|follows|leans on)|what counts"
    r"|(?:main|best|chief) (?:point|argument|reason))\b"
)
_AGAINST = re.compile(
    r"\b(?:doubt|uncertain|uncertainty|certainty is missing|borderline|case stays open|thin ground|objection"
    r"|point against|(?:speaks|spoke|argues|argued|speak|argue) against)\b"
)


def find_polarity(claim: Claim) -> float:
    """Return 1 if a claim says that its feature is clearly present, -1 if absent, a value between if neither."""
    if claim.relation in FIGURES and claim.value is not None:
        return _find_polarity_of_figure(claim, claim.value)
    if claim.relation == Relation.LEVEL:
        sign = {0.0: -1.0, 2.0: 1.0, 3.0: 1.0}.get(claim.value or 0.0, 0.0)
    elif claim.relation == Relation.FEW:
        sign = -1.0
    elif claim.feature == Feature.SLOW_WAVES and claim.relation != Relation.MANY:
        sign = 1.0 if claim.negated else 0.5  # no number is given
    else:
        sign = 1.0
    return -sign if claim.negated else sign


def _find_polarity_of_figure(claim: Claim, value: float) -> float:
    if claim.unit == "power":
        return 0.0
    if claim.unit == "times":
        return 1.0 if value >= words.TONE_HIGH else -1.0 if value <= words.TONE_LOW else 0.0
    bar = {Feature.SLOW_WAVES: words.SLOW_WAVES_MANY, Feature.ALPHA: words.ALPHA_MOST}.get(claim.feature, 1e-9)
    is_above = value >= bar and claim.relation != Relation.AT_MOST
    return 1.0 if is_above != claim.negated else -1.0
