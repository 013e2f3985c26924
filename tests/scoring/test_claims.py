from collections import Counter

import pytest

from tests.scoring.labelled_sentences import MODEL, OWN
from tslm.scoring.claim_kinds import Claim, Relation
from tslm.scoring.claim_words import LEVEL_WORDS
from tslm.scoring.claims import read_claims

_SIGNS = {Relation.EQUALS: "=", Relation.ABOUT: "~", Relation.AT_LEAST: ">=", Relation.AT_MOST: "<="}


def render(claim: Claim) -> str:
    """A claim in the notation of the labels."""
    name = f"{'-' * claim.negated}{'?' * claim.hedged}{claim.feature}"
    value, upper = claim.value, claim.upper
    if claim.relation == Relation.PRESENT:
        return name
    if claim.relation == Relation.LEVEL:
        words = dict.fromkeys((LEVEL_WORDS[int(value)], LEVEL_WORDS[int(upper)]))
        return f"{name}:{'-'.join(words)}"
    if claim.relation == Relation.LEADS:
        return f"{name}:leads{'' if value == 1 else int(value)}"
    if claim.relation in _SIGNS:
        return f"{name}{_SIGNS[claim.relation]}{value:.3g}{'' if upper is None else f'-{upper:.3g}'}{claim.unit}"
    return f"{name}:{claim.relation}"


def parse_label(label: str) -> Counter[str]:
    return Counter(label.replace("very high", "very_high").split())


def read_labels(text: str) -> Counter[str]:
    return Counter(render(claim).replace("very high", "very_high") for claim in read_claims(text))


def share_read_right(sentences) -> float:
    """Claims read as labelled, over those and all that were missed, misread or made up."""
    right = wrong = 0
    for text, label in sentences:
        wanted, found = parse_label(label), read_labels(text)
        right += (wanted & found).total()
        wrong += max((wanted - found).total(), (found - wanted).total())
    return right / (right + wrong)


@pytest.mark.parametrize("sentences", [OWN, MODEL], ids=["a scorer's words", "a model's words"])
def test_claims_are_read_as_a_person_labelled_them(sentences):
    assert len(sentences) >= 60
    assert share_read_right(sentences) >= 0.95
