"""The closing of a rationale: what speaks for and against the expert's label in an epoch."""

import random
from collections.abc import Mapping, Sequence

from data_prep.rationales.wordings.closing import AGAINST, FOR, JOINS, ONLY_AGAINST, REASONS
from data_prep.rationales.wordings.grammar import write_out
from tslm.evidence.criteria import Facts, find_criteria
from tslm.labels import SleepStage


def write_closing(
    facts: Facts, sleep_stage: SleepStage, slots: Mapping[str, str], rng: random.Random, is_human: bool
) -> tuple[str, list[str]]:
    """What speaks for the label, then what speaks against it, and the names of the reasons cited."""
    held_for, held_against = ([row.name for row in rows] for rows in find_criteria(sleep_stage, facts, is_human))
    held_for = held_for[:2]
    held_against = held_against[: 1 if held_for else 2]
    parts = [_cite(FOR, held_for, slots, rng)] if held_for else []
    if held_against:
        parts.append(_cite(AGAINST if held_for else ONLY_AGAINST, held_against, slots, rng))
    return rng.choice(JOINS).join(parts), [*held_for, *held_against]


def _cite(frames: Sequence[str], names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(REASONS[name].phrases), slots, rng) for name in names]
    rng.shuffle(phrases)
    phrases.sort(key=lambda phrase: phrase.startswith(_DENYING))
    return write_out(rng.choice(frames), {"reasons": " and ".join(phrases)}, rng)


_DENYING = (
    "the absence", "the lack", "absent", "missing", "scarce", "sparse", "limited", "scant",
    "delta that", "delta, which",
)  # fmt: skip
