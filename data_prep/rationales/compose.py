"""Rationales composed from measured evidence, one an epoch: every claim in them is a measured value.

1. choose what is said: statements that hold, in sections                        (_choose_human, _choose_rodent)
2. write them: `full` in changing order and construction, `brief` as two lists   (_write_varied, _write_brief)
3. close with what speaks for and against the expert's label                     (_write_closing)

Everything before the closing depends on the evidence alone, the closing on the expert's label too. No text names a
sleep stage; `tslm.answers.grammar.render_response` adds it. How each thing may be said is in `wordings`; what speaks
for a sleep stage in `tslm.evidence.criteria`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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
from tslm.data.prepared.recordings import Recording
from tslm.evidence import words
from tslm.evidence.criteria import Criterion, Facts, find_criteria
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.prompts import STYLES, check_style
from tslm.seeds import hash_seed


@dataclass(frozen=True)
class Rationale:
    """A text, and the features (`tslm.evidence.criteria.Feature`) of the claims it was composed of."""

    text: str
    features: tuple[str, ...]


def add_rationales(recording: Recording, seed: int, style: str = STYLES[0]) -> Recording:
    """The recording with a column `rationale`, written from its evidence columns; errors as `write_rationales`.

    Args:
        recording: with the columns of `tslm.evidence.measure.measure_evidence`.
        seed: each recording draws its own from it.
        style: one of `tslm.prompts.STYLES`.
    """
    evidence = {name: values for name, values in recording.columns.items() if isinstance(values, np.ndarray)}
    own_seed = hash_seed(seed, recording.recording)
    texts = write_rationales(evidence, recording.sleep_stages, own_seed, recording.species, style)
    return replace(recording, columns={**recording.columns, "rationale": texts})


def write_rationales(
    evidence: Mapping[str, np.ndarray],
    sleep_stages: Sequence[SleepStage],
    seed: int,
    species: str = "human",
    style: str = STYLES[0],
) -> list[str]:
    """One rationale an epoch, empty where the label cannot be an answer (unscored).

    Args:
        evidence: columns of `tslm.evidence.measure.measure_evidence`, one value an epoch; columns of
            `tslm.evidence.muscle.measure_emg` may stand beside them.
        sleep_stages: the expert's label of each epoch.
        seed: choice among wordings; the same seed gives the same text for an epoch's position.
        species: other than "human", nothing is said of spindles, K-complexes, alpha and eye movements,
            whose definitions are those of the human scalp EEG.
        style: one of `tslm.prompts.STYLES`: `full` varies, `brief` gives few statements with one wording each.

    Raises:
        ValueError: evidence and labels differ in length, or there is no such style.
    """
    num_epochs = len(evidence["rms_uv"])
    if num_epochs != len(sleep_stages):
        raise ValueError(f"evidence of {num_epochs} epochs but {len(sleep_stages)} labels; pass one label an epoch")
    check_style(style)
    is_human, is_brief = species == "human", style == "brief"
    return [
        compose_rationale(words.epoch_facts(evidence, idx), sleep_stage, f"{seed}/{idx}", is_human, is_brief).text
        if sleep_stage in ANSWER_NAMES
        else ""
        for idx, sleep_stage in enumerate(sleep_stages)
    ]


def compose_rationale(
    facts: Facts, sleep_stage: SleepStage, seed: str, is_human: bool = True, is_brief: bool = False
) -> Rationale:
    """The rationale for one epoch's facts (`tslm.evidence.words.epoch_facts`)."""
    if is_brief:
        facts = {name: value for name, value in facts.items() if name not in _NOT_IN_BRIEF}
    slots = _fill_slots(facts, is_human)
    body, stated = _write_brief(facts, slots, is_human) if is_brief else _write_varied(facts, slots, is_human, seed)
    rng = random.Random(f"{seed}/{sleep_stage}")
    held_for, held_against = find_criteria(sleep_stage, facts, is_human)
    closing, cited = _write_closing(held_for, held_against, slots, rng, is_brief)
    wordings_used = [*(STATEMENTS[name] for name in stated), *(REASONS[name] for name in cited)]
    features = [feature.format_map(slots) for wording in wordings_used for feature in wording.features]
    sentences = f"{body}. {closing}.".split(". ")
    return Rationale(". ".join(text[0].upper() + text[1:] for text in sentences), tuple(features))


# Columns and statements that a brief rationale leaves out.
_NOT_IN_BRIEF = ("spindle_duration_s", "sawtooth_count", "emg_tone", "no_spindles", "no_k_complexes")
MAX_STATEMENTS = 9
MAX_BODY_WORDS = 47


