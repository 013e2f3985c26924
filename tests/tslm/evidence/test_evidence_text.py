import numpy as np

from tslm.evidence.measure import measure_evidence
from tslm.evidence.words import describe_evidence, epoch_facts
from tslm.explain.claims.read import read_claims


def measured() -> dict[str, float]:
    time_s = np.arange(3000) / 100
    epoch = 30 * np.sin(2 * np.pi * time_s) + np.random.default_rng(0).normal(0, 5, 3000)
    return epoch_facts(measure_evidence(epoch[None], 100.0), 0)


def test_every_figure_is_the_measured_one_and_no_stage_is_named() -> None:
    facts = measured() | {"emg_tone": 0.5, "artefact_fraction": 0.2}
    told = describe_evidence(facts, "human")
    for part in (
        f"RMS {facts['rms_uv']:.0f} uV (moderate)",
        f"delta {100 * facts['delta_share']:.0f}%",
        f"Slow waves in {100 * facts['slow_wave_fraction']:.0f}% of the time",
        "no sleep spindles",
        "Muscle tone: low, 0.5 times",
        "clipped in 20% of the time",
    ):
        assert part in told
    assert not any(word in told for word in ("REM", "N2", "stage", "awake"))


def test_animals_are_told_no_waveforms_of_people() -> None:
    told = describe_evidence(measured(), "rodent")
    assert "theta" in told
    assert not any(word in told for word in ("spindle", "K-complex", "Alpha rhythm", "moderate"))


def test_what_is_told_is_read_back_as_claims() -> None:
    assert read_claims(describe_evidence(measured(), "human"))
