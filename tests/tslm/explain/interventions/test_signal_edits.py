"""Each edit does to simulated epochs what it says, by the detectors, and leaves the rest of the spectrum alone."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tslm.data.prepared.recordings import Recording
from tslm.evidence.measure import measure_evidence
from tslm.explain.interventions.edits import EDITS, Condition, apply_facts, read_facts
from tslm.explain.interventions.signal_edits import add_alpha, add_spindles, remove_spindles, scale_slow_waves
from tslm.labels import SleepStage

NUM_EPOCHS = 40
# Slow waves of N2 grow past 75 uV in some epochs only, and two epochs of a night may be alike, most of all in wake.
LEAST_CONFIRMED = {"slow_waves_x3": 0.5, "epoch_of_same_stage": 0.4, "epoch_of_other_stage": 0.7}
SIGNAL_EDITS = [edit for edit in EDITS if Condition.SERIES in edit.conditions]


def choose_epochs(night: Recording, stages: tuple[SleepStage, ...], applies: Callable[[dict], bool]) -> list[int]:
    fitting = (
        idx for idx, stage in enumerate(night.sleep_stages) if stage in stages and applies(read_facts(night, idx))
    )
    return list(islice(fitting, NUM_EPOCHS))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_the_facts_after_an_edit_show_its_effect_in_most_epochs(edit, night) -> None:
    epochs = choose_epochs(night, edit.effect.sleep_stages, edit.effect.applies)
    assert len(epochs) >= 10
    rng = np.random.default_rng(0)
    confirmed = []
    for epoch in epochs:
        facts, change = read_facts(night, epoch), edit.change(night, epoch, rng)
        assert change is not None
        assert not edit.effect.is_confirmed(facts, facts)
        confirmed.append(edit.effect.is_confirmed(facts, apply_facts(facts, change)))
    assert np.mean(confirmed) >= LEAST_CONFIRMED.get(edit.name, 0.9)


@pytest.mark.parametrize("edit", SIGNAL_EDITS, ids=lambda edit: edit.name)
def test_the_facts_of_a_signal_edit_are_those_measured_in_the_edited_signal(edit, night) -> None:
    (epoch,) = choose_epochs(night, edit.effect.sleep_stages, edit.effect.applies)[:1]
    change = edit.change(night, epoch, np.random.default_rng(1))
    (values_L,) = change.channels.values()
    measured = measure_evidence(values_L[None], night.fs_hz)
    assert change.facts == pytest.approx({name: float(values[0]) for name, values in measured.items()}, rel=1e-4)


@pytest.mark.parametrize(
    ("edit", "band_hz"),
    [
        (lambda values_L, _rng: remove_spindles(values_L, 100.0), (10.0, 17.0)),
        (lambda values_L, rng: add_spindles(values_L, 100.0, rng), (8.0, 18.0)),
        (lambda values_L, _rng: scale_slow_waves(values_L, 100.0, 0.3), (0.0, 3.0)),
        (lambda values_L, rng: add_alpha(values_L, 100.0, rng), (6.0, 13.0)),
    ],
    ids=["remove_spindles", "add_spindles", "scale_slow_waves", "add_alpha"],
)
def test_an_edit_changes_its_own_band_alone(edit, band_hz, night) -> None:
    rng = np.random.default_rng(2)
    low_hz, high_hz = band_hz
    freqs_hz = np.fft.rfftfreq(3000, 0.01)
    own_F = (freqs_hz >= low_hz) & (freqs_hz <= high_hz)
    for values_L in night.channels["EEG Fpz-Cz"][100:600:25].astype(np.float64):
        change_F = np.abs(np.fft.rfft((edit(values_L, rng) - values_L) * np.hanning(3000))) ** 2
        assert change_F.sum() > 0
        assert change_F[own_F].sum() >= 0.97 * change_F.sum()


def test_spindles_are_added_apart_from_those_that_are_there(night) -> None:
    rng = np.random.default_rng(3)
    epochs = choose_epochs(night, (SleepStage.N2,), lambda facts: facts["spindle_count"] == 1)
    edited_EL = np.stack([add_spindles(night.channels["EEG Fpz-Cz"][epoch], 100.0, rng) for epoch in epochs])
    assert (measure_evidence(edited_EL, 100.0)["spindle_count"] >= 3).mean() > 0.9


def test_a_factor_of_one_changes_nothing(night) -> None:
    values_L = night.channels["EEG Fpz-Cz"][200]
    np.testing.assert_array_equal(scale_slow_waves(values_L, 100.0, 1.0), values_L)


def test_another_epoch_brings_its_muscle_tone_and_not_what_came_before_it(night) -> None:
    (edit,) = (edit for edit in EDITS if edit.name == "epoch_of_other_stage")
    tone_E = np.arange(night.num_epochs, dtype=np.float32)  # tells the epochs apart
    channels = {**night.channels, "EMG": np.repeat(tone_E[:, None], 3000, axis=1)}
    marked = replace(night, channels=channels, columns={**night.columns, "emg_tone": tone_E})
    change = edit.change(marked, 300, np.random.default_rng(0))
    other = int(change.facts["emg_tone"])
    assert change.sleep_stage == night.sleep_stages[other] != night.sleep_stages[300]
    assert (change.channels["EMG"] == other).all()
    np.testing.assert_array_equal(change.channels["EEG Fpz-Cz"], night.channels["EEG Fpz-Cz"][other])
    assert change.facts["rms_uv"] == night.columns["rms_uv"][other]
    assert "recent_wave_count" not in change.facts