def _write_brief(facts: Facts, slots: Mapping[str, str], is_human: bool) -> tuple[str, list[str]]:
    """Two sentences in a fixed order, amplitude and bands, then waveforms, and the names of their statements."""
    first, second, third = (_choose_human if is_human else _choose_rodent)(facts, 0, random.Random(0))
    sections = [first, second + third] if is_human else [first + second, third]
    sections = [[name for name in names if name not in _NOT_IN_BRIEF] for names in sections]
    sentences = [[write_out(STATEMENTS[name].phrases[0], slots, _choose_first) for name in names] for names in sections]
    return ". ".join(", ".join(phrases) for phrases in sentences), [name for names in sections for name in names]


def _choose_first(options: Sequence[str]) -> str:
    return options[0]


def _write_varied(facts: Facts, slots: Mapping[str, str], is_human: bool, seed: str) -> tuple[str, list[str]]:
    """Sentences in changing order, of as many statements as fit, and the names of the statements."""
    rng = random.Random(seed)
    for num_statements in range(MAX_STATEMENTS, 0, -1):
        sections = (_choose_human if is_human else _choose_rodent)(facts, num_statements, rng)
        if not is_human:
            amplitude, spectrum, around = sections
            sections = rng.choice((sections, [amplitude + spectrum, around], [spectrum, around + amplitude]))
        body, stated = _write_sections([section for section in sections if section], slots, rng)
        if len(body.split()) <= MAX_BODY_WORDS:
            break
    return body, stated


def _write_sections(sections: list[list[str]], slots: Mapping[str, str], rng: random.Random) -> tuple[str, list[str]]:
    """Sentences of one to three statements each, section by section, and the names of the statements."""
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


def _fill_slots(facts: Facts, is_human: bool) -> dict[str, str]:
    slots = {
        "level": words.amplitude_word(facts["rms_uv"]),
        "rms": f"{facts['rms_uv']:.0f}",
        "peak_to_peak": f"{facts['peak_to_peak_uv']:.0f}",
        "peak": f"{facts['dominant_hz']:g}",
        "slow": _percent(facts["slow_wave_fraction"]),
        "alpha": _percent(facts["alpha_fraction"]),
        "often": "at times" if facts["alpha_fraction"] <= words.ALPHA_MOST else "over half the time",
        "artefact": _percent(facts["artefact_fraction"]),
        **{f"{band}_share": _percent(facts[f"{band}_share"]) for band in RODENT_BANDS},
        "site": "chin" if is_human else "neck",  # where the EMG is taken
        "spindles": _counted(facts["spindle_count"], "spindle"),
        "k_complexes": _counted(facts["k_complex_count"], "K-complex", "K-complexes"),
        "eyes": _counted(facts["eye_movement_count"], "eye movement"),
        "the_spindles": _counted(facts["spindle_count"], "spindle", is_known=True),
        "the_k_complexes": _counted(facts["k_complex_count"], "K-complex", "K-complexes", is_known=True),
        "the_eyes": _counted(facts["eye_movement_count"], "eye movement", is_known=True),
        "spindle_s": f"{facts.get('spindle_duration_s', 0.0):.1f}",
    }
    first, second, *others = words.rank_bands(facts)
    if not is_human:
        others = [pair for pair in (first, second, *others) if pair[0] in RODENT_BANDS and pair != first]
    for place, (band, share) in zip(("first", "second", "third", "fourth"), (first, second, *others), strict=False):
        slots |= {place: band, f"{place}_share": _percent(share)}
    if "emg_tone" in facts:
        slots |= {"tone": words.tone_word(facts["emg_tone"]), "times": f"{facts['emg_tone']:.1f}"}
    return slots


def _percent(share: float) -> str:
    return f"{round(100 * share)}%"


def _counted(count: float, singular: str, plural: str = "", is_known: bool = False) -> str:
    """A count with its noun, as a template; what was spoken of already may go without its number."""
    if count == 1:
        return f"[the|the one|the single|one|a single] {singular}" if is_known else f"[one|a single|1] {singular}"
    word = words.count_word(int(count))
    number = word if word == words.MANY_WORD else f"[{word}|{count:.0f}]"
    return f"{f'[|{number} |the {number} ]' if is_known else f'{number} '}{plural or singular + 's'}"


def _choose_human(facts: Facts, num_statements: int, rng: random.Random) -> list[list[str]]:
    """Names of the statements, by section: background, single waves, rhythm and what surrounds it."""
    background = ["amplitude", *_bands(facts)]
    figures = [*_spindles(facts, rng), "few_slow_waves" if _is_free_of_slow_waves(facts) else "slow_waves"]
    around = [
        *(["alpha"] if facts["alpha_fraction"] >= words.ALPHA_SOME else []),
        *(["eyes"] if facts["eye_movement_count"] else []),
        *_disturbances(facts),
    ]
    absent = [(around, name) for name in ("little_alpha", "still_eyes") if _PRESENT_OF[name] not in around]
    optional = [
        (background, "peak_to_peak"),
        (background, "peak_frequency"),
        (background, "other_bands"),
        *([] if "fast" in around else [(around, "little_fast")]),
        *([] if "muscle" in around else [(around, "no_muscle")]),
    ]
    rng.shuffle(optional)
    num_free = max(0, num_statements - len(background) - len(figures) - len(around))
    for section, name in [*absent, *optional][:num_free]:
        section.append(name)
    return [background, figures, around]


