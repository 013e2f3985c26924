"""Wordings of single waves: spindles, K-complexes, slow waves and sawtooth waves."""

from data_prep.rationales.wordings.grammar import EPOCH, GONE, HARDLY, HOLDS, IS_SEEN, OF_TIME, SEEN, STOOD_OUT, Wording
from tslm.evidence.criteria import Feature

WAVEFORMS: dict[str, Wording] = {
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
    "no_spindles": Wording(
        (Feature.SPINDLES,),
        (f"spindles are {GONE}", f"no spindle {IS_SEEN}", f"{EPOCH} {HOLDS} no spindles"),
        ("no spindles", "an absence of spindles"),
    ),
    "spindles": Wording(
        (Feature.SPINDLES,),
        (f"{{spindles}} {STOOD_OUT}", f"{EPOCH} {HOLDS} {{spindles}}"),
        ("{spindles}",),
    ),
    "long_spindles": Wording(
        (Feature.SPINDLES, Feature.SPINDLES),
        (
            f"{{spindles}} {STOOD_OUT}, lasting about {{spindle_s}} s[| on average]",
            f"{EPOCH} {HOLDS} {{spindles}} lasting about {{spindle_s}} s",
        ),
        ("{spindles} lasting about {spindle_s} s",),
    ),
    "no_k_complexes": Wording(
        (Feature.K_COMPLEXES,),
        (f"K-complexes are {GONE}", f"no K-complex {IS_SEEN}", f"{EPOCH} {HOLDS} no K-complexes"),
        ("no K-complexes", "an absence of K-complexes"),
    ),
    "k_complexes": Wording(
        (Feature.K_COMPLEXES,),
        (f"{{k_complexes}} {STOOD_OUT}", f"{EPOCH} {HOLDS} {{k_complexes}}"),
        ("{k_complexes}",),
    ),
    "slow_waves": Wording(
        (Feature.SLOW_WAVES,),
        (
            f"slow waves [fill|cover|take|occupy|make up] {{slow}} {OF_TIME}",
            f"{{slow}} {OF_TIME} [is filled with|is covered by|belongs to|goes to] slow waves",
        ),
        (f"slow waves [in|over] {{slow}} {OF_TIME}", "slow waves ({slow})"),
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
