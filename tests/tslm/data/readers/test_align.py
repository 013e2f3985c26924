import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslm.data.readers.align import Clock, align_recording, align_signal, align_stamped, build_clock, fit_clock
from tslm.data.readers.csv import open_csv
from tslm.data.readers.raw import RawRecording, RawSignal, SignalsConfig
from tslm.labels import SleepStage

_RNG = np.random.default_rng(0)
FREQS_HZ, PHASES = _RNG.uniform(0.5, 35, 12), _RNG.uniform(0, 6.28, 12)
EDGE_S = 0.5


def wave(times_s: np.ndarray) -> np.ndarray:
    """A known signal of unit variance, up to 35 Hz."""
    return np.sin(2 * np.pi * FREQS_HZ * times_s[:, None] + PHASES).sum(axis=1).astype(np.float32) / np.float32(6**0.5)


def recorded(fs_hz: float, start_s: float, duration_s: float = 30.0) -> RawSignal:
    return RawSignal(wave(start_s + np.arange(round(duration_s * fs_hz)) / fs_hz), fs_hz, start_s=start_s)


def error_inside(values: np.ndarray, fs_hz: float) -> float:
    """Largest difference to the known signal, half a second from the ends of what is there."""
    known = np.flatnonzero(np.isfinite(values))
    edge = round(EDGE_S * fs_hz)
    inside = known[edge:-edge]
    return float(np.abs(values[inside] - wave(inside / fs_hz)).max())


@pytest.mark.parametrize(
    ("fs_in_hz", "fs_out_hz", "start_s"),
    [
        (100, 100, 0.0037),
        (100, 100, -0.2521),
        (128, 100, 1.2345),
        (500, 100, 0.001),
        (100, 500, 0.013),
        (512, 500, 0.1),
    ],
)
def test_a_shifted_signal_lands_where_it_belongs_to_a_fraction_of_a_sample(fs_in_hz, fs_out_hz, start_s):
    aligned = align_signal(recorded(fs_in_hz, start_s), fs_out_hz, 30 * fs_out_hz)
    assert (aligned.fs_hz, aligned.start_s, len(aligned.values)) == (fs_out_hz, 0.0, 30 * fs_out_hz)
    # A thousandth of a period of 35 Hz off would be an error of 0.01.
    assert error_inside(aligned.values, fs_out_hz) < 0.002


@settings(max_examples=25, deadline=None)
@given(start_s=st.floats(-3, 3), ppm=st.floats(-300, 300))
def test_any_start_and_any_small_drift_are_undone(start_s, ppm):
    fs_hz = 100 * (1 + ppm * 1e-6)
    signal = RawSignal(wave(start_s + np.arange(3000) / fs_hz), 100.0)
    clock = Clock(np.array([0.0, 2999.0]), start_s + np.array([0.0, 2999.0]) / fs_hz)
    assert error_inside(align_signal(signal, 100.0, 3000, clock).values, 100.0) < 0.002


def test_a_drift_that_changes_is_followed():
    positions = np.arange(0, 60_001, 6000.0)
    times_s = positions / 100 + 0.02 * np.sin(positions / 9000)
    values = wave(np.interp(np.arange(60_001), positions, times_s))
    aligned = align_signal(RawSignal(values, 100.0), 100.0, 60_000, Clock(positions, times_s))
    assert error_inside(aligned.values, 100.0) < 0.005


@pytest.mark.parametrize("shift", [-7, 0, 12])
def test_a_shift_by_whole_samples_moves_them_unchanged(shift):
    signal = RawSignal(_RNG.standard_normal(500).astype(np.float32), 50.0, start_s=shift / 50)
    aligned = align_signal(signal, 50.0, 520).values
    first, last = max(0, shift), min(520, 500 + shift)
    assert np.array_equal(aligned[first:last], signal.values[first - shift : last - shift])
    assert np.isnan(aligned[:first]).all()
    assert np.isnan(aligned[last:]).all()


def test_what_was_not_recorded_is_missing_and_nothing_else():
    aligned = align_signal(recorded(128, 2.0035, 10.0), 100, 2000).values
    known = np.flatnonzero(np.isfinite(aligned))
    assert known[0] == 201
    assert known[-1] == int((2.0035 + 1280 / 128) * 100)
    assert np.isfinite(aligned[known[0] : known[-1] + 1]).all()


def test_a_gap_stays_a_gap_and_spoils_nothing_beside_it():
    signal = recorded(128, 0.0031)
    values = signal.values.copy()
    values[1280:1408] = np.nan
    whole, gapped = (align_signal(RawSignal(v, 128, start_s=0.0031), 100, 3000).values for v in (signal.values, values))
    missing = np.isnan(gapped) & np.isfinite(whole)
    assert 99 <= missing.sum() <= 101
    edge = np.convolve(missing, np.ones(101), mode="same") > 0
    assert np.allclose(gapped[~edge], whole[~edge], atol=1e-3, equal_nan=True)


def test_fast_signals_are_not_folded_into_a_slow_grid():
    times_s = np.arange(500 * 20) / 500
    fold = RawSignal(np.sin(2 * np.pi * 90 * times_s).astype(np.float32), 500.0, start_s=0.0011)  # 10 Hz if folded
    aligned = align_signal(fold, 100.0, 1900).values
    assert np.abs(aligned[50:-50]).max() < 0.002


def test_a_long_signal_is_aligned_in_blocks_without_seams(monkeypatch):
    signal = recorded(128, 0.0042)
    whole = align_signal(signal, 100, 3000).values
    monkeypatch.setattr("tslm.data.readers.align._BLOCK_SAMPLES", 700)
    assert np.allclose(align_signal(signal, 100, 3000).values[:-30], whole[:-30], atol=1e-3, equal_nan=True)