_PRESENT_OF = {"little_alpha": "alpha", "still_eyes": "eyes"}


def _choose_rodent(facts: Facts, num_statements: int, rng: random.Random) -> list[list[str]]:
    """As for people, of what is defined for rodents: delta, theta, fast activity and muscle tone."""
    amplitude = ["rms"]
    spectrum = [*(["one_band"] if words.rank_bands(facts)[0][0] in RODENT_BANDS else []), "other_bands"]
    around = [
        "fast" if words.has_band(facts, "beta") else "little_fast",
        *(name for name in _disturbances(facts) if name in ("tone", "artefact")),
    ]
    num_free = num_statements - len(amplitude) - len(spectrum) - len(around)
    optional = rng.sample(("peak_to_peak", "peak_frequency"), 2)[: max(0, num_free)]
    if "peak_frequency" in optional:
        spectrum.append("peak_frequency")
    if "peak_to_peak" in optional:
        amplitude = ["swings"] if rng.random() < 0.5 else ["rms", "peak_to_peak"]
    return [amplitude, spectrum, around]


RODENT_BANDS = ("delta", "theta", "beta")


def _bands(facts: Facts) -> list[str]:
    (_, _), (_, second_share) = words.rank_bands(facts)[:2]
    return ["bands" if second_share >= words.SECOND_BAND_SHARE else "one_band"]


def _spindles(facts: Facts, rng: random.Random) -> list[str]:
    has_spindles, has_k_complexes = facts["spindle_count"] > 0, facts["k_complex_count"] > 0
    if not has_spindles and not has_k_complexes:
        return ["no_spindles_or_k"]
    is_timed = has_spindles and facts.get("spindle_duration_s", 0.0) > 0 and rng.random() < 0.5
    spindles = "long_spindles" if is_timed else "spindles" if has_spindles else "no_spindles"
    return [spindles, "k_complexes" if has_k_complexes else "no_k_complexes"]


def _disturbances(facts: Facts) -> list[str]:
    return [
        *(["fast"] if words.has_band(facts, "beta") else []),
        *(["muscle"] if facts["high_frequency_ratio"] >= words.MUSCLE_RATIO else []),
        *(["artefact"] if facts["artefact_fraction"] >= words.ARTEFACT_SOME else []),
        *(["sawtooth"] if facts.get("sawtooth_count", 0) > 0 else []),
        *(["tone"] if facts.get("emg_tone", 0) > 0 else []),
    ]


def _is_free_of_slow_waves(facts: Facts) -> bool:
    return facts["slow_wave_fraction"] < words.SLOW_WAVES_SOME


def _write_sentence(
    names: Sequence[str],
    slots: Mapping[str, str],
    rng: random.Random,
    openers: list[str],
    leads_in: list[str],
    connectors: list[str],
) -> str:
    """A list of noun phrases, clauses side by side, or one clause with the rest as phrases; used words are spent."""
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


# What is said of a list's first item may be read as said of all, so these stand behind the others.
_ENDING = ("a lack", "an absence", "no spindles", "no K-complexes", "neither")
_FAR_REACHING = ("no ", "few ", "hardly", "little", "next", "scant", "scarcely", "barely", "almost")
_REACHING = ("abundant", "prominent", "much")


def _list(names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(STATEMENTS[name].phrases), slots, rng.choice) for name in names]
    return _join(phrases)


def _join(phrases: list[str]) -> str:
    phrases.sort(key=lambda phrase: [phrase.startswith(starts) for starts in (_ENDING, _FAR_REACHING, _REACHING)])
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _write_closing(
    held_for: Sequence[Criterion],
    held_against: Sequence[Criterion],
    slots: Mapping[str, str],
    rng: random.Random,
    is_brief: bool,
) -> tuple[str, list[str]]:
    """What speaks for the label, then what speaks against it, and the names of the reasons cited."""
    if is_brief and held_for:  # of what is against it, only what is there and should not be, or decides
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


# What is denied of a list's first item may be read as denied of all, so these stand behind the others.
# "In the lead" behind the last item may be read as said of all, so it stands before the others.
_DENYING = (
    "no ", "the absence", "the lack", "absent", "missing", "scarce", "sparse", "limited", "scant",
    "delta that", "delta, which",
)  # fmt: skip
