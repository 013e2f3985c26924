"""The range of values that a text states of one feature: all of its claims on it, taken together."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tslm.evidence import words
from tslm.evidence.criteria import Feature
from tslm.explain.claims.read import Claim, Relation


@dataclass(frozen=True)
class Stated:
    """Lowest and highest value that claims leave open, in the unit of the feature's column of evidence."""

    lowest: float
    highest: float

    @property
    def is_consistent(self) -> bool:
        """Whether some value fits all claims."""
        return self.lowest <= self.highest


@dataclass(frozen=True)
class _Words:
    """What words without a figure say: few up to, present from, many from, none up to."""

    few: float
    present: float
    many: float
    none: float


_COUNT = _Words(words.COUNT_FEW, 1, words.COUNT_MANY, 0)
_WORDS = {
    Feature.SPINDLES: _COUNT,
    Feature.K_COMPLEXES: _COUNT,
    Feature.EYE_MOVEMENTS: _COUNT,
    Feature.SLOW_WAVES: _Words(*(words.SLOW_WAVES_SOME,) * 2, words.SLOW_WAVES_MANY, words.SLOW_WAVES_SOME),
    Feature.ALPHA: _Words(*(words.ALPHA_SOME,) * 2, words.ALPHA_MOST, words.ALPHA_SOME),
}
_OTHER_UNITS = ("s", "per_minute")  # of figures on spindles that are not their number


def read_stated(claims: Iterable[Claim], feature: Feature) -> Stated | None:
    """The range that claims state of a count, or of the share of time with slow waves or alpha; None without any.

    Raises:
        KeyError: another feature, of which words give no range.
    """
    ranges = [_find_range(claim, _WORDS[feature]) for claim in claims if claim.feature == feature]
    known = [bounds for bounds in ranges if bounds is not None]
    if not known:
        return None
    return Stated(max(low for low, _ in known), min(high for _, high in known))


def _find_range(claim: Claim, of_word: _Words) -> tuple[float, float] | None:
    low, high = -math.inf, math.inf
    relation = claim.relation
    if claim.unit == "power" or relation == Relation.SECOND:
        return None
    if claim.unit in _OTHER_UNITS or relation in (Relation.LEADS, Relation.PRESENT, Relation.LEVEL):
        return (low, of_word.none) if claim.negated else (of_word.present, high)
    if relation == Relation.SOMETIMES:
        return None if claim.negated else (of_word.present, of_word.many)
    value = claim.value or 0.0
    at_least = {Relation.MANY: of_word.many, Relation.AT_LEAST: value}
    at_most = {Relation.FEW: of_word.few, Relation.AT_MOST: value}
    if relation in at_least:
        return (low, at_least[relation]) if claim.negated else (at_least[relation], high)
    if relation in at_most:
        return (at_most[relation], high) if claim.negated else (low, at_most[relation])
    return None if claim.negated else (value, claim.upper or value)
