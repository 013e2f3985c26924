"""Wordings of what lies around the waves: alpha, eyes, fast activity, muscle, tone and artefacts."""

from data_prep.wordings import IS_SEEN, OF_TIME, Wording
from tslm.scoring.claim_kinds import Feature

SURROUNDINGS: dict[str, Wording] = {
    "alpha": Wording(
        (Feature.ALPHA,),
        (
            f"alpha [fills|covers|takes|runs through|occupies] {{alpha}} {OF_TIME}",
            f"alpha is the [main|clearest] rhythm in {{alpha}} {OF_TIME}",
        ),
        (f"alpha in {{alpha}} {OF_TIME}",),
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
            "{eyes} [can be counted|can be made out|crossed the trace|marked the trace]",
            "[the trace|the derivation|the electrode] [picks up|catches|holds] {eyes}",
        ),
        ("{eyes}",),
    ),
    "still_eyes": Wording(
        (Feature.EYE_MOVEMENTS,),
        (
            "the eyes [rest|are still|stay still|remain quiet|are at rest]",
            f"no eye movement {IS_SEEN}",
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
        ("fast activity is [scarce|limited|sparse|minimal]", f"[little|hardly any] fast activity {IS_SEEN}"),
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
    "tone": Wording(
        (Feature.MUSCLE_TONE,),
        (
            "[muscle tone|the chin EMG|the EMG] [is|stays|remains|looks] {tone}"
            "[| at {times} times its median| at {times} times the recording's median]",
            "muscle tone [stands at|comes to|measures|is] {times} times its median and [is|counts as] {tone}",
        ),
        ("[a |]{tone} muscle tone", "{tone} muscle tone ({times} times its median)"),
    ),
    "artefact": Wording(
        (Feature.ARTEFACT,),
        (f"flat or clipped parts [take|cover|make up] {{artefact}} {OF_TIME}",),
        (f"flat or clipped parts in {{artefact}} {OF_TIME}",),
    ),
}
