"""Table of the wordings of statements and reasons, and of connecting words.

`[a|b]` is a choice, which may be empty or nested; `{name}` is a slot for a fact. All wordings of a row make the same
claims, so the claims of a text are known when it is written. The style `brief` always takes the first choice, so the
first phrase of a row is the shortest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tslm.evidence import words
from tslm.evidence.criteria import Feature

Choose = Callable[[Sequence[str]], str]
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Wording:
    """Wordings of one statement: clauses, and noun phrases for lists; `features` are what it makes claims about."""

    features: tuple[str, ...]  # Feature values, or {band} slots that name one
    clauses: tuple[str, ...]
    phrases: tuple[str, ...]


def write_out(template: str, slots: Mapping[str, str], choose: Choose) -> str:
    """Fill all slots of a template and make all its choices."""
    text = template.format_map(slots)
    while choice := _CHOICE.search(text):
        text = text[: choice.start()] + choose(choice[1].split("|")) + text[choice.end() :]
    return text


# Choices shared by wordings of several rows.
EPOCH = "[the epoch|the trace|the EEG|the record]"
HOLDS = "[holds|contains|has]"
OF_TIME = "of the [time|epoch|window|interval|segment]"
HARDLY = "[few|hardly any|next to no|scarcely any|barely any|almost no]"
THEN = "[then|followed by|ahead of|trailed by|in front of]"
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

# Connecting words: openers of a sentence, introductions of a list, connectors of clauses.
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

# Background: amplitude, the share of each band, the spectral peak.
_BACKGROUND: dict[str, Wording] = {
    "amplitude": Wording(
        (Feature.AMPLITUDE, Feature.RMS),
        (
            "[the |]amplitude [is|stays|remains|looks] {level} at {rms} uV RMS",
            f"{EPOCH} [is of|has a|runs at a] {{level}} amplitude[, RMS| with an RMS of| at an RMS of] {{rms}} uV",
            f"RMS {COMES_TO} {{rms}} uV, [a {{level}} amplitude|which makes the amplitude {{level}}]",
            "at {rms} uV RMS the amplitude [is|counts as|must be called] {level}",
            "[an RMS of {rms} uV|{rms} uV RMS] [gives|means|makes for|amounts to] a {level} amplitude",
        ),
        (
            "[|a ]{level} amplitude, [RMS|an RMS of] {rms} uV",
            "[a |]{level} amplitude ({rms} uV RMS)",
            "a {level} amplitude of {rms} uV RMS",
            "{level} amplitude [at|with] an RMS of {rms} uV",
        ),
    ),
    "rms": Wording(
        (Feature.RMS,),
        (
            f"[RMS|the RMS|RMS amplitude|the RMS value] {COMES_TO} {{rms}} uV",
            f"{EPOCH} [runs at|measures] {{rms}} uV RMS",
            f"{EPOCH} has an RMS of {{rms}} uV",
        ),
        ("RMS [at|of] {rms} uV", "an RMS[ amplitude| value|] of {rms} uV", "{rms} uV RMS"),
    ),
    "peak_to_peak": Wording(
        (Feature.PEAK_TO_PEAK,),
        (
            f"the peak-to-peak [range|amplitude|value] {COMES_TO} {{peak_to_peak}} uV",
            "peak-to-peak [values come|swings come|deflections come] to {peak_to_peak} uV",
            "[the largest swing|the full swing|the range] [is|covers|measures] {peak_to_peak} uV peak-to-peak",
        ),
        (
            "a peak-to-peak [range|amplitude|value] of {peak_to_peak} uV",
            "[swings of|a span of|deflections of|a range of] {peak_to_peak} uV peak-to-peak",
        ),
    ),
    "swings": Wording(
        (Feature.RMS, Feature.PEAK_TO_PEAK),
        (
            "[RMS|the RMS] [is|lies at|comes to] {rms} uV[, peak-to-peak|; peak-to-peak] {peak_to_peak} uV",
            f"{EPOCH} measures {{rms}} uV RMS and {{peak_to_peak}} uV peak-to-peak",
            f"{EPOCH} [spans|covers|runs over] {{peak_to_peak}} uV peak-to-peak, with an RMS of {{rms}} uV",
        ),
        ("{rms} uV RMS, {peak_to_peak} uV peak-to-peak", "{peak_to_peak} uV peak-to-peak, {rms} uV RMS"),
    ),
    "bands": Wording(
        ("{first}", "{first}", "{second}", "{second}"),
        (
            f"{{first}} {LEADS} {AT} {{first_share}} of the power, {THEN} {{second}} {AT} {{second_share}}",
            f"{{first}} {LEADS} ({{first_share}}) and {{second}} [comes|is|ranks|runs] second ({{second_share}})",
            f"first comes {{first}} {AT} {{first_share}}[ of the power|], then {{second}} {AT} {{second_share}}",
            f"[the spectrum|the power|the background] is [dominated|led] by {{first}} {AT} {{first_share}}, "
            f"{THEN} {{second}} {AT} {{second_share}}",
            f"the [strongest|dominant|leading] [band|rhythm] is {{first}} {AT} {{first_share}}[ of the power|], "
            f"{THEN} {{second}} {AT} {{second_share}}",
        ),
        (
            "[leading|dominant|prevailing] {first} {first_share}, then {second} {second_share}",
            f"[leading|dominant|prevailing] {{first}} ({{first_share}}), {THEN} {{second}} ({{second_share}})",
            f"[a lead of|dominance of] {{first}} {AT} {{first_share}} ahead of {{second}} {AT} {{second_share}}",
        ),
    ),
    "one_band": Wording(
        ("{first}", "{first}"),
        (
            f"{{first}} [alone |]holds {{first_share}} of the power and {LEADS}",
            f"[the spectrum|the power|the background] is [dominated|led] by {{first}} {AT} {{first_share}}",
            f"{{first}} {LEADS} {AT} {{first_share}}[ of the power|]",
        ),
        ("[leading|dominant|prevailing] {first} [|with |at ]{first_share}",),
    ),
    "other_bands": Wording(
        ("{third}", "{fourth}"),
        (
            "{third} [holds|takes|has|adds] {third_share}[ of the power|] and {fourth} {fourth_share}",
            "{third} [stays at|amounts to|makes up|contributes] {third_share} and {fourth} [|only ]{fourth_share}",
            "{third_share} [of the power |][is|belongs to|goes to] {third} "
            "and {fourth_share} [is|belongs to|goes to] {fourth}",
            "{fourth} [is|stays|lies] at {fourth_share}[ of the power|] and {third} at {third_share}",
        ),
        ("{third} at {third_share}, {fourth} at {fourth_share}", "{third_share} {third}, {fourth_share} {fourth}"),
    ),
    "peak_frequency": Wording(
        (Feature.PEAK_FREQUENCY,),
        (
            "the [dominant|peak|main] frequency [is|lies at|sits at|stands at] {peak} Hz",
            "the [spectrum|power spectrum|flattened spectrum] peaks [at|near] {peak} Hz",
        ),
        ("a [dominant|peak|main] frequency of {peak} Hz", "a spectral peak [at|near|around] {peak} Hz"),
    ),
}

# Single waves.
_WAVEFORMS: dict[str, Wording] = {
    "no_spindles_or_k": Wording(
        (Feature.SPINDLES, Feature.K_COMPLEXES),
        (
            f"[neither spindles nor K-complexes|no spindles or K-complexes|no spindles and no K-complexes] {SEEN}",
            f"neither a spindle nor a K-complex {IS_SEEN}",
            f"spindles and K-complexes are {GONE}",
            f"{EPOCH} {HOLDS} [neither spindles nor K-complexes|no spindles or K-complexes]",
        ),
        (
            "[no spindles or K-complexes|no K-complexes or spindles|no spindles and no K-complexes]",
            "neither [spindles nor K-complexes|K-complexes nor spindles]",
            "[an absence|a lack] of [spindles and K-complexes|K-complexes and spindles]",
        ),
    ),
    "spindles": Wording(
        (Feature.SPINDLES,),
        (f"{{spindles}} {STOOD_OUT}", f"{EPOCH} {HOLDS} {{spindles}}"),
        ("{spindles}",),
    ),
    "timed_spindles": Wording(
        (Feature.SPINDLES, Feature.SPINDLES),
        (f"{{spindles}} {STOOD_OUT} at {{spindle_times}}", f"{EPOCH} {HOLDS} {{spindles}} at {{spindle_times}}"),
        ("{spindles} at {spindle_times}",),
    ),
    "long_spindles": Wording(
        (Feature.SPINDLES, Feature.SPINDLES),
        (
            f"{{spindles}} {STOOD_OUT}, lasting about {{spindle_s}} s[| on average]",
            f"{EPOCH} {HOLDS} {{spindles}} lasting about {{spindle_s}} s",
        ),
        ("{spindles} lasting about {spindle_s} s",),
    ),
    "k_complexes": Wording(
        (Feature.K_COMPLEXES,),
        (f"{{k_complexes}} {STOOD_OUT}", f"{EPOCH} {HOLDS} {{k_complexes}}"),
        ("{k_complexes}",),
    ),
    "timed_k_complexes": Wording(
        (Feature.K_COMPLEXES, Feature.K_COMPLEXES),
        (
            f"{{k_complexes}} {STOOD_OUT} at {{k_complex_times}}",
            f"{EPOCH} {HOLDS} {{k_complexes}} at {{k_complex_times}}",
        ),
        ("{k_complexes} at {k_complex_times}",),
    ),
    "slow_waves": Wording(
        (Feature.SLOW_WAVES,),
        (
            f"slow waves [fill|cover|take|occupy|make up] {{slow}} {OF_TIME}",
            f"{{slow}} {OF_TIME} [is filled with|is covered by|belongs to|goes to] slow waves",
        ),
        (f"slow waves [in|over] {{slow}}[| {OF_TIME}]", "slow waves ({slow})"),
    ),
    "few_slow_waves": Wording(
        (Feature.SLOW_WAVES,),
        (
            "slow waves are [few|rare|scarce|sparse]",
            f"{HARDLY} slow waves {SEEN}",
            f"{EPOCH} {HOLDS} {HARDLY} slow waves",
        ),
        (
            f"{HARDLY} slow waves",
            f"slow waves [too rare to count|below 5% {OF_TIME}]",
        ),
    ),
    "sawtooth": Wording(
        (Feature.SAWTOOTH,),
        ("sawtooth waves [are seen|are present|appear|occur]",),
        ("sawtooth waves",),
    ),
}

# What lies around the waves: alpha, eyes, fast activity, muscle, tone, artefacts.
_SURROUNDINGS: dict[str, Wording] = {
    "alpha": Wording(
        (Feature.ALPHA,),
        (
            f"alpha [fills|covers|takes|runs through|occupies] {{alpha}} {OF_TIME}",
            f"alpha is the [main|clearest] rhythm in {{alpha}} {OF_TIME}",
        ),
        ("alpha {often}", f"alpha in {{alpha}} {OF_TIME}"),
    ),
    "little_alpha": Wording(
        (Feature.ALPHA,),
        (
            "alpha is [rare|scarce|sparse|limited]",
            f"[little|hardly any] alpha {IS_SEEN}",
            f"alpha [fills|covers|takes] only {{alpha}} {OF_TIME}",
        ),
        ("[little|hardly any|scant] alpha", f"alpha in only {{alpha}} {OF_TIME}"),
    ),
    "eyes": Wording(
        (Feature.EYE_MOVEMENTS,),
        (
            "eye movements [can be counted|can be made out|crossed the trace|marked the trace]",
            "[the trace|the derivation|the electrode] [picks up|catches|holds] eye movements",
        ),
        ("eye movements",),
    ),
    "timed_eyes": Wording(
        (Feature.EYE_MOVEMENTS, Feature.EYE_MOVEMENTS),
        (
            "eye movements [can be counted|can be made out|crossed the trace|marked the trace] at {eye_times}",
            "[the trace|the derivation|the electrode] [picks up|catches|holds] eye movements at {eye_times}",
        ),
        ("eye movements at {eye_times}",),
    ),
    "fast": Wording(
        (Feature.BETA,),
        ("fast activity [is prominent|stands out|is abundant]", "fast activity runs [throughout|over the trace]"),
        ("[much|abundant|prominent] fast activity",),
    ),
    "little_fast": Wording(
        (Feature.BETA,),
        (
            f"fast activity [is|stays|remains] {SPARSE}",
            f"{LITTLE} fast activity {IS_SEEN}",
            f"{EPOCH} {HOLDS} {LITTLE} fast activity",
        ),
        (f"{LITTLE} fast activity",),
    ),
    "muscle": Wording(
        (Feature.MUSCLE,),
        ("muscle activity [overlies|rides on|covers] the [EEG|trace]", "muscle activity [is present|is visible]"),
        ("[|superimposed ]muscle activity",),
    ),
    "no_muscle": Wording(
        (Feature.MUSCLE,),
        ("no muscle activity [overlies|rides on|covers] the [EEG|trace]", "muscle activity is [absent|not seen]"),
        ("no muscle activity",),
    ),
    "tone": Wording(
        (Feature.MUSCLE_TONE,),
        (
            f"{TONE} [is|stays|remains|looks|runs] {{tone}}"
            f"[| at {{times}} times {MEDIAN}| ({{times}} times {MEDIAN})|, {{times}} times {MEDIAN}]",
            f"the [{{site}} |]EMG [is|stays|remains|looks] {{tone}}[| at {{times}} times {MEDIAN}]",
            f"{TONE} [stands at|comes to|measures|amounts to] {{times}} times {MEDIAN} and [is|counts as] {{tone}}",
            f"at {{times}} times {MEDIAN} {TONE} [is|counts as|must be called|passes for] {{tone}}",
            f"{{times}} times {MEDIAN} [makes|means|gives] [a |]{{tone}} [muscle tone|EMG tone|muscle tension]",
        ),
        (
            "[a |]{tone} [muscle tone|EMG tone|muscle tension|{site} muscle tone]",
            f"{{tone}} [muscle tone|EMG tone|muscle tension] ({{times}} times {MEDIAN})",
            f"{{tone}} [muscle tone|EMG tone|muscle tension] [at|of] {{times}} times {MEDIAN}",
            f"{TONE} at {{times}} times {MEDIAN}",
        ),
    ),
    "artefact": Wording(
        (Feature.ARTEFACT,),
        (f"flat or clipped parts [take|cover|make up] {{artefact}} {OF_TIME}",),
        (f"flat or clipped parts in {{artefact}} {OF_TIME}",),
    ),
}

STATEMENTS = _BACKGROUND | _WAVEFORMS | _SURROUNDINGS

# What a closing sentence may cite; phrases only.
REASONS: dict[str, Wording] = {
    name: Wording(features, (), phrases)
    for name, (features, phrases) in {
        "slow_over": ((Feature.SLOW_WAVES,), (f"slow waves [past|over|above|in more than] a fifth[| {OF_TIME}]",)),
        "slow_under": ((Feature.SLOW_WAVES,), (f"slow waves [under|below|in less than] a fifth[| {OF_TIME}]",)),
        "recent_waves": ((Feature.RECENT_WAVES,), (words.RECENT_WAVES,)),
        "spindles": ((Feature.SPINDLES,), ("{the_spindles}",)),
        "k_complexes": ((Feature.K_COMPLEXES,), ("{the_k_complexes}",)),
        "no_spindles_or_k": (
            (Feature.SPINDLES, Feature.K_COMPLEXES),
            (
                "[absent|missing] [spindles and K-complexes|K-complexes and spindles]",
                "the [absence|lack] of [spindles and K-complexes|K-complexes and spindles|spindles or K-complexes]",
            ),
        ),
        "alpha": ((Feature.ALPHA,), ("[the |]alpha rhythm",)),
        "no_alpha": ((Feature.ALPHA,), ("[scarce|absent|missing] alpha", "the [lack|absence] of alpha")),
        "fast": ((Feature.BETA,), ("[|the ]fast activity",)),
        "no_fast": (
            (Feature.BETA,),
            (
                "[little|scarce|sparse|limited|scant] fast activity",
                "beta at [only |]{beta_share}",
                "[a|the] beta [share|power] of [only |]{beta_share}",
            ),
        ),
        "muscle": ((Feature.MUSCLE,), ("[|the ]muscle activity",)),
        "theta_leads": ((Feature.THETA,), ("[|the ]leading theta", "theta in the lead", "the dominance of theta")),
        "theta": ((Feature.THETA,), ("theta[| at {theta_share}]", "[a|the] theta [share|power] of {theta_share}")),
        "no_theta": ((Feature.THETA,), ("theta at [only |]{theta_share}",)),
        "delta_leads": (
            (Feature.DELTA,),
            (
                "[|the ][leading|dominant|prevailing] delta",
                "delta in the lead",
                "the dominance of delta",
                "delta[ power|] [with|at] {delta_share}",
                "[a|the] delta [share|power] of {delta_share}",
                "[leading|dominant|prevailing] delta ({delta_share})",
            ),
        ),
        "delta_behind": (
            (Feature.DELTA,),
            (
                "delta at [only |]{delta_share}",
                "delta, which does not lead",
                "delta that does not lead",
                "[a|the] delta [share|power] of [only |]{delta_share}",
            ),
        ),
        "eyes": ((Feature.EYE_MOVEMENTS,), ("[|the ]eye movements",)),
        "sawtooth": ((Feature.SAWTOOTH,), ("[the |]sawtooth waves",)),
        "artefact": ((Feature.ARTEFACT,), ("[|the ]flat or clipped parts",)),
        "no_artefact": ((Feature.ARTEFACT,), ("the absence of flat or clipped parts",)),
        "tone": (
            (Feature.MUSCLE_TONE,),
            (
                "[the |]{tone} [muscle tone|EMG tone|muscle tension|{site} muscle tone]",
                f"{TONE} at {{times}} times {MEDIAN}",
                f"{{tone}} [muscle tone|EMG tone] ({{times}} times {MEDIAN})",
                f"{{tone}} [muscle tone|muscle tension] of {{times}} times {MEDIAN}",
            ),
        ),
    }.items()
}

FOR = (
    "[decisive|deciding|telling][| here]: {reasons}",
    "[the decision|the choice|the label|the score] [rests on|builds on|follows|leans on] {reasons}",
    "[what decides|what counts|what settles it|what weighs most] is {reasons}",
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
