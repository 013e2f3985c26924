"""Rationales of style `full`: composed anew for each epoch, in changing order and construction.

1. choose what is said: statements that hold, in sections               (_choose_human, _choose_rodent)
2. write them as clauses or as lists, one to three a sentence           (_write_body)
3. close with what speaks for and against the expert's label            (rationale_reasons)

How each thing may be said is in `wordings` and the files named after it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.rationales.reasons import write_closing
from data_prep.rationales.wordings.background import BACKGROUND
from data_prep.rationales.wordings.closing import REASONS
from data_prep.rationales.wordings.grammar import write_out
from data_prep.rationales.wordings.joints import CONNECTORS, LEADS_IN, OPENERS
from data_prep.rationales.wordings.surroundings import SURROUNDINGS
from data_prep.rationales.wordings.waveforms import WAVEFORMS
from tslm.evidence import words
from tslm.evidence.criteria import Facts
from tslm.labels import SleepStage

STATEMENTS = BACKGROUND | WAVEFORMS | SURROUNDINGS


@dataclass(frozen=True)
class Rationale:
    """A text, and the features (`tslm.evidence.criteria.Feature`) of the claims it was composed of."""

    text: str
    features: tuple[str, ...]


def compose_rationale(facts: Facts, sleep_stage: SleepStage, seed: str, is_human: bool = True) -> Rationale:
    """The rationale of style `full` for one epoch's facts (`evidence_words.epoch_facts`)."""
    rng = random.Random(seed)
    slots = _fill_slots(facts, is_human)
    for num_statements in range(MAX_STATEMENTS, 0, -1):
        sections = _choose_human(facts, num_statements, rng) if is_human else _choose_rodent(facts, num_statements, rng)
        body, stated = _write_body(sections, slots, rng)
        if len(body.split()) <= MAX_BODY_WORDS:
            break
    closing, cited = write_closing(facts, sleep_stage, slots, random.Random(f"{seed}/{sleep_stage}"), is_human)
    wordings_used = [*(STATEMENTS[name] for name in stated), *(REASONS[name] for name in cited)]
    features = [feature.format_map(slots) for wording in wordings_used for feature in wording.features]
    sentences = f"{body}. {closing}.".split(". ")
    return Rationale(". ".join(text[0].upper() + text[1:] for text in sentences), tuple(features))


MAX_STATEMENTS = 9
MAX_BODY_WORDS = 47


def _write_body(sections: list[list[str]], slots: Mapping[str, str], rng: random.Random) -> tuple[str, list[str]]:
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
    """A count with its noun, as a template; "the" may stand before what was spoken of already."""
    if count == 1:
        return f"[the one|the single|one|a single] {singular}" if is_known else f"[one|a single|1] {singular}"
    word = words.count_word(int(count))
    number = word if word == words.MANY_WORD else f"[{word}|{count:.0f}]"
    return f"{'[the |]' if is_known else ''}{number} {plural or singular + 's'}"


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
    return [section for section in (background, figures, around) if section]


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
    return rng.choice(([amplitude, spectrum, around], [amplitude + spectrum, around], [spectrum, around + amplitude]))


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
        clauses = [write_out(rng.choice(STATEMENTS[name].clauses), slots, rng) for name in names]
        text = (openers.pop() if openers and rng.random() < 0.3 else "") + clauses[0]
        for clause in clauses[1:]:
            text += (connectors.pop() if connectors else "; ") + clause
        return text
    main, *others = sorted(names, key=lambda name: name not in ("bands", "one_band", "amplitude"))
    clause = write_out(rng.choice(STATEMENTS[main].clauses), slots, rng)
    phrases = _list(others, slots, rng)
    return f"with {phrases}, {clause}" if kind == "before" else f"{clause}, with {phrases}"


# What is said of a list's first item may be read as said of all, so these stand behind the others.
_ENDING = ("a lack", "an absence", "no spindles", "no K-complexes", "neither")
_FAR_REACHING = ("no ", "few ", "hardly", "little", "next", "scant", "scarcely", "barely", "almost")
_REACHING = ("abundant", "prominent", "much")


def _list(names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(STATEMENTS[name].phrases), slots, rng) for name in names]
    return _join(phrases)


def _join(phrases: list[str]) -> str:
    phrases.sort(key=lambda phrase: [phrase.startswith(starts) for starts in (_ENDING, _FAR_REACHING, _REACHING)])
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
