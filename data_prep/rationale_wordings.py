"""Wordings of style `full`: what may be said of an epoch, in how many ways, and which claims each way makes.

`[a|b]` stands for either, at random, and may be empty or nested; `{name}` is filled with a fact.
All wordings of one row make the same claims, so a text's claims are known when it is written.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tslm.scoring.claim_kinds import Feature

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


_EPOCH = "[the epoch|the trace|the EEG|the record]"
_HOLDS = "[holds|contains|has]"
_OF_TIME = "of the [time|epoch|window|interval|segment]"
_HARDLY = "[few|hardly any|next to no|scarcely any|barely any|almost no]"
_THEN = "[followed by|then|ahead of|trailed by|in front of]"
_SEEN = "[are seen|can be found|occur|appear|show up]"
_IS_SEEN = "[is seen|can be found|occurs|appears|shows up]"
_STOOD_OUT = "[can be counted|can be made out|stood out|met the criteria]"
_GONE = "[absent|missing|not seen|not found]"
_COMES_TO = "[lies at|comes to|amounts to|is|measures]"
_LEADS = "[leads|prevails|dominates]"
_AT = "[with|at]"

STATEMENTS: dict[str, Wording] = {
    "amplitude": Wording(
        (Feature.AMPLITUDE, Feature.RMS),
        (
            "[the |]amplitude [is|stays|remains|looks] {level} at {rms} uV RMS",
            f"{_EPOCH} [is of|has a|runs at a] {{level}} amplitude[, RMS| with an RMS of| at an RMS of] {{rms}} uV",
            f"RMS {_COMES_TO} {{rms}} uV, [a {{level}} amplitude|which makes the amplitude {{level}}]",
            "at {rms} uV RMS the amplitude [is|counts as|must be called] {level}",
            "[an RMS of {rms} uV|{rms} uV RMS] [gives|means|makes for|amounts to] a {level} amplitude",
        ),
        (
            "[a |]{level} amplitude ({rms} uV RMS)",
            "a {level} amplitude of {rms} uV RMS",
            "{level} amplitude [at|with] an RMS of {rms} uV",
        ),
    ),
    "rms": Wording(
        (Feature.RMS,),
        (f"RMS {_COMES_TO} {{rms}} uV", f"{_EPOCH} [runs at|measures] {{rms}} uV RMS"),
        ("an RMS of {rms} uV", "{rms} uV RMS"),
    ),
    "peak_to_peak": Wording(
        (Feature.PEAK_TO_PEAK,),
        (
            f"the peak-to-peak [range|amplitude|value] {_COMES_TO} {{peak_to_peak}} uV",
            "peak-to-peak [values come|swings come|the range comes] to {peak_to_peak} uV",
        ),
        (
            "a peak-to-peak [range|amplitude|value] of {peak_to_peak} uV",
            "[swings of|a span of|deflections of] {peak_to_peak} uV peak-to-peak",
        ),
    ),
    "bands": Wording(
        ("{first}", "{first}", "{second}", "{second}"),
        (
            f"{{first}} {_LEADS} {_AT} {{first_share}} of the power, {_THEN} {{second}} {_AT} {{second_share}}",
            f"{{first}} {_LEADS} ({{first_share}}) and {{second}} [comes|is|ranks|runs] second ({{second_share}})",
            f"first comes {{first}} {_AT} {{first_share}}[ of the power|], then {{second}} {_AT} {{second_share}}",
            f"[the spectrum|the power|the background] is [dominated|led] by {{first}} {_AT} {{first_share}}, "
            f"{_THEN} {{second}} {_AT} {{second_share}}",
            f"the [strongest|dominant|leading] [band|rhythm] is {{first}} {_AT} {{first_share}}[ of the power|], "
            f"{_THEN} {{second}} {_AT} {{second_share}}",
        ),
        (
            f"[leading|dominant|prevailing] {{first}} ({{first_share}}), {_THEN} {{second}} ({{second_share}})",
            f"[a lead of|dominance of] {{first}} {_AT} {{first_share}} ahead of {{second}} {_AT} {{second_share}}",
        ),
    ),
    "one_band": Wording(
        ("{first}", "{first}"),
        (
            f"{{first}} [alone |]holds {{first_share}} of the power and {_LEADS}",
            f"[the spectrum|the power|the background] is [dominated|led] by {{first}} {_AT} {{first_share}}",
            f"{{first}} {_LEADS} {_AT} {{first_share}}[ of the power|]",
        ),
        (f"[leading|dominant|prevailing] {{first}} {_AT} {{first_share}}",),
    ),
    "other_bands": Wording(
        ("{third}", "{fourth}"),
        (
            "{third} [holds|takes|has|adds] {third_share}[ of the power|] and {fourth} {fourth_share}",
            "{third} [stays at|amounts to|makes up|contributes] {third_share} and {fourth} [|only ]{fourth_share}",
        ),
        ("{third} at {third_share}, {fourth} at {fourth_share}",),
    ),
    "peak_frequency": Wording(
        (Feature.PEAK_FREQUENCY,),
        (
            "the [dominant|peak|main] frequency [is|lies at|sits at|stands at] {peak} Hz",
            "the [spectrum|power spectrum|flattened spectrum] peaks [at|near] {peak} Hz",
        ),
        ("a [dominant|peak|main] frequency of {peak} Hz", "a spectral peak [at|near|around] {peak} Hz"),
    ),
    "no_spindles_or_k": Wording(
        (Feature.SPINDLES, Feature.K_COMPLEXES),
        (
            f"[neither spindles nor K-complexes|no spindles or K-complexes|no spindles and no K-complexes] {_SEEN}",
            f"neither a spindle nor a K-complex {_IS_SEEN}",
            f"spindles and K-complexes are {_GONE}",
            f"{_EPOCH} {_HOLDS} [neither spindles nor K-complexes|no spindles or K-complexes]",
        ),
        (
            "[no spindles or K-complexes|no K-complexes or spindles|no spindles and no K-complexes]",
            "neither [spindles nor K-complexes|K-complexes nor spindles]",
            "[an absence|a lack] of [spindles and K-complexes|K-complexes and spindles]",
        ),
    ),
    "no_spindles": Wording(
        (Feature.SPINDLES,),
        (f"spindles are {_GONE}", f"no spindle {_IS_SEEN}", f"{_EPOCH} {_HOLDS} no spindles"),
        ("no spindles", "an absence of spindles"),
    ),
    "spindles": Wording(
        (Feature.SPINDLES,),
        (f"{{spindles}} {_STOOD_OUT}", f"{_EPOCH} {_HOLDS} {{spindles}}"),
        ("{spindles}",),
    ),
    "long_spindles": Wording(
        (Feature.SPINDLES, Feature.SPINDLES),
        (
            f"{{spindles}} {_STOOD_OUT}, lasting about {{spindle_s}} s[| on average]",
            f"{_EPOCH} {_HOLDS} {{spindles}} lasting about {{spindle_s}} s",
        ),
        ("{spindles} lasting about {spindle_s} s",),
    ),
    "no_k_complexes": Wording(
        (Feature.K_COMPLEXES,),
        (f"K-complexes are {_GONE}", f"no K-complex {_IS_SEEN}", f"{_EPOCH} {_HOLDS} no K-complexes"),
        ("no K-complexes", "an absence of K-complexes"),
    ),
    "k_complexes": Wording(
        (Feature.K_COMPLEXES,),
        (f"{{k_complexes}} {_STOOD_OUT}", f"{_EPOCH} {_HOLDS} {{k_complexes}}"),
        ("{k_complexes}",),
    ),
    "slow_waves": Wording(
        (Feature.SLOW_WAVES,),
        (
            f"slow waves [fill|cover|take|occupy|make up] {{slow}} {_OF_TIME}",
            f"{{slow}} {_OF_TIME} [is filled with|is covered by|belongs to|goes to] slow waves",
        ),
        (f"slow waves [in|over] {{slow}} {_OF_TIME}", "slow waves ({slow})"),
    ),
    "few_slow_waves": Wording(
        (Feature.SLOW_WAVES,),
        (
            "slow waves are [few|rare|scarce|sparse]",
            f"{_HARDLY} slow waves {_SEEN}",
            f"{_EPOCH} {_HOLDS} {_HARDLY} slow waves",
        ),
        (
            f"{_HARDLY} slow waves",
            f"slow waves [too rare to count|below 5% {_OF_TIME}]",
        ),
    ),
    "alpha": Wording(
        (Feature.ALPHA,),
        (
            f"alpha [fills|covers|takes|runs through|occupies] {{alpha}} {_OF_TIME}",
            f"alpha is the [main|clearest] rhythm in {{alpha}} {_OF_TIME}",
        ),
        (f"alpha in {{alpha}} {_OF_TIME}",),
    ),
    "little_alpha": Wording(
        (Feature.ALPHA,),
        (
            "alpha is [rare|scarce|sparse|limited]",
            f"[little|hardly any] alpha {_IS_SEEN}",
            f"alpha [fills|covers|takes] only {{alpha}} {_OF_TIME}",
        ),
        ("[little|hardly any|scant] alpha", f"alpha in only {{alpha}} {_OF_TIME}"),
    ),
    "eyes": Wording(
        (Feature.EYE_MOVEMENTS,),
        (
            "{eyes} [can be counted|can be made out|crossed the trace|marked the trace]",
            "[the trace|the derivation|the electrode] [picks up|catches|holds] {eyes}",
        ),
        ("{eyes}",),
    ),
    "still_eyes": Wording(
        (Feature.EYE_MOVEMENTS,),
        (
            "the eyes [rest|are still|stay still|remain quiet|are at rest]",
            f"no eye movement {_IS_SEEN}",
            "eye movements are [absent|missing|not seen]",
        ),
        ("no eye movements", "[still|quiet] eyes"),
    ),
    "fast": Wording(
        (Feature.BETA,),
        ("fast activity [is prominent|stands out|is abundant]", "fast activity runs [throughout|over the trace]"),
        ("[abundant|prominent|much] fast activity",),
    ),
    "little_fast": Wording(
        (Feature.BETA,),
        ("fast activity is [scarce|limited|sparse|minimal]", f"[little|hardly any] fast activity {_IS_SEEN}"),
        ("[little|hardly any|scant] fast activity",),
    ),
    "muscle": Wording(
        (Feature.MUSCLE,),
        ("muscle activity [overlies|rides on|covers] the [EEG|trace]", "muscle activity [is present|is visible]"),
        ("[superimposed |]muscle activity",),
    ),
    "no_muscle": Wording(
        (Feature.MUSCLE,),
        ("no muscle activity [overlies|rides on|covers] the [EEG|trace]", "muscle activity is [absent|not seen]"),
        ("no muscle activity",),
    ),
    "artefact": Wording(
        (Feature.ARTEFACT,),
        (f"flat or clipped parts [take|cover|make up] {{artefact}} {_OF_TIME}",),
        (f"flat or clipped parts in {{artefact}} {_OF_TIME}",),
    ),
    "sawtooth": Wording(
        (Feature.SAWTOOTH,),
        ("sawtooth waves [are seen|are present|appear|occur]",),
        ("sawtooth waves",),
    ),
    "tone": Wording(
        (Feature.MUSCLE_TONE,),
        (
            "[muscle tone|the chin EMG|the EMG] [is|stays|remains|looks] {tone}"
            "[| at {times} times its median| at {times} times the recording's median]",
            "muscle tone [stands at|comes to|measures|is] {times} times its median and [is|counts as] {tone}",
        ),
        ("[a |]{tone} muscle tone", "{tone} muscle tone ({times} times its median)"),
    ),
}

# What a closing sentence may cite; phrases only.
REASONS: dict[str, Wording] = {
    name: Wording(features, (), phrases)
    for name, (features, phrases) in {
        "slow_over": ((Feature.SLOW_WAVES,), (f"slow waves [past|over|above|in more than] a fifth {_OF_TIME}",)),
        "slow_under": ((Feature.SLOW_WAVES,), (f"slow waves [under|below|in less than] a fifth {_OF_TIME}",)),
        "spindles": ((Feature.SPINDLES,), ("{the_spindles}",)),
        "k_complexes": ((Feature.K_COMPLEXES,), ("{the_k_complexes}",)),
        "no_spindles": ((Feature.SPINDLES,), ("the [absence|lack] of spindles", "[absent|missing] spindles")),
        "no_spindles_or_k": (
            (Feature.SPINDLES, Feature.K_COMPLEXES),
            (
                "the [absence|lack] of [spindles and K-complexes|K-complexes and spindles|spindles or K-complexes]",
                "[absent|missing] [spindles and K-complexes|K-complexes and spindles]",
            ),
        ),
        "alpha_most": ((Feature.ALPHA,), (f"alpha [over|past|in more than] half {_OF_TIME}",)),
        "alpha_under": ((Feature.ALPHA,), (f"alpha [under|below|in less than|short of] half {_OF_TIME}",)),
        "no_alpha": ((Feature.ALPHA,), ("the [lack|absence] of alpha", "[absent|missing|scarce] alpha")),
        "fast": ((Feature.BETA,), ("[the |]fast activity",)),
        "no_fast": ((Feature.BETA,), ("the [lack|absence] of fast activity",)),
        "muscle": ((Feature.MUSCLE,), ("[the |]muscle activity",)),
        "theta_leads": ((Feature.THETA,), ("theta in the lead", "[the |]leading theta", "the dominance of theta")),
        "theta": ((Feature.THETA,), ("theta at {theta_share}", "[a|the] theta [share|power] of {theta_share}")),
        "no_theta": ((Feature.THETA,), ("the [lack|absence] of theta",)),
        "delta_leads": ((Feature.DELTA,), ("delta in the lead", "[the |]leading delta", "the dominance of delta")),
        "delta_behind": ((Feature.DELTA,), ("delta, which does not lead", "delta that does not lead")),
        "eyes": ((Feature.EYE_MOVEMENTS,), ("{the_eyes}",)),
        "still_eyes": (
            (Feature.EYE_MOVEMENTS,),
            ("the [absence|lack] of eye movements", "eyes at rest", "[the |][still|quiet] eyes"),
        ),
        "sawtooth": ((Feature.SAWTOOTH,), ("[the |]sawtooth waves",)),
        "artefact": ((Feature.ARTEFACT,), ("[the |]flat or clipped parts",)),
        "no_artefact": ((Feature.ARTEFACT,), ("the absence of flat or clipped parts",)),
        "tone": ((Feature.MUSCLE_TONE,), ("[the |]{tone} muscle tone",)),
    }.items()
}

OPENERS = ("overall, ", "on the whole, ", "on this derivation, ", "in this epoch, ", "throughout, ", "as measured, ")
LEADS_IN = (
    "the epoch shows ",
    "the trace shows ",
    "the EEG shows ",
    "seen here: ",
    "noted: ",
    "found: ",
    "scored here: ",
    "on record: ",
    "listed: ",
    "the record shows ",
    "the derivation shows ",
)
CONNECTORS = (", and ", "; ", ", while ", "; besides, ", ", whereas ", "; moreover, ", "; in addition, ", "; also, ")
FOR = (
    "[the decision|the choice|the label|the score] [rests on|builds on|follows|leans on] {reasons}",
    "[what decides|what counts|what settles it|what weighs most] is {reasons}",
    "[decisive|deciding|telling][ here|]: {reasons}",
    "{reasons} [settled it|decided|tipped the balance|made the case|carried the decision|weighed most]",
    "[scored|judged|decided] [on|by] {reasons}",
    "[in favour|in support]: {reasons}",
    "[the main|the best|the chief] [point|argument|reason] [is|remains] {reasons}",
    "[on balance|all in all|taken together], {reasons} [decided|settled it|weighed most]",
)
AGAINST = (
    "[doubt comes|doubt stems|uncertainty comes] from {reasons}",
    "[what speaks against it|what argues against it|the objection|the point against it] is {reasons}",
    "{reasons} [left doubt|argued against it|spoke against it|made it uncertain]",
)
ONLY_AGAINST = (
    "[doubt remains|the case stays open|certainty is missing], given {reasons}",
    "[the label is uncertain|the score is uncertain|a borderline case] [in view of|given] {reasons}",
    "[what speaks against the label|what argues against the label] is {reasons}",
    "[the label rests on thin ground|the score stands on thin ground], [given|in view of] {reasons}",
)
JOINS = ("; ", ", though ", ", but ", ". ", "; still, ", ", yet ")
