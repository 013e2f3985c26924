"""Compose rationales from measured evidence, one per epoch; every claim is a measured value.

1. choose the statements that hold, in sections                                          (`statements`)
2. write them: `full` varies order and construction                                      (_write_varied)
   `brief` takes phrases of the prompt's line of facts as they are                       (tslm.evidence.text.facts_line)
3. end with the findings for and against the expert's label, and their rules             (_write_closing;
   `brief`: tslm.evidence.text.closing)

Only the closing depends on the expert's label. No text names a sleep stage; `tslm.answers.grammar.render_response`
adds it. `wordings` is the table of phrases, `tslm.evidence.criteria` the table of findings per sleep stage.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.rationales.statements import choose_human, choose_rodent, cite_times, fill_slots, fill_time_slots
from data_prep.rationales.wordings import (
    AGAINST,
    CONNECTORS,
    FOR,
    JOINS,
    LEADS_IN,
    ONLY_AGAINST,
    OPENERS,
    REASONS,
    STATEMENTS,
    Choose,
    Wording,
    write_out,
)
from tslm.data.events import recording_events
from tslm.data.prepared.recordings import Recording
from tslm.evidence import words
from tslm.evidence.criteria import Criterion, Facts, find_criteria
from tslm.evidence.events import Event
from tslm.evidence.text.closing import choose_reasons, render_closing
from tslm.evidence.text.facts_line import BEHIND, phrase_facts
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.prompts import RATIONALE_STYLES, check_style
from tslm.seeds import hash_seed


@dataclass(frozen=True)
class Rationale:
    """A text, and the features (`tslm.evidence.criteria.Feature`) of its varied statements and of its reasons."""

    text: str
    features: tuple[str, ...]


def add_rationales(recording: Recording, seed: int, style: str = RATIONALE_STYLES[0]) -> Recording:
    """Add a column `rationale` written from the evidence columns and the events; errors as `write_rationales`.

    Args:
        recording: Has the columns of `tslm.evidence.measure.measure_evidence`, and the channel that they are of.
        seed: Seed of the cohort; each recording's seed is derived from it.
        style: One of `tslm.prompts.RATIONALE_STYLES`.
    """
    evidence = {name: values for name, values in recording.columns.items() if isinstance(values, np.ndarray)}
    own_seed = hash_seed(seed, recording.recording)
    events = recording_events(recording)
    texts = write_rationales(evidence, recording.sleep_stages, own_seed, recording.species, style, events)
    return replace(recording, columns={**recording.columns, "rationale": texts})


def write_rationales(
    evidence: Mapping[str, np.ndarray],
    sleep_stages: Sequence[SleepStage],
    seed: int,
    species: str = "human",
    style: str = RATIONALE_STYLES[0],
    events: Sequence[Sequence[Event]] | None = None,
) -> list[str]:
    """One rationale per epoch, empty if the label cannot be an answer (unscored).

    Args:
        evidence: Columns of `tslm.evidence.measure.measure_evidence`, and those of
            `tslm.evidence.muscle.measure_emg` if there are any; one value per epoch.
        sleep_stages: The expert's label of each epoch.
        seed: Selects among wordings; the same seed and position of an epoch give the same text.
        species: If not "human", the text leaves out spindles, K-complexes, alpha and eye movements, which are
            defined for the human scalp EEG.
        style: One of `tslm.prompts.RATIONALE_STYLES`: `full` varies, `brief` makes few statements of one wording each.
        events: Of each epoch, whose times `full` may say; None: it says none.

    Raises:
        ValueError: Evidence, events and labels differ in length, or the style is unknown.
    """
    num_epochs = len(evidence["rms_uv"])
    events = [()] * num_epochs if events is None else events
    if not num_epochs == len(sleep_stages) == len(events):
        raise ValueError(
            f"evidence of {num_epochs} epochs, but events of {len(events)} and {len(sleep_stages)} labels; pass one of "
            "each per epoch"
        )
    check_style(style, RATIONALE_STYLES)
    is_human, is_brief = species == "human", style == "brief"
    texts = []
    for idx, sleep_stage in enumerate(sleep_stages):
        if sleep_stage not in ANSWER_NAMES:
            texts.append("")
            continue
        facts = words.epoch_facts(evidence, idx)
        if is_brief:
            texts.append(compose_brief(facts, sleep_stage, is_human).text)
        else:
            texts.append(compose_varied(facts, sleep_stage, f"{seed}/{idx}", is_human, events[idx]).text)
    return texts


def compose_varied(
    facts: Facts, sleep_stage: SleepStage, seed: str, is_human: bool = True, events: Sequence[Event] = ()
) -> Rationale:
    """The `full` rationale for one epoch's facts (`tslm.evidence.words.epoch_facts`), with times of events."""
    if words.is_unmeasurable(facts):
        return compose_brief(facts, sleep_stage, is_human)
    slots = fill_slots(facts, is_human) | fill_time_slots(facts, events)
    body, stated = _write_varied(facts, slots, is_human, seed)
    rng = random.Random(f"{seed}/{sleep_stage}")
    held_for, held_against = find_criteria(sleep_stage, facts, is_human)
    cited_for, cited_against = held_for[:2], held_against[: 1 if held_for else 2]
    closing = _write_closing(cited_for, cited_against, slots, rng.choice, rng.shuffle)
    return _join([body, closing], [*(STATEMENTS[name] for name in stated), *_reasons(cited_for, cited_against)], slots)


