"""Compose rationales from measured evidence, one per epoch; every claim is a measured value.

1. choose the statements that hold, in sections                                          (`statements`)
2. write them: `full` varies order and construction, `brief` is two lists                (_write_varied, _write_brief)
3. end with the findings for and against the expert's label                              (_write_closing)

Only the closing depends on the expert's label. No text names a sleep stage; `tslm.answers.grammar.render_response`
adds it. `wordings` is the table of phrases, `tslm.evidence.criteria` the table of findings per sleep stage.
"""

import random
from collections.abc import Mapping, Sequence
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
    write_out,
)
from tslm.data.events import recording_events
from tslm.data.prepared.recordings import Recording
from tslm.evidence import words
from tslm.evidence.criteria import Criterion, Facts, find_criteria
from tslm.evidence.events import Event
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.prompts import STYLES, check_style
from tslm.seeds import hash_seed


@dataclass(frozen=True)
class Rationale:
    """A text, and the features (`tslm.evidence.criteria.Feature`) that its claims are about."""

    text: str
    features: tuple[str, ...]


def add_rationales(recording: Recording, seed: int, style: str = STYLES[0]) -> Recording:
    """Add a column `rationale` written from the evidence columns and the events; errors as `write_rationales`.

    Args:
        recording: Has the columns of `tslm.evidence.measure.measure_evidence`, and the channel that they are of.
        seed: Seed of the cohort; each recording's seed is derived from it.
        style: One of `tslm.prompts.STYLES`.
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
    style: str = STYLES[0],
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
        style: One of `tslm.prompts.STYLES`: `full` varies, `brief` makes few statements with one wording each.
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
    check_style(style)
    is_human, is_brief = species == "human", style == "brief"
    return [
        compose_rationale(
            words.epoch_facts(evidence, idx), sleep_stage, f"{seed}/{idx}", is_human, is_brief, events[idx]
        ).text
        if sleep_stage in ANSWER_NAMES
        else ""
        for idx, sleep_stage in enumerate(sleep_stages)
    ]


def compose_rationale(
    facts: Facts,
    sleep_stage: SleepStage,
    seed: str,
    is_human: bool = True,
    is_brief: bool = False,
    events: Sequence[Event] = (),
) -> Rationale:
    """The rationale for one epoch's facts (`tslm.evidence.words.epoch_facts`); `full` may say the times of events."""
    if is_brief:
        facts = {name: value for name, value in facts.items() if name not in _NOT_IN_BRIEF}
    slots = fill_slots(facts, is_human) | fill_time_slots(facts, events)
    body, stated = _write_brief(facts, slots, is_human) if is_brief else _write_varied(facts, slots, is_human, seed)
    rng = random.Random(f"{seed}/{sleep_stage}")
    held_for, held_against = find_criteria(sleep_stage, facts, is_human)
    closing, cited = _write_closing(held_for, held_against, slots, rng, is_brief)
    wordings_used = [*(STATEMENTS[name] for name in stated), *(REASONS[name] for name in cited)]
    features = [feature.format_map(slots) for wording in wordings_used for feature in wording.features]
    sentences = f"{body}. {closing}.".split(". ")
    return Rationale(". ".join(text[0].upper() + text[1:] for text in sentences), tuple(features))


# Columns and statements left out of a brief rationale.
_NOT_IN_BRIEF = ("spindle_duration_s", "sawtooth_count", "emg_tone", "no_spindles", "no_k_complexes")
MAX_STATEMENTS = 9
MAX_BODY_WORDS = 47


def _write_brief(facts: Facts, slots: Mapping[str, str], is_human: bool) -> tuple[str, list[str]]:
    """Two sentences (amplitude and bands, then waveforms), and the names of their statements."""
    first, second, third = (choose_human if is_human else choose_rodent)(facts, 0, random.Random(0))
    sections = [first, second + third] if is_human else [first + second, third]
    sections = [[name for name in names if name not in _NOT_IN_BRIEF] for names in sections]
    sentences = [[write_out(STATEMENTS[name].phrases[0], slots, _choose_first) for name in names] for names in sections]
    return ". ".join(", ".join(phrases) for phrases in sentences), [name for names in sections for name in names]


def _choose_first(options: Sequence[str]) -> str:
    return options[0]


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
    held_for: Sequence[Criterion],
    held_against: Sequence[Criterion],
    slots: Mapping[str, str],
    rng: random.Random,
    is_brief: bool,
) -> tuple[str, list[str]]:
    """The findings for the label, then those against it, and the names of the cited reasons."""
    if is_brief and held_for:  # against it only findings that are present, or that decide
        held_against = [row for row in held_against if row.finding.is_present or row.is_deciding]
    names_for = [row.finding.name for row in held_for][: 1 if is_brief and held_against else 2]
    names_against = [row.finding.name for row in held_against][: 1 if is_brief or names_for else 2]
    choose = _choose_first if is_brief else rng.choice
    parts = [_cite(FOR, names_for, slots, rng, choose)] if names_for else []
    if names_against:
        parts.append(_cite(AGAINST if names_for else ONLY_AGAINST, names_against, slots, rng, choose))
    return choose(JOINS).join(parts), [*names_for, *names_against]


def _cite(
    frames: Sequence[str], names: Sequence[str], slots: Mapping[str, str], rng: random.Random, choose: Choose
) -> str:
    phrases = [write_out(choose(REASONS[name].phrases), slots, choose) for name in names]
    if choose is not _choose_first:
        rng.shuffle(phrases)
    phrases.sort(key=lambda phrase: (phrase.startswith(_DENYING), not phrase.endswith("in the lead")))
    return write_out(choose(frames), {"reasons": " and ".join(phrases)}, choose)


# A negation in the first item of a list may be read as one of all items, so these come last;
# "in the lead" after the last item may be read as said of all items, so it comes first.
_DENYING = (
    "no ", "the absence", "the lack", "absent", "missing", "scarce", "sparse", "limited", "scant",
    "delta that", "delta, which",
)  # fmt: skip
