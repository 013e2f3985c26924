"""The closing reason of a brief rationale: the rule that decides for a sleep stage, and the one that leaves doubt.

"Decisive for N2 (5.B): the spindle and the K-complex; doubt (6.B): slow waves past a fifth." Rationales that models
learn from end so, and a model that has the measured facts in its prompt chooses among the closings that hold, one a
sleep stage (`stage.reasons`).
"""

from collections.abc import Sequence

from tslm.evidence import words
from tslm.evidence.criteria import Criterion, Facts, find_criteria
from tslm.evidence.text.facts_line import percent
from tslm.labels import SleepStage

CLOSING_PREFIX = "Decisive"  # every closing begins with it, and no other sentence of a brief rationale
_MOST_FOR, _MOST_AGAINST = 2, 1  # reasons of a closing

# Finding (tslm.evidence.criteria) -> its phrase.
_PHRASES = {
    "slow_over": "slow waves past a fifth",
    "slow_under": "slow waves under a fifth",
    "recent_waves": words.RECENT_WAVES,
    "spindles": "{spindles}",
    "k_complexes": "{k_complexes}",
    "no_spindles_or_k": "absent spindles and K-complexes",
    "alpha": "alpha rhythm",
    "no_alpha": "scarce alpha",
    "fast": "fast activity",
    "no_fast": "little fast activity",
    "muscle": "muscle activity",
    "theta_leads": "leading theta",
    "theta": "theta",
    "no_theta": "theta at only {theta}",
    "delta_leads": "leading delta",
    "delta_behind": "delta at only {delta}",
    "eyes": "eye movements",
    "sawtooth": "the sawtooth waves",
    "artefact": "flat or clipped parts",
    "no_artefact": "the absence of flat or clipped parts",
    "tone": "the {tone} muscle tone",
}


def choose_reasons(
    facts: Facts, sleep_stage: SleepStage, is_human: bool = True
) -> tuple[list[Criterion], list[Criterion]]:
    """The criteria that a closing cites for a sleep stage, all of one rule, and against it; both may be empty.

    Against it, where something speaks for it, only findings that are present or that decide.
    """
    held_for, held_against = find_criteria(sleep_stage, facts, is_human)
    if held_for:
        held_against = [row for row in held_against if row.finding.is_present or row.is_deciding]
    cited_for = [row for row in held_for if row.rule == held_for[0].rule]
    return cited_for[:_MOST_FOR], held_against[:_MOST_AGAINST]


def render_closing(facts: Facts, sleep_stage: SleepStage, is_human: bool = True) -> str:
    """The closing sentence for a sleep stage with its full stop; empty where no criterion holds.

    The sleep stage comes first: a language model that has written it has decided, and rule, reasons and answer follow
    from it. A closing that begins with its rule makes the choice of a rule one of the sleep stage
    (docs/decisions/042-the-closing-names-the-stage.md).

    Args:
        facts: of the epoch (`tslm.evidence.words.epoch_facts`).
        sleep_stage: the answer.
        is_human: whether the criteria are those of people.
    """
    cited_for, cited_against = choose_reasons(facts, sleep_stage, is_human)
    if not (cited_for or cited_against):
        return ""
    parts = [f"{CLOSING_PREFIX} for {sleep_stage.value}{_cite(cited_for, facts) if cited_for else ': nothing'}"]
    if cited_against:
        parts.append(f"doubt{_cite(cited_against, facts)}")
    return f"{'; '.join(parts)}."


def replace_closing(rationale: str, closing: str) -> str:
    """A brief rationale that ends in another closing; one without a closing gets it.

    Args:
        rationale: sentences, the closing last.
        closing: of `render_closing`.
    """
    body = rationale.partition(f"{CLOSING_PREFIX} for ")[0].rstrip()
    return f"{body} {closing}".lstrip()


def _cite(rows: Sequence[Criterion], facts: Facts) -> str:
    reasons = " and ".join(_phrase(row.finding.name, facts) for row in rows)
    return f" ({rows[0].rule.name}): {reasons}"


def _phrase(name: str, facts: Facts) -> str:
    slots = {
        slot: f"the {noun}" if facts.get(column) == 1 else plural
        for slot, column, noun, plural in (
            ("spindles", "spindle_count", "spindle", "spindles"),
            ("k_complexes", "k_complex_count", "K-complex", "K-complexes"),
        )
    }
    slots["tone"] = words.tone_word(facts["emg_tone"]) if "emg_tone" in facts else ""
    slots |= {band: percent(facts[f"{band}_share"]) for band in ("delta", "theta") if f"{band}_share" in facts}
    return _PHRASES[name].format_map(slots)