def compose_brief(facts: Facts, sleep_stage: SleepStage, is_human: bool = True) -> Rationale:
    """The `brief` rationale: phrases of the prompt's line of facts, one wording each, and one or two reasons."""
    group = "human" if is_human else "rodent"
    sections = phrase_facts(facts, group)
    sentences = [
        ", ".join(phrases)
        for section in sections
        if (phrases := [text for name, text in section.items() if name not in BEHIND])
    ]
    cited_for, cited_against = choose_reasons(facts, sleep_stage, is_human)
    closing = render_closing(facts, sleep_stage, is_human)
    slots = fill_slots(facts, is_human) if closing else {}
    return _join([*sentences, *filter(None, [closing.removesuffix(".")])], _reasons(cited_for, cited_against), slots)


def _reasons(cited_for: Sequence[Criterion], cited_against: Sequence[Criterion]) -> list[Wording]:
    return [REASONS[row.finding.name] for row in (*cited_for, *cited_against)]


def _join(sentences: Sequence[str], wordings_used: Sequence[Wording], slots: Mapping[str, str]) -> Rationale:
    features = [feature.format_map(slots) for wording in wordings_used for feature in wording.features]
    text = f"{'. '.join(sentences)}.".split(". ")
    return Rationale(". ".join(sentence[0].upper() + sentence[1:] for sentence in text), tuple(features))


MAX_STATEMENTS = 9
MAX_BODY_WORDS = 47


def _write_varied(facts: Facts, slots: Mapping[str, str], is_human: bool, seed: str) -> tuple[str, list[str]]:
    """Sentences in random order with as many statements as fit, and the names of the statements."""
    rng = random.Random(seed)
    for num_statements in range(MAX_STATEMENTS, 0, -1):
        sections = (choose_human if is_human else choose_rodent)(facts, num_statements, rng)
        if not is_human:
            amplitude, spectrum, around = sections
            sections = rng.choice((sections, [amplitude + spectrum, around], [spectrum, around + amplitude]))
        sections = [cite_times(section, slots, rng) for section in sections if section]
        body, stated = _write_sections(sections, slots, rng)
        if len(body.split()) <= MAX_BODY_WORDS:
            break
    return body, stated


