"""Rationales written from measured evidence, one an epoch: every claim in them is a measured value.

Style `full` is composed anew for each epoch (`rationale_wordings`): statements in changing order
and construction, as clauses or as lists, then what speaks for and against the expert's label.
Everything before that closing depends on the evidence alone. No text names a stage;
`tslm.answers.render_response` adds it. Style `brief` is `rationales_brief`.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep import rationale_wordings as wordings
from data_prep.rationale_wordings import REASONS, STATEMENTS, write_out
from data_prep.rationales_brief import write_brief
from tslm.labels import ANSWER_NAMES, SleepStage
from tslm.signals import evidence_words as words

STYLES = ("full", "brief")
DEFAULT_STYLE = "full"
Facts = Mapping[str, float]


@dataclass(frozen=True)
class Rationale:
    """A text, and the features (`tslm.scoring.claim_kinds.Feature`) of the claims it was composed of."""

    text: str
    features: tuple[str, ...]


def write_rationales(
    evidence: Mapping[str, np.ndarray],
    sleep_stages: Sequence[SleepStage],
    seed: int,
    species: str = "human",
    style: str = DEFAULT_STYLE,
) -> list[str]:
    """One rationale an epoch, empty where the label cannot be an answer (unscored).

    Args:
        evidence: columns of `tslm.signals.evidence.measure_evidence`, one value an epoch; columns of
            `tslm.signals.muscle.measure_emg` may stand beside them.
        sleep_stages: the expert's label of each epoch.
        seed: choice among wordings; the same seed gives the same text for an epoch's position.
        species: other than "human", nothing is said of spindles, K-complexes, alpha and eye movements,
            whose definitions are those of the human scalp EEG.
        style: one of STYLES.

    Raises:
        ValueError: evidence and labels differ in length, or there is no such style.
    """
    num_epochs = len(evidence["rms_uv"])
    if num_epochs != len(sleep_stages):
        raise ValueError(f"evidence of {num_epochs} epochs but {len(sleep_stages)} labels; pass one label an epoch")
    check_style(style)
    is_human = species == "human"
    texts = []
    for idx, stage in enumerate(sleep_stages):
        if stage not in ANSWER_NAMES:
            texts.append("")
        elif style == "brief":
            rng = np.random.default_rng((seed, idx))
            texts.append(write_brief(words.epoch_facts(evidence, idx), stage, rng, is_human))
        else:
            texts.append(compose_rationale(words.epoch_facts(evidence, idx), stage, f"{seed}/{idx}", is_human).text)
    return texts


def check_style(style: str) -> None:
    """Raise ValueError when there is no such style of rationales."""
    if style not in STYLES:
        raise ValueError(f"rationale={style}: wanted one of: {', '.join(STYLES)}")


def compose_rationale(facts: Facts, sleep_stage: SleepStage, seed: str, is_human: bool = True) -> Rationale:
    """The rationale of style `full` for one epoch's facts (`evidence_words.epoch_facts`)."""
    rng = random.Random(seed)
    slots = _fill_slots(facts, is_human)
    for num_statements in range(MAX_STATEMENTS, 0, -1):
        sections = _choose_human(facts, num_statements, rng) if is_human else _choose_rodent(facts, num_statements)
        body, stated = _write_body(sections, slots, rng)
        if len(body.split()) <= MAX_BODY_WORDS:
            break
    closing, cited = _write_closing(facts, sleep_stage, slots, random.Random(f"{seed}/{sleep_stage}"), is_human)
    wordings_used = [*(STATEMENTS[name] for name in stated), *(REASONS[name] for name in cited)]
    features = [feature.format_map(slots) for wording in wordings_used for feature in wording.features]
    sentences = f"{body}. {closing}.".split(". ")
    return Rationale(". ".join(text[0].upper() + text[1:] for text in sentences), tuple(features))


MAX_STATEMENTS = 9
MAX_BODY_WORDS = 47


def _write_body(sections: list[list[str]], slots: Mapping[str, str], rng: random.Random) -> tuple[str, list[str]]:
    """Sentences of one to three statements each, section by section, and the names of the statements."""
    rng.shuffle(sections)
    openers, leads_in, connectors = (
        rng.sample(choices, len(choices)) for choices in (wordings.OPENERS, wordings.LEADS_IN, wordings.CONNECTORS)
    )
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
        "theta_share": _percent(facts["theta_share"]),
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


