"""Wordings of an epoch's background: amplitude, the share of each band and the spectral peak."""

from data_prep.rationales.wordings.grammar import AT, COMES_TO, EPOCH, LEADS, THEN, Wording
from tslm.evidence.criteria import Feature

BACKGROUND: dict[str, Wording] = {
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
        ("an RMS[ amplitude| value|] of {rms} uV", "{rms} uV RMS", "RMS at {rms} uV"),
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
        (f"[leading|dominant|prevailing] {{first}} {AT} {{first_share}}",),
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
