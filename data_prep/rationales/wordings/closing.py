"""Wordings of a closing: the reasons it may cite, and what it says of them for and against the label."""

from data_prep.rationales.wordings.grammar import MEDIAN, OF_TIME, TONE, Wording
from tslm.evidence.criteria import Feature

# What a closing sentence may cite; phrases only.
REASONS: dict[str, Wording] = {
    name: Wording(features, (), phrases)
    for name, (features, phrases) in {
        "slow_over": ((Feature.SLOW_WAVES,), (f"slow waves [past|over|above|in more than] a fifth {OF_TIME}",)),
        "slow_under": ((Feature.SLOW_WAVES,), (f"slow waves [under|below|in less than] a fifth {OF_TIME}",)),
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
        "alpha_most": ((Feature.ALPHA,), (f"alpha [over|past|in more than] half {OF_TIME}",)),
        "alpha_under": ((Feature.ALPHA,), (f"alpha [under|below|in less than|short of] half {OF_TIME}",)),
        "no_alpha": ((Feature.ALPHA,), ("the [lack|absence] of alpha", "[absent|missing|scarce] alpha")),
        "fast": ((Feature.BETA,), ("[the |]fast activity",)),
        "no_fast": (
            (Feature.BETA,),
            (
                "the [lack|absence] of fast activity",
                "[scarce|sparse|limited|scant] fast activity",
                "beta at [only |]{beta_share}",
                "[a|the] beta [share|power] of [only |]{beta_share}",
            ),
        ),
        "muscle": ((Feature.MUSCLE,), ("[the |]muscle activity",)),
        "theta_leads": ((Feature.THETA,), ("theta in the lead", "[the |]leading theta", "the dominance of theta")),
        "theta": ((Feature.THETA,), ("theta at {theta_share}", "[a|the] theta [share|power] of {theta_share}")),
        "no_theta": ((Feature.THETA,), ("the [lack|absence] of theta",)),
        "delta_leads": (
            (Feature.DELTA,),
            (
                "delta in the lead",
                "[the |][leading|dominant|prevailing] delta",
                "the dominance of delta",
                "delta[ power|] [with|at] {delta_share}",
                "[a|the] delta [share|power] of {delta_share}",
                "[leading|dominant|prevailing] delta ({delta_share})",
            ),
        ),
        "delta_behind": (
            (Feature.DELTA,),
            (
                "delta, which does not lead",
                "delta that does not lead",
                "delta at [only |]{delta_share}",
                "[a|the] delta [share|power] of [only |]{delta_share}",
            ),
        ),
        "eyes": ((Feature.EYE_MOVEMENTS,), ("{the_eyes}",)),
        "still_eyes": (
            (Feature.EYE_MOVEMENTS,),
            ("the [absence|lack] of visible eye movements", "no visible eye movements"),
        ),
        "sawtooth": ((Feature.SAWTOOTH,), ("[the |]sawtooth waves",)),
        "artefact": ((Feature.ARTEFACT,), ("[the |]flat or clipped parts",)),
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
