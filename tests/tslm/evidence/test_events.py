import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sawtooth

from data_prep.simulators.human.night import simulate_human_night
from tslm.evidence.criteria import Feature
from tslm.evidence.events import EVENT_KINDS, Event, find_events
from tslm.evidence.measure import measure_evidence

FS_HZ = 100.0
TIME_S = np.arange(3000) / FS_HZ
COUNT_COLUMNS = {
    Feature.SPINDLES: "spindle_count",
    Feature.K_COMPLEXES: "k_complex_count",
    Feature.EYE_MOVEMENTS: "eye_movement_count",
    Feature.SAWTOOTH: "sawtooth_count",
}


def _noise(num_epochs: int, rms_uv: float, exponent: float = 1.0) -> np.ndarray:
    """Noise of power 1/f^exponent, flat below 0.5 Hz."""
    rng = np.random.default_rng(0)
    gain = np.maximum(np.fft.rfftfreq(3000, 1 / FS_HZ), 0.5) ** (-exponent / 2)
    epochs = np.fft.irfft(gain * (rng.normal(size=(num_epochs, 1501)) + 1j * rng.normal(size=(num_epochs, 1501))), 3000)
    return rms_uv * epochs / epochs.std(axis=1, keepdims=True)


def _burst(centre_s: float, width_s: float, amplitude_uv: float) -> np.ndarray:
    return amplitude_uv * np.exp(-(((TIME_S - centre_s) / width_s) ** 2))


def _of_kind(events: list[Event], kind: Feature) -> list[Event]:
    return [event for event in events if event.kind == kind]


def _assert_events_are_the_evidence(epochs_EL: np.ndarray, fs_hz: float) -> None:
    evidence, nights_events = measure_evidence(epochs_EL, fs_hz), find_events(epochs_EL, fs_hz)
    epoch_s = epochs_EL.shape[1] / fs_hz
    num_alpha_windows, num_seconds = int(epoch_s) - 1, int(epoch_s)
    assert len(nights_events) == len(epochs_EL)
    for idx, events in enumerate(nights_events):
        assert [event.onset_s for event in events] == sorted(event.onset_s for event in events)
        of_kind = {kind: _of_kind(events, kind) for kind in EVENT_KINDS["human"]}
        assert sum(map(len, of_kind.values())) == len(events)
        total_s = {kind: sum(event.duration_s for event in found) for kind, found in of_kind.items()}
        for kind, column in COUNT_COLUMNS.items():
            assert len(of_kind[kind]) == evidence[column][idx]
        mean_s = total_s[Feature.SPINDLES] / max(len(of_kind[Feature.SPINDLES]), 1)
        assert evidence["spindle_duration_s"][idx] == pytest.approx(mean_s, abs=1e-5)
        assert evidence["slow_wave_fraction"][idx] == pytest.approx(total_s[Feature.SLOW_WAVES] / epoch_s, abs=1e-6)
        assert evidence["artefact_fraction"][idx] == pytest.approx(total_s[Feature.ARTEFACT] / num_seconds, abs=1e-6)
        num_windows = total_s[Feature.ALPHA] - len(of_kind[Feature.ALPHA])  # n windows of 2 s, one a second: n + 1 s
        assert evidence["alpha_fraction"][idx] == pytest.approx(num_windows / num_alpha_windows, abs=1e-6)
        for found in of_kind.values():
            ends_s = [0.0, *(event.onset_s + event.duration_s for event in found)]
            assert all(end_s <= event.onset_s + 1e-9 for end_s, event in zip(ends_s, found, strict=False))
            assert ends_s[-1] <= epoch_s + 1e-9
            assert all(event.duration_s > 0 for event in found)


def test_events_of_simulated_nights_are_what_is_counted_and_shared_out():
    for subject_idx in range(3):
        night = simulate_human_night(5, subject_idx)
        (signal,) = night.signals.values()
        epochs_EL = signal.values.reshape(len(night.sleep_stages), -1)[::4].copy()
        epochs_EL[3, 500:900] = 0.0
        epochs_EL[5, 1900:2500] = 400.0
        _assert_events_are_the_evidence(epochs_EL, signal.fs_hz)


@given(
    spindle_s=st.lists(st.floats(0, 30), max_size=4),
    step_s=st.lists(st.floats(0, 30), max_size=6),
    k_complex_s=st.lists(st.floats(0, 30), max_size=3),
    slow_s=st.floats(0, 12),
    train_s=st.floats(0, 12),
    alpha_s=st.floats(0, 30),
    flat_s=st.integers(0, 30),
    fs_hz=st.sampled_from((64.0, 100.0, 128.0)),
)
@settings(max_examples=30, deadline=None)
def test_events_are_what_is_counted_whatever_the_epoch_holds(
    spindle_s, step_s, k_complex_s, slow_s, train_s, alpha_s, flat_s, fs_hz
):
    epoch = _noise(1, 8)[0]
    for at_s in spindle_s:
        epoch += np.sin(2 * np.pi * 13.2 * TIME_S) * _burst(at_s, 0.45, 20)
    for at_s in step_s:
        epoch += 80 * np.exp(-np.maximum(TIME_S - at_s, 0) / 0.6) * (at_s < TIME_S)
    for at_s in k_complex_s:
        epoch += _burst(at_s + 0.5, 0.25, 55) - _burst(at_s, 0.2, 95)
    epoch += 60 * np.sin(2 * np.pi * 0.9 * TIME_S) * (slow_s > TIME_S)
    epoch += 20 * sawtooth(2 * np.pi * 2.8 * TIME_S) * (train_s > 30 - TIME_S)
    epoch += 15 * np.sin(2 * np.pi * 10 * TIME_S) * (alpha_s > TIME_S)
    epoch[: flat_s * 100] *= flat_s % 2
    _assert_events_are_the_evidence(epoch[None, : int(30 * fs_hz)], fs_hz)


