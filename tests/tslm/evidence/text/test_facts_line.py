import itertools

import numpy as np
import pytest

from tslm.evidence import words
from tslm.evidence.measure import count_recent_waves, measure_evidence
from tslm.evidence.text.closing import render_closing
from tslm.evidence.text.facts_line import BEHIND, FACTS_PREFIX, phrase_facts, render_facts_line
from tslm.labels import LABEL_SETS

STAGE_NAMES = ("REM", "N2", "stage", "awake", "wake", "sleep")


def measured() -> dict[str, float]:
    time_s = np.arange(3000) / 100
    epoch = 30 * np.sin(2 * np.pi * time_s) + np.random.default_rng(0).normal(0, 5, 3000)
    return words.epoch_facts(measure_evidence(epoch[None], 100.0), 0)


def test_every_figure_is_the_measured_one_and_no_stage_is_named() -> None:
    facts = measured() | {"emg_tone": 0.5, "artefact_fraction": 0.2, "spindle_count": 2.0, "slow_wave_fraction": 0.3}
    line = render_facts_line(facts, "human")
    for part in (
        f"{FACTS_PREFIX}{words.amplitude_word(facts['rms_uv'])} amplitude, RMS {facts['rms_uv']:.0f} uV",
        f"leading delta {100 * facts['delta_share']:.0f}%, then ",
        "at least two spindles, slow waves past a fifth",
        "low muscle tone",
        "flat or clipped parts in 20% of the time",
    ):
        assert part in line
    assert not any(name in line for name in STAGE_NAMES)


def test_rodents_are_described_without_waveforms_of_people() -> None:
    line = render_facts_line(measured() | {"emg_tone": 2.0}, "rodent")
    assert "theta" in line and "high muscle tone" in line
    assert not any(word in line for word in ("spindle", "K-complex", "alpha", "eye", "moderate"))


@pytest.mark.parametrize("group", ["human", "rodent"])
def test_each_phrase_can_be_left_out_by_its_name(group: str) -> None:
    facts = measured()
    names = [name for section in phrase_facts(facts, group) for name in section]
    phrases = {name: text for section in phrase_facts(facts, group) for name, text in section.items()}
    whole = render_facts_line(facts, group)
    for name in names:
        line = render_facts_line(facts, group, [name])
        assert phrases[name] not in line
        assert all(phrases[other] in line for other in names if other != name)
        assert len(line) < len(whole)
    assert render_facts_line(facts, group, names) == ""


@pytest.mark.parametrize("artefact_fraction", [0.51, 0.8, 1.0])
@pytest.mark.parametrize("group", ["human", "rodent"])
def test_a_flat_or_clipped_epoch_is_unmeasurable_and_nothing_is_zero(artefact_fraction: float, group: str) -> None:
    facts = words.round_facts(measured() | {"artefact_fraction": artefact_fraction})
    line = render_facts_line(facts, group)
    assert words.UNMEASURABLE in line
    assert "RMS" not in line and "delta" not in line and "no spindles" not in line
    assert "rms_uv" not in facts


def test_a_flat_signal_is_measured_as_unmeasurable() -> None:
    facts = words.epoch_facts(measure_evidence(np.zeros((1, 3000)), 100.0), 0)
    assert render_facts_line(facts, "human") == (
        f"{FACTS_PREFIX}flat or clipped parts in 100% of the time, {words.UNMEASURABLE}."
    )


def test_equal_lines_lead_to_equal_closings() -> None:
    """Facts by which a closing may differ have different lines."""
    closings: dict[str, set[tuple[str, ...]]] = {}
    cases = itertools.product((0, 1, 2), (0, 1), (0.0, 0.1, 0.3), (0.05, 0.1, 0.3), (0, 1, 2), (0, 1, 3))
    for spindles, k_complexes, slow, alpha, eyes, recent in cases:
        facts = measured() | {
            "peak_to_peak_uv": 80.0,
            "spindle_count": spindles,
            "k_complex_count": k_complexes,
            "slow_wave_fraction": slow,
            "alpha_fraction": alpha,
            "eye_movement_count": eyes,
            "recent_wave_count": recent,
        }
        closing = tuple(render_closing(facts, sleep_stage) for sleep_stage in LABEL_SETS["aasm"].sleep_stages)
        closings.setdefault(render_facts_line(facts, "human"), set()).add(closing)
    assert len(closings) > 40
    assert all(len(told) == 1 for told in closings.values())


def test_absence_is_said_only_where_it_can_be_known() -> None:
    facts = measured() | {"spindle_count": 0.0, "k_complex_count": 0.0, "recent_wave_count": 0.0}
    facts |= {"slow_wave_fraction": 0.1, "eye_movement_count": 0.0, "peak_to_peak_uv": 70.0}
    assert "no spindles or K-complexes" in render_facts_line(facts, "human")
    for unsure in ({"recent_wave_count": 2.0}, {"slow_wave_fraction": 0.3}, {"peak_to_peak_uv": 110.0}):
        assert "no spindles" not in render_facts_line(facts | unsure, "human")
    assert "eye" not in render_facts_line(facts, "human")


@pytest.mark.parametrize("beside", [{"spindle_count": 1.0}, {"recent_wave_count": 2.0}, {"slow_wave_fraction": 0.3}])
def test_eye_movements_are_said_from_two_on_and_not_beside_waves_of_sleep(beside: dict[str, float]) -> None:
    facts = measured() | {"spindle_count": 0.0, "k_complex_count": 0.0, "recent_wave_count": 0.0}
    facts |= {"slow_wave_fraction": 0.0, "eye_movement_count": 2.0}
    assert "eye movements" in render_facts_line(facts, "human")
    assert "eye" not in render_facts_line(facts | {"eye_movement_count": 1.0}, "human")
    assert "eye" not in render_facts_line(facts | beside, "human")


def test_what_the_body_of_a_brief_rationale_leaves_out_is_named() -> None:
    for alpha, phrase in ((0.0, "scarce alpha"), (0.15, None), (0.3, "alpha rhythm"), (0.6, "alpha rhythm")):
        around = phrase_facts(measured() | {"alpha_fraction": alpha}, "human")[-1]
        assert around.get("scarce_alpha", around.get("alpha")) == phrase
    assert "scarce_alpha" in BEHIND and "alpha" not in BEHIND


def test_recent_waves_are_those_of_three_epochs_before_without_a_gap() -> None:
    evidence = {"spindle_count": np.array([1, 0, 2, 0, 0, 0, 0]), "k_complex_count": np.array([0, 1, 0, 0, 0, 0, 0])}
    onset_s = 30.0 * np.arange(7)
    assert count_recent_waves(evidence, onset_s, 30.0).tolist() == [0, 1, 2, 4, 3, 2, 0]
    onset_s[3:] += 600
    assert count_recent_waves(evidence, onset_s, 30.0).tolist() == [0, 1, 2, 0, 0, 0, 0]
    assert count_recent_waves({name: values[:1] for name, values in evidence.items()}, onset_s[:1], 30.0).tolist() == [
        0
    ]