def _write_sections(sections: list[list[str]], slots: Mapping[str, str], rng: random.Random) -> tuple[str, list[str]]:
    """Sentences of one to three statements each, by section, and the names of the statements."""
    rng.shuffle(sections)
    openers, leads_in, connectors = (rng.sample(choices, len(choices)) for choices in (OPENERS, LEADS_IN, CONNECTORS))
    sentences, stated = [], []
    for names in sections:
        rng.shuffle(names)
        stated += names
        while names:
            size = min(rng.choice((1, 2, 2, 3)), len(names))
            now, names = names[:size], names[size:]
            sentences.append(_write_sentence(now, slots, rng, openers, leads_in, connectors))
    return ". ".join(sentences), stated


def _write_sentence(
    names: Sequence[str],
    slots: Mapping[str, str],
    rng: random.Random,
    openers: list[str],
    leads_in: list[str],
    connectors: list[str],
) -> str:
    """A list of noun phrases, several clauses, or one clause with phrases; used connecting words are removed."""
    kind = rng.choice(("list", "clauses", "clauses", "before", "behind") if len(names) > 1 else ("list", "clauses"))
    if kind == "list":
        return (leads_in.pop() if leads_in and rng.random() < 0.6 else "") + _list(names, slots, rng)
    if kind == "clauses":
        clauses = [write_out(rng.choice(STATEMENTS[name].clauses), slots, rng.choice) for name in names]
        text = (openers.pop() if openers and rng.random() < 0.3 else "") + clauses[0]
        for clause in clauses[1:]:
            text += (connectors.pop() if connectors else "; ") + clause
        return text
    main, *others = sorted(names, key=lambda name: name not in ("bands", "one_band", "amplitude"))
    clause = write_out(rng.choice(STATEMENTS[main].clauses), slots, rng.choice)
    phrases = _list(others, slots, rng)
    return f"with {phrases}, {clause}" if kind == "before" else f"{clause}, with {phrases}"


# A reader may apply what is said of the first item of a list to all items, so these come last.
_ENDING = ("a lack", "an absence", "no spindles", "no K-complexes", "neither")
_FAR_REACHING = (
    "no ",
    "few ",
    "hardly",
    "little",
    "next",
    "scant",
    "scarcely",
    "barely",
    "almost",
    "limited",
    "sparse",
)
_REACHING = ("abundant", "prominent", "much")


def _list(names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(STATEMENTS[name].phrases), slots, rng.choice) for name in names]
    phrases.sort(key=lambda phrase: [phrase.startswith(starts) for starts in (_ENDING, _FAR_REACHING, _REACHING)])
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _write_closing(
    cited_for: Sequence[Criterion],
    cited_against: Sequence[Criterion],
    slots: Mapping[str, str],
    choose: Choose,
    shuffle: Callable[[list[str]], None],
) -> str:
    """The findings for the label, then those against it, each with its rule."""
    parts = [_cite(FOR, cited_for, slots, choose, shuffle)] if cited_for else []
    if cited_against:
        parts.append(_cite(AGAINST if cited_for else ONLY_AGAINST, cited_against, slots, choose, shuffle))
    return choose(JOINS).join(parts)


def _cite(
    frames: Sequence[str],
    rows: Sequence[Criterion],
    slots: Mapping[str, str],
    choose: Choose,
    shuffle: Callable[[list[str]], None],
) -> str:
    phrases = [
        f"{write_out(choose(REASONS[row.finding.name].phrases), slots, choose)} ({row.rule.name})" for row in rows
    ]
    shuffle(phrases)
    phrases.sort(key=lambda phrase: (phrase.startswith(_DENYING), "in the lead" not in phrase))
    return write_out(choose(frames), {"reasons": " and ".join(phrases)}, choose)


# A negation in the first item of a list may be read as one of all items, so these come last;
# "in the lead" after the last item may be read as said of all items, so it comes first.
_DENYING = (
    "no ", "the absence", "the lack", "absent", "missing", "scarce", "sparse", "limited", "scant",
    "delta that", "delta, which",
)  # fmt: skip
