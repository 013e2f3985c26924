"""Wordings of what lies around the waves: alpha, eyes, fast activity, muscle, tone and artefacts."""

from data_prep.rationales.wordings.grammar import EPOCH, HOLDS, IS_SEEN, LITTLE, MEDIAN, OF_TIME, SPARSE, TONE, Wording
from tslm.evidence.criteria import Feature

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
            "no eye movements are [seen|found|visible]",
            f"no eye movement {IS_SEEN}",
            "eye movements are not [seen|visible|found]",
        ),
        ("no eye movements", "no visible eye movements"),
    ),
    "fast": Wording(
        (Feature.BETA,),
        ("fast activity [is prominent|stands out|is abundant]", "fast activity runs [throughout|over the trace]"),
        ("[abundant|prominent|much] fast activity",),
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