def _choose_rodent(facts: Facts, num_statements: int) -> list[list[str]]:
    """As for people, of what is defined for rodents: delta, theta, fast activity and muscle tone."""
    around = [
        "fast" if words.has_band(facts, "beta") else "little_fast",
        *(name for name in _disturbances(facts) if name in ("tone", "artefact")),
    ]
    leads = ["one_band"] if words.rank_bands(facts)[0][0] in RODENT_BANDS else []
    background = ["rms", *leads, "other_bands"]
    optional = [name for name in ("peak_to_peak", "peak_frequency") if len(background) + len(around) < num_statements]
    return [[*background, *optional], around]


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


def _write_closing(
    facts: Facts, sleep_stage: SleepStage, slots: Mapping[str, str], rng: random.Random, is_human: bool
) -> tuple[str, list[str]]:
    """What speaks for the label, then what speaks against it, and the names of the reasons cited."""
    table = _REASONS_OF if is_human else _REASONS_OF | _RODENT_REASONS_OF
    reasons_for, reasons_against = table[sleep_stage]
    held_for = [*_hold(reasons_for, facts)][:2]
    held_against = [*_hold(reasons_against, facts)][: 1 if held_for else 2]
    parts = [_cite(wordings.FOR, held_for, slots, rng)] if held_for else []
    if held_against:
        parts.append(_cite(wordings.AGAINST if held_for else wordings.ONLY_AGAINST, held_against, slots, rng))
    return rng.choice(wordings.JOINS).join(parts), [*held_for, *held_against]


def _cite(frames: Sequence[str], names: Sequence[str], slots: Mapping[str, str], rng: random.Random) -> str:
    phrases = [write_out(rng.choice(REASONS[name].phrases), slots, rng) for name in names]
    rng.shuffle(phrases)
    phrases.sort(key=lambda phrase: phrase.startswith(_DENYING))
    return write_out(rng.choice(frames), {"reasons": " and ".join(phrases)}, rng)


Reason = tuple[str, Callable[[Facts], bool]]


_DENYING = ("the absence", "the lack", "absent", "missing", "scarce", "delta that", "delta, which")


def _hold(reasons: Sequence[Reason], facts: Facts) -> Iterator[str]:
    return (name for name, holds in reasons if holds(facts))


def _leads(band: str) -> Callable[[Facts], bool]:
    return lambda facts: words.rank_bands(facts)[0][0] == band


def _lags(band: str) -> Callable[[Facts], bool]:
    """Whether another band holds more, so that rounding makes no tie."""
    return lambda facts: words.rank_bands(facts)[0][1] > facts[f"{band}_share"]


