"""What was measured in an epoch, told in words and figures without a word about what it means."""

from collections.abc import Mapping

from tslm.evidence.words import (
    ARTEFACT_SOME,
    amplitude_word,
    count_word,
    rank_bands,
    tone_word,
)

_COUNTED = {
    "spindle_count": "sleep spindles",
    "k_complex_count": "K-complexes",
    "eye_movement_count": "eye movements",
    "sawtooth_count": "trains of sawtooth waves",
}


def describe_evidence(facts: Mapping[str, float], group: str) -> str:
    """Sentences that state an epoch's measurements, for a reader who does not see the signal.

    Args:
        facts: rounded evidence of the epoch (`evidence_words.round_facts`), with `emg_tone` where it is known.
        group: of species. Waveforms and words for amplitudes are those of people, and left out for rodents.
    """
    shares = ", ".join(f"{band} {100 * share:.0f}%" for band, share in rank_bands(facts))
    is_human = group == "human"
    word = f" ({amplitude_word(facts['rms_uv'])})" if is_human else ""
    sentences = [
        f"EEG amplitude: RMS {facts['rms_uv']:.0f} uV{word}, peak to peak {facts['peak_to_peak_uv']:.0f} uV.",
        f"Share of power by band: {shares}.",
        f"Power in 30-45 Hz over that below: {facts['high_frequency_ratio']:.2f}.",
    ]
    if is_human:
        sentences.append(f"Alpha rhythm in {100 * facts['alpha_fraction']:.0f}% of the time.")
        sentences.append(f"Slow waves in {100 * facts['slow_wave_fraction']:.0f}% of the time.")
        counted = (f"{count_word(int(facts[column]))} {name}" for column, name in _COUNTED.items())
        sentences.append(f"Counted: {', '.join(counted)}.")
    if facts.get("emg_tone", 0.0) > 0:
        tone = facts["emg_tone"]
        sentences.append(f"Muscle tone: {tone_word(tone)}, {tone:.1f} times what is usual in this recording.")
    if facts["artefact_fraction"] >= ARTEFACT_SOME:
        sentences.append(f"Signal lost or clipped in {100 * facts['artefact_fraction']:.0f}% of the time.")
    return " ".join(sentences)
