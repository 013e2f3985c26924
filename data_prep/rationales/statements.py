"""Choose the statements of a rationale from an epoch's facts, and fill the slots of their wordings."""

import random
from collections.abc import Iterable, Mapping

from tslm.evidence import words
from tslm.evidence.criteria import Facts, Feature
from tslm.evidence.events import Event
from tslm.evidence.text.facts_line import RODENT_BANDS, percent

# Statement that counts a waveform -> (statement that also says where, slot of the times, kind of event, its count)
_TIMED = {
    "spindles": ("timed_spindles", "spindle_times", Feature.SPINDLES, "spindle_count"),
    "k_complexes": ("timed_k_complexes", "k_complex_times", Feature.K_COMPLEXES, "k_complex_count"),
    "eyes": ("timed_eyes", "eye_times", Feature.EYE_MOVEMENTS, "eye_movement_count"),
}
MAX_TIMES = 3  # of one waveform in a text; where there are more, none is said


def fill_slots(facts: Facts, is_human: bool) -> dict[str, str]:
    """Texts for the slots of the wordings; some are templates with choices themselves."""
    slots = {"site": "chin" if is_human else "neck"}  # where the EMG is taken
    if "emg_tone" in facts:
        slots |= {"tone": words.tone_word(facts["emg_tone"]), "times": f"{facts['emg_tone']:.1f}"}
    if words.is_unmeasurable(facts):
        return slots
    slots |= {
        "level": words.amplitude_word(facts["rms_uv"]),
        "rms": f"{facts['rms_uv']:.0f}",
        "peak_to_peak": f"{facts['peak_to_peak_uv']:.0f}",
        "peak": f"{facts['dominant_hz']:g}",
        "slow": percent(facts["slow_wave_fraction"]),
        "alpha": percent(facts["alpha_fraction"]),
        "often": "at times" if facts["alpha_fraction"] <= words.ALPHA_MOST else "over half the time",
        "artefact": percent(facts["artefact_fraction"]),
        **{f"{band}_share": percent(facts[f"{band}_share"]) for band in RODENT_BANDS},
        "spindles": _counted(facts["spindle_count"], "spindle"),
        "k_complexes": _counted(facts["k_complex_count"], "K-complex", "K-complexes"),
        "the_spindles": _counted(facts["spindle_count"], "spindle", is_known=True),
        "the_k_complexes": _counted(facts["k_complex_count"], "K-complex", "K-complexes", is_known=True),
        "spindle_s": f"{facts.get('spindle_duration_s', 0.0):.1f}",
    }
    first, second, *others = words.rank_bands(facts)
    if not is_human:
        others = [pair for pair in (first, second, *others) if pair[0] in RODENT_BANDS and pair != first]
    for place, (band, share) in zip(("first", "second", "third", "fourth"), (first, second, *others), strict=False):
        slots |= {place: band, f"{place}_share": percent(share)}
    return slots


def fill_time_slots(facts: Facts, events: Iterable[Event]) -> dict[str, str]:
    """Slots of the times of each waveform, in whole seconds from the start of the epoch, where they can be said."""
    slots = {}
    for _, slot, kind, column in _TIMED.values():
        times_s = sorted({round(event.onset_s) for event in events if event.kind == kind})
        if times_s and len(times_s) == facts[column] <= MAX_TIMES:
            *first, last = map(str, times_s)
            slots[slot] = (
                f"[{' s, '.join(first)} s and {last} s|{', '.join(first)} and {last} s]" if first else f"{last} s"
            )
    return slots


def cite_times(names: Iterable[str], slots: Mapping[str, str], rng: random.Random) -> list[str]:
    """The statements, half of those on waveforms whose times can be said (`fill_time_slots`) with their times."""
    sayable = {name: timed for name, (timed, slot, *_) in _TIMED.items() if slot in slots}
    return [sayable[name] if name in sayable and rng.random() < 0.5 else name for name in names]


def _counted(count: float, singular: str, plural: str = "", is_known: bool = False) -> str:
    """A count with its noun, as a template; a known thing has no number, another has at least that of the detector."""
    noun = singular if count == 1 else plural or f"{singular}s"
    if is_known:
        return f"the {noun}" if count == 1 else f"[|the ]{noun}"
    word = words.count_word(int(count))
    number = word if word == words.MANY_WORD else f"at least [{word}|{count:.0f}]"
    return f"{number} {noun}"


def choose_human(facts: Facts, num_statements: int, rng: random.Random) -> list[list[str]]:
    """Names of the statements by section: background, waveforms, and everything else."""
    _, second_share = words.rank_bands(facts)[1]
    background = ["amplitude", "bands" if second_share >= words.SECOND_BAND_SHARE else "one_band"]
    has_few_slow_waves = facts["slow_wave_fraction"] < words.SLOW_WAVES_SOME
    figures = [*_spindles(facts, rng), "few_slow_waves" if has_few_slow_waves else "slow_waves"]
    around = [
        *(["alpha"] if facts["alpha_fraction"] >= words.ALPHA_SOME else []),
        *(["eyes"] if words.has_eye_movements(facts) else []),
        *_disturbances(facts),
    ]
    optional = [
        (background, "peak_to_peak"),
        (background, "peak_frequency"),
        (background, "other_bands"),
        *([] if "fast" in around else [(around, "little_fast")]),
        *([] if "muscle" in around else [(around, "no_muscle")]),
    ]
    rng.shuffle(optional)
    num_free = max(0, num_statements - len(background) - len(figures) - len(around))
    little_alpha = [] if "alpha" in around else [(around, "little_alpha")]
    for section, name in [*little_alpha, *optional][:num_free]:
        section.append(name)
    return [background, figures, around]


def choose_rodent(facts: Facts, num_statements: int, rng: random.Random) -> list[list[str]]:
    """As `choose_human`, with what is defined for rodents: delta, theta, fast activity and muscle tone."""
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
    return [amplitude, spectrum, around]


def _spindles(facts: Facts, rng: random.Random) -> list[str]:
    if words.lacks_waves(facts):
        return ["no_spindles_or_k"]
    names = ["k_complexes"] if words.has_k_complexes(facts) else []
    if words.has_spindles(facts):
        is_timed = facts.get("spindle_duration_s", 0.0) > 0 and rng.random() < 0.5
        names.insert(0, "long_spindles" if is_timed else "spindles")
    return names


def _disturbances(facts: Facts) -> list[str]:
    return [
        *(["fast"] if words.has_band(facts, "beta") else []),
        *(["muscle"] if facts["high_frequency_ratio"] >= words.MUSCLE_RATIO else []),
        *(["artefact"] if facts["artefact_fraction"] >= words.ARTEFACT_SOME else []),
        *(["sawtooth"] if facts.get("sawtooth_count", 0) > 0 else []),
        *(["tone"] if facts.get("emg_tone", 0) > 0 else []),
    ]