def _has_tone(tone: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.get("emg_tone", 0) > 0 and words.tone_word(facts["emg_tone"]) == tone


def _has_neither(facts: Facts) -> bool:
    return not facts["spindle_count"] and not facts["k_complex_count"]


_SLOW_OVER: Reason = ("slow_over", lambda facts: facts["slow_wave_fraction"] >= words.SLOW_WAVES_MANY)
_SLOW_UNDER: Reason = ("slow_under", lambda facts: facts["slow_wave_fraction"] < words.SLOW_WAVES_MANY)
_SPINDLES: Reason = ("spindles", lambda facts: facts["spindle_count"] > 0)
_K_COMPLEXES: Reason = ("k_complexes", lambda facts: facts["k_complex_count"] > 0)
_NEITHER: Reason = ("no_spindles_or_k", _has_neither)
_NO_SPINDLES: Reason = ("no_spindles", lambda facts: not facts["spindle_count"])
_ALPHA_MOST: Reason = ("alpha_most", lambda facts: facts["alpha_fraction"] > words.ALPHA_MOST)
_ALPHA_UNDER: Reason = (
    "alpha_under",
    lambda facts: words.ALPHA_SOME <= facts["alpha_fraction"] <= words.ALPHA_MOST,
)
_NO_ALPHA: Reason = ("no_alpha", lambda facts: facts["alpha_fraction"] < words.ALPHA_SOME)
_FAST: Reason = ("fast", lambda facts: words.has_band(facts, "beta"))
_NO_FAST: Reason = ("no_fast", lambda facts: not words.has_band(facts, "beta"))
_MUSCLE: Reason = ("muscle", lambda facts: facts["high_frequency_ratio"] >= words.MUSCLE_RATIO)
_THETA_LEADS: Reason = ("theta_leads", _leads("theta"))
_THETA: Reason = ("theta", lambda facts: facts["theta_share"] >= words.THETA_SHARE and not _leads("theta")(facts))
_NO_THETA: Reason = ("no_theta", lambda facts: facts["theta_share"] < words.THETA_SHARE)
_DELTA_LEADS: Reason = ("delta_leads", _leads("delta"))
_DELTA_BEHIND: Reason = ("delta_behind", _lags("delta"))
_EYES: Reason = ("eyes", lambda facts: facts["eye_movement_count"] > 0)
_EYES_REPEATED: Reason = ("eyes", lambda facts: facts["eye_movement_count"] >= words.EYE_MOVEMENTS_REPEATED)
_STILL_EYES: Reason = ("still_eyes", lambda facts: not facts["eye_movement_count"])
_SAWTOOTH: Reason = ("sawtooth", lambda facts: facts.get("sawtooth_count", 0) > 0)
_TONE_HIGH: Reason = ("tone", _has_tone("high"))
_TONE_LOW: Reason = ("tone", _has_tone("low"))
_ARTEFACT: Reason = ("artefact", lambda facts: facts["artefact_fraction"] >= words.ARTEFACT_SOME)
_NO_ARTEFACT: Reason = ("no_artefact", lambda facts: facts["artefact_fraction"] < words.ARTEFACT_SOME)

# Per stage: what speaks for it and what against it, in order of weight (AASM manual 2007).
# One row of each pair always holds, so no closing is empty.
_REASONS_OF: dict[SleepStage, tuple[tuple[Reason, ...], tuple[Reason, ...]]] = {
    SleepStage.WAKE: (
        (_ALPHA_MOST, _EYES_REPEATED, _FAST, _MUSCLE, _TONE_HIGH),
        (_SLOW_OVER, _SPINDLES, _K_COMPLEXES, _TONE_LOW, _NO_ALPHA, _ALPHA_UNDER),
    ),
    SleepStage.N1: (
        (_THETA_LEADS, _THETA, _ALPHA_UNDER, _NEITHER),
        (_SLOW_OVER, _ALPHA_MOST, _SPINDLES, _K_COMPLEXES, _NO_THETA),
    ),
    SleepStage.N2: ((_SPINDLES, _K_COMPLEXES), (_SLOW_OVER, _NEITHER, _ALPHA_MOST)),
    SleepStage.N3: ((_SLOW_OVER, _DELTA_LEADS), (_SLOW_UNDER,)),
    SleepStage.REM: (
        (_SAWTOOTH, _EYES, _THETA_LEADS, _TONE_LOW, _THETA, _NEITHER),
        (_SLOW_OVER, _SPINDLES, _K_COMPLEXES, _ALPHA_MOST, _TONE_HIGH, _STILL_EYES),
    ),
    SleepStage.NREM: ((_SLOW_OVER, _DELTA_LEADS, _SPINDLES), (_DELTA_BEHIND, _SLOW_UNDER)),
    SleepStage.MOVEMENT: ((_ARTEFACT, _MUSCLE, _FAST), (_NO_ARTEFACT,)),
}
# Rodents: theta without tone in REM sleep, delta in NREM sleep, tone and fast activity awake.
_RODENT_REASONS_OF: dict[SleepStage, tuple[tuple[Reason, ...], tuple[Reason, ...]]] = {
    SleepStage.WAKE: ((_TONE_HIGH, _FAST, _MUSCLE, _DELTA_BEHIND), (_TONE_LOW, _DELTA_LEADS, _NO_FAST)),
    SleepStage.NREM: ((_DELTA_LEADS, _TONE_LOW, _NO_FAST), (_TONE_HIGH, _DELTA_BEHIND, _FAST)),
    SleepStage.REM: ((_THETA_LEADS, _TONE_LOW, _THETA), (_TONE_HIGH, _DELTA_LEADS, _NO_THETA)),
}