def test_time_stamps_with_gaps_rounding_and_drift_become_a_grid():
    rng = np.random.default_rng(1)
    times_s = 0.4 + np.arange(400 * 100) / (100 * (1 + 40e-6))
    kept = np.ones(times_s.size, dtype=bool)
    kept[9000:9800] = False
    stamps_s = np.round(times_s + rng.normal(0, 2e-4, times_s.size), 3)
    aligned = align_stamped(wave(times_s)[kept], stamps_s[kept], 100.0, 40_000)
    missing = np.flatnonzero(np.isnan(aligned[:39_000]))
    assert missing[0] == 0
    assert (missing[missing > 100] >= 9035).all()
    assert 795 <= (missing > 100).sum() <= 805
    inside = np.r_[200:8950, 10_000:39_900]
    assert np.abs(aligned[inside] - wave(inside / 100)).max() < 0.05  # 0.2 ms at 35 Hz


def test_every_stretch_between_gaps_has_its_own_clock():
    first, second = np.arange(1000) / 100, 20.0037 + np.arange(1000) / 100
    times_s = np.concatenate([first, second])
    aligned = align_stamped(wave(times_s), times_s, 100.0, 3000)
    for stretch in (slice(0, 1000), slice(2001, 3000)):
        inside = np.arange(3000)[stretch][50:-50]
        assert np.abs(aligned[inside] - wave(inside / 100)).max() < 0.002
    assert np.isnan(aligned[1000:2001]).all()


def test_a_clock_and_its_inverse_undo_each_other():
    clock = Clock(np.array([0.0, 100.0, 250.0]), np.array([5.0, 6.0, 7.6]))
    positions = np.array([-20.0, 0.0, 40.0, 100.0, 180.0, 300.0])
    assert np.allclose(clock.position_at(clock.time_of(positions)), positions)
    assert clock.fs_hz == pytest.approx(250 / 2.6)
    assert build_clock(RawSignal(np.zeros(11, dtype=np.float32), 20.0, start_s=3.0)).time_of(np.array([10.0])) == 3.5


def test_a_recording_gets_one_rate_one_start_and_one_length():
    eeg, acc = recorded(200, 0.0), RawSignal(recorded(128, 1.503).values, 128.0, "g", 1.503)
    raw = RawRecording("r", "s", {"EEG": eeg, "ACC": acc}, (SleepStage.WAKE,) * 3, 10.0)
    aligned = align_recording(raw)
    assert {(signal.fs_hz, signal.start_s, len(signal.values)) for signal in aligned.signals.values()} == {
        (200.0, 0.0, 6300)
    }
    assert aligned.signals["ACC"].unit == "g"
    assert np.array_equal(aligned.signals["EEG"].values[:6000], eeg.values)
    assert np.isnan(aligned.signals["EEG"].values[6000:]).all()
    assert error_inside(aligned.signals["ACC"].values, 200.0) < 0.002
    assert align_recording(raw, 100.0).signals["EEG"].fs_hz == 100.0


def test_a_recording_that_is_aligned_already_stays_as_it_is():
    raw = RawRecording("r", "s", {"A": recorded(100, 0), "B": recorded(100, 0)}, (SleepStage.WAKE,), 10.0)
    assert all(align_recording(raw).signals[name] is raw.signals[name] for name in raw.signals)


@pytest.mark.parametrize(
    ("times_s", "message"),
    [([0.0, 0.1], "wanted one each"), ([0.0, 0.2, 0.1], "wanted rising"), ([0.0, 0.1, np.nan], "wanted rising")],
)
def test_bad_time_stamps_are_refused(times_s, message):
    with pytest.raises(ValueError, match=message):
        align_stamped(np.zeros(3, dtype=np.float32), np.array(times_s), 10.0, 10)


@pytest.mark.parametrize(
    ("positions", "times_s", "message"),
    [([0.0], [1.0], "two or more"), ([0.0, 5.0], [1.0, 1.0], "rise"), ([0.0, 0.0], [1.0, 2.0], "rise")],
)
def test_a_bad_clock_is_refused(positions, times_s, message):
    with pytest.raises(ValueError, match=message):
        Clock(np.array(positions), np.array(times_s))


def test_a_clock_far_from_the_signals_rate_is_refused():
    with pytest.raises(ValueError, match="check which is wrong"):
        align_signal(
            RawSignal(np.zeros(100, dtype=np.float32), 100.0), 100.0, 100, Clock(*np.array([[0, 99], [0, 2.0]]))
        )
    with pytest.raises(ValueError, match="positive"):
        align_signal(RawSignal(np.zeros(9, dtype=np.float32), 0.0), 100.0, 9)
    with pytest.raises(ValueError, match="two or more"):
        fit_clock(np.array([1.0]))


def test_a_table_whose_clock_starts_anew_after_a_gap_is_read_by_its_stamps(tmp_path):
    times_s = np.concatenate([np.arange(500) / 50, 20.0087 + np.arange(500) / 50])
    slow = np.sin(2 * np.pi * 3 * times_s)
    path = tmp_path / "acc.csv"
    path.write_text("t,ACC\n" + "".join(f"{t:.6f},{v:.6f}\n" for t, v in zip(times_s, slow, strict=True)))
    file = open_csv(path, SignalsConfig(time_column="t", unit="g"))
    (channel,) = file.channels
    assert (channel.fs_hz, channel.unit) == (50.0, "g")
    values = file.read_values(0)
    grid_s = np.arange(len(values)) / 50
    known = np.isfinite(values)
    assert not known[500:1001].any()
    inside = np.r_[30:470, 1030:1470]
    assert np.abs(values[inside] - np.sin(2 * np.pi * 3 * grid_s[inside])).max() < 0.002
    assert "time stamps" in file.notes[0]
