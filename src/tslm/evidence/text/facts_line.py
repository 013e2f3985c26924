"""Measured facts of an epoch as short phrases: one table for the line of a prompt and for brief rationales.

A language model copies a fact that stands in its prompt in the words and the order in which its rationale has to cite
it; facts that have to be reworded are copied wrongly. So both are written from the same phrases.
"""

from collections.abc import Collection, Mapping

from tslm.evidence import words

FACTS_PREFIX = "Measured: "
RODENT_BANDS = ("delta", "theta", "beta")  # alpha, sigma and their waveforms are defined on the human scalp
# Phrases of the line that the body of a brief rationale leaves out; its closing reason may cite them.
BEHIND = ("theta", "scarce_alpha")


def render_facts_line(facts: Mapping[str, float], group: str, left_out: Collection[str] = ()) -> str:
    """The line of a prompt that states what was measured in an epoch, such as "Measured: low amplitude, RMS 9 uV; ...".

    Sections are separated by semicolons: amplitude and bands, waveforms, and what lies around them.

    Args:
        facts: of the epoch (`tslm.evidence.words.epoch_facts`).
        group: of species, human or rodent.
        left_out: names of phrases (`phrase_facts`) that are not stated.

    Returns:
        The line without a line break; empty where every phrase is left out.
    """
    sections = [
        ", ".join(phrase for name, phrase in section.items() if name not in left_out)
        for section in phrase_facts(facts, group)
    ]
    text = "; ".join(section for section in sections if section)
    return f"{FACTS_PREFIX}{text}." if text else ""


def phrase_facts(facts: Mapping[str, float], group: str) -> list[dict[str, str]]:
    """Phrases of an epoch's facts by name, in sections, in the order in which rationales cite them.

    A waveform, activity or artefact that has no phrase was not found, which is no proof of absence. An epoch that is
    mostly flat or clipped has one phrase, which says that nothing else is measurable.

    Args:
        facts: of the epoch (`tslm.evidence.words.epoch_facts`).
        group: of species. Of rodents, spindles, K-complexes, alpha and eye movements are left out.
    """
    if words.is_unmeasurable(facts):
        return [{"artefact": _phrase_artefact(facts), "unmeasurable": words.UNMEASURABLE}]
    return _phrase_human(facts) if group == "human" else _phrase_rodent(facts)


def _phrase_human(facts: Mapping[str, float]) -> list[dict[str, str]]:
    (first, first_share), (second, second_share), *_ = words.rank_bands(facts)
    background = {
        "amplitude": f"{words.amplitude_word(facts['rms_uv'])} amplitude, RMS {facts['rms_uv']:.0f} uV",
        "peak_to_peak": f"{facts['peak_to_peak_uv']:.0f} uV peak-to-peak",
        "bands": f"leading {first} {percent(first_share)}, then {second} {percent(second_share)}",
    }
    if "theta" not in (first, second) and facts["theta_share"] >= words.THETA_SHARE:
        background["theta"] = f"theta {percent(facts['theta_share'])}"
    waves = _phrase_waves(facts) | {"slow_waves": _phrase_slow_waves(facts)}
    around: dict[str, str] = {}
    alpha = facts["alpha_fraction"]
    if alpha < words.ALPHA_SCARCE:
        around["scarce_alpha"] = "scarce alpha"
    elif alpha >= words.ALPHA_SOME:
        around["alpha"] = "alpha rhythm"
    if words.has_eye_movements(facts):
        around["eyes"] = "eye movements"
    if words.has_band(facts, "beta"):
        around["fast"] = "much fast activity"
    if facts["high_frequency_ratio"] >= words.MUSCLE_RATIO:
        around["muscle"] = "muscle activity"
    if facts.get("sawtooth_count", 0) > 0:
        around["sawtooth"] = "sawtooth waves"
    return [background, waves, around | _phrase_tone(facts) | _phrase_some_artefact(facts)]


def _phrase_waves(facts: Mapping[str, float]) -> dict[str, str]:
    """Spindles and K-complexes of the epoch, or those of the epochs before; nothing where they cannot be told."""
    if words.lacks_waves(facts):
        return {"waves": "no spindles or K-complexes"}
    if words.has_recent_waves(facts):
        return {"recent_waves": words.RECENT_WAVES}
    counted = []
    if words.has_spindles(facts):
        counted.append(words.count_phrase(facts["spindle_count"], "spindle"))
    if words.has_k_complexes(facts):
        counted.append(words.count_phrase(facts["k_complex_count"], "K-complex", "K-complexes"))
    return {"waves": ", ".join(counted)} if counted else {}


def _phrase_slow_waves(facts: Mapping[str, float]) -> str:
    """Their share of time to the fifth that decides: an eye tells no percents."""
    if facts["slow_wave_fraction"] < words.SLOW_WAVES_SOME:
        return "few slow waves"
    return f"slow waves {'past' if words.has_many_slow_waves(facts) else 'under'} a fifth"


def _phrase_rodent(facts: Mapping[str, float]) -> list[dict[str, str]]:
    (first, first_share), *_ = words.rank_bands(facts)
    others = [band for band in RODENT_BANDS if band != first]
    has_fast = words.has_band(facts, "beta")
    background = {
        "rms": f"RMS {facts['rms_uv']:.0f} uV",
        "one_band": f"leading {first} {percent(first_share)}",
        "rodent_bands": ", ".join(f"{band} {percent(facts[f'{band}_share'])}" for band in others),
    }
    around = {"fast": "much fast activity" if has_fast else "little fast activity"}
    return [background, around | _phrase_tone(facts) | _phrase_some_artefact(facts)]


def _phrase_tone(facts: Mapping[str, float]) -> dict[str, str]:
    """Muscle tone where an EMG shows one (0 stands for a channel without signal) that is not moderate."""
    tone = words.tone_word(facts["emg_tone"]) if facts.get("emg_tone", 0.0) > 0 else "moderate"
    return {} if tone == "moderate" else {"tone": f"{tone} muscle tone"}


def _phrase_some_artefact(facts: Mapping[str, float]) -> dict[str, str]:
    return {"artefact": _phrase_artefact(facts)} if facts["artefact_fraction"] >= words.ARTEFACT_SOME else {}


def _phrase_artefact(facts: Mapping[str, float]) -> str:
    return f"flat or clipped parts in {percent(facts['artefact_fraction'])} of the time"


def percent(share: float) -> str:
    """A share in whole percents."""
    return f"{round(100 * share)}%"