@pytest.mark.parametrize("at_s", [6.0, 14.5, 25.0])
def test_a_waveform_is_found_where_it_was_put(at_s):
    spindle = _noise(30, 10) + np.sin(2 * np.pi * 13.2 * TIME_S) * _burst(at_s, 0.45, 25)
    k_complex = _noise(30, 8, 2.5) + _burst(at_s + 0.5, 0.25, 55) - _burst(at_s, 0.2, 95)
    step = _noise(30, 8) + 80 * np.exp(-np.maximum(TIME_S - at_s, 0) / 0.6) * (at_s < TIME_S)
    waves = ((Feature.SPINDLES, spindle), (Feature.K_COMPLEXES, k_complex), (Feature.EYE_MOVEMENTS, step))
    for kind, epochs_EL in waves:
        found = [event for events in find_events(epochs_EL, FS_HZ) for event in _of_kind(events, kind)]
        near = [
            event for event in found if event.onset_s <= at_s + 0.1 and at_s - 0.1 <= event.onset_s + event.duration_s
        ]
        assert len(near) >= 27
        assert len(found) - len(near) <= 8  # of the noise


@pytest.mark.parametrize("stretch_s", [(4, 12), (10, 27)])
def test_a_stretch_lasts_as_long_as_the_rhythm(stretch_s):
    inside = (stretch_s[0] <= TIME_S) & (stretch_s[1] > TIME_S)
    alpha = _noise(20, 8) + 25 * np.sin(2 * np.pi * 10 * TIME_S) * inside
    slow = _noise(20, 8, 2.5) + 60 * np.sin(2 * np.pi * 1.0 * TIME_S) * inside
    train = _noise(20, 6) + 20 * sawtooth(2 * np.pi * 2.8 * TIME_S) * inside
    flat = np.where(inside, 0.0, _noise(20, 20))
    slack_s = {Feature.ALPHA: 1.0, Feature.SLOW_WAVES: 1.0, Feature.SAWTOOTH: 1.5, Feature.ARTEFACT: 0.01}
    for (kind, slack), epochs_EL in zip(slack_s.items(), (alpha, slow, train, flat), strict=True):
        longest = [
            max(_of_kind(events, kind), key=lambda one: one.duration_s) for events in find_events(epochs_EL, FS_HZ)
        ]
        assert np.median([event.onset_s for event in longest]) == pytest.approx(stretch_s[0], abs=slack)
        ends_s = [event.onset_s + event.duration_s for event in longest]
        assert np.median(ends_s) == pytest.approx(stretch_s[1], abs=slack)


def test_of_rodents_only_slow_waves_and_artefacts_are_events():
    epochs_EL = np.tile(200 * np.sin(2 * np.pi * 1.0 * TIME_S) + 30 * np.sin(2 * np.pi * 13 * TIME_S), (2, 1))
    epochs_EL[1, 500:800] = 0.0
    events = find_events(epochs_EL, FS_HZ, "mouse")
    assert {event.kind for event in events[0]} == {Feature.SLOW_WAVES}
    assert {event.kind for event in events[1]} == {Feature.SLOW_WAVES, Feature.ARTEFACT}


@pytest.mark.parametrize(
    ("epochs", "fs_hz", "species", "complaint"),
    [
        (np.zeros(3000), 100.0, "human", r"shape \(3000,\); wanted \(num_epochs, samples\)"),
        ([np.zeros(3000), np.zeros(2999)], 100.0, "human", r"differ in length; wanted \(num_epochs, samples\)"),
        (np.zeros((2, 3000)), 50.0, "human", "50 Hz; .* needs 64 Hz or more"),
        (np.zeros((2, 3000)), float("nan"), "human", "nan Hz; .* needs 64 Hz or more"),
        (np.zeros((2, 399)), 100.0, "human", r"last 3.99 s; .* needs 4 s or more"),
        (np.full((2, 3000), np.nan), 100.0, "human", "NaN or infinite values; wanted finite microvolts"),
        (np.zeros((2, 3000)), 100.0, "newt", "human, mouse, rat"),
    ],
)
def test_epochs_that_no_detector_takes_are_refused_in_one_line(epochs, fs_hz, species, complaint):
    for measure in (find_events, measure_evidence):
        with pytest.raises(ValueError, match=complaint) as error:
            measure(epochs, fs_hz, species)
        assert "\n" not in str(error.value)
