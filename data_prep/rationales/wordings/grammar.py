"""How one thing may be said in many ways: the grammar of wordings, and the choices that many of them share.

`[a|b]` stands for either, at random, and may be empty or nested; `{name}` is filled with a fact.
All wordings of one row make the same claims, so a text's claims are known when it is written.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Wording:
    """Ways to say one thing: as a clause of its own, and as a noun phrase for a list; `features` it makes claims on."""

    features: tuple[str, ...]  # Feature values, or {band} slots that name one
    clauses: tuple[str, ...]
    phrases: tuple[str, ...]


def write_out(template: str, slots: Mapping[str, str], rng: random.Random) -> str:
    """The template with every choice made and every slot filled."""
    text = template.format_map(slots)
    while choice := _CHOICE.search(text):
        text = text[: choice.start()] + rng.choice(choice[1].split("|")) + text[choice.end() :]
    return text


# Choices that wordings of more than one row share.
EPOCH = "[the epoch|the trace|the EEG|the record]"
HOLDS = "[holds|contains|has]"
OF_TIME = "of the [time|epoch|window|interval|segment]"
HARDLY = "[few|hardly any|next to no|scarcely any|barely any|almost no]"
THEN = "[followed by|then|ahead of|trailed by|in front of]"
SEEN = "[are seen|can be found|occur|appear|show up]"
IS_SEEN = "[is seen|can be found|occurs|appears|shows up]"
STOOD_OUT = "[can be counted|can be made out|stood out|met the criteria]"
GONE = "[absent|missing|not seen|not found]"
COMES_TO = "[lies at|comes to|amounts to|is|measures]"
LEADS = "[leads|prevails|dominates]"
AT = "[with|at]"
MEDIAN = "[its median|the median|the recording's median|the record's median]"
TONE = "[muscle tone|the muscle tone|EMG tone|muscle tension|{site} muscle tone]"
SPARSE = "[scarce|limited|sparse|minimal|rare|scant|negligible|weak]"
LITTLE = "[little|hardly any|scant|scarcely any|barely any|next to no|limited|sparse]"
